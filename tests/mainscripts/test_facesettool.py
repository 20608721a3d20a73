"""`main.py facesettool`: new faces from pictures, frames and videos; stops and kills lose nothing."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import facelib
import main
from core.imageio import read_image, write_image
from core.nn.devices import Devices
from facelib.landmarks import MEAN_HEAD_3D
from facelib.metadata import FaceMetadata
from facelib.recut import recut_from_frame
from facelib.resample import crop_face
from mainscripts import facesettool_enhance, facesettool_job

ROOT = Path(__file__).resolve().parents[2]


def draw_frame(number: int) -> tuple[np.ndarray, np.ndarray]:
    """(360, 480, 3) uint8 with a drawn head, and its (68, 2) landmarks."""
    noise = np.random.default_rng(number).uniform(60, 200, (9, 12, 3)).astype(np.float32)
    frame = np.clip(cv2.resize(noise, (480, 360), interpolation=cv2.INTER_CUBIC), 60, 255).astype(np.uint8)
    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    turn = 0.1 * number - 0.3
    points = np.column_stack([240 + 0.7 * (x * np.cos(turn) + z * np.sin(turn)), 200 + 0.7 * y])
    cv2.fillConvexPoly(frame, cv2.convexHull(points.astype(np.int32)), (120, 150, 210))
    return frame, points


@pytest.fixture
def folder(tmp_path) -> Path:
    """Frames of a drawn person, and in it the folder of its aligned faces, with one file that is none."""
    frames = tmp_path / "bilder från 顔" / "data_src"
    aligned = frames / "aligned"
    aligned.mkdir(parents=True)
    for number in range(1, 7):
        frame, points = draw_frame(number)
        write_image(frames / f"{number:05}.png", frame)
        matrix = facelib.transform_mat(points, 128, "full_face")
        landmarks = facelib.transform_points(points, matrix)
        metadata = FaceMetadata(
            face_type="full_face", landmarks=landmarks.astype(np.float32),
            source_filename=f"{number:05}.png", source_rect=np.array([1, 2, 3, 4]),
            source_landmarks=points.astype(np.float32), image_to_face_mat=matrix,
        )  # fmt: skip
        facelib.write_face(aligned / f"{number:05}_0.jpg", crop_face(frame, matrix, 128), metadata)
    (aligned / "note.jpg").write_bytes(b"no face")
    return aligned


def tool(*argv) -> int:
    return main.main(["facesettool", *map(str, argv), "--no-prompt"])


def faces(folder) -> dict[str, tuple[np.ndarray, FaceMetadata]]:
    return {path.name: facelib.read_face(path) for path in sorted(folder.glob("0*.jpg"))}


def output(folder, what) -> Path:
    return folder.with_name(f"{folder.name}_{what}")


def test_resized_faces_take_the_old_ones_places(folder, capsys):
    before = faces(folder)
    assert tool("resize", "--input-dir", folder, "--image-size", 256) == 0
    assert not output(folder, "resized").exists()
    after = faces(folder)
    assert after.keys() == before.keys() and (folder / "note.jpg").read_bytes() == b"no face"
    for name, (image, metadata) in after.items():
        assert image.shape == (256, 256, 3) and metadata.face_type == "full_face"
        np.testing.assert_allclose(metadata.landmarks, 2 * before[name][1].landmarks, rtol=1e-5)
        wanted = cv2.resize(before[name][0], (256, 256), interpolation=cv2.INTER_LANCZOS4)
        assert np.abs(image.astype(int) - wanted).mean() < 1
    assert "note.jpg: is not a JPEG" in capsys.readouterr().out


def test_a_smaller_type_comes_from_the_picture_and_a_larger_one_from_the_frame(folder):
    for short, name in (("h", "half_face"), ("head", "head")):
        assert tool("resize", "--input-dir", folder, "--image-size", 192, "--face-type", short,
                    "--no-merge-back") == 0  # fmt: skip
        for face, (image, metadata) in faces(output(folder, "resized")).items():
            number = int(face[:5])
            frame, points = draw_frame(number)
            wanted = crop_face(frame, facelib.transform_mat(points, 192, name), 192)
            assert metadata.face_type == name and np.abs(image.astype(int) - wanted).mean() < 4
    assert output(folder, "resized_old1").is_dir(), "what another run made is kept"


@pytest.mark.parametrize("frames", ["gone", "of another video"])
def test_without_its_frame_a_larger_type_is_black_around_and_that_is_said(folder, capsys, frames):
    for path in folder.parent.glob("*.png"):
        path.unlink()
        if frames != "gone":
            write_image(path, np.random.default_rng(5).integers(0, 255, (360, 480, 3)).astype(np.uint8))
    assert (
        tool("resize", "--input-dir", folder, "--image-size", 128, "--face-type", "wf", "--no-merge-back")
        == 0
    )
    assert "6 faces show more than before" in capsys.readouterr().out
    image, metadata = faces(output(folder, "resized"))["00001_0.jpg"]
    assert metadata.face_type == "whole_face" and image[0].max() < 20


def test_realigned_faces_are_what_extraction_would_cut(folder):
    before = faces(folder)
    assert tool("realign", "--input-dir", folder, "--face-type", "wf", "--image-size", 256,
                "--jpeg-quality", 100, "--no-merge-back") == 0  # fmt: skip
    for name, (image, metadata) in faces(output(folder, "realigned")).items():
        frame = read_image(folder.parent / f"{name[:5]}.png")
        recut = recut_from_frame(frame, before[name][1], 128, 256, "whole_face")
        assert np.abs(image.astype(int) - recut.image).mean() < 1.5
        matrix = facelib.transform_mat(before[name][1].source_landmarks, 256, "whole_face")
        np.testing.assert_allclose(metadata.image_to_face_mat, matrix)


def test_realign_lists_faces_without_frames_and_keeps_them(folder, capsys):
    (folder.parent / "00003.png").unlink()
    before = (folder / "00003_0.jpg").read_bytes()
    assert tool("realign", "--input-dir", folder, "--image-size", 128, "--face-type", "mf") == 0
    out = capsys.readouterr().out
    assert "00003_0.jpg: its frame 00003.png is not in" in out
    assert (folder / "00003_0.jpg").read_bytes() == before
    assert facelib.read_metadata(folder / "00004_0.jpg").face_type == "midfull_face"


def test_faces_are_cut_from_a_video(shared_data, tmp_path):
    clip, work = shared_data / "clips" / "person_a.mp4", tmp_path / "work"
    argv = ["videoed", "extract-video", "--input-file", str(clip), "--output-dir", str(work), "--fps", "1"]
    assert main.main([*argv, "--output-ext", "png", "--no-prompt"]) == 0
    aligned = tmp_path / "aligned"
    aligned.mkdir()
    for path in sorted(work.glob("*.png"))[1:4]:
        _, points = draw_frame(3)
        matrix = facelib.transform_mat(points, 128, "full_face")
        metadata = FaceMetadata(
            face_type="full_face", landmarks=facelib.transform_points(points, matrix).astype(np.float32),
            source_filename=path.name, source_landmarks=points.astype(np.float32), image_to_face_mat=matrix,
        )  # fmt: skip
        facelib.write_face(aligned / f"{path.stem}_0.jpg", crop_face(read_image(path), matrix, 128), metadata)
    size = ("--image-size", 128, "--face-type", "wf", "--no-merge-back")
    assert tool("realign", "--input-dir", aligned, "--frames", work, *size) == 0
    by_folder = faces(output(aligned, "realigned"))
    shutil.rmtree(output(aligned, "realigned"))
    assert tool("realign", "--input-dir", aligned, "--frames", clip, "--fps", 1, *size) == 0
    by_video = faces(output(aligned, "realigned"))
    assert len(by_video) == 3
    for name, (image, _) in by_folder.items():
        np.testing.assert_array_equal(image, by_video[name][0])


def test_a_stopped_run_goes_on_and_makes_only_what_is_missing(folder, monkeypatch, capsys):
    argv = ("resize", "--input-dir", folder, "--image-size", 160, "--no-merge-back")
    genuine, left = facesettool_job.Workplace.goal, iter(range(10))

    def stopping(place, path):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return genuine(place, path)

    monkeypatch.setattr(facesettool_job.Workplace, "goal", stopping)
    assert tool(*argv) == 130
    monkeypatch.undo()
    made = {path.name: path.stat().st_mtime_ns for path in output(folder, "resized").glob("0*.jpg")}
    assert 0 < len(made) < 6
    (folder / "00006_0.jpg").touch()  # newer than what was made of it, if it was
    assert tool(*argv) == 0
    assert "Going on with an earlier run" in capsys.readouterr().out
    assert len(faces(output(folder, "resized"))) == 6
    for name in made.keys() - {"00006_0.jpg"}:
        assert output(folder, "resized").joinpath(name).stat().st_mtime_ns == made[name]


def test_a_merge_that_was_cut_off_is_finished_first(folder, monkeypatch, capsys):
    argv = ("resize", "--input-dir", folder, "--image-size", 256)
    genuine, left = facesettool_job.storage.move_file, iter(range(3))

    def stopping(path, goal):
        if next(left, None) is None:
            raise KeyboardInterrupt
        genuine(path, goal)

    monkeypatch.setattr(facesettool_job.storage, "move_file", stopping)
    assert tool(*argv) == 130
    monkeypatch.undo()
    assert sorted(image.shape[0] for image, _ in faces(folder).values()) == [128] * 3 + [256] * 3
    (folder / "00006_0.jpg").unlink()  # sorted out meanwhile: it does not come back
    assert tool(*argv) == 0
    assert {image.shape[0] for image, _ in faces(folder).values()} == {256} and len(faces(folder)) == 5
    assert "finishing that" in capsys.readouterr().out


def test_enhanced_faces_keep_their_metadata(folder, monkeypatch):
    class Enhancer:
        def enhance(self, images):
            return [1 - image for image in images]

    monkeypatch.setattr("facelib.enhancer.FaceEnhancer", Enhancer)
    monkeypatch.setattr("facelib.weights.ensure", lambda *args: True)
    monkeypatch.setattr("core.nn.devices.prepare", lambda *args: Devices((), None, 1))
    before = {
        path.name: facelib.face_jpeg.parse_values(path.read_bytes(), "") for path in folder.glob("0*.jpg")
    }
    pictures = faces(folder)
    assert tool("enhance", "--input-dir", folder, "--cpu-only") == 0
    for path in folder.glob("0*.jpg"):
        shape, values = facelib.face_jpeg.parse_values(path.read_bytes(), "")
        assert shape == (128, 128)
        assert str(values) == str(before[path.name][1])
        image, _ = facelib.read_face(path)
        assert np.abs((255 - pictures[path.name][0].astype(int)) - image).mean() < 2
    assert facesettool_enhance.QUALITY == 100


def test_without_weights_enhancing_says_how_to_get_them(folder, monkeypatch, capsys):
    monkeypatch.setattr("facelib.weights.ensure", lambda *args: False)
    assert tool("enhance", "--input-dir", folder) == 1
    assert "weights fetch FaceEnhancer" in capsys.readouterr().err
    assert not output(folder, "enhanced").exists()


def test_packed_and_empty_folders_are_told_apart(folder, capsys):
    main.main(["util", "--input-dir", str(folder), "--pack-faceset", "--no-prompt"])
    (folder / "note.jpg").unlink()
    assert tool("resize", "--input-dir", folder) == 1
    assert "unpack them first" in capsys.readouterr().err
    (folder / "faceset.pak").unlink()
    assert tool("realign", "--input-dir", folder) == 1


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_killed_at_random_every_face_is_the_old_or_the_new_one(folder):
    source = sorted(folder.glob("0*.jpg"))
    for number in range(300):
        shutil.copyfile(source[number % 6], folder / f"1{number:04}_0.jpg")
    names = sorted(path.name for path in folder.iterdir())
    rng = random.Random(3)
    argv = [sys.executable, "main.py", "facesettool", "resize", "--input-dir", str(folder), "--no-prompt"]
    command = [*argv, "--image-size", "160"]
    for _ in range(5):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while not output(folder, "resized").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.6))
        process.kill()
        process.wait()
        assert sorted(path.name for path in folder.iterdir()) == names
        assert {facelib.read_face(path)[0].shape[0] for path in folder.glob("[01]*.jpg")} <= {128, 160}
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {facelib.read_header(path)[0][0] for path in folder.glob("[01]*.jpg")} == {160}
