"""Time against count for each sort method, on drawn faces or on a faceset of yours.

    python benchmarks/sort.py [--counts 216,1000] [--size 512] [--by blur,final-by-blur,hist]
    python benchmarks/sort.py --input-dir DIR

Only looking at the faces and ordering them is timed; renaming comes on top, some 0.2 ms a file. Beside it
stands what DFL took for 216 faces on two cores, scaled to the count as its method grows. The goal is to be 20
times faster with blur and final. `absdiff` compares whole pictures up to some hundreds or thousands of faces,
then reduced ones.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2
import numpy as np

import facelib
from facelib import FaceMetadata
from facelib.landmarks import MEAN_HEAD_3D
from samplelib.sorting.orders import METHODS, Job, run_method

DFL_COUNT = 216
# method -> seconds that DFL took for 216 faces on two cores, and the power its time grows with
DFL = {
    "blur": (35.0, 1),
    "final-by-blur": (35.0, 1),
    "hist-dissim": (1.8, 2),
    "hist": (0.6, 2),
    "face-yaw": (0.2, 1),
}
SLOW = ("face-similarity",)  # only when asked for: needs dlib, and a tenth of a second a face


class Silent:
    """A progress that shows nothing."""

    def update(self, n: int = 1) -> None:
        """Count nothing."""


@contextlib.contextmanager
def watch(label: str, total: int, unit: str) -> Iterator[Silent]:
    yield Silent()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", default="216,1000", help="numbers of drawn faces")
    parser.add_argument("--size", type=int, default=512, help="side of the drawn faces")
    parser.add_argument("--by", default="", help="methods; by default all but face-similarity")
    parser.add_argument("--input-dir", type=Path, help="a faceset to time instead; its files are only read")
    args = parser.parse_args()
    methods = args.by.split(",") if args.by else [name for name in METHODS if name not in SLOW]
    print(f"{'method':22} {'faces':>7} {'seconds':>9} {'faces/s':>9}   DFL (estimate)   times faster")
    if args.input_dir is not None:
        time_methods(methods, sorted(args.input_dir.glob("*.jpg")))
        return 0
    for count in map(int, args.counts.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            time_methods(methods, draw_faces(Path(folder), count, args.size))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB, load {os.getloadavg()[0]:.1f}")
    return 0


def time_methods(methods: list[str], paths: list[Path]) -> None:
    """Print one line for each method."""
    for name in methods:
        begin = time.perf_counter()
        run_method(name, Job(paths, watch))
        seconds = time.perf_counter() - begin
        text = ""
        if name in DFL:
            figure, power = DFL[name]
            dfl = figure * (len(paths) / DFL_COUNT) ** power
            text = f"{dfl:12.1f} s   {dfl / seconds:10.1f}"
        print(f"{name:22} {len(paths):7} {seconds:9.2f} {len(paths) / seconds:9.0f}   {text}", flush=True)


def draw_faces(folder: Path, count: int, size: int) -> list[Path]:
    """Whole faces of 50 drawn pictures in different light, each turned another way."""
    rng = np.random.default_rng(0)
    x, y, z = MEAN_HEAD_3D.T.astype(np.float64)
    pictures, faces = [], []
    for turn in np.linspace(-0.9, 0.9, 50):
        points = np.column_stack([640 + 3 * (x * np.cos(turn) + z * np.sin(turn)), 640 + 3 * y])
        matrix = facelib.transform_mat(points, size, "whole_face")
        faces.append((facelib.transform_points(points, matrix), points, matrix))
        soft = cv2.resize(rng.integers(0, 256, (12, 12, 3)).astype(np.uint8), (size, size), interpolation=2)
        cv2.fillConvexPoly(soft, cv2.convexHull(faces[-1][0].astype(np.int32)), (140, 160, 210))
        grain = rng.normal(0, 8, (size, size, 1))
        pictures.append(np.clip(soft + cv2.GaussianBlur(grain, (0, 0), 1.0)[..., None] * 2, 0, 255))
    paths = []
    for number in range(count):
        points, source, matrix = faces[number % 50]
        light = (0.6 + 0.7 * rng.random(3)).astype(np.float32)
        image = cv2.multiply(pictures[number % 50].astype(np.float32), (*map(float, light), 1.0))
        metadata = FaceMetadata(
            face_type="whole_face",
            landmarks=(points + rng.normal(0, 0.5, points.shape)).astype(np.float32),
            source_filename=f"{number:06}.png",
            source_rect=np.array([0, 0, 300 + number % 77, 300]),
            source_landmarks=source.astype(np.float32),
            image_to_face_mat=matrix,
        )
        paths.append(folder / f"{number:06}_0.jpg")
        facelib.write_face(paths[-1], np.clip(image, 0, 255).astype(np.uint8), metadata)
    return paths


if __name__ == "__main__":
    sys.exit(main())
