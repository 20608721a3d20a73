"""The enhancer: its network against plain numpy, its tiles without seams and grey edges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facelib.enhancer import SCALE, STEP, TILE, FaceEnhancer, tile_starts
from facelib.weights.tables import enhancer_shapes
from tests.facelib.net_weights import random_weights


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    return random_weights(enhancer_shapes(), gain=1.4)


@pytest.fixture(scope="module")
def enhancer(weights) -> FaceEnhancer:
    return FaceEnhancer(weights, precision="float32")


@pytest.fixture
def enlarger(enhancer, monkeypatch) -> FaceEnhancer:
    """The tiling around a network that only repeats pixels."""
    monkeypatch.setattr(enhancer, "_network", lambda tiles: tiles.repeat(SCALE, axis=1).repeat(SCALE, axis=2))
    return enhancer


class Plain:
    """The network by its description, one picture (H, W, C) at a time."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights

    def conv(self, x: np.ndarray, name: str) -> np.ndarray:
        height, width = x.shape[:2]
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        kernel = self.weights[f"{name}/weight"]
        y = np.zeros((height, width, kernel.shape[-1]), np.float32) + self.weights[f"{name}/bias"]
        for row in range(3):
            for column in range(3):
                y += padded[row : row + height, column : column + width] @ kernel[row, column]
        return y

    def pair(self, x: np.ndarray, name: str) -> np.ndarray:
        return leaky(self.conv(leaky(self.conv(x, f"{name}_conv0")), f"{name}_conv1"))

    def out(self, x: np.ndarray, name: str) -> np.ndarray:
        return np.tanh(self.conv(leaky(self.conv(x, f"{name}_conv0")), f"{name}_conv1"))

    def run(self, image: np.ndarray) -> np.ndarray:
        settings = 0.2 * self.weights["dense1/weight"][0] + 1.0 * self.weights["dense2/weight"][0]
        x = leaky(self.conv(image, "conv1") + settings)
        seen = []
        for level in range(5):
            x = self.pair(x, f"e{level}")
            seen.append(x)
            x = (x[::2, ::2] + x[1::2, ::2] + x[::2, 1::2] + x[1::2, 1::2]) / 4
        for number in range(4):
            x = leaky(self.conv(x, f"center_conv{number}"))
        for level in (4, 3, 2, 1, 0):
            x = self.pair(np.concatenate([up(x), seen[level]], axis=-1), f"d{level}")
        out1 = image + self.out(x, "out1x")
        t2 = up(self.pair(x, "dec2x"))
        out2 = up(out1) + self.out(t2, "out2x")
        t4 = up(self.pair(t2, "dec4x"))
        return up(out2) + self.out(t4, "out4x")


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.1 * x)


def up(x: np.ndarray) -> np.ndarray:
    """Twice the size: pixel 2i is pixel i, 2i + 1 lies half way to the next."""
    for axis in (0, 1):
        following = np.concatenate([np.take(x, range(1, x.shape[axis]), axis), np.take(x, [-1], axis)], axis)
        stacked = np.stack([x, (x + following) / 2], axis=axis + 1)
        shape = list(x.shape)
        shape[axis] *= 2
        x = stacked.reshape(shape)
    return x


def test_the_network_is_the_described_one(weights):
    from facelib.nets.enhancer import build_enhancer

    images = np.random.default_rng(2).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)

    enlarged = build_enhancer(weights, "float32")(images)

    assert enlarged.shape == (2, 128, 128, 3) and enlarged.dtype == np.float32
    np.testing.assert_allclose(enlarged[1], Plain(weights).run(images[1]), atol=1e-3)


def test_bfloat16_is_close(weights):
    from facelib.nets.enhancer import build_enhancer

    images = np.random.default_rng(2).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)

    rough = build_enhancer(weights, "bfloat16")(images) - build_enhancer(weights, "float32")(images)

    assert np.abs(rough).mean() < 0.02


@pytest.mark.slow
def test_a_face_is_enhanced_whole(enhancer):
    image = np.random.default_rng(3).random((200, 192, 3), np.float32)

    (large,) = enhancer.enhance([image], preserve_size=False)
    (same,) = enhancer.enhance([image])

    assert large.shape == (800, 768, 3) and same.shape == image.shape
    assert np.isfinite(large).all() and large.min() >= 0 and large.max() <= 1


@given(st.integers(TILE, 2000))
def test_tiles_cover_a_side_in_steps(length):
    starts = tile_starts(length)

    assert starts[0] == 0 and starts[-1] == length - TILE
    assert all(0 < b - a <= STEP for a, b in pairwise(starts))
    assert all(start % STEP == 0 for start in starts[:-1])


@pytest.mark.parametrize("size", [(192, 192), (300, 211), (7, 250), (1, 1)])
def test_tiles_join_without_seams_and_reach_the_edge(enlarger, size):
    image = np.random.default_rng(4).random((*size, 3), np.float32)

    (same,) = enlarger.enhance([image])
    (large,) = enlarger.enhance([image], preserve_size=False)

    np.testing.assert_allclose(same, image, atol=1e-5)
    np.testing.assert_allclose(large, image.repeat(4, axis=0).repeat(4, axis=1), atol=1e-5)


def test_dfls_own_result_has_its_grey_border(enlarger):
    image = np.ones((200, 192, 3), np.float32)

    (large,) = enlarger.enhance([image], preserve_size=False, dfl_compat=True)

    assert (large[0] == 0.5).all() and (large[:, -1] == 0.5).all()
    assert np.allclose(large[1:-1, 1:-1], 1)


def test_small_faces_are_mirrored_not_framed_in_grey(enhancer, monkeypatch):
    seen = []
    monkeypatch.setattr(
        enhancer, "_network", lambda tiles: seen.append(tiles) or tiles.repeat(4, axis=1).repeat(4, axis=2)
    )
    image = np.ones((100, 101, 3), np.float32)

    enhancer.enhance([image])
    enhancer.enhance([image], dfl_compat=True)

    mended, compatible = seen
    assert (mended == 1).all()
    assert (compatible[0, :46] == 0).all() and (compatible[0, 46:146, 45:146] == 1).all()
    assert (compatible[0, 146:] == 0).all() and (compatible[0, :, 146:] == 0).all()
