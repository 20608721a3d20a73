"""BlazeFace full range (sparse): the fast detector, on the whole image and on overlapping tiles.

The network sees 192x192 pixels, so a face smaller than about 12 pixels there is lost; tiles show small faces
larger. Network: Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019;
its outputs are decoded as the full-range model card describes: one anchor per cell of a 48x48 grid.
"""

from __future__ import annotations

import cv2
import numpy as np

from facelib.detectors.boxes import Detection, merge_weighted, shrink_to, suppress
from facelib.litert import LiteModel

MODEL_FILE = "face_detection_full_range_sparse.tflite"
SIDE = 192  # input of the network
CELLS = 48  # cells a side of its output grid (stride 4)
TILE_SHARES = {2: 0.6, 3: 0.43}  # a tile's part of each side; what neighbours share holds a small face whole
LARGEST_USEFUL = 960  # long side; more pixels than this the tiles would only throw away
MANY = 3  # boxes from which on a picture counts as a group, and 3x3 tiles look for more
_MERGE_OVERLAP = 0.3  # of the boxes of one network run
_SAME_OVERLAP = 0.5  # of the boxes of different tiles


class BlazeFace:
    """Detector for faces from about 3 % of the image's long side (with tiles) to all of it."""

    name = "blazeface"

    def __init__(self, threshold: float = 0.4) -> None:
        """Prepare the network; `threshold` is the smallest score of a box, 0 to 1.

        It is low: the pipeline verifies every box, and wide open mouths score little.
        """
        self._model = LiteModel(MODEL_FILE)
        self._threshold = threshold
        rows, columns = np.divmod(np.arange(CELLS * CELLS), CELLS)
        self._anchors = ((np.stack([columns, rows], axis=1) + 0.5) * (SIDE / CELLS)).astype(np.float32)

    def detect(self, image: np.ndarray) -> list[Detection]:
        """Find boxes that may hold faces, best first.

        Args:
            image: (H, W, 3) uint8 BGR, of any size.

        Returns:
            Detections in pixels of `image`; several may belong to one face where tiles cut it.
        """
        small, scale = shrink_to(image, LARGEST_USEFUL)
        scale = np.tile(scale, 2)
        found = self._detect_window(small, 0, 0) + self._detect_tiles(small, 2)
        found = suppress(found, _SAME_OVERLAP)
        if len(found) >= MANY:
            found = suppress(found + self._detect_tiles(small, 3), _SAME_OVERLAP)
        return [Detection((d.rect + 0.5) * scale - 0.5, d.score, d.angle) for d in found]

    def _detect_tiles(self, image: np.ndarray, count: int) -> list[Detection]:
        """Detections in count x count overlapping tiles."""
        found = []
        for left, top, right, bottom in tile_windows(image.shape[1], image.shape[0], count):
            found += self._detect_window(image[top:bottom, left:right], left, top)
        return found

    def _detect_window(self, window: np.ndarray, left: int, top: int) -> list[Detection]:
        """Detections in one window of the image, in pixels of the image; (left, top) is its corner."""
        tensor, scale, pad_x, pad_y = _letterbox(window)
        boxes, logits = self._model.run(tensor)
        if boxes.shape[-1] == 1:
            boxes, logits = logits, boxes
        rows, scores = self._decode(boxes.reshape(-1, 16), logits.reshape(-1))
        detections = []
        for row, score in zip(rows, scores):
            points = row.reshape(-1, 2)
            points = (points - (pad_x, pad_y)) / scale - 0.5 + (left, top)
            right_eye, left_eye = points[2], points[3]
            angle = float(np.arctan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0]))
            detections.append(Detection(points[:2].reshape(4), float(score), angle))
        return detections

    def _decode(self, raw: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes and their points from the network's output.

        Args:
            raw: (N, 16): centre, size and six points (eyes, nose, mouth, ears) in input pixels from the
                anchor.
            logits: (N,) face scores before the sigmoid.

        Returns:
            (M, 16): left top, right bottom and the six points in input pixels; (M,) scores.
        """
        likely = np.flatnonzero(logits > np.log(self._threshold / (1 - self._threshold)))
        if not len(likely):
            return np.empty((0, 16)), np.empty(0)
        points = raw[likely].reshape(-1, 8, 2).astype(np.float64)
        anchors = self._anchors[likely]
        centre, half = points[:, 0] + anchors, points[:, 1] / 2
        points[:, 2:] += anchors[:, None]
        points[:, 0], points[:, 1] = centre - half, centre + half
        proper = (half > 0).all(axis=1)
        scores = 1 / (1 + np.exp(-np.clip(logits[likely].astype(np.float64), -60, 60)))
        return merge_weighted(points[proper].reshape(-1, 16), scores[proper], _MERGE_OVERLAP)


def tile_windows(width: int, height: int, count: int) -> list[tuple[int, int, int, int]]:
    """Windows (left, top, right, bottom) of count x count overlapping tiles that cover the whole image."""
    share = TILE_SHARES[count]

    def spans(length: int) -> list[tuple[int, int]]:
        size = max(1, round(length * share))
        starts = np.linspace(0, length - size, count).round().astype(int)
        return [(int(start), int(start) + size) for start in starts]

    return [(x0, y0, x1, y1) for y0, y1 in spans(height) for x0, x1 in spans(width)]


def _letterbox(window: np.ndarray) -> tuple[np.ndarray, float, float, float]:
    """Fit a window into the network's square, centred on black.

    Returns:
        (1, SIDE, SIDE, 3) float32 RGB in [-1, 1]; the scale; and the left and upper padding in input pixels.
    """
    height, width = window.shape[:2]
    scale = SIDE / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    fitted = cv2.resize(
        window, (new_width, new_height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    pad_x, pad_y = (SIDE - new_width) // 2, (SIDE - new_height) // 2
    rgb = cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB)  # a reversed view is slow to compute with
    tensor = np.full((1, SIDE, SIDE, 3), -1, np.float32)
    inner = tensor[0, pad_y : pad_y + new_height, pad_x : pad_x + new_width]
    np.multiply(rgb, np.float32(2 / 255), out=inner)
    inner -= 1
    return tensor, scale, pad_x, pad_y
