"""Landmarks that hold still where the face does, and follow at once where it moves; without any delay.

A face's landmarks are split into a rigid motion (place, size and roll, fitted to the parts that expression
moves least) and the shape that is left, in parts: brows, nose, eyes, mouth with jaw. Each series goes through
the fixed-interval (Rauch-Tung-Striebel) smoother of a Kalman filter whose state is position and velocity and
whose velocity wanders at random: Rauch, Tung and Striebel, "Maximum Likelihood Estimates of Linear Dynamic
Systems", 1965. It weighs past and future alike, so nothing lags. Its estimate is the minimum of

    sum of w (z - x)^2 / r + sum of (second difference of x)^2 / q

(r the variance of a measurement's noise, q that of the motion), and is found here as the solution of these
five-banded equations, all of a part's numbers at once. How fast a part moves changes: where the measurements
lie further from the estimate than noise would have it, q grows there until they no longer do. So blinks and
fast turns pass, and what lies still is steadied. Motion moves many points together and noise does not: each
part's three main directions of movement are watched one by one, and what is left when they are taken away
shows how noisy the points are.
"""

from __future__ import annotations

from dataclasses import replace

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


PARTS = {
    "right brow": range(LANDMARK_COUNT)[RIGHT_BROW],
    "left brow": range(LANDMARK_COUNT)[LEFT_BROW],
    "nose": range(LANDMARK_COUNT)[NOSE],
    "right eye": range(LANDMARK_COUNT)[RIGHT_EYE],
    "left eye": range(LANDMARK_COUNT)[LEFT_EYE],
    "mouth": range(LANDMARK_COUNT)[MOUTH],
    "jaw": range(LANDMARK_COUNT)[JAW],
}
FIRM = ("right brow", "left brow", "nose")  # by their points' noise that of the rigid motion is judged
EYES = ("right eye", "left eye")
FIRM_ROWS = np.array([*range(17, 36), 36, 39, 42, 45])  # brows, nose, eye corners: the rigid motion's
_UNIT = float(np.linalg.norm(MEAN_FACE_17_67[45 - 17] - MEAN_FACE_17_67[36 - 17]))
# Complex numbers are points, x + iy: turning and scaling are one product. Unit: the outer-eye distance.
_TEMPLATE = ((MEAN_FACE_17_67[FIRM_ROWS - 17] - MEAN_FACE_17_67[FIRM_ROWS - 17].mean(axis=0)) / _UNIT) @ (
    1,
    1j,
)

# Stiffness is r / q while nothing moves: 60 passes what is slower than about 2 Hz, at 30 frames a second.
STIFFNESS = 60.0
RIGID_STIFFNESS = 20.0
LEAST_STIFFNESS = 0.002
# Noise (standard deviations) in outer-eye distances. The mesh's tremor moves all points together and so is
# not seen as noise; this much is always taken for it.
FLOOR, RIGID_FLOOR = 0.0022, 0.0024
COMMON = 0.2  # share of a part's floor that a single direction may hold
RIGID_SHARE = 0.35  # noise of the rigid motion over that of a point
MODES = 3  # directions of a part's movement that are watched one by one
WINDOW = 5  # frames over which residuals are compared with noise
SURPRISE = 1.5  # standard deviations by which a window's mean square may exceed its expectation
RIGID_EXCESS = 2.0  # times the expectation, for the rigid motion
GIVE_WAY = 0.25  # factor on the stiffness in one round, at least
ROUNDS = 12
# Flesh does not go from rest to rest within one frame: where mouth and jaw do, the landmarker has changed its
# mind, and the frames beside the jump are not believed. Root mean square over the points.
JUMP = 0.04
JUMP_RATIO = 5.0  # times what the frames before and after move by
SPIKE_RATIO = 2.5  # the same for a jump there and straight back
FEWEST = 5  # measurements worth smoothing


def smooth_track(track: Track, strength: float = 1.0) -> Track:
    """The track with steady landmarks; rects and scores stay.

    Filled-in faces count as unseen: they get what the smoother expects there.

    Args:
        track: Of any length; one with fewer than 5 frames comes back as it is.
        strength: 0 changes nothing, 1 halves the tremor of the shared clips or better, 2 trusts the
            measurements as if they were twice as noisy.
    """
    if strength == 0 or len(track.frames) < FEWEST:
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
    if strength == 0 or known.sum() < FEWEST:
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
    calm = timeline.weights * _without_jumps(shapes[:, [*PARTS["mouth"], *PARTS["jaw"]]])
    if calm.sum() < FEWEST:
        calm = timeline.weights
    smooth, noises = np.empty_like(shapes), {}
    for name, rows in PARTS.items():
        # Lids do jump: a blink has no frame to spare.
        weights = timeline.weights if name in EYES else calm
        series = shapes[:, list(rows)]
        values = np.concatenate([series.real, series.imag], axis=1)
        noises[name] = _noise(values, weights)
        values = _smooth_part(values, weights, noises[name], strength)
        smooth[:, list(rows)] = values[:, : len(rows)] + 1j * values[:, len(rows) :]
    rigid = np.stack([middle.real / size, middle.imag / size, logs.real, logs.imag], axis=1)
    noise = RIGID_SHARE**2 * float(np.mean([noises[name] for name in FIRM]))
    noise = max(noise, RIGID_FLOOR**2)
    for pair in ([0, 1], [2, 3]):  # place; size and roll
        rigid[:, pair] = _adapted(rigid[:, pair], calm, RIGID_STIFFNESS, noise, RIGID_EXCESS, strength)
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


