"""Drawn people whose landmarks are known: for the demo without clips and for tests without photographs.

`render` draws one frame from a head, a pose and an expression; `perform` says how a person moves through a
clip, `speak` what it sounds like. Everything is numpy and OpenCV; the same input gives the same pixels.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import cv2
import numpy as np

from facelib.landmarks import LEFT_EYE, RIGHT_EYE
from facelib.synthetic_features import draw_features
from facelib.synthetic_head import ANNA, BORIS, COLUMNS, ROWS, Head, Person, build_head, jaw_weights

__all__ = ["ANNA", "BORIS", "Frame", "Head", "Motion", "Person", "build_head", "perform", "render", "speak"]

DISTANCE = 950.0  # mm from the camera to the skull's centre
HINGE = np.array([0.0, -8.0, 66.0])  # of the jaw, in front of the ears
SUPERSAMPLING = 1.5
JAW_TURN = 0.24  # radians between a closed and a wide open mouth


@dataclass(frozen=True)
class Motion:
    """Pose and expression at one moment."""

    pitch: float = 0.0  # radians; up is positive
    yaw: float = 0.0  # radians; towards the viewer's left is positive
    roll: float = 0.0  # radians, clockwise on screen
    shift: tuple[float, float] = (0.0, 0.0)  # of the head in the image, fractions of its width
    mouth: float = 0.0  # 0 closed .. 1 wide open
    smile: float = 0.0  # -1 pursed .. 1 broad
    brows: float = 0.0  # -1 frowning .. 1 raised
    blink: float = 0.0  # 0 open .. 1 closed
    gaze: tuple[float, float] = (0.0, 0.0)  # radians right and down on screen, against the head


@dataclass(frozen=True)
class Frame:
    """A drawn picture and what it shows."""

    image: np.ndarray  # (size, size, 3) uint8 BGR
    landmarks: np.ndarray  # (68, 2) float32, pixels


@dataclass(frozen=True)
class Camera:
    """Turns head coordinates into pixels of the supersampled picture."""

    rotation: np.ndarray  # (3, 3)
    focal: float
    centre: np.ndarray  # (2,)

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) mm -> (..., 3): x and y in pixels, z the depth in mm."""
        turned = (points - HINGE) @ self.rotation.T
        depth = turned[..., 2:] + DISTANCE
        return np.concatenate([turned[..., :2] * (self.focal / depth) + self.centre, depth], axis=-1)


def render(
    head: Head, motion: Motion, size: int = 480, face: float = 0.42, grain: int | None = None
) -> Frame:
    """Draw a person.

    Args:
        head: From `build_head`.
        motion: Pose and expression.
        size: Side of the square picture in pixels.
        face: Width of the face from ear to ear as a fraction of the picture's.
        grain: Seed of the camera's noise; without it the picture is clean.

    Returns:
        The picture and the 68 points in it.
    """
    side = round(size * SUPERSAMPLING)
    camera = _camera(motion, side, face)
    points = express(head, motion)
    picture = _background(head.person, side, camera.project(points[[8, 4, 12]]), motion)
    _draw_head(picture, head, points, camera, motion)
    image = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) * 255
    if grain is not None:
        image += 2 * np.random.default_rng(grain).standard_normal(image.shape, np.float32)
    scale = size / side
    landmarks = (camera.project(points)[:, :2] + 0.5) * scale - 0.5
    return Frame(np.clip(image + 0.5, 0, 255).astype(np.uint8), landmarks.astype(np.float32))


def _draw_head(picture: np.ndarray, head: Head, points: np.ndarray, camera: Camera, motion: Motion) -> None:
    """Draw the head over what is behind it, in place."""
    vertices = _open_jaw(head.vertices.astype(np.float64), head.jaw_weights, motion.mouth)
    seen = camera.project(vertices)
    normals = (_normals(vertices) @ camera.rotation.T).astype(np.float32)
    low = np.clip(np.floor(seen[..., :2].min(axis=(0, 1))) - 3, 0, None).astype(int)
    high = np.ceil(seen[..., :2].max(axis=(0, 1))).astype(int) + 3
    part = picture[low[1] : high[1], low[0] : high[0]]
    seen[..., :2] -= low
    where = _texture_coordinates(seen, part.shape[:2])
    cover = cv2.GaussianBlur((where[..., 0] >= 0).astype(np.float32), (0, 0), 0.8)[..., None]
    where = np.maximum(where, 0)
    albedo = cv2.remap(head.texture, _texels(where, head.texture.shape[0]), None, cv2.INTER_LINEAR)
    draw_features(albedo, head, points, replace(camera, centre=camera.centre - low), motion)
    shade = _light(head.person, cv2.remap(normals, where, None, cv2.INTER_LINEAR))
    part += cover * (np.clip(albedo * shade, 0, 1) - part)


