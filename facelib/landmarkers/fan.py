"""FAN, DFL's landmarker: its crops, its reading of the heatmaps and its second look at each face.

The first look is one crop around the box. The second turns the face upright by the points found, lets S3FD
box it again and averages five crops that lie a pixel apart. Where DFL calls the network once per crop, here
all crops of all faces of a batch of pictures share calls.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from core.errors import AlignmentError
from facelib.alignment import transform_mat, transform_points, warp_face
from facelib.detected import DetectedFace, LandmarkedFace
from facelib.detectors.boxes import Detection
from facelib.detectors.s3fd import S3fd

CROP_SIDE = 256
CELLS = 64  # side of a heatmap
BOX_SIDE = 195.0  # of a box at scale 1 ...
REACH = 200.0  # ... and of its crop
UPRIGHT_SIDE, UPRIGHT_TYPE = 256, "full_face"  # of the picture that the second look is given
MOVES = np.array([(0, 0), (-1, -1), (1, -1), (1, 1), (-1, 1)], np.float64)  # of the crops, in pixels
STEP = 0.25  # of a cell, towards the larger neighbour of the maximum
LARGEST_CROP = 1 << 14  # pixels; a box that asks for more is none of a face
# Crops in one call: their maps take some 60 MB each, and the CPU gains nothing from more.
CROPS_PER_CALL, CROPS_PER_CALL_ON_GPU = 5, 40

Networks = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Crop:
    """What the network is shown of an image."""

    pixels: np.ndarray  # (256, 256, 3) uint8 BGR
    centre: np.ndarray  # (2,) float64 in image pixels
    scale: float


class Fan:
    """Landmarker of 68 points; safe to call from many threads, which then wait for each other."""

    batched = True

    def __init__(
        self,
        variant: str = "2D",
        detector: S3fd | None = None,
        weights: Mapping[str, np.ndarray] | None = None,
        precision: str = "auto",
    ) -> None:
        """Build the network, which brings TensorFlow in.

        Args:
            variant: `2D`, or `3D` for profiles, whose hidden points are where they are in space.
            detector: What boxes the face for the second look; None takes S3FD where its weights are
                installed, and else goes without a second look (`second_pass` tells).
            weights: DFL's tensors; None takes the installed file.
            precision: `auto`, `float32` (DFL's own numbers) or `bfloat16`.

        Raises:
            SwapError: The weights are missing or wrong.
            UsageError: There is no such precision.
        """
        from core.nn import devices

        if weights is None:
            from facelib.weights import available, load

            weights = load(f"{variant}FAN")
            if detector is None and available("S3FD"):
                detector = S3fd(precision=precision)
        self.name = {"2D": "fan", "3D": "fan3d"}[variant]
        self._detector = detector
        self._crops = CROPS_PER_CALL_ON_GPU if devices.prepare().on_gpu else CROPS_PER_CALL
        from facelib.nets.fan import build_fan

        self._network = build_fan(weights, precision)
        self._lock = threading.Lock()  # one call has all cores or the GPU; two at once would cost memory

    @property
    def second_pass(self) -> bool:
        """Whether faces are looked at twice."""
        return self._detector is not None

    def find(
        self, images: Sequence[np.ndarray], detections: Sequence[Sequence[Detection]]
    ) -> list[list[LandmarkedFace]]:
        """The faces in the boxes of each image, in the boxes' order, each looked at twice.

        Args:
            images: (H, W, 3) uint8 BGR each, sizes may differ.
            detections: The boxes of each image.

        Returns:
            For each image its faces; a box is left out only where no crop can be made of it.
        """
        boxes = [(number, box) for number, found in enumerate(detections) for box in found]
        points = self._look([(images[number], box.rect) for number, box in boxes])
        points = self._look_again([images[number] for number, _ in boxes], points)
        faces: list[list[LandmarkedFace]] = [[] for _ in images]
        for (number, box), landmarks in zip(boxes, points):
            if landmarks is not None:
                left, top, right, bottom = (int(edge) for edge in box.rect)
                face = DetectedFace((left, top, right, bottom), landmarks.astype(np.float32), box.score)
                faces[number].append(LandmarkedFace(face))
        return faces

    def points(self, image: np.ndarray, rect: np.ndarray, *, second_pass: bool = False) -> np.ndarray | None:
        """(68, 2) float32 of the face in a rect that somebody drew by hand; None where no crop can be made.

        Args:
            image: (H, W, 3) uint8 BGR.
            rect: (4,) left, top, right, bottom in pixels.
            second_pass: Look twice: six crops in place of one.
        """
        points = self._look([(image, rect)])
        if second_pass:
            points = self._look_again([image], points)
        return None if points[0] is None else points[0].astype(np.float32)

    def _look(
        self, faces: Sequence[tuple[np.ndarray, np.ndarray]], moves: np.ndarray = MOVES[:1]
    ) -> list[np.ndarray | None]:
        """(68, 2) float64 points of each (image, rect), mean over moved crops; None where one is refused."""
        crops = [_crops(image, rect, moves) for image, rect in faces]
        points = self._measure([crop for several in crops for crop in several])
        results: list[np.ndarray | None] = []
        for several in crops:
            results.append(points[: len(several)].mean(axis=0) if several else None)
            points = points[len(several) :]
        return results

    def _measure(self, crops: Sequence[Crop]) -> np.ndarray:
        """(N, 68, 2) float64 points of the crops in the pixels of their images."""
        found = [np.empty((0, 68, 2))]
        for start in range(0, len(crops), self._crops):
            chunk = crops[start : start + self._crops]
            batch = np.stack([cv2.cvtColor(crop.pixels, cv2.COLOR_BGR2RGB) for crop in chunk])
            with self._lock:
                heatmaps = self._network(batch.astype(np.float32) / np.float32(255))
            found.extend(decode(maps, crop.centre, crop.scale)[None] for maps, crop in zip(heatmaps, chunk))
        return np.concatenate(found)

    def _look_again(
        self, images: Sequence[np.ndarray], points: Sequence[np.ndarray | None]
    ) -> list[np.ndarray | None]:
        """The points after the second look; as they were where S3FD sees no face or several.

        Args:
            images: The image of each face.
            points: (68, 2) float64 of each face, or None.
        """
        results = list(points)
        if self._detector is None:
            return results
        upright = []  # number of the face, matrix, picture
        for number, (image, first) in enumerate(zip(images, points)):
            if first is None:
                continue
            try:
                matrix = transform_mat(first, UPRIGHT_SIDE, UPRIGHT_TYPE)
            except AlignmentError:  # the points are in a heap: no second look, as DFL does
                continue
            upright.append((number, matrix, warp_face(image, matrix, UPRIGHT_SIDE, cv2.INTER_LINEAR)))
        boxes = self._detector.detect_batch([picture for _, _, picture in upright], exact=True)
        single = [(face, found[0].rect) for face, found in zip(upright, boxes) if len(found) == 1]
        again = self._look([(picture, rect) for (_, _, picture), rect in single], MOVES)
        for ((number, matrix, _), _), second in zip(single, again):
            if second is not None:
                results[number] = transform_points(second, matrix, inverse=True)
        return results


class Fan2d(Fan):
    """The landmarker `fan`."""

    def __init__(self, detector: S3fd | None = None, precision: str = "auto") -> None:
        """Build the network from the installed weights; see `Fan`."""
        super().__init__("2D", detector, precision=precision)


class Fan3d(Fan):
    """The landmarker `fan3d`."""

    def __init__(self, detector: S3fd | None = None, precision: str = "auto") -> None:
        """Build the network from the installed weights; see `Fan`."""
        super().__init__("3D", detector, precision=precision)


def _crops(image: np.ndarray, rect: np.ndarray, moves: np.ndarray) -> list[Crop]:
    """The crops for a rect (4,), one per row of `moves` (N, 2); none at all where one is impossible."""
    left, top, right, bottom = (float(edge) for edge in rect)
    scale = (right - left + bottom - top) / BOX_SIDE
    centre = np.array([(left + right) / 2, (top + bottom) / 2])
    crops = []
    for move in moves:
        pixels = cut_crop(image, centre + move, scale)
        if pixels is None:
            return []
        crops.append(Crop(pixels, centre + move, scale))
    return crops


def image_from_map(centre: np.ndarray, scale: float, side: int) -> np.ndarray:
    """(3, 3) matrix from a map of `side` pixels to the image.

    Inverted numerically, as in DFL: the crops' corners are cut to whole pixels, and where a corner lies on
    one the last bit decides.
    """
    reach = REACH * scale
    shift = side * (-np.asarray(centre, np.float64) / reach + 0.5)
    gain = side / reach
    return np.linalg.inv(np.array([[gain, 0, shift[0]], [0, gain, shift[1]], [0, 0, 1]]))


def cut_crop(image: np.ndarray, centre: np.ndarray, scale: float) -> np.ndarray | None:
    """What the network is shown: a square around `centre`, black where the image ends.

    Args:
        image: (H, W, 3) uint8.
        centre: (2,) float in image pixels.
        scale: Sides of the square in 200 pixels.

    Returns:
        (256, 256, 3) uint8, or None where the square is empty, beyond all measure or outside the image.
    """
    if not (np.isfinite(centre).all() and 0 < REACH * scale < LARGEST_CROP):
        return None
    matrix = image_from_map(centre, scale, CROP_SIDE)
    corners = matrix @ np.array([[1, 1, 1], [CROP_SIDE, CROP_SIDE, 1]], np.float64).T
    (left, right), (top, bottom) = np.trunc(corners[:2]).astype(int)
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not inside.size:
        return None
    square = np.zeros((bottom - top, right - left, 3), image.dtype)
    below, beside = max(-top, 0), max(-left, 0)
    square[below : below + inside.shape[0], beside : beside + inside.shape[1]] = inside
    return cv2.resize(square, (CROP_SIDE, CROP_SIDE), interpolation=cv2.INTER_LINEAR)


def decode(heatmaps: np.ndarray, centre: np.ndarray, scale: float) -> np.ndarray:
    """Points of a crop: each heatmap's maximum, moved a quarter of a cell towards its larger neighbours.

    Args:
        heatmaps: (N, 64, 64) float32.
        centre: (2,) float of the crop in image pixels.
        scale: Of the crop.

    Returns:
        (N, 2) float64 in image pixels.
    """
    count, rows, columns = heatmaps.shape
    y, x = np.divmod(heatmaps.reshape(count, -1).argmax(axis=1), columns)
    cells = np.stack([x, y], axis=1).astype(np.float64)
    within = np.flatnonzero((x > 0) & (x < columns - 1) & (y > 0) & (y < rows - 1))
    maps, x, y = heatmaps[within], x[within], y[within]
    each = np.arange(len(within))
    slopes = np.stack(
        [maps[each, y, x + 1] - maps[each, y, x - 1], maps[each, y + 1, x] - maps[each, y - 1, x]], axis=1
    )
    cells[within] += STEP * np.sign(slopes)
    matrix = image_from_map(centre, scale, CELLS)
    return (cells + 0.5) @ matrix[:2, :2].T + matrix[:2, 2]
