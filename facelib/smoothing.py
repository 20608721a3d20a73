"""Landmarks that hold still where the face does, and follow at once where it moves; without any delay.

A face's landmarks are split into a rigid motion (place, size and roll, fitted to the parts that expression
moves least) and the shape that is left, in parts: brows, nose, eyes, mouth with jaw. Each series goes through
the fixed-interval (Rauch-Tung-Striebel) smoother of a Kalman filter whose state is position and velocity and
whose velocity wanders at random: Rauch, Tung and Striebel, "Maximum Likelihood Estimates of Linear Dynamic
Systems", 1965. It weighs past and future alike, so nothing lags. Its estimate is the minimum of

    sum of w (z - x)^2 / r + sum of (second difference of x)^2 / q

(r the noise of a measurement, q that of the motion), and is found here as the solution of these five-banded
equations, all of a part's numbers at once. How fast a part moves changes: where what was measured lies further
from the estimate than noise would have it, q grows there until it no longer does. So blinks and fast turns
pass, and what lies still is steadied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solveh_banded

from facelib.detected import DetectedFace
from facelib.landmarks import (
    JAW,
    LANDMARK_COUNT,
    LEFT_BROW,
    LEFT_EYE,
    MEAN_FACE_17_67,
    MOUTH,
    NOSE,
    RIGHT_BROW,
    RIGHT_EYE,
)
from facelib.tracking import Track

__all__ = ["smooth_landmarks", "smooth_track"]


@dataclass(frozen=True)
class Part:
    """Numbers of a face that move together.

    Attributes:
        rows: Landmarks; none for the rigid motion.
        stiffness: r / q while nothing moves: 60 passes motion slower than 1.7 Hz of a 30 Hz clip.
        jumps: Whether measurements beside a jump are left out: flesh does not go from rest to rest in one
            frame, but lids do, and the whole head where the video lost a frame.
    """

    rows: tuple[int, ...]
    stiffness: float
    jumps: bool = False


def _rows(*parts: slice) -> tuple[int, ...]:
    return tuple(row for part in parts for row in range(LANDMARK_COUNT)[part])


RIGID = Part((), 20.0)
PARTS = (
    Part(_rows(RIGHT_BROW), 60.0),
    Part(_rows(LEFT_BROW), 60.0),
    Part(_rows(NOSE), 60.0),
    Part(_rows(RIGHT_EYE), 60.0),
    Part(_rows(LEFT_EYE), 60.0),
    Part(_rows(MOUTH), 60.0, jumps=True),
    Part(_rows(JAW), 60.0, jumps=True),
)
FIRM_ROWS = np.array([*range(17, 36), 36, 39, 42, 45])  # brows, nose, eye corners: the rigid motion's
_UNIT = float(np.linalg.norm(MEAN_FACE_17_67[45 - 17] - MEAN_FACE_17_67[36 - 17]))
# Complex numbers are points, x + iy: turning and scaling are one product. Unit: the outer-eye distance.
_TEMPLATE = ((MEAN_FACE_17_67[FIRM_ROWS - 17] - MEAN_FACE_17_67[FIRM_ROWS - 17].mean(axis=0)) / _UNIT) @ (
    1,
    1j,
)

NOISE_FLOOR = 0.0015  # of the outer-eye distance: what the steadiest landmarker still trembles by
EXCESS = 1.6  # squared residuals over their expected size, above which the part is moving
GIVE_WAY = 0.25  # q may grow by its inverse in one round
ROUNDS = 12
LEAST_STIFFNESS = 0.002
JUMP = 0.04  # outer-eye distances in one frame, root mean square over a part's points
JUMP_RATIO = 3.0  # times what the frames before and after move by
_NEAR = np.array([1.0, 2.0, 1.0])  # weights of a frame and its neighbours
_FIVE = np.array([1.0, 2.0, 3.0, 2.0, 1.0])


def smooth_track(track: Track, strength: float = 1.0) -> Track:
    """The track with steady landmarks; rects and scores stay.

    Filled-in faces count as unseen: they get what the smoother expects there.

    Args:
        track: Of any length; one with fewer than 5 frames comes back as it is.
        strength: 0 changes nothing, 1 halves the tremor of the shared clips or better, 2 trusts the
            measurements as if they were twice as noisy.
    """
    if strength == 0 or len(track.frames) < 5:
        return track
    landmarks = np.array([face.landmarks for face in track.faces])
    smooth = smooth_landmarks(landmarks, ~np.array(track.filled, bool), strength, track.frames)
    faces = [
        DetectedFace(face.rect, points, face.score)
        for face, points in zip(track.faces, smooth.astype(np.float32), strict=True)
    ]
    return replace(track, faces=faces)


def smooth_landmarks(
    landmarks: np.ndarray,
    measured: np.ndarray | None = None,
    strength: float = 1.0,
    frames: np.ndarray | None = None,
) -> np.ndarray:
    """Steady landmarks of one face through time.

    Args:
        landmarks: (T, 68, 2) pixels.
        measured: (T,) bool, False where the landmarks are a guess; default all True.
        strength: See `smooth_track`; at least 0.
        frames: (T,) rising frame numbers; default consecutive.

    Returns:
        (T, 68, 2) float64.

    Raises:
        ValueError: Shapes do not fit, a value is not finite or the strength is negative.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.ndim != 3 or landmarks.shape[1:] != (LANDMARK_COUNT, 2):
        raise ValueError(f"expected (T, 68, 2) landmarks, got {landmarks.shape}")
    if strength < 0 or not np.isfinite(landmarks).all():
        raise ValueError("strength must be at least 0 and landmarks finite")
    count = len(landmarks)
    times = np.arange(count) if frames is None else np.asarray(frames) - frames[0]
    known = np.ones(count, bool) if measured is None else np.asarray(measured, bool)
    if strength == 0 or known.sum() < 5:
        return landmarks.copy()
    timeline = _Timeline(times[known], landmarks[known] @ (1, 1j), int(times[-1]) + 1)
    smooth = _smooth(timeline, strength)[times]
    return np.stack([smooth.real, smooth.imag], axis=-1)


