"""A head start for the bottleneck of a fresh model: it reads the face's expression instead of noise.

A fresh df-ud model spends its first thousands of iterations on the mean face, since its bottleneck hardly
shows that two inputs differ: after the pixel norm, encoder features are one large constant plus a variation
of a fifth of it, and a dense layer fed by 18,432 of them can shift its outputs by several deviations in a
single optimizer step. Both drown the code. Here the first dense layer is fitted to real faces:

- Its first outputs predict the landmarks of the unwarped face from the features of the warped one, as
  deviations from the person's usual face. Landmarks mean the same on everybody, so a smile of the destination
  gets the code of a smile of the source, which is what swapping needs; and a code that ignores the warp is
  what the decoders must draw the unwarped face from.
- The others are principal components of what the features hold beyond that: gaze, teeth, light.

What tells the two persons apart as such is left out, and its bias gives both usual faces the code zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS, DENSEST = 0.25, 0.2  # shares of the faces
SHAPE_DIMS = 24  # outputs that predict landmarks, at most; further components are a few hundredths of a pixel
RIDGE = 0.03  # of the mean square of the features; prediction on held-back faces is flat from 0.001 to 0.1
# Deviations of the first output of each kind. What the landmarks do not tell is partly the person's own, so
# decoders that lean on it draw another person's face wrong.
SHAPE_GAIN, REST_GAIN = 3.0, 0.5
# weights of the landmarks: jaw points are the least exact, eyes move by fractions of a pixel
LANDMARK_WEIGHTS = np.repeat([0.5, 1.0, 3.0, 1.5], [17, 19, 12, 20])


@dataclass(frozen=True, eq=False)
class PersonFeatures:
    """One person's faces as the encoder sees them, the same face in the same row."""

    warped: np.ndarray  # (N, F) float32 features of the warped faces
    target: np.ndarray  # (N, F) float32 of the unwarped ones
    landmarks: np.ndarray  # (N, 68, 2) float32, of the unwarped faces

    def usual(self) -> tuple[np.ndarray, np.ndarray]:
        """Features (F,) and landmarks (68, 2) of the usual face, float64."""
        rows = usual_rows(self.target)
        return (
            self.target[rows].mean(axis=0, dtype=np.float64),
            self.landmarks[rows].mean(axis=0, dtype=np.float64),
        )


def usual_rows(features: np.ndarray) -> np.ndarray:
    """The samples of what a person shows most often, in most videos a neutral face.

    The fifth of the samples whose nearest quarter is closest. Unlike the plain mean, theirs does not depend
    on how much somebody laughs or talks.

    Args:
        features: (N, F) float32, N >= 1.

    Returns:
        Row numbers, at least one.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    squares = np.sum(centred**2, axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * centred @ centred.T, 0.0))
    near = np.sort(distances, axis=1)[:, : max(2, round(NEIGHBOURS * len(features)))]
    order = np.argsort(near.mean(axis=1), kind="stable")
    return order[: max(1, round(DENSEST * len(features)))]


def fit_bottleneck(src: PersonFeatures, dst: PersonFeatures, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit a dense layer to the landmarks and then to the principal components of two persons' faces.

    A component of deviation s gets an output deviation of `gain * sqrt(s / s_max)`: halfway between keeping
    the proportions, which buries fine expression, and whitening, which lifts noise.

    Args:
        src: Of the source.
        dst: Of the destination.
        dims: Outputs of the layer. Beyond the rank of the data they stay at zero weight.

    Returns:
        (F, dims) float32 weight and (dims,) float32 bias.
    """
    (src_usual, src_shape), (dst_usual, dst_shape) = src.usual(), dst.usual()
    features = np.concatenate(
        [faces - usual for person, usual in ((src, src_usual), (dst, dst_usual)) for faces in _inputs(person)]
    ).astype(np.float64)
    identity = src_usual - dst_usual
    norm = np.linalg.norm(identity)
    if norm > 1e-12:  # the same set may be given twice
        identity /= norm
        features -= np.outer(features @ identity, identity)
    shapes = [(src.landmarks - src_shape), (dst.landmarks - dst_shape)]
    shapes = np.concatenate([shape for shape in shapes for _ in range(2)]) * LANDMARK_WEIGHTS[:, None]
    weight = _fit_shapes(features, shapes.reshape(len(shapes), -1), min(SHAPE_DIMS, dims))
    weight = np.concatenate([weight, _fit_rest(features, weight, dims - weight.shape[1])], axis=1)
    weight = np.pad(weight, ((0, 0), (0, dims - weight.shape[1])))
    bias = -0.5 * (src_usual + dst_usual) @ weight
    return weight.astype(np.float32), bias.astype(np.float32)


def _inputs(person: PersonFeatures) -> tuple[np.ndarray, np.ndarray]:
    return person.warped, person.target


def _fit_shapes(features: np.ndarray, shapes: np.ndarray, dims: int) -> np.ndarray:
    """(F, at most dims) weights whose outputs predict the components of (N, 136) shapes: ridge regression."""
    _, values, rows = np.linalg.svd(shapes, full_matrices=False)
    sound = values[:dims] > max(1e-6 * values[0], 1e-12)
    wanted = shapes @ rows[:dims][sound].T
    gram = features @ features.T  # small: as many rows as there are faces
    mean_square = np.trace(gram) / len(gram)
    if mean_square <= 1e-30 or not wanted.shape[1]:
        return np.zeros((features.shape[1], 0))
    weight = features.T @ np.linalg.solve(gram + RIDGE * mean_square * np.eye(len(gram)), wanted)
    spread, found = wanted.std(axis=0), (features @ weight).std(axis=0)
    keep = (found > 1e-9 * spread) & (spread > 0)
    return weight[:, keep] * (SHAPE_GAIN * np.sqrt(spread / spread.max()) / found)[keep]


def _fit_rest(features: np.ndarray, taken: np.ndarray, dims: int) -> np.ndarray:
    """(F, at most dims) weights of the principal components of what the outputs of `taken` leave."""
    outputs = features @ taken
    rest = features - outputs @ np.linalg.lstsq(outputs, features, rcond=None)[0]
    values, left = np.linalg.eigh(rest @ rest.T)
    values, left = values[::-1][:dims], left[:, ::-1][:, :dims]
    sound = values > max(1e-9 * values[:1].sum(), 1e-20 * np.sum(features**2), 1e-30)
    values, left = values[sound], left[:, sound]
    if not len(values):
        return np.zeros((features.shape[1], 0))
    deviation = np.sqrt(values / len(rest))
    weight = (
        rest.T @ (left / np.sqrt(values)) * (REST_GAIN * np.sqrt(deviation[0] / deviation) / deviation[0])
    )
    # a face's shape must not show in these outputs too, or it would speak twice
    return weight - taken @ np.linalg.lstsq(outputs, features @ weight, rcond=None)[0]
