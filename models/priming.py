"""A head start for the bottleneck of a fresh model: principal components instead of random directions.

A fresh df-ud model spends its first thousands of iterations on the mean face, since its bottleneck hardly
shows that two inputs differ: after the pixel norm, encoder features are one large constant plus a variation
of a fifth of it, and a dense layer fed by 18,432 of them can shift its outputs by several deviations in a
single optimizer step. Both drown the code. Here the first dense layer reads the directions in which the
features of real faces differ most, and its bias removes their mean. Whatever tells the two persons apart as
such is left out, so that a source and a destination face of the same expression get the same code, which is
what swapping needs.
"""

from __future__ import annotations

import numpy as np


def fit_bottleneck(
    src: np.ndarray, dst: np.ndarray, dims: int, gain: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a dense layer to the principal components of features, within each person.

    A component of deviation s gets an output deviation of `gain * sqrt(s / s_max)`: halfway between keeping
    the proportions, which buries fine expression, and whitening, which lifts noise.

    Args:
        src: (N, F) float32 features of source faces.
        dst: (M, F) float32 features of destination faces.
        dims: Outputs of the layer. Beyond the rank of the data, N + M - 3, they stay at zero weight.
        gain: Deviation of the first output.

    Returns:
        (F, dims) float32 weight and (dims,) float32 bias of a layer whose outputs have zero mean for both
        persons.
    """
    src_mean, dst_mean = src.mean(axis=0, dtype=np.float64), dst.mean(axis=0, dtype=np.float64)
    centred = np.concatenate([src - src_mean, dst - dst_mean]).astype(np.float64)
    identity = src_mean - dst_mean
    norm = np.linalg.norm(identity)
    if norm > 1e-12:  # the same set may be given twice
        identity /= norm
        centred -= np.outer(centred @ identity, identity)
    # Left vectors of the small Gram matrix give the components without an (F, F) covariance.
    values, left = np.linalg.eigh(centred @ centred.T)
    values, left = values[::-1][:dims], left[:, ::-1][:, :dims]
    sound = values > 1e-9 * max(values[0], 1e-30)
    deviation = np.sqrt(np.where(sound, values, 1.0))  # times the square root of the number of faces
    scale = np.where(sound, gain * np.sqrt(deviation[0] / deviation), 0.0)
    first = deviation[0] / np.sqrt(len(centred))
    components = centred.T @ (left / deviation)
    weight = np.zeros((src.shape[1], dims))
    weight[:, : len(values)] = components * scale / max(first, 1e-12)
    bias = -0.5 * (src_mean + dst_mean) @ weight
    return weight.astype(np.float32), bias.astype(np.float32)