class _Timeline:
    """Measured points on a line of frames without holes; what was not measured is interpolated, weight 0."""

    def __init__(self, times: np.ndarray, points: np.ndarray, length: int) -> None:
        self.weights = np.zeros(length)
        self.weights[times] = 1
        every = np.arange(length)
        self.points = np.stack([np.interp(every, times, column) for column in points.T], axis=1)


def _smooth(timeline: _Timeline, strength: float) -> np.ndarray:
    """(T, 68) complex smoothed points."""
    middle, logs, shapes = _split(timeline.points)
    size = np.exp(np.median(logs.real))
    rigid = np.stack([middle.real / size, middle.imag / size, logs.real, logs.imag], axis=1)
    rigid = _adapted(rigid, timeline.weights, RIGID.stiffness, strength)
    smooth = np.empty_like(shapes)
    flesh = [row for part in PARTS if part.jumps for row in part.rows]
    calm = timeline.weights * _without_jumps(shapes[:, flesh])
    for part in PARTS:
        series = shapes[:, list(part.rows)]
        both = np.concatenate([series.real, series.imag], axis=1)
        both = _adapted(both, calm if part.jumps else timeline.weights, part.stiffness, strength)
        smooth[:, list(part.rows)] = both[:, : len(part.rows)] + 1j * both[:, len(part.rows) :]
    middle = (rigid[:, 0] + 1j * rigid[:, 1]) * size
    return middle[:, None] + smooth * np.exp(rigid[:, 2] + 1j * rigid[:, 3])[:, None]


def _split(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (T, 68) as middle (T,), logarithm of scale and turn (T,), and shape (T, 68), all complex.

    Least squares onto the mean face; `points = middle + shape * exp(log)`.
    """
    firm = points[:, FIRM_ROWS]
    middle = firm.mean(axis=1)
    factor = (firm - middle[:, None]) @ _TEMPLATE.conj() / np.sum(np.abs(_TEMPLATE) ** 2)
    factor = np.where(np.abs(factor) < 1e-6, 1e-6, factor)
    logs = np.log(np.abs(factor)) + 1j * np.unwrap(np.angle(factor))
    return middle, logs, (points - middle[:, None]) / np.exp(logs)[:, None]


def _adapted(values: np.ndarray, weights: np.ndarray, stiffness: float, strength: float) -> np.ndarray:
    """Smooth (T, C) values whose channels move together, the more the less they move.

    Args:
        values: In outer-eye distances.
        weights: (T,) of the measurements, 0 where there is none.
        stiffness: r / q at rest.
        strength: Factor on the noise's standard deviation.
    """
    noise = strength**2 * _noise(values)
    stiff = np.full(len(values) - 2, stiffness)  # one for each second difference
    shares = np.maximum(_spread(weights, _NEAR), 0.2)
    for _ in range(ROUNDS):
        smooth = _solve(values, weights, stiff)
        residual = ((values - smooth) ** 2).mean(axis=1) / noise
        residual = _spread(residual * weights, _NEAR) / shares
        give = np.clip(EXCESS / np.maximum(residual, 1e-9), GIVE_WAY, 1)
        if give.min() > 0.98:
            break
        give = np.minimum(np.minimum(give[:-2], give[1:-1]), give[2:])
        stiff = np.maximum(stiff * give, LEAST_STIFFNESS)
    return smooth


def _solve(values: np.ndarray, weights: np.ndarray, stiff: np.ndarray) -> np.ndarray:
    """The x (T, C) that minimises `sum of w (values - x)^2 + sum of stiff (second difference of x)^2`."""
    diagonal, first, second = weights.copy(), np.zeros(len(values)), np.zeros(len(values))
    diagonal[:-2] += stiff
    diagonal[1:-1] += 4 * stiff
    diagonal[2:] += stiff
    first[1:-1] -= 2 * stiff
    first[2:] -= 2 * stiff
    second[2:] = stiff
    return solveh_banded(np.stack([second, first, diagonal]), weights[:, None] * values)


def _noise(values: np.ndarray) -> float:
    """Variance of the measurements' noise, from third differences, in which slow motion cancels out."""
    if len(values) < 8:
        return NOISE_FLOOR**2
    energy = (np.diff(values, 3, axis=0) ** 2).mean(axis=1)
    return max(float(np.median(_spread(energy, _FIVE))) / 20, NOISE_FLOOR**2)


def _without_jumps(shapes: np.ndarray) -> np.ndarray:
    """(T,) 0 for the frames on both sides of a single jump that the points (T, P) make together, else 1."""
    weights = np.ones(len(shapes))
    steps = np.sqrt((np.abs(np.diff(shapes, axis=0)) ** 2).mean(axis=1))
    around = np.concatenate([[0], steps, [0]])
    jumps = (steps > JUMP) & (steps > JUMP_RATIO * np.maximum(around[:-2], around[2:]))
    weights[:-1][jumps] = 0
    weights[1:][jumps] = 0
    return weights


def _spread(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Weighted mean of each value (T,) and its neighbours, fewer of them at the ends."""
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
