"""Measure how landmarks tremble before and after `extract --smooth`, and what the smoothing costs in truth.

    python benchmarks/jitter.py [--data ../shared/data] [--strength 1] [--seconds 8] [--detector auto]

Jitter is the standard deviation of the landmarks' second differences over the outer-eye distance: on the real
clips, whose truth nobody knows, and on drawn clips, whose truth is known. There the mean error against the
truth is shown, too (as it is, and without the landmarker's constant offset of every point), and that of the
openings of eyes and mouth, fitted to the true ones by scale and offset. Everything is in percent of the
outer-eye distance. Goals: jitter of the real clips at most half, no error larger.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from core.video import decode_frames, probe
from facelib.pipeline import Pipeline
from facelib.smoothing import smooth_landmarks
from facelib.synthetic import ANNA, BORIS, Motion, Person, build_head, perform, render

CLIPS = ("person_a", "person_b", "distant_c")
EYE_PAIRS = ((37, 41), (38, 40), (43, 47), (44, 46))
MOUTH_PAIRS = ((61, 67), (62, 66), (63, 65))
FPS = 25


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = ROOT.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=data, help="folder of the real data")
    parser.add_argument("--strength", type=float, default=1.0, help="of the smoothing")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the drawn clips")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--landmarker", default="auto")
    args = parser.parse_args()
    pipeline = Pipeline(args.detector, args.landmarker)
    print(f"{pipeline.name}, strength {args.strength:g}; percent of the outer-eye distance")
    fine = _real_clips(args.data / "clips", pipeline, args.strength)
    return 0 if _drawn_clips(pipeline, args.strength, args.seconds) and fine else 1


def _real_clips(folder: Path, pipeline: Pipeline, strength: float) -> bool:
    """Print the real clips' lines; whether each meets the goal."""
    fine = True
    for name in CLIPS:
        video = folder / f"{name}.mp4"
        if not video.is_file():
            print(f"{video}: the real data is not here; give its folder with --data", file=sys.stderr)
            continue
        frames = (frame[:, :, ::-1] for frame in decode_frames(probe(video)))
        times, landmarks = _landmarks(frames, pipeline)
        start = time.perf_counter()
        smooth = smooth_landmarks(landmarks, strength=strength, frames=times)
        seconds = time.perf_counter() - start
        unit = _unit(landmarks)
        before, after = _jitter(landmarks, times, unit), _jitter(smooth, times, unit)
        print(
            f"{name:14} {len(times):4} frames   jitter {before:.3f} -> {after:.3f}"
            f" ({after / before:.2f})   {1e3 * seconds / len(times):.2f} ms a frame"
        )
        fine &= after <= 0.5 * before
    return fine


def _drawn_clips(pipeline: Pipeline, strength: float, seconds: float) -> bool:
    """Print the drawn clips' lines; whether no error grew."""
    fine = True
    for name, person, motions in (
        ("anna", ANNA, perform(ANNA, seconds, FPS)),
        ("boris", BORIS, perform(BORIS, seconds, FPS)),
        ("anna, lively", ANNA, lively(ANNA, seconds)),
        ("boris, lively", BORIS, lively(BORIS, seconds)),
    ):
        times, landmarks, truth = _drawn(person, motions, pipeline)
        smooth = smooth_landmarks(landmarks, strength=strength, frames=times)
        unit = _unit(truth)
        offset = (landmarks - truth).mean(axis=0)
        rows = {
            "jitter": lambda points, times=times, unit=unit: _jitter(points, times, unit),
            "error": lambda points, truth=truth, unit=unit: _error(points - truth, unit),
            "without offset": lambda points, truth=truth, offset=offset, unit=unit: _error(
                points - truth - offset, unit
            ),
            "eyes": _opening_error(EYE_PAIRS, truth, landmarks, unit),
            "mouth": _opening_error(MOUTH_PAIRS, truth, landmarks, unit),
        }
        both = {label: (measure(landmarks), measure(smooth)) for label, measure in rows.items()}
        fine &= both["error"][1] <= 1.002 * both["error"][0]
        shown = "   ".join(f"{label} {a:.3f} -> {b:.3f}" for label, (a, b) in both.items())
        print(f"{name:14} {len(times):4} frames   {shown}   (true jitter {_jitter(truth, times, unit):.3f})")
    return fine