def _smooth_part(values: np.ndarray, weights: np.ndarray, noise: float, strength: float) -> np.ndarray:
    """Smooth a part's numbers (T, C): its main directions of movement one by one, the rest together."""
    middle = values[weights > 0].mean(axis=0)
    centred = values - middle
    used = centred[weights > 0]
    basis = np.linalg.eigh(used.T @ used)[1][:, ::-1]  # the widest movement first
    turned = centred @ basis
    channels = values.shape[1]
    single = max(noise, COMMON * channels * FLOOR**2)
    for mode in range(MODES):
        column = turned[:, mode : mode + 1]
        turned[:, mode : mode + 1] = _adapted(column, weights, STIFFNESS, single, _excess(1), strength)
    rest = channels - MODES
    turned[:, MODES:] = _adapted(
        turned[:, MODES:], weights, STIFFNESS, max(noise, FLOOR**2), _excess(rest), strength
    )
    return turned @ basis.T + middle


def _excess(channels: int) -> float:
    """How large the mean square of pure noise may be over a window, of its expectation."""
    return 1 + SURPRISE * np.sqrt(2 / (WINDOW * channels))


def _adapted(
    values: np.ndarray, weights: np.ndarray, stiffness: float, noise: float, excess: float, strength: float
) -> np.ndarray:
    """Smooth (T, C) values that move together, the more the less they move.

    Args:
        values: In outer-eye distances.
        weights: (T,) of the measurements, 0 where there is none.
        stiffness: r / q at rest.
        noise: Variance of a measurement.
        excess: A window's mean squared residual over `noise`, above which it is moving.
        strength: Factor on the noise's standard deviation.
    """
    noise, least = strength**2 * noise, strength**2 * LEAST_STIFFNESS
    stiff = np.full(len(values) - 2, strength**2 * stiffness)  # one for each second difference
    seen = np.maximum(_window_mean(weights), 0.2)
    for _ in range(ROUNDS):
        smooth = _solve(values, weights, stiff)
        residual = ((values - smooth) ** 2).mean(axis=1) * weights / noise
        give = np.clip(excess * seen / np.maximum(_window_mean(residual), 1e-9), GIVE_WAY, 1)
        if give.min() > 0.98:
            break
        stiff = np.maximum(stiff * np.minimum(np.minimum(give[:-2], give[1:-1]), give[2:]), least)
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


def _noise(values: np.ndarray, weights: np.ndarray) -> float:
    """Variance of the noise of a part's numbers (T, C); 0 where there are too few to tell.

    From third differences, in which slow motion cancels out (their variance is 20 times that of white
    noise), without their main directions, which are fast motion.
    """
    whole = np.convolve(weights > 0, np.ones(4), "valid") > 3.5  # all four frames of a difference measured
    differences = np.diff(values, 3, axis=0)[whole]
    if len(differences) <= 2 * MODES:
        return 0.0
    energies = np.linalg.eigvalsh(differences.T @ differences / len(differences))[::-1]
    left = 1 - MODES / min(len(differences), len(energies))
    return float(energies[MODES:].sum() / (len(energies) * left) / 20)


def _without_jumps(shapes: np.ndarray) -> np.ndarray:
    """(T,) 0 for frames that are not believed, else 1: the points (T, P) jump together, then lie still.

    A single jump costs the frames on both sides of it, one there and straight back the frame between.
    """
    weights = np.ones(len(shapes))
    steps = _distances(shapes[1:], shapes[:-1])
    around = np.maximum(steps[:-2], steps[2:])
    jumps = 1 + np.flatnonzero((steps[1:-1] > JUMP) & (steps[1:-1] > JUMP_RATIO * around))
    weights[jumps] = 0
    weights[jumps + 1] = 0
    spikes = _distances(shapes[2:-2], (shapes[1:-3] + shapes[3:-1]) / 2)
    around = np.maximum(np.maximum(steps[:-3], steps[3:]), _distances(shapes[1:-3], shapes[3:-1]))
    weights[2 + np.flatnonzero((spikes > JUMP) & (spikes > SPIKE_RATIO * around))] = 0
    return weights


def _distances(shapes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Root mean square distance of the points (T, P) in each frame; (T,)."""
    return np.sqrt((np.abs(shapes - others) ** 2).mean(axis=1))


def _window_mean(values: np.ndarray) -> np.ndarray:
    """Mean of each value (T,) and its neighbours, fewer of them at the ends."""
    window = np.ones(min(WINDOW, len(values)))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