def express(head: Head, motion: Motion) -> np.ndarray:
    """(68, 3) landmarks of the head with this expression, before it is turned."""
    points = head.landmarks.copy()
    lower_lip = [55, 56, 57, 58, 59, 65, 66, 67]
    weights = jaw_weights(points)
    weights[48:68] = 0
    weights[lower_lip] = 1
    weights[[48, 54, 60, 64]] = 0.5
    points = _open_jaw(points, weights, motion.mouth)
    corners = [48, 54, 60, 64]
    mouth = [i for i in range(48, 68) if i not in corners]
    points[corners, 0] *= 1 + 0.13 * motion.smile - 0.10 * motion.mouth
    points[corners, 1] -= 4.0 * max(motion.smile, 0)
    points[mouth, 0] *= 1 + 0.09 * motion.smile - 0.06 * motion.mouth
    points[[50, 51, 52, 61, 62, 63], 1] -= 2.0 * motion.mouth
    points[17:27, 1] -= 5.0 * motion.brows
    points[[20, 21, 22, 23], 1] -= np.array([0.8, 1.5, 1.5, 0.8]) * motion.brows
    for eye in (RIGHT_EYE, LEFT_EYE):
        lids = points[eye]
        upper, lower = lids[[1, 2]].copy(), lids[[5, 4]].copy()
        meet = lower - [0, 0.6, 0]
        lids[[1, 2]] = upper + motion.blink * (meet - upper)
        lids[[1, 2, 4, 5], 1] -= (1 - motion.blink) * np.array([0.6, 0.6, 0, 0]) * max(motion.brows, 0)
    return points


def _open_jaw(points: np.ndarray, weights: np.ndarray, opening: float) -> np.ndarray:
    """Turn each point (..., 3) about the jaw's hinge, as far as its weight says."""
    angle = JAW_TURN * opening * weights
    cos, sin = np.cos(angle), np.sin(angle)
    y, z = points[..., 1] - HINGE[1], points[..., 2] - HINGE[2]
    return np.stack([points[..., 0], HINGE[1] + cos * y - sin * z, HINGE[2] + sin * y + cos * z], axis=-1)


def _camera(motion: Motion, side: int, face: float) -> Camera:
    """Place the camera; positive pitch looks up and positive yaw to the viewer's left."""
    cp, sp = np.cos(motion.pitch), np.sin(motion.pitch)
    cy, sy = np.cos(motion.yaw), np.sin(motion.yaw)
    cr, sr = np.cos(motion.roll), np.sin(motion.roll)
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    focal = face * side / 146.0 * DISTANCE
    centre = np.array([0.5 + motion.shift[0], 0.47 + motion.shift[1]]) * side
    return Camera(roll @ pitch @ yaw, focal, centre)


def _normals(vertices: np.ndarray) -> np.ndarray:
    """(ROWS, COLUMNS, 3) unit vectors out of the surface."""
    down, across = np.gradient(vertices, axis=0), np.gradient(vertices, axis=1)
    normals = np.cross(down, across)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)


