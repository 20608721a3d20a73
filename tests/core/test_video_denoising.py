from __future__ import annotations

import cv2
import numpy as np
import pytest

from core.errors import SampleError
from core.imageio import read_deep_image, read_image, write_image
from core.paths import list_images
from core.video import denoise, temporal, unfinished_run
from core.video.denoising import LOG, unfinished_method
from core.video.temporal import measure_noise


def noisy_frames(folder, count=10, suffix=".png", shape=(48, 64)):
    """The same soft picture with fresh noise in each frame, and the picture without noise."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    clean = np.empty((*shape, 3))  # patches, not slopes: those the filter drags along, to the right and down
    clean[: shape[0] // 2], clean[shape[0] // 2 :], clean[:, : shape[1] // 2] = (
        (80, 150, 110),
        (60, 200, 90),
        (140, 90, 70),
    )
    for number in range(1, count + 1):
        image = np.clip(clean + rng.normal(0, 6, clean.shape), 0, 255).astype(np.uint8)
        write_image(folder / f"frame {number:03}{suffix}", image)
    return list_images(folder), clean


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("shape", [(48, 64), (47, 65)])
def test_noise_goes_and_colours_stay(tmp_path, suffix, shape):
    images, clean = noisy_frames(tmp_path / "f", suffix=suffix, shape=shape)
    before = [read_image(path).astype(float) for path in images]
    denoise(images, 7)
    after = [read_image(path).astype(float) for path in images]
    assert np.std(after[-1] - clean) < (0.6 if suffix == ".png" else 0.8) * np.std(before[-1] - clean)
    for a, b in zip(after, before):
        assert np.abs(a.mean((0, 1)) - b.mean((0, 1))).max() < 1.0
    assert list_images(tmp_path / "f") == images and not (tmp_path / "f" / LOG).exists()


def test_the_factor_is_obeyed(tmp_path):
    weak, clean = noisy_frames(tmp_path / "weak")
    strong, _ = noisy_frames(tmp_path / "strong")
    denoise(weak, 1)
    denoise(strong, 20)
    assert np.std(read_image(strong[-1]) - clean) < np.std(read_image(weak[-1]) - clean)


@pytest.mark.parametrize("before_replacing", [False, True])
def test_a_stopped_run_goes_on_and_filters_no_frame_twice(tmp_path, monkeypatch, before_replacing):
    from core import storage

    whole, _ = noisy_frames(tmp_path / "whole")
    denoise(whole, 7)
    images, _ = noisy_frames(tmp_path / "stopped")
    original = images[4].read_bytes()
    write, written = storage.write_bytes, []

    def stop(path, data):
        if len(written) == 4 and before_replacing:
            raise KeyboardInterrupt
        write(path, data)
        written.append(path)
        if len(written) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(storage, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        denoise(images, 7)
    monkeypatch.undo()
    assert (images[4].read_bytes() == original) == before_replacing
    factor, done = unfinished_run(images)
    assert (factor, done) == (7, 4 if before_replacing else 5)
    kept = {path: path.read_bytes() for path in images[:done]}
    seen = []
    denoise(images, factor, done, seen.append)
    assert seen == list(range(done + 1, 11))
    assert all(path.read_bytes() == data for path, data in kept.items())
    for ours, path in zip(images, whole, strict=True):  # the primer brings the filter almost to where it was
        assert np.abs(read_image(ours).astype(float) - read_image(path)).mean() < 1.0
    assert unfinished_run(images) == (0, 0)


def test_a_log_of_other_frames_says_nothing(tmp_path):
    images, _ = noisy_frames(tmp_path / "f", 3)
    for text in ("", "factor x\n", "factor 7\n", "factor 7\nnonsense\n", "factor 7\nabc another.png\n"):
        (tmp_path / "f" / LOG).write_text(text)
        assert unfinished_run(images) == (0, 0)


def test_frames_of_different_sizes_are_refused_untouched(tmp_path):
    images, _ = noisy_frames(tmp_path / "f", 4)
    write_image(images[2], np.zeros((40, 64, 3), np.uint8))
    before = [path.read_bytes() for path in images]
    with pytest.raises(SampleError, match="frame 003"):
        denoise(images, 7)
    assert [path.read_bytes() for path in images] == before


def test_a_damaged_frame_is_named_and_the_rest_can_go_on(tmp_path):
    images, _ = noisy_frames(tmp_path / "f", 30)
    good = images[20].read_bytes()
    images[20].write_bytes(good[:300])
    with pytest.raises(SampleError, match="frame 021"):
        denoise(images, 7)
    images[20].write_bytes(good)
    factor, done = unfinished_run(images)
    denoise(images, factor or 7, done)
    assert unfinished_run(images) == (0, 0)


def moving_frames(folder, count=12, noise=8.0, deep=False, seed=2):
    """A textured square that slides over a textured ground, noisy; and the frames without noise."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    ground = cv2.GaussianBlur(rng.normal(0, 1, (96, 128, 3)), (0, 0), 3)
    ground = 120 + 40 * ground / np.abs(ground).max()
    square = cv2.GaussianBlur(rng.normal(0, 1, (32, 32, 3)), (0, 0), 1.5)
    square = 150 + 80 * square / np.abs(square).max()
    clean = []
    for number in range(count):
        picture = ground.copy()
        picture[30:62, 10 + 5 * number : 42 + 5 * number] = square
        clean.append(picture)
        noisy = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255)
        image = np.rint(noisy * 257).astype(np.uint16) if deep else np.rint(noisy).astype(np.uint8)
        write_image(folder / f"{number + 1:05}.png", image)
    return list_images(folder), clean


