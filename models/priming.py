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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS, DENSEST = 0.25, 0.2  # shares of the faces
SHAPE_DIMS = 24  # outputs that predict landmarks, at most; further components are a few hundredths of a pixel
RIDGE = 0.03  # of the mean square of the features; prediction on held-back faces is flat from 0.001 to 0.1
# Deviations of the first output of each kind. What the landmarks do not tell is partly the person's own, so
# decoders that lean on it draw another person's face wrong.
SHAPE_GAIN, REST_GAIN = 3.0, 0.5
NOISE = 1e-12  # of the mean square of the features: below it are rounding errors
BLOCK = 4096  # features at a time
# weights of the landmarks: jaw points are the least exact, eyes move by fractions of a pixel
LANDMARK_WEIGHTS = np.repeat([0.5, 1.0, 3.0, 1.5], [17, 19, 12, 20])


@dataclass(frozen=True, eq=False)
class PersonFeatures:
    """One person's faces as the encoder sees them, the same face in the same row."""

    warped: np.ndarray  # (N, F) float32 features of the warped faces
    target: np.ndarray  # (N, F) float32 of the unwarped ones
    landmarks: np.ndarray  # (N, 68, 2) float32, of the unwarped faces


def usual_rows(gram: np.ndarray) -> np.ndarray:
    """The samples of what a person shows most often, in most videos a neutral face.

    The fifth of the samples whose nearest quarter is closest. Unlike the plain mean, theirs does not depend
    on how much somebody laughs or talks.

    Args:
        gram: (N, N) float64 products of the samples' features, N >= 1.

    Returns:
        Row numbers, at least one.
    """
    squares, count = np.diagonal(gram), len(gram)
    distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * gram, 0.0))
    near = np.sort(distances, axis=1)[:, : max(2, round(NEIGHBOURS * count))]
    order = np.argsort(near.mean(axis=1), kind="stable")
    return order[: max(1, round(DENSEST * count))]


def fit_bottleneck(persons: Sequence[PersonFeatures], dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit a dense layer to the landmarks and then to the principal components of several persons' faces.

    A component of deviation s gets an output deviation of `gain * sqrt(s / s_max)`: halfway between keeping
    the proportions, which buries fine expression, and whitening, which lifts noise.

    Features are many more than faces, so everything is found as combinations of faces, by products of faces
    with each other; only these and the weight itself go through the features, in blocks.

    Args:
        persons: Two or more.
        dims: Outputs of the layer. Beyond the rank of the data they stay at zero weight.

    Returns:
        (F, dims) float32 weight and (dims,) float32 bias.
    """
    gram = sum(block @ block.T for block in _blocks(persons))
    usual, shapes, owner = _usual_faces(persons, gram)
    noise = NOISE * np.trace(gram) / len(gram)
    faces = np.eye(len(gram)) - usual[owner]  # rows: combinations of the faces given
    faces = _without_identity(faces, usual - usual.mean(axis=0), gram, noise)
    gram = faces @ gram @ faces.T
    found = _fit_shapes(gram, shapes, min(SHAPE_DIMS, dims), noise)
    found = np.concatenate([found, _fit_rest(gram, found, dims - found.shape[1], noise)], axis=1)
    found = np.pad(found, ((0, 0), (0, dims - found.shape[1])))
    weight = np.concatenate([block.T @ (faces.T @ found) for block in _blocks(persons)])
    centre = np.concatenate([usual.mean(axis=0) @ block for block in _blocks(persons, centred=False)])
    return weight.astype(np.float32), (-centre @ weight).astype(np.float32)


def _blocks(persons: Sequence[PersonFeatures], centred: bool = True) -> Iterator[np.ndarray]:
    """All faces, person by person, warped before unwarped: (N, some of the features) float64 at a time."""
    parts = [part for person in persons for part in (person.warped, person.target)]
    for first in range(0, parts[0].shape[1], BLOCK):
        block = np.concatenate([part[:, first : first + BLOCK] for part in parts]).astype(np.float64)
        yield block - block.mean(axis=0) if centred else block


def _usual_faces(
    persons: Sequence[PersonFeatures], gram: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each person usually looks like.

    Returns:
        Each person's usual face as a combination of the N faces, (persons, N); the faces' deviations from it
        in weighted landmarks, (N, 136); the number of each face's person, (N,).
    """
    usual, shapes, first = np.zeros((len(persons), len(gram))), [], 0
    for number, person in enumerate(persons):
        count = len(person.target)
        unwarped = slice(first + count, first + 2 * count)
        rows = usual_rows(gram[unwarped, unwarped])
        usual[number, first + count + rows] = 1.0 / len(rows)
        points = person.landmarks.astype(np.float64)
        shapes += 2 * [(points - points[rows].mean(axis=0)) * LANDMARK_WEIGHTS[:, None]]
        first += 2 * count
    owner = np.repeat(np.arange(len(persons)), [2 * len(person.target) for person in persons])
    return usual, np.concatenate(shapes).reshape(len(gram), -1), owner


def _without_identity(faces: np.ndarray, apart: np.ndarray, gram: np.ndarray, noise: float) -> np.ndarray:
    """The combinations `faces` without the directions in which the usual faces are `apart`."""
    values, left = np.linalg.eigh(apart @ gram @ apart.T)
    sound = values > noise  # the same set may be given twice
    directions = (left[:, sound] / np.sqrt(values[sound])).T @ apart
    return faces - (faces @ gram @ directions.T) @ directions


def _fit_shapes(gram: np.ndarray, shapes: np.ndarray, dims: int, noise: float) -> np.ndarray:
    """(N, at most dims) combinations whose outputs predict the components of shapes: ridge regression."""
    _, values, rows = np.linalg.svd(shapes, full_matrices=False)
    sound = values[:dims] > max(1e-6 * values[0], 1e-12)
    wanted = shapes @ rows[:dims][sound].T
    mean_square = np.trace(gram) / len(gram)
    if mean_square <= noise or not wanted.shape[1]:
        return np.zeros((len(gram), 0))
    found = np.linalg.solve(gram + RIDGE * mean_square * np.eye(len(gram)), wanted)
    spread, outputs = wanted.std(axis=0), (gram @ found).std(axis=0)
    keep = (outputs > 1e-9 * spread) & (spread > 0)
    return found[:, keep] * (SHAPE_GAIN * np.sqrt(spread / spread.max()) / outputs)[keep]


def _fit_rest(gram: np.ndarray, taken: np.ndarray, dims: int, noise: float) -> np.ndarray:
    """(N, at most dims) combinations: the principal components of what the outputs of `taken` leave."""
    outputs = gram @ taken
    rest = np.eye(len(gram)) - outputs @ np.linalg.pinv(outputs)
    values, left = np.linalg.eigh(rest @ gram @ rest.T)
    values, left = values[::-1][:dims], left[:, ::-1][:, :dims]
    sound = values > max(1e-9 * values[:1].sum(), len(gram) * noise)
    values, left = values[sound], left[:, sound]
    if not len(values):
        return np.zeros((len(gram), 0))
    deviation = np.sqrt(values / len(gram))
    gains = REST_GAIN * np.sqrt(deviation[0] / deviation) / deviation[0]
    found = rest.T @ (left / np.sqrt(values)) * gains
    # a face's shape must not show in these outputs too, or it would speak twice
    return found - taken @ np.linalg.lstsq(outputs, gram @ found, rcond=None)[0]
