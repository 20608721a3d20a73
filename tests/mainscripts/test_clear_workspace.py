from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import main
from core.imageio import write_image
from core.video import extract_frames, probe
from facelib import write_face
from facelib.metadata import FaceMetadata, SegPoly
from tests.video_clips import make_clip


def tree(folder):
    """Every file below a folder with its content, the log and the trash left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "removed.log" and "trash" not in path.relative_to(folder).parts[:1]
    }


def face(path, labelled=False):
    polys = (SegPoly(True, np.array([(1, 1), (30, 1), (30, 30)], np.float32)),) if labelled else ()
    metadata = FaceMetadata(
        face_type="whole_face",
        landmarks=np.zeros((68, 2), np.float32),
        source_filename="00001.png",
        source_rect=np.array((0, 0, 10, 10)),
        source_landmarks=np.zeros((68, 2), np.float32),
        image_to_face_mat=None,
        seg_ie_polys=polys,
    )
    write_face(path, np.zeros((32, 32, 3), np.uint8), metadata)


@pytest.fixture
def workspace(tmp_path):
    """A workspace in the middle of a job."""
    folder = tmp_path / "моя работа 1"
    folder.mkdir()
    for side in ("src", "dst"):
        source = "testsrc" if side == "src" else "testsrc2"
        clip = make_clip(folder / f"data_{side}.mp4", frames=3, sound=False, source=source)
        extract_frames(probe(clip), folder / f"data_{side}")
        aligned = folder / f"data_{side}" / "aligned"
        aligned.mkdir()
        face(aligned / "00001_0.jpg", labelled=side == "dst")
    (folder / "data_dst" / "merged").mkdir()
    write_image(folder / "data_dst" / "merged" / "00001.png", np.zeros((4, 4, 3), np.uint8))
    (folder / "data_dst" / "holiday.mov").write_bytes(b"a video in the wrong place")
    (folder / "model").mkdir()
    (folder / "model" / "new_SAEHD_data.dat").write_bytes(b"days of work")
    (folder / "result.mp4").write_bytes(b"the result")
    return folder


def clear(workspace, monkeypatch, answers=None, *flags):
    words = ["clear-workspace", "--workspace-dir", str(workspace), *flags]
    if answers is None:
        return main.main([*words, "--no-prompt"])
    lines = iter(answers)
    monkeypatch.setattr("builtins.input", lambda question: next(lines))
    return main.main(words)


def test_unasked_only_frames_go_that_a_video_gives_again(workspace, monkeypatch, capsys):
    before = tree(workspace)
    assert clear(workspace, monkeypatch) == 0
    gone = before.keys() - tree(workspace).keys()
    names = ("00001.png", "00002.png", "00003.png", ".frames.json")
    assert gone == {str(Path(f"data_{side}") / name) for side in ("src", "dst") for name in names}
    assert tree(workspace).items() <= before.items()
    (trash,) = (workspace / "trash").iterdir()
    assert tree(trash) == {name: before[name] for name in gone}  # in the places they had
    log = (workspace / "removed.log").read_text(encoding="utf-8")
    assert all(str(Path(name)) in log for name in gone)
    shown = capsys.readouterr().out
    assert "trained models" in shown and "1 with XSeg masks drawn by hand" in shown
    assert "result.mp4" in shown and "holiday.mov" in shown


def test_after_yes_to_all_only_videos_are_left(workspace, monkeypatch):
    before = tree(workspace)
    assert clear(workspace, monkeypatch, ["y"] * 7) == 0  # six parts, and for good
    videos = {"data_src.mp4", "data_dst.mp4", "result.mp4", str(Path("data_dst") / "holiday.mov")}
    assert tree(workspace) == {name: before[name] for name in videos}
    assert not (workspace / "trash").exists()
    assert all((workspace / name).is_dir() for name in ("data_src/aligned", "data_dst/aligned", "model"))
    assert "new_SAEHD_data.dat" in (workspace / "removed.log").read_text(encoding="utf-8")
    assert clear(workspace, monkeypatch) == 0


def test_films_of_rare_names_stay_wherever_they_are(workspace, monkeypatch):
    film = (workspace / "data_src.mp4").read_bytes()
    places = ("data_dst/aligned/tape.mpe", "data_src/aligned_trash/clip.f4v", "data_src/aligned/no ending")
    for place in (*places, "model/backups/camera.lrf"):
        (workspace / place).parent.mkdir(exist_ok=True)
        (workspace / place).write_bytes(film)
    (workspace / "data_dst" / "aligned" / "notes.lrf").write_bytes(b"no film")
    assert clear(workspace, monkeypatch, ["y"] * 8) == 0
    assert all((workspace / place).read_bytes() == film for place in (*places, "model/backups/camera.lrf"))
    assert not (workspace / "data_dst" / "aligned" / "notes.lrf").exists()


def test_enter_keeps_what_took_long(workspace, monkeypatch):
    before = tree(workspace)
    assert clear(workspace, monkeypatch, [""] * 7) == 0
    kept = tree(workspace)
    assert {
        name for name in before if "aligned" in name or "model" in name or "merged" in name
    } <= kept.keys()


def test_frames_without_their_video_are_not_quick(workspace, monkeypatch):
    (workspace / "data_src.mp4").unlink()
    write_image(workspace / "data_dst" / "photo.png", np.zeros((4, 4, 3), np.uint8))
    assert clear(workspace, monkeypatch) == 0
    assert (workspace / "data_src" / "00001.png").exists() and (workspace / "data_dst" / "photo.png").exists()
    assert not (workspace / "data_dst" / "00001.png").exists()


def test_a_dry_run_changes_nothing(workspace, monkeypatch):
    before = tree(workspace)
    assert clear(workspace, monkeypatch, None, "--dry-run") == 0
    assert tree(workspace) == before and not (workspace / "removed.log").exists()


def test_a_folder_that_is_no_workspace_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.png").write_bytes(b"x")
    assert clear(tmp_path, monkeypatch) == 1
    assert "is no workspace" in capsys.readouterr().err and (tmp_path / "photo.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_what_a_link_points_to_stays(workspace, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (workspace / "data_src" / "aligned").rename(elsewhere)
    (workspace / "data_src" / "aligned").symlink_to(elsewhere)
    assert clear(workspace, monkeypatch, ["y"] * 7) == 0
    assert (elsewhere / "00001_0.jpg").exists() and not (workspace / "data_src" / "aligned").is_symlink()
