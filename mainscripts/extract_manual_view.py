"""The picture of manual extraction: the frame, the square, the landmarks, a lens and the help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from core.errors import AlignmentError
from facelib.alignment import transform_mat, transform_points, unit_from_image
from facelib.drawing import draw_landmarks

GREEN, CYAN, RED, GREY, BLUE = (0, 255, 0), (255, 255, 0), (0, 0, 255), (160, 160, 160), (255, 96, 0)  # BGR
WHITE = (255, 255, 255)
WIDEST = 3  # times the window's width: a frame that is all width is shown smaller
LENS_SHARE = 3  # the lens is this part of the view's smaller side ...
LENS_SIDES = (64, 320)  # ... in these limits
NARROW = 1.4  # width over height; views below it have the lens beside them, not in a corner
EYES_HEIGHT = 0.45  # part of the mean face's square that the strip with the eyes shows
ROW, MARGIN = 19, 6  # pixels of the text


@dataclass(frozen=True)
class View:
    """How a frame is shown: its pixel p is at `scale * p + offset`, pixel centres being whole numbers."""

    width: int
    height: int
    scale: float
    offset: tuple[float, float]

    @property
    def matrix(self) -> np.ndarray:
        """(2, 3) float64 affine from pixels of the frame to those of the view."""
        return np.array([[self.scale, 0, self.offset[0]], [0, self.scale, self.offset[1]]], np.float64)

    def to_view(self, point: tuple[float, float]) -> tuple[float, float]:
        return point[0] * self.scale + self.offset[0], point[1] * self.scale + self.offset[1]

    def to_image(self, point: tuple[float, float]) -> tuple[float, float]:
        return (point[0] - self.offset[0]) / self.scale, (point[1] - self.offset[1]) / self.scale


@dataclass(frozen=True, eq=False)
class Picture:
    """All that is drawn."""

    image: np.ndarray  # (H, W, 3) uint8 BGR, the frame
    base: np.ndarray | None  # the frame as the view shows it, if that is at hand
    view: View
    rect: tuple[int, int, int, int]
    landmarks: np.ndarray | None  # (68, 2) in pixels of the frame
    locked: bool
    proposals: Sequence[tuple[int, int, int, int]]
    face_type: str
    lens: bool
    lines: Sequence[str]  # of text, ASCII


def base_view(image: np.ndarray, window_size: int) -> tuple[View, np.ndarray]:
    """The whole frame scaled by DFL's rule, window_size / (height * 16 / 9), and that picture of it.

    Args:
        image: (H, W, 3) uint8 BGR.
        window_size: Width of a 16:9 frame in the view; 0 leaves the frame as it is.
    """
    height, width = image.shape[:2]
    scale = 1.0
    if window_size:
        scale = min(window_size / (height * 16 / 9), WIDEST * window_size / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = image
    if size != (width, height):
        shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return View(*size, scale, (0.5 * scale - 0.5, 0.5 * scale - 0.5)), shown


def zoomed_view(base: View, centre: tuple[float, float], half: int) -> View:
    """The frame enlarged so that the square is half as high as the view, as near to its place as fits.

    Args:
        base: The whole frame's view.
        centre: Of the square in pixels of the frame.
        half: Of the square's side.
    """
    quarter = min(base.width, base.height) / 4
    scale = max(quarter / half, base.scale)
    reach = min(scale * half, min(base.width, base.height) / 2)
    x, y = base.to_view(centre)
    x, y = (min(max(v, reach), size - reach) for v, size in ((x, base.width), (y, base.height)))
    return View(base.width, base.height, scale, (x - scale * centre[0], y - scale * centre[1]))


def draw_picture(picture: Picture) -> np.ndarray:
    """(H, W, 3) uint8 BGR of the view's size; beside a narrow view stands the lens."""
    view = picture.view
    if picture.base is not None:
        shown = picture.base.copy()
    else:
        shown = cv2.warpAffine(picture.image, view.matrix, (view.width, view.height), flags=cv2.INTER_LINEAR)
    for rect in picture.proposals:
        _draw_rect(shown, view, rect, GREY)
    _draw_rect(shown, view, picture.rect, BLUE)
    color = CYAN if picture.locked else GREEN
    if picture.landmarks is not None:
        _draw_crop(shown, view, picture.landmarks, picture.face_type)
        shown = draw_landmarks(shown, transform_points(picture.landmarks, view.matrix), color)
    if picture.lens:
        shown = _with_lens(shown, picture, color)
    _write_lines(shown, picture.lines)
    return shown


