"""The deterministic numbers that section 14 of the model reference fills networks and batches with."""

from __future__ import annotations

import zlib

import numpy as np


def uniform(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The reference's deterministic numbers in [0, 1)."""
    modulus = 1 << 32
    h = ((np.arange(np.prod(shape), dtype=np.uint64) + 1 + seed) * 2654435761) % modulus
    h ^= h >> np.uint64(15)
    h = (h * 2246822519) % modulus
    h ^= h >> np.uint64(13)
    return (h / modulus).reshape(shape)


def fill(path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight of that path, `encoder/down1/downs_0/conv1/weight`."""
    u = uniform(shape, zlib.crc32(f"{path}:0".encode()) & 0xFFFF)
    if len(shape) >= 2:
        return ((u - 0.5) * 2 * np.sqrt(6 / np.prod(shape[:-1]))).astype(np.float32)
    return ((u - 0.5) * 0.2).astype(np.float32)


def waves(count: int, side: int) -> np.ndarray:
    """The images S, (count, side, side, 3)."""
    b, y, x, c = np.meshgrid(*map(np.arange, (count, side, side, 3)), indexing="ij")
    return (0.5 + 0.4 * np.sin(2 * np.pi * ((c + 1) * x + (b + 2) * y) / side)).astype(np.float32)


def filled(part):
    """The network itself, with the reference's weights."""
    from core.nn.layers import part_weights

    for path, weight in part_weights(part).items():
        weight.assign(fill(path, tuple(weight.shape)))
    return part


def five(x: np.ndarray) -> np.ndarray:
    """Mean, deviation, first, middle and last element, as the reference lists them."""
    middle = x[0, x.shape[1] // 2, x.shape[2] // 2, -1]
    return np.array([x.mean(), x.std(), x[0, 0, 0, 0], middle, x[-1, -1, -1, -1]])


def symbolic(build, *args):
    """`build(*args)`, a Keras model to read shapes from: its weights are not allocated."""
    import tensorflow as tf

    with tf.Graph().as_default():
        return build(*args)
