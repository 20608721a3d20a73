"""`main.py merge` from the command line: what is asked, refused, kept and written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import facelib
import main
from core.imageio import read_image, write_image
from facelib import FaceMetadata
from facelib.landmarks import MEAN_HEAD_3D

SIZE = (96, 128)


class TinyModel:
    """Stands for a loaded model: inverts the face, knows its iteration."""

    name, kind, resolution, face_type, iteration = "tiny", "Quick96", 16, "full_face", 7
    notes = ("a note of the loader",)
    precision = SimpleNamespace(describe=lambda: "float32 (not probed)")

    def weights(self) -> dict[str, np.ndarray]:
        return {"w": np.full(3, self.iteration, np.float32)}

    def predictor(self):
        def predict(faces: np.ndarray):
            mask = np.ones((*faces.shape[:3], 1), np.float32)
            return 1 - faces, mask, mask

        return predict


def landmarks_at(x: float, y: float, scale: float = 0.3) -> np.ndarray:
    return (MEAN_HEAD_3D[:, :2] * scale + (x, y)).astype(np.float32)


def write_aligned(
    folder: Path, name: str, source: str | None, image: np.ndarray, landmarks: np.ndarray
) -> None:
    matrix = facelib.transform_mat(landmarks, 64, "whole_face")
    metadata = FaceMetadata(
        face_type="whole_face",
        landmarks=facelib.transform_points(landmarks, matrix),
        source_filename=source,
        source_rect=np.array([1, 2, 30, 40]),
        source_landmarks=landmarks,
        image_to_face_mat=matrix,
    )
    facelib.write_face(folder / name, facelib.warp_face(image, matrix, 64), metadata)


class Workspace:
    """A destination folder, and the command line over it."""

    def __init__(self, root: Path) -> None:
        self.root, self.dst = root, root / "data_dst"
        self.merged, self.mask, self.model = self.dst / "merged", self.dst / "merged_mask", root / "model"
        (self.dst / "aligned").mkdir(parents=True)
        (self.model / "tiny_Quick96" / "0000001-7").mkdir(parents=True)

    def add(self, name: str, face: bool = True) -> np.ndarray:
        rng = np.random.default_rng(sum(name.encode("utf-8", "surrogateescape")))
        smooth = cv2.resize(rng.uniform(40, 200, (4, 5, 3)).astype(np.float32), SIZE[::-1])
        image = smooth.astype(np.uint8)
        write_image(self.dst / name, image)
        if face:
            aligned = f"{Path(name).stem}_0.jpg"
            write_aligned(self.dst / "aligned", aligned, name, image, landmarks_at(64, 48))
        return image

    def argv(self, *more: str) -> list[str]:
        folders = {
            "--input-dir": self.dst,
            "--output-dir": self.merged,
            "--output-mask-dir": self.mask,
            "--aligned-dir": self.dst / "aligned",
            "--model-dir": self.model,
            "--model": "Quick96",
        }
        pairs = [part for pair in folders.items() for part in map(str, pair)]
        return ["merge", *pairs, "--no-prompt", *more]

    def run(self, *more: str) -> int:
        return main.main(self.argv(*more))

    def times(self) -> dict[str, int]:
        return {path.stem: path.stat().st_mtime_ns for path in self.merged.glob("*.png")}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    import core.system
    import mainscripts.merge
    import models

    monkeypatch.setattr(core.system, "lower_priority", lambda: None)
    monkeypatch.setattr(models, "list_models", lambda folder, kind: ["tiny", "older"])
    monkeypatch.setattr(mainscripts.merge, "load", lambda *args: TinyModel())
    workspace = Workspace(tmp_path)
    for number in range(1, 7):
        workspace.add(f"{number:05}.png", face=number not in (3, 4))
    return workspace


def test_all_frames_are_merged_or_passed_through(workspace, capsys):
    assert workspace.run() == 0
    shown = capsys.readouterr().out
    assert "6 frames, 4 with a face" in shown and "00003-00004" in shown
    assert "4 frames merged, 2 without a face" in shown
    for number in range(1, 7):
        name = f"{number:05}.png"
        merged, frame = read_image(workspace.merged / name), read_image(workspace.dst / name)
        mask = cv2.imread(str(workspace.mask / name), cv2.IMREAD_UNCHANGED)
        assert mask.shape == SIZE and mask.dtype == np.uint8
        if number in (3, 4):
            np.testing.assert_array_equal(merged, frame)
            assert not mask.any()
        else:
            assert (merged != frame).any() and mask.max() > 200


def test_a_second_run_keeps_what_is_done(workspace, capsys):
    workspace.run()
    before = workspace.times()
    (workspace.merged / "00002.png").unlink()
    assert workspace.run() == 0
    after = workspace.times()
    assert [stem for stem in after if after[stem] != before[stem]] == ["00002"]
    assert "5 frames are merged already" in capsys.readouterr().out


def test_other_options_redo_our_own_frames(workspace, capsys):
    workspace.run()
    before = workspace.times()
    assert workspace.run("--option", "mode=seamless") == 0
    after = workspace.times()
    assert all(after[stem] != before[stem] for stem in after)
    assert "merged with other options" in capsys.readouterr().out


def test_more_training_redoes_our_own_frames(workspace, monkeypatch):
    workspace.run()
    before = workspace.times()
    monkeypatch.setattr(TinyModel, "iteration", 8)
    assert workspace.run() == 0
    assert all(time != before[stem] for stem, time in workspace.times().items())


def test_files_of_other_programs_are_never_touched(workspace, capsys):
    workspace.merged.mkdir()
    (workspace.merged / "00001.png").write_bytes(b"painted by hand")
    (workspace.merged / "notes.png").write_bytes(b"mine")
    assert workspace.run() == 0
    assert (workspace.merged / "00001.png").read_bytes() == b"painted by hand"
    assert (workspace.merged / "notes.png").read_bytes() == b"mine"
    assert "by another program: 00001" in capsys.readouterr().out


def test_a_folder_full_of_other_results_is_an_error(workspace, capsys):
    workspace.merged.mkdir()
    for number in range(1, 7):
        (workspace.merged / f"{number:05}.png").write_bytes(b"merged by DFL")
    assert workspace.run() == 1
    assert "made by another program" in capsys.readouterr().err


def test_an_unreadable_frame_is_listed(workspace, capsys):
    frame = workspace.dst / "00002.png"
    frame.write_bytes(frame.read_bytes()[:100])
    assert workspace.run() == 0
    shown = capsys.readouterr().out
    assert "1 frames could not be read" in shown and "00002.png" in shown
    assert set(workspace.times()) == {"00001", "00003", "00004", "00005", "00006"}


def test_faces_without_their_frame_are_reported(workspace, capsys):
    (workspace.dst / "00006.png").unlink()
    assert workspace.run() == 0
    assert "1 frames that faces come from are missing: 00006.png" in capsys.readouterr().out


def test_no_face_of_these_frames_is_an_error(workspace, capsys):
    for path in workspace.dst.glob("*.png"):
        path.rename(path.with_name("x" + path.name))
    assert workspace.run() == 1
    assert "none of the 4 faces belongs to a frame" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["ümläut 脸.png", "a [1] %d $HOME.png", "-rf.png", "two.dots.png", "12:30.png", "line\nbreak.png"]
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses some of these names")
def test_hostile_names(workspace, name, capsys):
    workspace.add(name)
    assert workspace.run() == 0
    merged = workspace.merged / f"{Path(name).stem}.png"
    assert (read_image(merged) != read_image(workspace.dst / name)).any()
    assert "line\nbreak" not in capsys.readouterr().out


def test_a_source_name_cannot_lead_out_of_the_folder(workspace):
    image = workspace.add("00007.png", face=False)
    write_aligned(workspace.dst / "aligned", "x.jpg", "../../00007.png", image, landmarks_at(64, 48))
    assert workspace.run() == 0
    assert not (workspace.root / "00007.png").exists() and not (workspace.dst.parent / "merged").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("erode_mask_modifier=401", "-400..400"),
        ("blur_mask_modifier=-1", "0..400"),
        ("mode=xseg", "overlay"),
        ("mode=7", "overlay"),
        ("erode=3", "did you mean|known are"),
        ("mode", "KEY=VALUE"),
        ("output_face_scale=much", "-50..50"),
    ],
)
def test_wrong_options_are_refused_with_their_range(workspace, capsys, option, message):
    assert workspace.run("--option", option) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and any(part in errors for part in message.split("|"))
    assert not workspace.merged.exists()


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--input-dir", "nowhere", "does not exist"),
        ("--aligned-dir", "nowhere", "does not exist"),
        ("--model-dir", "nowhere", "does not exist"),
        ("--output-dir", "data_dst", "must be another folder than --input-dir"),
        ("--output-mask-dir", "data_dst/merged", "must be another folder than --output-dir"),
        ("--output-dir", "file", "must be a folder"),
        ("--model", "XSeg", "no model 'XSeg'"),
        ("--force-model-name", "gone", "no Quick96 model is named 'gone'"),
        ("--force-gpu-idxs", "0;1", "give numbers"),
    ],
)
def test_wrong_paths_and_flags_are_one_clear_line(workspace, capsys, flag, value, message):
    (workspace.root / "file").write_bytes(b"")
    argument = str(workspace.root / value) if flag.endswith("-dir") else value
    assert workspace.run(flag, argument) in (1, 2)
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1


def test_an_empty_folder_of_frames_is_said(workspace, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    assert workspace.run("--input-dir", str(tmp_path / "empty")) == 1
    assert "no images in the folder of frames" in capsys.readouterr().err


def test_no_saved_model_is_said(workspace, capsys, monkeypatch):
    import models

    monkeypatch.setattr(models, "list_models", lambda folder, kind: [])
    assert workspace.run() == 1
    assert "no Quick96 model is saved there" in capsys.readouterr().err


def test_frames_of_one_stem_are_refused(workspace, capsys):
    workspace.add("00001.jpg", face=False)
    assert workspace.run() == 1
    assert "would have the same result" in capsys.readouterr().err


def test_gpu_numbers_are_a_list():
    from mainscripts.merge import parse_gpu_indices

    assert parse_gpu_indices("0,2") == [0, 2] and parse_gpu_indices(None) is None


def test_ctrl_c_exits_130_and_the_next_run_goes_on(workspace, monkeypatch):
    from core.interact.progress import Progress

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", lambda self, n=1: (_ for _ in ()).throw(KeyboardInterrupt))
        assert workspace.run() == 130
    kept = workspace.times()
    assert workspace.run() == 0
    after = workspace.times()
    assert len(after) == 6 and all(after[stem] == time for stem, time in kept.items())


def test_questions_come_in_the_order_of_dfl(workspace, monkeypatch, capsys):
    asked = []
    answers = iter(["older", "2", "y", "200", "4", "10", "20", "0", "0", "1", "1", "5", "0", "0", "0", "2"])

    def answer(question: str) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("builtins.input", answer)
    argv = [part for part in workspace.argv() if part != "--no-prompt"]
    assert main.main(argv) == 0
    words = [
        "models",
        "Mode",
        "hist match",
        "threshold",
        "Mask mode",
        "erode",
        "blur mask",
        "Motion",
        "scale",
    ]
    words += ["Color transfer", "Sharpen", "sharpen amount", "denoise", "Bicubic", "Color degrade", "workers"]
    assert len(asked) == len(words)
    for question, word in zip(asked, words, strict=True):
        assert word.lower() in question.lower()
    assert "hist-match" in capsys.readouterr().out


@pytest.fixture(scope="module")
def random_quick96(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a Quick96 of random weights, said to have learnt in bfloat16 on this machine."""
    folder = tmp_path_factory.mktemp("model")
    code = (
        "import sys, models; from core.nn import devices; machine = devices.prepare(cpu_only=True);"
        "from mainscripts.training_start import machine_name;"
        "model = models.create_model('Quick96', name='fresh', precision='float32');"
        "extra = {'computes_in': 'bfloat16', 'machine': machine_name(machine)};"
        "models.CheckpointStore(sys.argv[1], 'fresh', 'Quick96').save(model, extra)"
    )
    root = Path(main.__file__).parent
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=root, check=True, timeout=300)
    return folder


@pytest.mark.slow
def test_a_real_model_merges_from_the_command_line(tmp_path, random_quick96):
    workspace = Workspace(tmp_path)
    workspace.model = random_quick96
    for number in range(1, 4):
        workspace.add(f"{number:05}.png", face=number != 2)
    command = [sys.executable, "main.py", *workspace.argv("--cpu-only", "--option", "mask_mode=full")]
    root = Path(main.__file__).parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "2 frames merged, 1 without a face" in done.stdout
    assert "computes in: bfloat16 (not probed)" in done.stdout  # as in training: no probe
    for number in range(1, 4):
        name = f"{number:05}.png"
        changed = (read_image(workspace.merged / name) != read_image(workspace.dst / name)).any()
        assert changed == (number != 2)