def _draw_rect(shown: np.ndarray, view: View, rect: tuple[int, int, int, int], color: tuple) -> None:
    corners = [view.to_view(corner) for corner in (rect[:2], rect[2:])]
    (left, top), (right, bottom) = ((_whole(x), _whole(y)) for x, y in corners)
    cv2.rectangle(shown, (left, top), (right, bottom), color, 2 if color == BLUE else 1)


def _draw_crop(shown: np.ndarray, view: View, landmarks: np.ndarray, face_type: str) -> None:
    """The outline of what would be cut out."""
    try:
        matrix = transform_mat(landmarks, 256, _shown_type(face_type))
    except AlignmentError:
        return
    corners = np.array([(0, 0), (255, 0), (255, 255), (0, 255)], np.float32)
    points = transform_points(transform_points(corners, matrix, inverse=True), view.matrix)
    outline = np.array([[_whole(x), _whole(y)] for x, y in points], np.int32)
    cv2.polylines(shown, [outline], True, RED, 1, cv2.LINE_AA)


def _with_lens(shown: np.ndarray, picture: Picture, color: tuple) -> np.ndarray:
    """The view with the face as it would be cut out and, larger, its eyes, away from the square."""
    height, width = shown.shape[:2]
    side = min(max(min(height, width) // LENS_SHARE, LENS_SIDES[0]), LENS_SIDES[1])
    strip = round(side * EYES_HEIGHT)
    if min(height, width) < side + strip + 2:
        return shown
    pieces = []
    for matrix, size in _lens_parts(picture, side, strip):
        piece = cv2.warpAffine(picture.image, matrix, size, flags=cv2.INTER_LINEAR)
        if picture.landmarks is not None:
            for x, y in transform_points(picture.landmarks, matrix):
                cv2.circle(piece, (_whole(x), _whole(y)), 1, color, -1)
        cv2.rectangle(piece, (0, 0), (size[0] - 1, size[1] - 1), WHITE, 1)
        pieces.append(piece)
    lens = np.concatenate(pieces)
    left = width - side
    if width < NARROW * height:
        left = width
        shown = np.concatenate([shown, np.zeros((height, side, 3), np.uint8)], axis=1)
    elif picture.view.to_view(((picture.rect[0] + picture.rect[2]) / 2, 0))[0] > width / 2:
        left = 0
    shown[height - len(lens) :, left : left + side] = lens  # below: the text is above
    return shown


def _lens_parts(picture: Picture, side: int, strip: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
    """(affine from the frame, (width, height)) of each part of the lens, from above."""
    if picture.landmarks is not None:
        try:
            crop = transform_mat(picture.landmarks, side, _shown_type(picture.face_type))
            eyes = side * unit_from_image(picture.landmarks)
            return [(crop, (side, side)), (eyes, (side, strip))]
        except AlignmentError:
            pass
    left, top, right, _ = picture.rect
    scale = side / max(right - left, 1)
    return [(np.array([[scale, 0, -scale * left], [0, scale, -scale * top]], np.float64), (side, side))]


def _write_lines(shown: np.ndarray, lines: Sequence[str]) -> None:
    """Text on a darkened ground at the top left, over the whole width that it takes."""
    style = (cv2.FONT_HERSHEY_SIMPLEX, 0.45)
    width = max((cv2.getTextSize(line, *style, 1)[0][0] for line in lines), default=0) + 2 * MARGIN
    ground = shown[: ROW * len(lines) + MARGIN, :width]
    ground[:] = ground // 3
    for number, line in enumerate(lines):
        cv2.putText(shown, line, (MARGIN, ROW * (number + 1) - 3), *style, WHITE, 1, cv2.LINE_AA)


def _shown_type(face_type: str) -> str:
    """The face type whose crop is drawn; `mark_only` has none."""
    return "full_face" if face_type == "mark_only" else face_type


def _whole(value: float) -> int:
    """A coordinate that OpenCV can draw at."""
    return round(float(min(max(value, -30000.0), 30000.0)))
