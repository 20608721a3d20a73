"""A head start for the bottleneck of a fresh model: principal components instead of random directions.

A fresh df-ud model spends its first thousands of iterations on the mean face, since its bottleneck hardly
shows that two inputs differ: after the pixel norm, encoder features are one large constant plus a variation
of a fifth of it, and a dense layer fed by 18,432 of them can shift its outputs by several deviations in a
single optimizer step. Both drown the code. Here the first dense layer reads the directions in which the
features of real faces differ most, and its bias removes what is usual. Whatever tells the two persons apart
as such is left out, so that a source and a destination face of the same expression get the same code, which
is what swapping needs.
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS, DENSEST = 0.25, 0.2  # shares of the faces


def usual_face(features: np.ndarray) -> np.ndarray:
    """The features that a person shows most often, in most videos a neutral face: (F,) float64.

    The mean of the fifth of the samples whose nearest quarter is closest. Unlike the plain mean it does not
    depend on how much somebody laughs or talks.

    Args:
        features: (N, F) float32, N >= 1.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    squares = np.sum(centred**2, axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * centred @ centred.T, 0.0))
    near = np.sort(distances, axis=1)[:, : max(2, round(NEIGHBOURS * len(features)))]
    order = np.argsort(near.mean(axis=1), kind="stable")
    return features[order[: max(1, round(DENSEST * len(features)))]].mean(axis=0, dtype=np.float64)


def fit_bottleneck(
    src: np.ndarray,
    dst: np.ndarray,
    src_usual: np.ndarray,
    dst_usual: np.ndarray,
    dims: int,
    gain: float = 2.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a dense layer to the principal components of features about each person's usual face.

    A component of deviation s gets an output deviation of `gain * sqrt(s / s_max)`: halfway between keeping
    the proportions, which buries fine expression, and whitening, which lifts noise.

    Args:
        src: (N, F) float32 features of source faces.
        dst: (M, F) float32 features of destination faces.
        src_usual: (F,) features of the source's usual face; both usual faces get the code zero.
        dst_usual: (F,) the destination's.
        dims: Outputs of the layer. Beyond the rank of the data they stay at zero weight.
        gain: Deviation of the first output.

    Returns:
        (F, dims) float32 weight and (dims,) float32 bias.
    """
    centred = np.concatenate([src - src_usual, dst - dst_usual]).astype(np.float64)
    identity = np.asarray(src_usual - dst_usual, np.float64)
    norm = np.linalg.norm(identity)
    if norm > 1e-12:  # the same set may be given twice
        identity = identity / norm
        centred -= np.outer(centred @ identity, identity)
    # The small Gram matrix gives the components without an (F, F) covariance.
    values, left = np.linalg.eigh(centred @ centred.T)
    values, left = values[::-1][:dims], left[:, ::-1][:, :dims]
    sound = values > max(1e-9 * values[0], 1e-30)
    values, left = values[sound], left[:, sound]
    weight = np.zeros((src.shape[1], dims))
    if len(values):
        deviation = np.sqrt(values / len(centred))
        scale = gain * np.sqrt(deviation[0] / deviation) / deviation[0]
        weight[:, : len(values)] = centred.T @ (left / np.sqrt(values)) * scale
    bias = -0.5 * (src_usual + dst_usual) @ weight
    return weight.astype(np.float32), bias.astype(np.float32)
