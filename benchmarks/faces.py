"""Measure faces on real pictures: detection on clips, 68 points against known ones, counts on group photos.

    python benchmarks/faces.py [--data ../shared/data] [--detector auto] [--landmarker auto] [--every 1]

Goals: exactly one face in 99 % of the frames of person_a and person_b and in 95 % of distant_c, none in a
wrong place; on landmarks68 all 18 faces, none false, and a median error of at most 5 % of the outer-eye
distance.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from core.imageio import read_image
from facelib.pipeline import DetectedFace, Pipeline

CLIPS = {"person_a": 0.99, "person_b": 0.99, "distant_c": 0.95}  # share of frames with exactly one face
BATCH = 32
JUMP = 0.5  # a face whose centre is further than this part of its width from the clip's median path is wrong
PATH = 15  # frames on either side that the median path looks at


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the real data"
    )
    parser.add_argument("--detector", default="auto", help="as `extract` takes it")
    parser.add_argument("--landmarker", default="auto", help="as `extract` takes it")
    parser.add_argument("--every", type=int, default=1, help="look at every n-th frame of the clips")
    args = parser.parse_args()
    if not args.data.is_dir():
        print(f"{args.data}: the real data is not here; give its folder with --data", file=sys.stderr)
        return 1
    pipeline = Pipeline(args.detector, args.landmarker)
    print(f"pipeline {pipeline.name}")
    good = [measure_clip(pipeline, args.data / "clips" / f"{name}.mp4", goal, args.every)
            for name, goal in CLIPS.items()]  # fmt: skip
    good.append(measure_landmarks(pipeline, args.data / "landmarks68"))
    measure_groups(pipeline, args.data / "groups")
    print("all goals reached" if all(good) else "SOME GOALS MISSED")
    return 0 if all(good) else 1


def measure_clip(pipeline: Pipeline, path: Path, goal: float, every: int) -> bool:
    """Print how many frames of a clip have exactly one face, and how many faces are in a wrong place."""
    import av

    results: list[list[DetectedFace]] = []
    images: list[np.ndarray] = []
    seconds = 0.0

    def flush() -> None:
        nonlocal seconds
        started = time.perf_counter()
        results.extend(pipeline.faces_batch(images))
        seconds += time.perf_counter() - started
        images.clear()

    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                images.append(frame.to_ndarray(format="bgr24"))
            if len(images) == BATCH:
                flush()
    flush()
    counts = Counter(len(faces) for faces in results)
    share = counts[1] / len(results)
    wrong = misplaced([faces[0] if faces else None for faces in results], PATH // every)
    lowest = min((faces[0].score for faces in results if faces), default=0.0)
    print(
        f"{path.stem}: exactly one face in {share:.1%} of {len(results)} frames (goal {goal:.0%}), "
        f"faces per frame {dict(sorted(counts.items()))}, {wrong} in a wrong place, "
        f"lowest score {lowest:.2f}, {len(results) / seconds:.0f} frames/s"
    )
    return share >= goal and wrong == 0


def misplaced(track: list[DetectedFace | None], reach: int) -> int:
    """Faces of one person's clip off the path that the median of `reach` neighbours on either side draws."""
    found = [face for face in track if face is not None]
    if not found:
        return 0
    rects = np.array([face.rect for face in found], np.float64)
    centres, widths = (rects[:, :2] + rects[:, 2:]) / 2, rects[:, 2] - rects[:, 0]
    wrong = 0
    for number in range(len(found)):
        near = slice(max(0, number - reach), number + reach + 1)
        away = np.linalg.norm(centres[number] - np.median(centres[near], axis=0))
        ratio = widths[number] / np.median(widths[near])
        wrong += bool(away > JUMP * np.median(widths[near]) or not 0.6 < ratio < 1.7)
    return wrong


def measure_landmarks(pipeline: Pipeline, folder: Path) -> bool:
    """Print recall and the error of the 68 points on pictures with known ones."""
    known = json.loads((folder / "faces.json").read_text(encoding="utf-8"))
    errors, missed, false = [], 0, 0
    for name, truths in known.items():
        free = pipeline.faces(read_image(folder / name))
        for truth in truths:
            points = np.array(truth["landmarks"], np.float64)
            face = _closest(free, points)
            if face is None:
                missed += 1
                continue
            free.remove(face)
            unit = np.linalg.norm(points[36] - points[45])
            errors.append(np.linalg.norm(face.landmarks - points, axis=1) / unit * 100)
        false += len(free)
    table = np.array(errors)
    print(
        f"landmarks68: {len(errors)} of {len(errors) + missed} faces found, {false} false; error over the "
        f"outer-eye distance: median over the faces {np.median(table.mean(axis=1)):.2f} %, over all points "
        f"{np.median(table):.2f} %, mean {table.mean():.2f} %, without the jaw {table[:, 17:].mean():.2f} % "
        "(goal: median at most 5 %)"
    )
    return missed == 0 and false == 0 and float(np.median(table.mean(axis=1))) <= 5


def _closest(faces: list[DetectedFace], points: np.ndarray) -> DetectedFace | None:
    """The face whose landmarks lie nearest, if it can be the same face at all."""
    size = np.ptp(points, axis=0).max()
    distances = [np.linalg.norm(face.landmarks.mean(axis=0) - points.mean(axis=0)) for face in faces]
    if not distances or min(distances) > size / 2:
        return None
    return faces[int(np.argmin(distances))]


def measure_groups(pipeline: Pipeline, folder: Path) -> None:
    """Print how many faces are found on group photos, whose true number is only roughly known."""
    for path in sorted(folder.glob("*.jpg")):
        image = read_image(path)
        started = time.perf_counter()
        faces = pipeline.faces(image)
        milliseconds = (time.perf_counter() - started) * 1000
        widths = [face.rect[2] - face.rect[0] for face in faces]
        print(
            f"{path.stem}: {len(faces)} faces, {min(widths, default=0)} to {max(widths, default=0)} px wide, "
            f"lowest score {min((face.score for face in faces), default=0):.2f}, {milliseconds:.0f} ms"
        )


if __name__ == "__main__":
    sys.exit(main())
