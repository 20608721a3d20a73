"""Eyes, brows, nostrils and mouth of a drawn person: curves through the landmarks, painted without light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from facelib.landmarks import LEFT_BROW, LEFT_EYE, RIGHT_BROW, RIGHT_EYE
from facelib.synthetic_head import Head, Person

if TYPE_CHECKING:
    from facelib.synthetic import Motion

EYEBALL = 12.2  # mm, radius
IRIS = 6.0
DARK = np.float32([0.05, 0.05, 0.07])


class Projector(Protocol):
    """What the painters need of the camera."""

    def project(self, points: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Window:
    """A part of the picture around some landmarks and the camera looking at it; painting is fast in there."""

    albedo: np.ndarray  # (h, w, 3) float32, a view of the whole picture
    camera: Projector
    corner: np.ndarray  # (2,) pixels
    pixel: float  # pixels per mm

    @classmethod
    def around(
        cls, albedo: np.ndarray, camera: Projector, points: np.ndarray, margin: float, pixel: float
    ) -> Window:
        seen = camera.project(points)[:, :2]
        limit = [albedo.shape[1] - 8, albedo.shape[0] - 8]
        left, top = np.clip(seen.min(axis=0) - margin * pixel, 0, limit).astype(int)
        right, bottom = np.maximum(seen.max(axis=0) + margin * pixel, [left + 8, top + 8]).astype(int)
        return cls(albedo[top:bottom, left:right], camera, np.array([left, top]), pixel)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) mm -> (N, 2) pixels of the window."""
        return self.camera.project(points)[:, :2] - self.corner


def draw_features(
    albedo: np.ndarray, head: Head, points: np.ndarray, camera: Projector, motion: Motion
) -> None:
    """Paint the features at the (68, 3) points, in place.

    Args:
        albedo: (H, W, 3) float32 BGR in [0, 1], the unlit skin as the camera sees it.
        head: Whose face it is.
        points: Landmarks with the expression, in mm.
        camera: What takes them to pixels.
        motion: For gaze and blink.
    """
    pixel = _pixels_per_mm(points, camera)
    _draw_nostrils(Window.around(albedo, camera, points[31:36], 14, pixel), head.person, points)
    _draw_mouth(Window.around(albedo, camera, points[48:68], 8, pixel), head.person, points)
    for eye, side in ((RIGHT_EYE, -1), (LEFT_EYE, 1)):
        window = Window.around(albedo, camera, points[eye], 12, pixel)
        _draw_eye(window, head.person, points[eye], side, motion)
    for brow, step in ((RIGHT_BROW, 1), (LEFT_BROW, -1)):
        _draw_brow(Window.around(albedo, camera, points[brow], 10, pixel), head.person, points[brow][::step])


def _pixels_per_mm(points: np.ndarray, camera: Projector) -> float:
    top, chin = camera.project(points[[27, 8]])[:, :2]
    return float(np.linalg.norm(chin - top) / np.linalg.norm(points[8, :2] - points[27, :2]))


def curve(points: np.ndarray, steps: int = 8, closed: bool = False) -> np.ndarray:
    """A smooth line through the points (N, D): Catmull-Rom, `steps` pieces between two of them."""
    if closed:
        p = np.concatenate([points[-1:], points, points[:2]])
    else:
        p = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    line = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    line = line.reshape(-1, points.shape[1])
    return line if closed else np.concatenate([line, points[-1:]])


def _area(albedo: np.ndarray, polygon: np.ndarray, blur: float) -> np.ndarray:
    """(H, W, 1) soft mask of a polygon of pixels."""
    mask = np.zeros(albedo.shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_8, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), blur)[..., None] if blur > 0 else mask[..., None]