def lively(person: Person, seconds: float) -> list[Motion]:
    """The person's performance with jerks of the head within a fifth of a second and quick blinks."""
    rng = np.random.default_rng(person.seed)
    motions = perform(person, seconds, FPS)
    times = np.arange(len(motions)) / FPS

    def jerks(most: float) -> np.ndarray:
        level, values = 0.0, np.zeros(len(times))
        for moment in np.cumsum(rng.uniform(0.5, 1.5, 2 * int(seconds) + 2)):
            share = np.clip((times - moment) / 0.2, 0, 1)
            target = rng.uniform(-most, most)
            values += (target - level) * share * share * (3 - 2 * share)
            level = target
        return values

    yaw, pitch, roll, x, y = (jerks(most) for most in (0.4, 0.15, 0.2, 0.05, 0.03))
    blinks = np.cumsum(rng.uniform(0.6, 1.8, 2 * int(seconds) + 2))
    blink = np.exp(-((np.abs(times[:, None] - blinks).min(axis=1) / 0.07) ** 4))
    return [
        replace(motion, yaw=yaw[i], pitch=pitch[i], roll=roll[i], shift=(x[i], y[i]), blink=blink[i])
        for i, motion in enumerate(motions)
    ]


def _drawn(
    person: Person, motions: list[Motion], pipeline: Pipeline
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frame numbers, found landmarks (T, 68, 2) and the true ones, of the frames with a face."""
    head, truth = build_head(person), []

    def frames() -> Iterator[np.ndarray]:
        for number, motion in enumerate(motions):
            frame = render(head, motion, grain=number)
            truth.append(frame.landmarks)
            yield frame.image

    times, landmarks = _landmarks(frames(), pipeline)
    return times, landmarks, np.array(truth, np.float64)[times]


def _landmarks(frames: Iterator[np.ndarray], pipeline: Pipeline) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the frames with a face, and the largest face's landmarks in each."""
    found = {}
    for number, frame in enumerate(frames):
        faces = pipeline.faces(np.ascontiguousarray(frame))
        if faces:
            found[number] = faces[0].landmarks
    return np.array(list(found)), np.array(list(found.values()), np.float64)


def _unit(landmarks: np.ndarray) -> float:
    return float(np.linalg.norm(landmarks[:, 36] - landmarks[:, 45], axis=1).mean()) / 100


def _jitter(landmarks: np.ndarray, times: np.ndarray, unit: float) -> float:
    """Of the second differences of consecutive frames."""
    whole = (np.diff(times)[1:] == 1) & (np.diff(times)[:-1] == 1)
    return float(np.diff(landmarks, 2, axis=0)[whole].std()) / unit


def _error(differences: np.ndarray, unit: float) -> float:
    return float(np.linalg.norm(differences, axis=2).mean()) / unit


def _opening_error(
    pairs: tuple, truth: np.ndarray, found: np.ndarray, unit: float
) -> Callable[[np.ndarray], float]:
    """Root mean square distance from the true opening, as far as it shows in what was found."""

    def opening(landmarks: np.ndarray) -> np.ndarray:
        return np.mean([np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=1) for a, b in pairs], axis=0)

    basis = np.stack([opening(truth), np.ones(len(truth))], axis=1)
    expected = basis @ np.linalg.lstsq(basis, opening(found), rcond=None)[0]
    return lambda landmarks: float(np.sqrt(np.mean((opening(landmarks) - expected) ** 2))) / unit


if __name__ == "__main__":
    sys.exit(main())
