from __future__ import annotations

import numpy as np
import pytest

from core.errors import SampleError
from core.imageio import read_image, write_image
from core.paths import list_images
from core.video import denoise, unfinished_run
from core.video.denoising import LOG


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
