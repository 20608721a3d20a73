from __future__ import annotations

import json

import numpy as np
import pytest

from core.imageio import read_image, write_image
from core.paths import list_images
from core.video import (
    encode_sequence,
    extract_frames,
    plan_encoding,
    probe,
    read_timeline,
    write_timestamps,
)
from core.video.timestamps import TIMESTAMPS, find_recorded, read_timestamps
from tests.video_clips import VARYING, frame_times, make_clip, sound_digest


def extracted(tmp_path, fps=0, varying=True, **more):
    clip = make_clip(tmp_path / "v.mp4", frames=50, options=VARYING if varying else (), **more)
    info = probe(clip)
    extract_frames(info, tmp_path / "data_dst", fps)
    if varying and not fps:
        write_timestamps(tmp_path / "data_dst", info.path.name, read_timeline(info))
    return info


def merged(tmp_path, left_out=()):
    """Results under the numbers of the frames, in a folder inside theirs."""
    folder = tmp_path / "data_dst" / "merged"
    folder.mkdir()
    for path in list_images(tmp_path / "data_dst"):
        if int(path.stem) not in left_out:
            write_image(folder / path.name, read_image(path))
    return list_images(folder)


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("left_out", [{5, 6, 11}, {1, 2}, {1, 7, 20}])
def test_frames_that_are_missing_cost_no_other_its_time(tmp_path, varying, left_out):
    info = extracted(tmp_path, varying=varying)
    images = merged(tmp_path, left_out)
    plan = plan_encoding(images, tmp_path / "r.mp4", info, include_audio=True)
    encode_sequence(plan)
    expected = [t for n, t in enumerate(frame_times(info.path), 1) if n not in left_out]
    done = probe(plan.output)
    times = read_timeline(done)
    np.testing.assert_allclose(times.seconds + done.start, expected, atol=0.002)
    assert len(done.audio) == 1
    assert ("missing" in " ".join(plan.notes)) == (left_out != {1, 2})


def test_without_the_reference_the_record_tells_the_times(tmp_path):
    info = extracted(tmp_path)
    info.path.rename(tmp_path / "gone")
    plan = plan_encoding(merged(tmp_path), tmp_path / "r.mkv")
    encode_sequence(plan)
    np.testing.assert_allclose(frame_times(plan.output), frame_times(tmp_path / "gone"), atol=0.0011)
    assert plan_encoding(list_images(tmp_path / "data_dst"), tmp_path / "r.mkv", rate=30).timeline is None


def test_a_rate_chosen_at_extraction_is_known_again(tmp_path):
    info = extracted(tmp_path, fps=5, varying=False)
    plan = plan_encoding(merged(tmp_path), tmp_path / "r.mp4", info, include_audio=True)
    assert plan.rate == 5 and plan.timeline is None and not any("WARNING" in note for note in plan.notes)
    encode_sequence(plan)
    assert probe(plan.output).duration == pytest.approx(info.duration, abs=0.2)
    assert sound_digest(plan.output) == sound_digest(info.path)


def test_frames_of_another_video_get_no_times_of_this_one(tmp_path):
    extracted(tmp_path)
    other = probe(make_clip(tmp_path / "b.mp4", frames=30, source="testsrc"))
    plan = plan_encoding(merged(tmp_path), tmp_path / "r.mp4", other)
    assert plan.timeline is None and any("WARNING" in note for note in plan.notes)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"version": 2, "ticks": [0, 1], "time_base": "1/10"}']
    + [json.dumps({"version": 1, "time_base": base, "ticks": ticks})
       for base, ticks in (("1/0", [0, 1]), ("x", [0]), ("1/10", []), ("1/10", [0, 0]), ("1/10", [1, 0]),
                           ("1/10", [0, "1"]), ("1/10", [0, 1e99]), ("-1/10", [0, 1]), ("1/10", None))],
)  # fmt: skip
def test_a_damaged_record_is_no_record(tmp_path, text):
    (tmp_path / TIMESTAMPS).write_text(text)
    assert read_timestamps(tmp_path) is None


def test_names_that_are_no_numbers_have_no_record(tmp_path):
    extracted(tmp_path)
    folder = tmp_path / "data_dst"
    assert find_recorded(list_images(folder)) is not None
    (folder / "00001.png").rename(folder / "title.png")
    assert find_recorded(list_images(folder)) is None
    (folder / "title.png").rename(folder / "00001.png")
    (folder / "00002.png").rename(folder / "00099.png")  # more than the video has
    assert find_recorded(list_images(folder)) is None