def _blend(albedo: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    albedo += mask * (colour - albedo)


def _stroke(albedo: np.ndarray, line: np.ndarray, colour: np.ndarray, width: float, strength: float) -> None:
    """A soft line of `width` pixels."""
    mask = np.zeros(albedo.shape[:2], np.uint8)
    points = np.round(line * 16).astype(np.int32)
    cv2.polylines(mask, [points], False, 255, max(1, round(width)), cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.6).astype(np.float32)[..., None] * (strength / 255)
    _blend(albedo, soft, colour)


def _draw_eye(view: Window, person: Person, lids: np.ndarray, side: int, motion: Motion) -> None:
    """Eyeball, iris, lids and lashes; `lids`: the eye's six landmarks, `side`: 1 for the viewer's right."""
    albedo, pixel = view.albedo, view.pixel
    upper, lower = view.project(curve(lids[[0, 1, 2, 3]])), view.project(curve(lids[[3, 4, 5, 0]]))
    opening = _area(albedo, np.concatenate([upper, lower]), 0.5 * pixel)
    corners = (lids[0] + lids[3]) / 2
    ball = corners + [0, 0, 0.80 * EYEBALL]
    forward = np.array([np.sin(motion.gaze[0]), np.sin(motion.gaze[1]), -1.0])
    forward /= np.linalg.norm(forward)
    pupil = view.project((ball + EYEBALL * forward)[None])[0]
    middle = view.project((ball + EYEBALL * np.array([0, 0, -1.0]))[None])[0]
    rows, columns = np.indices(albedo.shape[:2], sparse=True)
    from_middle = np.sqrt((columns - middle[0]) ** 2 + (rows - middle[1]) ** 2)[..., None] / (15 * pixel)
    white = np.float32([0.86, 0.88, 0.91]) * (1.0 - 0.35 * np.clip(from_middle, 0, 1.4) ** 2)
    from_pupil = (np.sqrt((columns - pupil[0]) ** 2 + (rows - pupil[1]) ** 2)[..., None] / pixel).astype(
        np.float32
    )
    radius = IRIS * (0.5 + 0.5 * person.eyes)
    iris = np.float32(person.iris) * (0.75 + 0.6 * np.clip(from_pupil / radius, 0, 1) ** 2)
    iris *= 1 - 0.55 * np.clip((from_pupil - 0.8 * radius) / (0.2 * radius), 0, 1)
    eye = _mix(white, iris, radius - from_pupil)
    eye = _mix(eye, DARK * 0.4, 0.42 * radius - from_pupil)
    glint = pupil + pixel * np.array([np.sign(person.lamp[0]) * 1.9, -2.0])
    from_glint = np.sqrt((columns - glint[0]) ** 2 + (rows - glint[1]) ** 2)[..., None] / pixel
    eye = _mix(eye, np.float32([1.2, 1.2, 1.2]), 1.0 - from_glint)
    lid_shadow = cv2.GaussianBlur(opening, (0, 0), 1.6 * pixel)[..., None]
    eye = eye * (0.45 + 0.55 * np.clip(lid_shadow * 1.3, 0, 1))
    _blend(albedo, opening, eye.astype(np.float32))
    skin = np.float32(person.skin)
    fold = upper + np.array([0, -3.2 * pixel * (1 - 0.4 * motion.blink)])
    _stroke(albedo, fold[3:-3], skin * 0.55, 1.0 * pixel, 0.65)
    _stroke(albedo, lower, skin * 0.5, 0.8 * pixel, 0.5)
    _stroke(albedo, upper, DARK, (1.9 if person.long_hair else 1.3) * pixel, 0.85)
    tip = upper[0 if side < 0 else -1]
    _stroke(albedo, np.stack([tip, tip + pixel * np.array([side * 2.0, 0.5])]), DARK, 1.0 * pixel, 0.5)


def _mix(below: np.ndarray, above: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """`above` where `inside` (mm within its edge) is positive, with an edge 0.6 mm wide."""
    cover = np.clip(inside / 0.6 + 0.5, 0, 1)
    return below + cover * (above - below)


def _draw_brow(view: Window, person: Person, brow: np.ndarray) -> None:
    """Hairs along the five landmarks, which run from the temple to the nose."""
    rng = np.random.default_rng(person.seed + 5)
    albedo, pixel = view.albedo, view.pixel
    line = view.project(curve(brow, 12))
    count = round(170 * person.brow_weight)
    place = rng.uniform(0, 1, count)
    along = np.linspace(0, 1, len(line))
    roots = np.stack([np.interp(place, along, line[:, 0]), np.interp(place, along, line[:, 1])], axis=1)
    thickness = 3.4 * person.brow_weight**0.5 * (0.35 + 0.65 * np.sin(np.pi * (0.12 + 0.76 * place)))
    roots[:, 1] += rng.uniform(-0.5, 0.5, count) * thickness * pixel
    lean = np.sign(line[0, 0] - line[-1, 0])  # towards the temple
    hairs = (
        np.stack([lean * rng.uniform(2.2, 4.5, count), rng.uniform(-2.0, 0.2, count) * place], axis=1) * pixel
    )
    ends = np.round(np.stack([roots, roots + hairs], axis=1) * 16).astype(np.int32).tolist()
    mask = np.zeros(albedo.shape[:2], np.uint8)
    for (root, tip), strength in zip(ends, rng.integers(110, 220, count).tolist()):
        cv2.line(mask, root, tip, strength, 1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.55 * pixel).astype(np.float32)[..., None] / 255
    _blend(albedo, np.clip(1.25 * soft, 0, 0.92), np.float32(person.hair) * 0.7)


def _draw_nostrils(view: Window, person: Person, points: np.ndarray) -> None:
    """Two holes and the edges of the wings."""
    albedo, pixel = view.albedo, view.pixel
    skin = np.float32(person.skin)
    for outer, inner in ((31, 32), (35, 34)):
        hole = (0.35 * points[outer] + 0.65 * points[inner]) + [0, 1.0, 0]
        x, y = view.project(hole[None])[0]
        mask = np.zeros(albedo.shape[:2], np.float32)
        tilt = 18 if outer == 31 else -18
        axes = (round(3.4 * person.nose * pixel * 16), round(1.5 * pixel * 16))
        cv2.ellipse(mask, (round(x * 16), round(y * 16)), axes, tilt, 0, 360, 1.0, -1, cv2.LINE_8, 4)
        _blend(albedo, 0.8 * cv2.GaussianBlur(mask, (0, 0), 0.8 * pixel)[..., None], skin * 0.22)
        wing = points[[outer, outer, outer]] + np.array([[0, -9, 4], [0, -3, 3], [0, 1, 2]])
        wing[:, 0] += np.sign(points[outer, 0]) * np.array([0.5, 3.0, 1.0])
        _stroke(albedo, view.project(curve(wing)), skin * 0.6, 1.4 * pixel, 0.45)


def _draw_mouth(view: Window, person: Person, points: np.ndarray) -> None:
    """Lips, and between them teeth and dark as far as they are open."""
    albedo, pixel = view.albedo, view.pixel
    seen = view.project(points)
    upper_rim = np.concatenate([curve(seen[48:52], 6), curve(seen[51:55], 6)])  # a cupid's bow in the middle
    lower_rim = curve(seen[[54, 55, 56, 57, 58, 59, 48]], 6)
    upper_edge, lower_edge = curve(seen[60:65], 6), curve(seen[[64, 65, 66, 67, 60]], 6)
    lips = np.float32(person.lips)
    upper = _area(albedo, np.concatenate([upper_rim, upper_edge[::-1]]), 0.9 * pixel)
    lower = _area(albedo, np.concatenate([lower_rim, lower_edge[::-1]]), 0.9 * pixel)
    _blend(albedo, 0.85 * upper, lips * 0.86)
    _blend(albedo, 0.85 * lower, lips * 1.05)
    shine = lower_rim[8:-8] * 0.55 + np.interp(
        np.linspace(0, 1, len(lower_rim) - 16), np.linspace(0, 1, len(lower_edge)), lower_edge[:, 0]
    )[:, None] * [0.45, 0]
    shine[:, 1] += 0.45 * lower_edge[len(lower_edge) // 2, 1]
    _stroke(albedo, shine, lips + 0.22, 1.6 * pixel, 0.30 * person.lip_fullness)
    hollow = _area(albedo, np.concatenate([upper_edge, lower_edge]), 0.5 * pixel)
    gap = float(np.linalg.norm(seen[66] - seen[62]))
    if gap > 1.2 * pixel:
        inside = np.broadcast_to(np.float32([0.10, 0.08, 0.20]), albedo.shape).copy()
        arch = np.sin(np.linspace(0, np.pi, len(upper_edge)))[:, None] ** 0.4
        teeth_edge = upper_edge + arch * [0.0, min(0.5 * gap, 6.0 * pixel)]
        teeth = np.concatenate([upper_edge - [0, pixel], teeth_edge[::-1]])
        _blend(inside, _area(albedo, teeth, 0.6 * pixel), np.float32([0.74, 0.80, 0.83]))
        tongue = np.concatenate([lower_edge[4:-4] + 1, (lower_edge[4:-4] - [0, 0.28 * gap])[::-1]])
        _blend(inside, 0.8 * _area(albedo, tongue, 1.5 * pixel), np.float32([0.28, 0.26, 0.52]))
        _blend(albedo, hollow, inside)
    _stroke(albedo, upper_edge, lips * 0.30, 1.1 * pixel, 0.8 if gap < 2 * pixel else 0.4)
