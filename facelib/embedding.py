"""128 numbers for a face that tell who it is, by dlib's network; optional package.

Two pictures of one person are closer than 0.6, and usually closer than 0.4, in Euclidean distance; faces of
two people are further apart (dlib's `dnn_face_recognition_ex`; 99.4 % right on Labeled Faces in the Wild).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from facelib.alignment import fit_similarity
from facelib.detectors.boxes import overlaps
from facelib.dlib_models import available, import_dlib, load_model
from facelib.landmarks import MEAN_FACE_17_67
from facelib.resample import crop_face
from facelib.shots import CutFinder
from facelib.tracking import FrameFaces, landmark_bounds

__all__ = ["LENGTH", "EmbeddingPlan", "FaceEmbedder", "available", "face_chip"]

LENGTH = 128
CHIP_SIDE = 150  # what the network was trained on, with a border of
CHIP_PADDING = 0.25  # of the mean face's unit square on each side
# The points that dlib fits a chip to: all of 17..67 but the brows and the lower lip, which move.
CHIP_ROWS = np.array([row for row in range(27, 68) if not 55 <= row <= 59 and row < 65])
EVERY = 5  # frames
CONTINUED = 0.5  # overlap with the face of the frame before from which it is the same one's ...
ALONE = 1.5  # ... if no other face is nearer than so many of its sides
BATCH = 4  # chips a call: dlib holds Python's lock meanwhile, 70 ms a chip


class FaceEmbedder:
    """The network; safe to call from many threads, one of which it serves at a time."""

    def __init__(self, jitter: int = 0) -> None:
        """Load the network.

        Args:
            jitter: Average over so many randomly moved copies of each face: steadier, and as many times
                slower. Below 2 the face itself is taken.

        Raises:
            SwapError: dlib or its model files are not installed; says how to install them.
        """
        what = "telling people apart"
        self._dlib = import_dlib(what)
        self._network = load_model("embedding", what, self._dlib.face_recognition_model_v1)
        self._lock = threading.Lock()
        self._jitter = jitter if jitter > 1 else 0

    def embed(self, image: np.ndarray, landmarks: Sequence[np.ndarray]) -> np.ndarray:
        """The embeddings of the faces of an image.

        Args:
            image: (H, W, 3) uint8 BGR.
            landmarks: (68, 2) of each face, pixels.

        Returns:
            (N, 128) float32.

        Raises:
            AlignmentError: Landmarks coincide or are not finite.
        """
        return self.embed_chips([face_chip(image, points) for points in landmarks])

    def embed_chips(self, chips: Sequence[np.ndarray]) -> np.ndarray:
        """The embeddings of faces cut out by `face_chip`; (N, 128) float32."""
        rows = []
        for start in range(0, len(chips), BATCH):
            rgb = [np.ascontiguousarray(chip[:, :, ::-1]) for chip in chips[start : start + BATCH]]
            with self._lock:
                rows += [np.array(row, np.float32) for row in self._run(rgb)]
        return np.array(rows, np.float32).reshape(-1, LENGTH)

    def _run(self, chips: list[np.ndarray]) -> list:
        if self._jitter:  # a list together with jitter is an error in dlib's binding
            return [self._network.compute_face_descriptor(chip, self._jitter) for chip in chips]
        return list(self._network.compute_face_descriptor(chips, 0))


def face_chip(image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The face as the network wants it: upright, 150 pixels a side, a quarter of the face as border.

    What `dlib.get_face_chip` gives for 68 points, but from points that are not rounded to whole pixels.

    Args:
        image: (H, W, 3) uint8 BGR.
        landmarks: (68, 2) pixels.

    Returns:
        (150, 150, 3) uint8 BGR.

    Raises:
        AlignmentError: The landmarks coincide or are not finite.
    """
    unit = (CHIP_PADDING + MEAN_FACE_17_67[CHIP_ROWS - 17]) / (2 * CHIP_PADDING + 1)
    template = (
        CHIP_SIDE * unit - 0.5
    )  # the square's corner is a pixel's corner in dlib; here it is its centre
    matrix = fit_similarity(np.asarray(landmarks)[CHIP_ROWS], template)
    return crop_face(image, matrix, CHIP_SIDE)


class EmbeddingPlan:
    """Which faces of a clip are worth an embedding, when one costs as much as finding several faces.

    Those that come up, that have another face near, that follow a cut, and of all others every few frames.
    What `tracking.link` makes of these alone is as safe as with all of them.
    """

    def __init__(self, every: int = EVERY) -> None:
        """`every`: frames until a face that just goes on is looked at again; 1 embeds all."""
        self._every = every
        self._cuts = CutFinder()
        self._index: int | None = None
        self._boxes = np.zeros((0, 4))
        self._ages = np.zeros(0, int)  # frames since each face's last embedding

    def choose(self, frame: FrameFaces) -> list[int]:
        """The numbers of the faces of the next frame to embed; its `embeddings` are not looked at."""
        boxes = np.array([landmark_bounds(face.landmarks) for face in frame.faces]).reshape(-1, 4)
        ages = np.full(len(boxes), self._every)
        cut = self._cuts.is_cut(frame.signature)
        if not cut and self._index is not None and frame.index == self._index + 1 and len(self._boxes):
            for number, box in enumerate(boxes):
                shared = overlaps(box, self._boxes)
                before = int(shared.argmax())
                others = np.concatenate([np.delete(self._boxes, before, 0), np.delete(boxes, number, 0)])
                if shared[before] > CONTINUED and _distance(box, others) > ALONE:
                    ages[number] = self._ages[before] + 1
        chosen = np.flatnonzero(ages >= self._every)
        ages[chosen] = 0
        self._index, self._boxes, self._ages = frame.index, boxes, ages
        return chosen.tolist()


def _distance(box: np.ndarray, others: np.ndarray) -> float:
    """From the middle of a box to the nearest middle of the others, in its sides; infinite without any."""
    if not len(others):
        return np.inf
    middles = (others[:, :2] + others[:, 2:]) / 2 - (box[:2] + box[2:]) / 2
    return float(np.linalg.norm(middles, axis=1).min() / max(np.sqrt(np.prod(box[2:] - box[:2])), 1e-6))
