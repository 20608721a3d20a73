"""Face boxes as detectors report them, and the ways to thin them out."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Detection:
    """A box that may hold a face.

    Attributes:
        rect: (4,) float64, left, top, right, bottom in image pixels; may reach beyond the image.
        score: How sure the detector is, 0 to 1.
        angle: Rotation of the head in the image plane in radians, clockwise on screen; 0 where unknown.
    """

    rect: np.ndarray
    score: float
    angle: float = 0.0


def shrink_to(image: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture with at most `longest` pixels on its long side, never enlarged.

    Args:
        image: (H, W, C) uint8.
        longest: Pixels.

    Returns:
        The picture, the same array where it is small enough; and (2,) float64, pixels of `image` per pixel of
        it in x and y. Pixel centres are whole numbers, so scaling back goes about (-0.5, -0.5).
    """
    height, width = image.shape[:2]
    shrink = min(1.0, longest / max(height, width))
    if shrink < 1:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return image, np.array([width / image.shape[1], height / image.shape[0]])


def intersections(rect: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """Areas that `rect` (4,) shares with each of `rects` (N, 4); (N,) float64."""
    rects = np.asarray(rects, np.float64).reshape(-1, 4)
    sides = np.minimum(rect[2:], rects[:, 2:]) - np.maximum(rect[:2], rects[:, :2])
    return np.prod(np.clip(sides, 0, None), axis=1)


def areas(rects: np.ndarray) -> np.ndarray:
    """Areas of (N, 4) rects; zero for turned-over ones."""
    rects = np.asarray(rects, np.float64).reshape(-1, 4)
    return np.prod(np.clip(rects[:, 2:] - rects[:, :2], 0, None), axis=1)


def overlaps(rect: np.ndarray, rects: np.ndarray) -> np.ndarray:
    """Intersection over union of `rect` (4,) with each of `rects` (N, 4); (N,) in [0, 1]."""
    shared = intersections(rect, rects)
    union = areas(rect)[0] + areas(rects) - shared
    return shared / np.maximum(union, 1e-9)


def merge_weighted(values: np.ndarray, scores: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Weighted non-maximum suppression: overlapping boxes become their mean, weighted by score.

    The blending form of BlazeFace (Bazarevsky et al. 2019, section 3.3), which steadies boxes from frame to
    frame.

    Args:
        values: (N, K) rows that begin with left, top, right, bottom; the rest is averaged along with them.
        scores: (N,) in [0, 1].
        threshold: Boxes with a larger intersection over union belong together.

    Returns:
        (M, K) merged rows and (M,) scores (the best of each group), best first.
    """
    order = np.argsort(-scores, kind="stable")
    merged, merged_scores = [], []
    while len(order):
        near = overlaps(values[order[0], :4], values[order, :4]) > threshold
        near[0] = True
        group = order[near]
        weights = scores[group]
        merged.append(weights @ values[group] / weights.sum())
        merged_scores.append(scores[order[0]])
        order = order[~near]
    return np.array(merged).reshape(-1, values.shape[1]), np.array(merged_scores)


def suppress(detections: list[Detection], threshold: float) -> list[Detection]:
    """Plain non-maximum suppression: the best of boxes that overlap by more than `threshold`."""
    kept: list[Detection] = []
    for detection in sorted(detections, key=lambda d: -d.score):
        if not kept or overlaps(detection.rect, np.array([k.rect for k in kept])).max() <= threshold:
            kept.append(detection)
    return kept