def _texture_coordinates(seen: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Column and row of the mesh at every pixel, (H, W, 2) float32; -1 beside the head.

    The mesh's cells facing the camera are filled from far to near with their number; inside a cell the
    position follows from the cell's own affine map. Cells are a few pixels wide: their twist does not show.
    """
    corners = np.stack([seen[:-1, :-1], seen[:-1, 1:], seen[1:, 1:], seen[1:, :-1]], axis=2).reshape(-1, 4, 3)
    diagonals = corners[:, 2, :2] - corners[:, 0, :2], corners[:, 3, :2] - corners[:, 1, :2]
    area = diagonals[0][:, 0] * diagonals[1][:, 1] - diagonals[0][:, 1] * diagonals[1][:, 0]
    facing = np.flatnonzero(area > 1e-3)
    facing = facing[np.argsort(-corners[facing, :, 2].mean(axis=1), kind="stable")]
    numbers = np.full(shape, -1, np.int32)
    for cell, polygon in zip(facing.tolist(), np.round(corners[facing, :, :2] * 16).astype(np.int32)):
        cv2.fillConvexPoly(numbers, polygon, cell, lineType=cv2.LINE_8, shift=4)
    across = (corners[:, 1] - corners[:, 0] + corners[:, 2] - corners[:, 3])[:, :2] / 2
    down = (corners[:, 3] - corners[:, 0] + corners[:, 2] - corners[:, 1])[:, :2] / 2
    determinant = across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0]
    determinant[np.abs(determinant) < 1e-6] = 1e-6
    middle = corners[:, :, :2].mean(axis=1)
    ys, xs = np.nonzero(numbers >= 0)
    cells = numbers[ys, xs]
    dx, dy = xs - middle[cells, 0], ys - middle[cells, 1]
    u = (dx * down[cells, 1] - dy * down[cells, 0]) / determinant[cells]
    v = (dy * across[cells, 0] - dx * across[cells, 1]) / determinant[cells]
    where = np.full((*shape, 2), -1, np.float32)
    where[ys, xs, 0] = cells % (COLUMNS - 1) + 0.5 + np.clip(u, -0.6, 0.6)
    where[ys, xs, 1] = cells // (COLUMNS - 1) + 0.5 + np.clip(v, -0.6, 0.6)
    return np.where(where[..., :1] >= 0, np.maximum(where, 0), where)


def _texels(where: np.ndarray, side: int) -> np.ndarray:
    """Mesh position -> texel, as `cv2.resize` laid the mesh over the texture."""
    scale = np.float32([side / COLUMNS, side / ROWS])
    return (where + 0.5) * scale - 0.5


def _light(person: Person, normals: np.ndarray) -> np.ndarray:
    """(H, W, 3) light on a surface with these normals (camera axes): a lamp, a fill, a soft gloss."""
    normals = normals / np.maximum(np.sqrt(np.einsum("hwc,hwc->hw", normals, normals)), 1e-6)[..., None]
    lamp = np.float32(person.lamp) / np.linalg.norm(person.lamp)
    facing = normals @ lamp.astype(np.float32)
    half = lamp + [0, 0, -1]
    gloss = np.clip(normals @ np.float32(half / np.linalg.norm(half)), 0, 1) ** 24
    diffuse = np.clip(0.25 + 0.75 * facing, 0, 1)  # wrapped: skin scatters light past the edge of shadow
    return (0.42 + 0.66 * diffuse + 0.10 * gloss)[..., None] * np.float32(person.light)


def _background(person: Person, side: int, chin: np.ndarray, motion: Motion) -> np.ndarray:
    """(side, side, 3) wall, shoulders, neck behind the head; `chin`: landmarks 8, 4 and 12 on screen."""
    picture = _wall(person, side).copy()
    resting = side * (0.5 + motion.shift[0])
    x = resting + 0.25 * (chin[0, 0] - resting)
    width = np.linalg.norm(chin[2, :2] - chin[1, :2])
    foot = np.array([x, side * 0.88])
    if person.long_hair:
        hair = np.array(
            [[-0.70, -1.3], [-0.78, -0.1], [-0.60, 0.24], [0.60, 0.24], [0.78, -0.1], [0.70, -1.3]]
        )
        _fill(picture, foot + hair * width, np.float32(person.hair) * 0.55, blur=side / 90)
    turn = np.linspace(np.pi, 2 * np.pi, 40)
    torso = np.stack([1.5 * np.cos(turn), 0.72 + 0.66 * np.sin(turn)], axis=1)
    _fill(
        picture,
        foot + np.vstack([torso, [[1.5, 2], [-1.5, 2]]]) * width,
        np.float32(person.shirt) * 0.8,
        blur=1.2,
    )
    neck = np.array([[-0.42, -0.9], [-0.40, 0.1], [-0.58, 0.5], [0.58, 0.5], [0.40, 0.1], [0.42, -0.9]])
    fall = np.clip((np.arange(side, dtype=np.float32) - chin[0, 1]) / (0.55 * width), 0, 1)[:, None, None]
    skin = np.float32(person.skin) * np.float32(person.light) * (0.42 + 0.33 * fall)
    _fill(picture, foot + neck * width, np.broadcast_to(skin, picture.shape), blur=1.2)
    return picture


@functools.lru_cache(maxsize=4)
def _wall(person: Person, side: int) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side].astype(np.float32) / side
    fall = 1.08 - 0.30 * rows - 0.25 * np.abs(columns - 0.5 - 0.2 * np.sign(person.lamp[0]))
    return (fall[..., None] * np.float32(person.wall)).astype(np.float32)


def _fill(picture: np.ndarray, polygon: np.ndarray, colour: np.ndarray, blur: float) -> None:
    """Lay a polygon with a soft edge over the picture, in place; `colour` is one or a picture of them."""
    low = np.clip(polygon.min(axis=0) - 3 * blur, 0, picture.shape[0] - 1).astype(int)
    high = np.clip(polygon.max(axis=0) + 3 * blur, low + 1, picture.shape[0]).astype(int)
    part = np.s_[low[1] : high[1], low[0] : high[0]]
    mask = np.zeros(picture[part].shape[:2], np.float32)
    cv2.fillPoly(mask, [np.round(polygon - low).astype(np.int32)], 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), blur)[..., None]
    picture[part] += mask * ((colour[part] if colour.ndim == 3 else colour) - picture[part])


def perform(person: Person, seconds: float, fps: float) -> list[Motion]:
    """How the person turns, nods, looks about, blinks and speaks; the same person always in the same way."""
    rng = np.random.default_rng(person.seed)
    phase = rng.uniform(0, 2 * np.pi, 12)
    times = np.arange(round(seconds * fps)) / fps
    blinks = np.cumsum(rng.uniform(1.4, 3.2, int(seconds) + 2))

    def sway(i: int, period: float) -> np.ndarray:
        return np.sin(2 * np.pi * times / period + phase[i])

    yaw = 0.26 * sway(0, 5.7) + 0.10 * sway(1, 2.3)
    pitch = 0.10 * sway(2, 4.1) + 0.04 * sway(3, 1.7)
    roll = 0.08 * sway(4, 6.3)
    glance = np.round(1.3 * sway(5, 3.1))
    blink = np.exp(-((np.min(np.abs(times[:, None] - blinks), axis=1) / 0.075) ** 4))
    mouth = mouth_opening(person, times)
    smile = np.clip(0.7 * sway(6, 4.7), -0.5, 1) * (1 - 0.5 * mouth)
    brows = 0.6 * sway(7, 3.7) ** 3
    return [
        Motion(
            pitch=pitch[i],
            yaw=yaw[i],
            roll=roll[i],
            shift=(0.03 * np.sin(times[i] + phase[8]), 0.015 * np.sin(1.3 * times[i] + phase[9])),
            mouth=mouth[i],
            smile=smile[i],
            brows=brows[i],
            blink=blink[i],
            gaze=(0.22 * glance[i] + 0.25 * yaw[i], 0.06 * np.sin(0.9 * times[i] + phase[10])),
        )
        for i in range(len(times))
    ]


def mouth_opening(person: Person, times: np.ndarray) -> np.ndarray:
    """Opening in [0, 1] at each time in seconds: syllables, four a second, in phrases with pauses."""
    phase = np.random.default_rng(person.seed + 1).uniform(0, 2 * np.pi, 4)
    phrase = np.clip(1.5 * np.sin(2 * np.pi * times / 3.9 + phase[0]) + 0.7, 0, 1)
    syllable = 0.5 + 0.5 * np.sin(
        2 * np.pi * 3.1 * times + phase[1] + 1.5 * np.sin(2 * np.pi * 0.8 * times + phase[2])
    )
    return phrase * syllable * (0.55 + 0.35 * np.sin(2 * np.pi * 0.6 * times + phase[3]))


def speak(person: Person, seconds: float, rate: int = 48000) -> np.ndarray:
    """(N,) int16 voice-like sound that follows the mouth: a buzz through two resonances."""
    times = np.arange(round(seconds * rate)) / rate
    opening = mouth_opening(person, times)
    pitch = person.voice * (1 + 0.08 * np.sin(2 * np.pi * 0.7 * times))
    turns = 2 * np.pi * np.cumsum(pitch) / rate
    sound = np.zeros_like(times)
    for harmonic in range(1, 16):
        frequency = harmonic * pitch
        first, second = 350 + 450 * opening, 1300 + 500 * opening
        strength = np.exp(-(((frequency - first) / 220) ** 2)) + 0.5 * np.exp(
            -(((frequency - second) / 300) ** 2)
        )
        sound += (strength + 0.05) / harmonic**0.5 * np.sin(harmonic * turns)
    return np.clip(9000 * opening * sound, -32767, 32767).astype(np.int16)
