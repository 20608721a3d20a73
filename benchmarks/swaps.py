"""Judges swapped faces: is the expression the destination's, and who do they look like?

Expression: landmarks are found on the swaps by FaceMesh, and how wide and open the mouth is, how much its
corners are raised and how open the eyes are is compared with the destination's, each as deviations from the
median, since two people's mouths are of different sizes.

Identity: distances of dlib's embeddings, where they are installed, from the swaps to the source's and to the
destination's own faces; below 0.6 is the same person.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from facelib.embedding import FaceEmbedder, available
from facelib.pipeline import Pipeline

MEASURES = ("width", "opening", "smile", "eyes")
SIDE, MARGIN = 384, 48  # pixels, of the pictures that faces are looked for in
KNOWN = 40  # faces that stand for a person


@dataclass(frozen=True)
class Judgement:
    """See the module."""

    found: int  # swaps that a face was found on
    of: int
    expression: dict[str, tuple[float, float]]  # by measure: correlation and slope against the destination's
    identity: tuple[float, float] | None  # mean distance to the source and to the destination

    def __str__(self) -> str:
        parts = [f"{name} r {r:.2f} slope {slope:.2f}" for name, (r, slope) in self.expression.items()]
        if self.identity:
            parts.append("distance to src {:.3f}, to dst {:.3f}".format(*self.identity))
        return f"{self.found} of {self.of} found; {', '.join(parts)}"


@dataclass(frozen=True, eq=False)
class Swaps:
    """Swapped faces of the destination.

    Attributes:
        faces: (N, R, R, 3) float32 BGR in [0, 1].
        landmarks: (N, 68, 2) of the destination's faces that they were made from, in their pixels.
    """

    faces: np.ndarray
    landmarks: np.ndarray

    def judged(self, dst: np.ndarray, src: np.ndarray, src_landmarks: np.ndarray) -> Judgement:
        """
        Args:
            dst: (N, R, R, 3) the faces that the swaps were made from.
            src: (M, R, R, 3) faces of the source.
            src_landmarks: (M, 68, 2).
        """
        rows, points = self._found
        expression = {}
        if len(rows) > 2:
            mine, wanted = (_deviations(measures(faces)) for faces in (points, self.landmarks[rows]))
            for name, a, b in zip(MEASURES, mine.T, wanted.T):
                expression[name] = (float(np.corrcoef(a, b)[0, 1]), float(a @ b / (b @ b)))
        identity = None
        if available():
            embed = FaceEmbedder().embed
            own = _embeddings(embed, self.faces, self.landmarks)
            persons = ((src, src_landmarks), (dst, self.landmarks))
            known = [_embeddings(embed, *(array[_some(array)] for array in person)) for person in persons]
            apart = [np.linalg.norm(own[:, None] - faces, axis=-1).mean() for faces in known]
            identity = (float(apart[0]), float(apart[1]))
        return Judgement(len(rows), len(self.faces), expression, identity)

    @cached_property
    def _found(self) -> tuple[list[int], np.ndarray]:
        """Rows of the swaps on which a face is found, and its landmarks (K, 68, 2), pixels of the swap."""
        finder = Pipeline("blazeface", "facemesh", say=lambda text: None)
        rows, points = [], []
        for row, face in enumerate(self.faces):
            found = finder.faces(_framed(face))
            if found:
                rows.append(row)
                points.append((found[0].landmarks - MARGIN) * face.shape[0] / SIDE)
        return rows, np.asarray(points, np.float64)


def measures(landmarks: np.ndarray) -> np.ndarray:
    """(N, 4) of (N, 68, 2): `MEASURES` as shares of the distance between the eyes' outer corners."""
    points = np.asarray(landmarks, np.float64)
    unit = np.linalg.norm(points[:, 36] - points[:, 45], axis=1)
    x, y = points[..., 0], points[..., 1]
    width = np.hypot(x[:, 48] - x[:, 54], y[:, 48] - y[:, 54])
    opening = y[:, 66] - y[:, 62]
    smile = (y[:, 62] + y[:, 66] - y[:, 48] - y[:, 54]) / 2
    eyes = sum(y[:, low] - y[:, high] for low, high in ((41, 37), (40, 38), (46, 44), (47, 43))) / 4
    return np.stack([width, opening, smile, eyes], axis=1) / unit[:, None]


def _deviations(values: np.ndarray) -> np.ndarray:
    return values - np.median(values, axis=0)


def _framed(face: np.ndarray) -> np.ndarray:
    """The face with some grey around it, as a picture to find it in."""
    large = cv2.resize(_as_picture(face), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, *(4 * [MARGIN]), cv2.BORDER_CONSTANT, value=(128, 128, 128))


def _as_picture(face: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(face, 0, 1) * 255).astype(np.uint8)


def _some(faces: np.ndarray) -> np.ndarray:
    return np.unique(np.linspace(0, len(faces) - 1, KNOWN).astype(int))


def _embeddings(embed, faces: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    return np.concatenate([embed(_as_picture(face), [points]) for face, points in zip(faces, landmarks)])
