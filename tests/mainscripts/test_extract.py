"""`extract` as its own process on drawn frames: every kind of frame, stopped runs, wrong folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

import facelib
import main
from core.errors import FileFormatError, SwapError, UsageError
from core.paths import list_images
from facelib.alignment import transform_points
from facelib.synthetic import ANNA, Motion, build_head, render
from mainscripts.extract_log import LOG_NAME, LineWriter, LogWriter, read_record
from mainscripts.extract_report import ranges_text

ROOT = Path(__file__).resolve().parents[2]
FRAME_COUNT = 12
NO_SOURCE = SimpleNamespace(identity={}, name_of=lambda stem: None)


@pytest.fixture(scope="session")
def drawn_frames(tmp_path_factory) -> dict[str, np.ndarray]:
    """Frames of a drawn person turning her head; the fourth has two faces and the fifth none."""
    head = build_head(ANNA)
    yaws = np.linspace(-0.3, 0.3, FRAME_COUNT)
    frames = {
        f"{number + 1:05}": render(head, Motion(yaw=float(yaw)), size=240).image
        for number, yaw in enumerate(yaws)
    }
    frames["00004"] = np.hstack([frames["00004"], frames["00007"]])
    frames["00005"] = np.full((240, 240, 3), 90, np.uint8)
    return frames


@pytest.fixture
def frames_folder(tmp_path, drawn_frames) -> Path:
    folder = tmp_path / "data_src кадры"
    folder.mkdir()
    for stem, image in drawn_frames.items():
        (folder / f"{stem}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return folder


def command(folder: Path, *flags: str) -> list[str]:
    output = folder / "aligned"
    return [
        sys.executable,
        "main.py",
        "extract",
        "--input-dir",
        str(folder),
        "--output-dir",
        str(output),
        *flags,
    ]


def run_extract(folder: Path, *flags: str, stdin: str = "") -> subprocess.CompletedProcess:
    return subprocess.run(
        command(folder, *flags),
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=90,
    )


def face_names(folder: Path) -> set[str]:
    return {path.name for path in list_images(folder / "aligned")}  # a killed run leaves hidden files


ALL_FACES = {f"{n:05}_0.jpg" for n in range(1, FRAME_COUNT + 1) if n != 5} | {"00004_1.jpg"}


def test_frames_become_aligned_faces(frames_folder, drawn_frames):
    done = run_extract(frames_folder, "--no-prompt", "--output-debug", "--image-size", "256")
    assert done.returncode == 0, done.stderr
    assert face_names(frames_folder) == ALL_FACES
    assert "Faces detected:    12" in done.stdout
    assert "1 (00005.png)" in done.stdout and "1 (00004.png)" in done.stdout
    debug = {path.stem for path in (frames_folder / "aligned_debug").glob("*.jpg")}
    assert debug == set(drawn_frames)

    image, metadata = facelib.read_face(frames_folder / "aligned" / "00002_0.jpg")
    assert image.shape == (256, 256, 3)
    assert metadata.face_type == "whole_face" and metadata.source_filename == "00002.png"
    np.testing.assert_allclose(
        metadata.image_to_face_mat, facelib.transform_mat(metadata.source_landmarks, 256, "whole_face")
    )
    np.testing.assert_allclose(
        metadata.landmarks, transform_points(metadata.source_landmarks, metadata.image_to_face_mat), atol=1e-3
    )
    expected = cv2.warpAffine(drawn_frames["00002"], metadata.image_to_face_mat, (256, 256))
    assert np.abs(image.astype(int) - expected).mean() < 6
    left, top, right, bottom = metadata.source_rect
    assert 0 <= left < right < 240 and 0 <= top < bottom < 240


def test_questions_take_dfls_order_and_answers(frames_folder):
    for path in sorted(frames_folder.glob("*.png"))[1:]:
        path.unlink()
    answers = "head\n0\n\n2000\n\nn\n"
    done = run_extract(frames_folder, stdin=answers)
    assert done.returncode == 0, done.stderr
    asked = [line for line in done.stdout.splitlines() if "( " in line]
    order = ["Face type", "Max faces", "Image size", "Jpeg quality", "Detector", "debug"]
    text = "\n".join(asked)
    positions = [text.index(word) for word in order]
    assert positions == sorted(positions)
    assert "[768] Image size" in text
    image, metadata = facelib.read_face(frames_folder / "aligned" / "00001_0.jpg")
    assert metadata.face_type == "head" and image.shape == (768, 768, 3)


@pytest.mark.parametrize(
    ("flag", "name"), [("half_face", "half_face"), ("mf", "midfull_face"), ("mark_only", "mark_only")]
)
def test_every_face_type_can_be_written(frames_folder, flag, name):
    for path in sorted(frames_folder.glob("*.png"))[1:]:
        path.unlink()
    assert main.main(
        ["extract", "--input-dir", str(frames_folder), "--output-dir", str(frames_folder / "aligned"),
         "--no-prompt", "--face-type", flag]
    ) == 0  # fmt: skip
    image, metadata = facelib.read_face(frames_folder / "aligned" / "00001_0.jpg")
    assert metadata.face_type == name
    assert image.shape[:2] == ((240, 240) if name == "mark_only" else (512, 512))


def wait_for(condition, process: subprocess.Popen, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "extract ended too early"
        assert time.monotonic() < end
        time.sleep(0.005)


def logged_frames(folder: Path) -> list[str]:
    try:
        lines = (folder / "aligned" / LOG_NAME).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line).get("frame"))
        except ValueError:
            continue
    return [name for name in found if name]


def many_frames(folder: Path, drawn_frames: dict[str, np.ndarray], count: int) -> None:
    """Enough frames that a run can be stopped in the middle."""
    data = cv2.imencode(".png", drawn_frames["00001"])[1].tobytes()
    for number in range(count):
        (folder / f"x{number:05}.png").write_bytes(data)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_stopped_run_goes_on_where_it_was(frames_folder, drawn_frames, signum, code):
    many_frames(frames_folder, drawn_frames, 70)
    quiet = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(frames_folder, "--no-prompt"), **quiet)
    wait_for(lambda: len(logged_frames(frames_folder)) >= 5, process)
    process.send_signal(signum)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    done = logged_frames(frames_folder)
    assert 5 <= len(done) < FRAME_COUNT + 70
    for path in list_images(frames_folder / "aligned"):
        facelib.read_metadata(path)  # no half-written face
    stamps = {name: (frames_folder / "aligned" / name).stat().st_mtime_ns
              for name in face_names(frames_folder) if name.rsplit("_", 1)[0] + ".png" in done}  # fmt: skip

    again = run_extract(frames_folder, "--no-prompt")
    assert again.returncode == 0, again.stderr
    assert len(face_names(frames_folder)) == 12 + 70
    assert sorted(logged_frames(frames_folder)) == sorted(path.name for path in frames_folder.glob("*.png"))
    for name, stamp in stamps.items():
        assert (frames_folder / "aligned" / name).stat().st_mtime_ns == stamp, (
            "a finished frame was done again"
        )

    third = run_extract(frames_folder, "--no-prompt")
    assert third.returncode == 0 and "extracted before" in third.stdout


def test_faces_sorted_out_stay_away_and_an_emptied_folder_begins_anew(frames_folder):
    assert run_extract(frames_folder, "--no-prompt").returncode == 0
    (frames_folder / "aligned" / "00002_0.jpg").unlink()
    extra = cv2.imread(str(frames_folder / "00001.png"))
    cv2.imwrite(str(frames_folder / "00099.png"), extra)
    assert run_extract(frames_folder, "--no-prompt").returncode == 0
    assert face_names(frames_folder) == ALL_FACES - {"00002_0.jpg"} | {"00099_0.jpg"}
    for path in (frames_folder / "aligned").glob("*.jpg"):
        path.unlink()
    assert run_extract(frames_folder, "--no-prompt").returncode == 0
    assert face_names(frames_folder) == ALL_FACES | {"00099_0.jpg"}


def test_other_settings_are_named_and_need_a_yes_to_replace(frames_folder):
    assert run_extract(frames_folder, "--no-prompt", "--image-size", "256").returncode == 0
    keep = frames_folder / "aligned" / "mine.jpg"
    shutil.copy(frames_folder / "aligned" / "00001_0.jpg", keep)
    kept = run_extract(frames_folder, "--no-prompt", "--image-size", "320")
    assert kept.returncode == 0 and "image_size 256, not 320" in kept.stdout
    assert facelib.read_face(frames_folder / "aligned" / "00001_0.jpg")[0].shape[0] == 256

    flags = ("--image-size", "320", "--max-faces-from-image", "1")
    anew = run_extract(frames_folder, *flags, stdin="n\n\n\n\n\n")
    assert anew.returncode == 0, anew.stderr
    assert face_names(frames_folder) == ALL_FACES - {"00004_1.jpg"} | {"mine.jpg"}
    assert facelib.read_face(frames_folder / "aligned" / "00001_0.jpg")[0].shape[0] == 320


def test_folder_of_dfl_without_a_log_is_continued(frames_folder):
    assert run_extract(frames_folder, "--no-prompt").returncode == 0
    aligned = frames_folder / "aligned"
    (aligned / LOG_NAME).unlink()
    (aligned / "00003_0.jpg").unlink()
    (aligned / "00002_0.jpg").rename(aligned / "sorted first.jpg")
    stamp = (aligned / "00001_0.jpg").stat().st_mtime_ns
    done = run_extract(frames_folder, "--no-prompt")
    assert done.returncode == 0, done.stderr
    assert (aligned / "00003_0.jpg").exists() and not (aligned / "00002_0.jpg").exists()
    assert (aligned / "00001_0.jpg").stat().st_mtime_ns == stamp


def test_every_kind_of_frame_is_read_and_bad_ones_are_listed(tmp_path, drawn_frames):
    folder = tmp_path / "frames"
    folder.mkdir()
    image = drawn_frames["00002"]
    cv2.imwrite(str(folder / "deep.png"), image.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "alpha.png"), np.dstack([image, np.full(image.shape[:2], 30, np.uint8)]))
    cv2.imwrite(str(folder / "grey.tif"), cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
    cv2.imwrite(str(folder / "odd.JPG"), image[:239, :237])
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees to see it upright
    lying = Image.fromarray(
        cv2.cvtColor(cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE), cv2.COLOR_BGR2RGB)
    )
    lying.save(folder / "exif.jpg", exif=exif.tobytes(), quality=95)
    good = cv2.imencode(".jpg", image)[1].tobytes()
    (folder / "cut.jpg").write_bytes(good[: len(good) // 2])
    (folder / "text.png").write_text("no image", encoding="utf-8")
    (folder / "empty.jpg").write_bytes(b"")
    cv2.imwrite(str(folder / "deep.tif"), image)  # the same stem again
    done = run_extract(folder, "--no-prompt")
    assert done.returncode == 0, done.stderr
    assert face_names(folder) == {f"{stem}_0.jpg" for stem in ("deep", "alpha", "grey", "odd", "exif")}
    reasons = {
        "cut.jpg": "the image was cut short",
        "text.png": "not an image",
        "empty.jpg": "the file is empty",
    }
    for name, reason in (reasons | {"deep.tif": "deep.png has the same name"}).items():
        assert f"skipped {name}: {reason}" in done.stdout
    reference = facelib.read_metadata(folder / "aligned" / "alpha_0.jpg").source_landmarks
    for stem in ("deep", "exif", "grey"):
        landmarks = facelib.read_metadata(folder / "aligned" / f"{stem}_0.jpg").source_landmarks
        assert np.abs(landmarks - reference).max() < 6, stem

    (folder / "cut.jpg").write_bytes(good)  # once repaired, a skipped frame is done
    assert run_extract(folder, "--no-prompt").returncode == 0
    assert (folder / "aligned" / "cut_0.jpg").exists()


def test_a_damaged_log_deletes_nothing_and_is_named(tmp_path, drawn_frames, capsys):
    folder, output = tmp_path / "frames", tmp_path / "frames" / "aligned"
    output.mkdir(parents=True)
    cv2.imwrite(str(folder / "00001.png"), drawn_frames["00001"])
    victim = folder / "victim.jpg"
    victim.write_text("mine", encoding="utf-8")
    (output / "00001_0.jpg").write_text("old", encoding="utf-8")
    names = ["00001_0.jpg", "", ".", "..", "../victim.jpg", "a/../../victim.jpg", str(victim), "a\0b", 7]
    entries = [{"settings": {}}, {"frame": "00001.png", "faces": names}, {"settings": {}, "anew": True}]
    log = output / LOG_NAME
    log.write_text("\n".join(map(json.dumps, entries)) + "\n", encoding="utf-8")
    words = ["extract", "--input-dir", str(folder), "--output-dir", str(output), "--detector", "blazeface"]
    assert main.main([*words, "--no-prompt"]) == 0
    assert victim.exists() and facelib.read_metadata(output / "00001_0.jpg")

    entries = [{"settings": {"face_type": "zzz"}}, {"frame": "00001.png", "faces": []}]
    log.write_text("\n".join(map(json.dumps, entries)) + "\n", encoding="utf-8")
    assert main.main([*words, "--no-prompt"]) == 1
    assert f"{log}: damaged" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["missing", "empty", "file", "unreadable", "same"])
def test_wrong_folders_give_one_line_and_code_1(tmp_path, case):
    folder = tmp_path / "frames"
    if case == "file":
        folder.write_text("x", encoding="utf-8")
    elif case != "missing":
        folder.mkdir()
    if case in ("unreadable", "same"):
        (folder / "00001.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    flags = ["--output-dir", str(folder if case == "same" else tmp_path / "aligned")]
    done = subprocess.run(
        [sys.executable, "main.py", "extract", "--input-dir", str(folder), *flags, "--no-prompt"],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line]
    assert len(errors) == 1 and errors[0].startswith("error: ") and "frames" in errors[0]


@pytest.mark.parametrize(
    "flags",
    [["--image-size", "100"], ["--jpeg-quality", "0"], ["--face-type", "nose"], ["--detector", "s4fd"],
     ["--force-gpu-idxs", "a"]],
)  # fmt: skip
def test_wrong_values_are_refused(tmp_path, flags, capsys):
    argv = [
        "extract",
        "--input-dir",
        str(tmp_path),
        "--output-dir",
        str(tmp_path / "o"),
        "--no-prompt",
        *flags,
    ]
    try:
        code = main.main(argv)
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert flags[0].strip("-").replace("-", "_").split("_")[-1] in capsys.readouterr().err


def test_ranges_of_frames_are_told_shortly():
    names = [f"{n}.png" for n in range(10)]
    assert ranges_text([], names) == "0"
    assert ranges_text([0, 1, 2, 5, 7, 8], names) == "6 (0.png-2.png, 5.png, 7.png-8.png)"


def test_log_survives_a_torn_line(tmp_path):
    with LogWriter(tmp_path, {"face_type": "wf"}) as log:
        log.add("a.png", ["a_0.jpg"])
    with (tmp_path / LOG_NAME).open("ab") as file:
        file.write(b'{"frame": "b.p')
    with LogWriter(tmp_path, {"face_type": "f"}) as log:
        log.add("c.png", [])
    (tmp_path / "a_0.jpg").write_bytes(b"x")
    record = read_record(tmp_path, NO_SOURCE)
    assert record.done == {"a.png": ["a_0.jpg"], "c.png": []}
    assert record.settings == {"face_type": "f"}


def test_a_run_that_replaces_can_be_stopped_too(tmp_path):
    with LogWriter(tmp_path, {"image_size": 256}) as log:
        log.add("a.png", ["a_0.jpg", "a_1.jpg"])
        log.add("b.png", ["b_0.jpg"])
    with LogWriter(tmp_path, {"image_size": 512}, anew=True) as log:
        log.add("b.png", ["b_0.jpg"])
    (tmp_path / "b_0.jpg").write_bytes(b"x")
    record = read_record(tmp_path, NO_SOURCE)
    assert record.done == {"b.png": ["b_0.jpg"]} and record.replaced == {"a.png": ["a_0.jpg", "a_1.jpg"]}


def test_errors_of_ours_are_not_swallowed(frames_folder, monkeypatch):
    """Only unusable frames are skipped; a full disk or a bug ends the run."""
    from mainscripts import extract_frames

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "face.jpg")

    monkeypatch.setattr(extract_frames, "write_face", full)
    argv = ["extract", "--input-dir", str(frames_folder), "--output-dir", str(frames_folder / "aligned")]
    assert main.main([*argv, "--no-prompt"]) == 1
    assert issubclass(FileFormatError, SwapError) and issubclass(UsageError, SwapError)


def test_the_log_takes_names_that_are_not_utf8(tmp_path):
    name = "\udcff кадр.png"
    with LogWriter(tmp_path, {}) as log:
        log.add(name, [])
    assert read_record(tmp_path, NO_SOURCE).done == {name: []}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_that_does_not_fit_on_the_disk_is_named(tmp_path):
    (tmp_path / "log").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught, LineWriter(tmp_path / "log") as log:
        log.append({"frame": "00001.png"})
    assert caught.value.filename == str(tmp_path / "log")
