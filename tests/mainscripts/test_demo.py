"""The demo: what it takes, what it leaves alone, and once the whole way on short drawn clips."""

from __future__ import annotations

import time

import numpy as np
import pytest

import main
from core.errors import SwapError
from core.imageio import read_image, write_image
from core.video import probe
from core.video.provenance import read_source_type
from facelib.synthetic import BORIS
from facelib.synthetic_clip import write_clip
from mainscripts import demo


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "somebody ä.mp4"
    write_clip(path, BORIS, seconds=1.2, size=96)
    return path


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(SwapError, match="no demo made"):
        demo._fresh_folder(tmp_path)
    assert (tmp_path / "holiday.mp4").exists()


def test_the_folder_of_an_earlier_demo_is_emptied(tmp_path):
    work = demo._fresh_folder(tmp_path / "work")
    (work / "result.mp4").touch()
    assert not (demo._fresh_folder(work) / "result.mp4").exists()


def test_a_clip_in_the_folder_to_be_emptied_is_refused(tmp_path, clip, capsys):
    work = demo._fresh_folder(tmp_path / "work")
    inside = work / "data_src.mp4"
    inside.write_bytes(clip.read_bytes())
    assert main.main(["demo", str(clip), str(inside), "--workspace-dir", str(work)]) == 2
    assert "move it out" in capsys.readouterr().err and inside.exists()


def test_a_short_clip_is_taken_whole(tmp_path, clip):
    clips = demo._take_clips([clip, clip], tmp_path)
    assert {name: path.name for name, path in clips.items()} == {
        "data_src": "data_src.mp4",
        "data_dst": "data_dst.mp4",
    }
    assert clips["data_src"].read_bytes() == clip.read_bytes()


def test_of_a_long_clip_the_beginning_is_taken(tmp_path, clip, monkeypatch, capsys):
    monkeypatch.setattr(demo, "MOST_FRAMES", 10)
    monkeypatch.setattr(demo, "LEAST_FRAMES", 1)
    clips = demo._take_clips([clip, clip], tmp_path)
    assert "first 0.4 seconds (10 frames)" in capsys.readouterr().out
    info = probe(clips["data_dst"])
    assert info.frames == 10 and info.audio
    assert clip.parent != clips["data_dst"].parent and len(list(clip.parent.iterdir())) == 1


def test_larger_pictures_mean_fewer_frames(tmp_path, clip, monkeypatch):
    monkeypatch.setattr(demo, "MOST_PIXELS", 96 * 96 // 25)
    monkeypatch.setattr(demo, "LEAST_FRAMES", 1)
    clips = demo._take_clips([clip, clip], tmp_path)
    assert 9 <= probe(clips["data_src"]).frames <= 10


def test_time_of_the_set_up_counts_up_to_a_limit(monkeypatch):
    monkeypatch.setenv("FACELAB_STARTED", str(time.time() - 60))
    assert demo._setup_seconds() == pytest.approx(60, abs=2)
    monkeypatch.setenv("FACELAB_STARTED", str(time.time() - 6000))
    assert demo._setup_seconds() == demo.SETUP_COUNTED
    monkeypatch.setenv("FACELAB_STARTED", "yesterday")
    assert demo._setup_seconds() == 0
    monkeypatch.delenv("FACELAB_STARTED")
    assert demo._setup_seconds() == 0


def test_contact_sheet_shows_source_destination_and_swap(tmp_path):
    colours = {"data_src": (0, 0, 200), "data_dst": (0, 200, 0), "data_dst/merged": (200, 0, 0)}
    for folder, colour in colours.items():
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for number in range(1, 8):
            image = np.full((40, 60, 3), colour, np.uint8)
            write_image(tmp_path / folder / f"{number:05d}.png", image)
    sheet = read_image(demo.write_contact_sheet(tmp_path))
    middle = sheet[-demo.TILE // 2, demo.TILE // 2 :: demo.TILE]
    assert sheet.shape[1] == 3 * demo.TILE and middle.shape == (3, 3)
    np.testing.assert_allclose(middle, list(colours.values()), atol=12)


@pytest.mark.slow
def test_the_whole_way_on_two_drawn_people(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(demo, "CLIP_SECONDS", 1.0)
    monkeypatch.setattr(demo, "LEAST_TRAINING", 40.0)
    monkeypatch.delenv("FACELAB_STARTED", raising=False)
    work = tmp_path / "démo 顔"

    code = main.main(["demo", "--workspace-dir", str(work), "--minutes", "0"])

    printed = capfd.readouterr()
    assert code == 0, printed.out[-2000:] + printed.err[-2000:]
    result, source = probe(work / "result.mp4"), probe(work / "data_dst.mp4")
    assert (result.frames, result.frame_rate) == (source.frames, source.frame_rate) == (25, 25)
    assert result.audio and abs(result.duration - source.duration) <= 0.04
    assert "compositeWithTrainedAlgorithmicMedia" in read_source_type(work / "result.mp4")
    assert probe(work / "result_mask.mp4").frames == 25
    assert f"result:        {work / 'result.mp4'}" in printed.out
    assert f"contact sheet: {work / 'contact_sheet.jpg'}" in printed.out
    assert read_image(work / "contact_sheet.jpg").shape[1] == 3 * demo.TILE