@pytest.mark.parametrize("halved", [False, True])  # the flow of large pictures is found in smaller ones
def test_following_the_motion_takes_noise_and_leaves_no_ghost(tmp_path, monkeypatch, halved):
    monkeypatch.setattr(temporal, "FLOW_SIDE", 100 if halved else 400)
    images, clean = moving_frames(tmp_path / "f")
    denoise(images, 7, method="motion")
    result = read_image(images[6]).astype(float)
    moving = np.s_[32:60, 42:70]
    error = result - clean[6]
    assert np.std(error) < 0.6 * 8
    assert np.std(error[moving]) < 0.75 * 8  # the sliding square: no trail of it, and it gains, too
    behind = np.s_[30:62, 30:39]  # where it was two frames ago
    assert np.abs(error[behind].mean((0, 1))).max() < 2
    assert sorted(p.name for p in (tmp_path / "f").iterdir()) == [p.name for p in images]


def test_a_stopped_motion_run_comes_to_the_very_same_frames(tmp_path, monkeypatch):
    from core import storage

    whole, _ = moving_frames(tmp_path / "whole")
    denoise(whole, 7, method="motion")
    images, _ = moving_frames(tmp_path / "stopped")
    write, written = storage.write_bytes, []

    def stop(path, data):
        if len(written) == 5:
            raise KeyboardInterrupt
        write(path, data)
        written.append(path)

    monkeypatch.setattr(storage, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        denoise(images, 7, method="motion")
    monkeypatch.undo()
    assert unfinished_run(images) == (7, 5) and unfinished_method(images) == "motion"
    denoise(images, 7, 5, method="motion")
    for ours, path in zip(images, whole, strict=True):
        assert ours.read_bytes() == path.read_bytes()
    assert not (tmp_path / "stopped" / ".denoise").exists()


@pytest.mark.parametrize("method", ["hqdn3d", "motion"])
def test_deep_frames_stay_deep(tmp_path, method):
    images, clean = moving_frames(tmp_path / "f", 5, deep=True)
    denoise(images, 7, method=method)
    result = read_deep_image(images[3])
    assert result.dtype == np.uint16 and (result % 257 != 0).mean() > 0.9
    assert np.std(result / 257 - clean[3]) < 7.5


def test_the_noise_is_measured_whatever_its_grain(tmp_path):
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.normal(0, 1, (120, 160)), (0, 0), 3)
    ground = 120 + 60 * (ground / np.abs(ground).max())[..., None].repeat(3, axis=2)
    for grain in (0.0, 1.0):
        noise = rng.normal(0, 1, (6, *ground.shape))
        noise = np.stack([cv2.GaussianBlur(n, (0, 0), grain) for n in noise]) if grain else noise
        frames = np.clip(ground + 8 * noise / noise.std(), 0, 255).astype(np.uint8)
        assert measure_noise(6, frames.__getitem__) == pytest.approx(8, rel=0.25)


def test_every_factor_of_motion_does_something_and_more_does_more(tmp_path):
    left = []
    for factor in (1, 4, 7, 20):
        images, clean = moving_frames(tmp_path / str(factor), 16)
        denoise(images, factor, method="motion")
        left.append(np.std(read_image(images[8]).astype(float) - clean[8]))
    assert left == sorted(left, reverse=True)
    assert left[0] < 7.9 and left[-1] < 0.5 * 8
