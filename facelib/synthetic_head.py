"""The shape and skin of people who do not exist: a textured mesh of a head around the 68 mean landmarks.

The surface is star-shaped about the middle of the skull: one radius for each direction, an ellipsoid bent by
a thin-plate spline so that it passes through the person's landmarks. Lengths are millimetres in the axes of
`MEAN_HEAD_3D` (x to the viewer's right, y down, z away from the viewer).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from facelib.landmarks import LEFT_BROW, LEFT_EYE, MEAN_HEAD_3D, MIRROR_ORDER, RIGHT_BROW, RIGHT_EYE

Colour = tuple[float, float, float]  # BGR in [0, 1]

ROWS, COLUMNS = 92, 100  # of the mesh
TEXTURE = 640  # side of the texture in texels
SKULL_CENTRE = np.array([0.0, -30.0, 75.0])
SKULL_RADII = np.array([77.0, 112.0, 92.0])
SKULL_POWER = 2.35  # above 2 the skull is boxier than an ellipsoid
TOP, BOTTOM = np.radians(88), np.radians(-72)  # elevations of the mesh's first and last row
SIDE = np.radians(140)  # azimuth of its first and last column; the back is never seen

# Points between the landmarks without which the spline would make a mask of rubber: sides of the nose,
# cheeks, chin. By eye, for the right half; mirrored for the left.
FLESH = np.array(
    [
        [-12, -20, -6],
        [-10, -33, -3],
        [-19, -2, -8],
        [-40, -14, 6],
        [-36, 10, -2],
        [-52, 16, 20],
        [-30, 45, 2],
        [-14, 62, -10],
        [-62, -20, 26],
        [-34, -50, 1],
    ],
    dtype=np.float64,
)
CHIN = np.array([[0.0, 56.0, -17.0]])


@dataclass(frozen=True)
class Person:
    """Who is drawn: colours, proportions (1 is the mean face) and the room behind."""

    seed: int
    skin: Colour
    lips: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    wall: Colour
    light: Colour  # of the lamp
    lamp: tuple[float, float, float]  # direction towards the lamp, in the axes above
    jaw: float = 1.0  # width of the lower face
    length: float = 1.0
    nose: float = 1.0  # width
    eyes: float = 1.0  # size
    eye_gap: float = 0.0  # mm by which each eye sits further out
    brow_lift: float = 0.0  # mm
    brow_weight: float = 1.0
    mouth: float = 1.0  # width
    lip_fullness: float = 1.0
    stubble: float = 0.0
    freckles: float = 0.0
    long_hair: bool = False
    voice: float = 110.0  # Hz


ANNA = Person(
    seed=11,
    skin=(0.62, 0.73, 0.90),
    lips=(0.42, 0.38, 0.78),
    hair=(0.22, 0.36, 0.52),
    iris=(0.55, 0.50, 0.30),
    shirt=(0.55, 0.38, 0.22),
    wall=(0.62, 0.66, 0.60),
    light=(0.98, 1.0, 1.04),
    lamp=(-0.45, -0.55, -0.7),
    jaw=0.88,
    length=0.97,
    nose=0.88,
    eyes=1.14,
    brow_lift=2.0,
    brow_weight=0.7,
    mouth=0.95,
    lip_fullness=1.3,
    freckles=0.5,
    long_hair=True,
    voice=190.0,
)
BORIS = Person(
    seed=23,
    skin=(0.36, 0.49, 0.69),
    lips=(0.30, 0.31, 0.55),
    hair=(0.06, 0.07, 0.09),
    iris=(0.10, 0.17, 0.28),
    shirt=(0.30, 0.30, 0.34),
    wall=(0.50, 0.46, 0.44),
    light=(0.90, 1.0, 1.10),
    lamp=(0.5, -0.5, -0.7),
    jaw=1.08,
    length=1.05,
    nose=1.2,
    eyes=0.94,
    eye_gap=1.0,
    brow_lift=-2.0,
    brow_weight=1.5,
    mouth=1.08,
    stubble=0.8,
    voice=105.0,
)


@dataclass(frozen=True)
class Head:
    """A person's head at rest, mouth closed and eyes open."""

    person: Person
    landmarks: np.ndarray  # (68, 3) float64
    vertices: np.ndarray  # (ROWS, COLUMNS, 3) float32
    jaw_weights: np.ndarray  # (ROWS, COLUMNS) float32, how much of the jaw's turn each vertex follows
    texture: np.ndarray  # (TEXTURE, TEXTURE, 3) float32 BGR, unlit


def build_head(person: Person) -> Head:
    """Mesh and texture of a person; takes about half a second."""
    landmarks = person_landmarks(person)
    radii, directions = _surface(landmarks)
    skin = SKULL_CENTRE + radii[..., None] * directions
    hair, ears = _hair_and_ears(person, skin, directions)
    bulge = (13 if person.long_hair else 8) * cv2.GaussianBlur(hair, (0, 0), 2.0) + 15 * ears
    vertices = (skin + bulge[..., None] * directions).astype(np.float32)
    texture = _paint(person, skin, hair, landmarks)
    return Head(person, landmarks, vertices, jaw_weights(skin).astype(np.float32), texture)


def person_landmarks(person: Person) -> np.ndarray:
    """(68, 3) landmarks of the person at rest: the mean head made symmetric, reshaped, its mouth closed."""
    mirrored = MEAN_HEAD_3D[MIRROR_ORDER] * [-1, 1, 1]
    points = (MEAN_HEAD_3D + mirrored).astype(np.float64) / 2
    points[:, 1] = -37 + (points[:, 1] + 37) * person.length
    low = np.clip((points[:17, 1] + 10) / 60, 0, 1)
    points[:17, 0] *= 1 + (person.jaw - 1) * low
    points[31:36, 0] *= person.nose
    for eye, side in ((RIGHT_EYE, -1), (LEFT_EYE, 1)):
        middle = points[eye].mean(axis=0)
        points[eye, :2] = middle[:2] + (points[eye, :2] - middle[:2]) * person.eyes
        points[eye, 0] += side * person.eye_gap
    for brow in (RIGHT_BROW, LEFT_BROW):
        points[brow, 1] -= person.brow_lift
    points[48:68, 0] *= person.mouth
    _close_mouth(points, person.lip_fullness)
    return points


def _close_mouth(points: np.ndarray, fullness: float) -> None:
    """Bring the inner lips together, in place (the mean face has its mouth 5 mm open)."""
    seam = points[[61, 62, 63, 65, 66, 67], 1].mean()
    for upper, lower, outer_upper, outer_lower in ((61, 67, 50, 58), (62, 66, 51, 57), (63, 65, 52, 56)):
        half_gap = (points[lower, 1] - points[upper, 1]) / 2
        points[upper, 1], points[lower, 1] = seam - 0.2, seam + 0.2
        points[outer_upper, 1] += half_gap
        points[outer_lower, 1] -= half_gap
    outer = np.arange(49, 60)
    outer = outer[outer != 54]
    points[outer, 1] = seam + (points[outer, 1] - seam) * fullness


def jaw_weights(points: np.ndarray) -> np.ndarray:
    """How far each point (..., 3) follows the jaw: 0 above the mouth and behind the ears, 1 at the chin."""
    below = np.clip((points[..., 1] - 22) / 22, 0, 1)
    front = np.clip((62 - points[..., 2]) / 40, 0, 1)
    return below * below * (3 - 2 * below) * front


def mesh_directions() -> np.ndarray:
    """(ROWS, COLUMNS, 3) unit vectors from the skull's centre to the vertices; denser in the face."""
    t = np.linspace(-1, 1, COLUMNS)
    azimuth = SIDE * (0.5 * t + 0.5 * t**3)
    elevation = np.linspace(TOP, BOTTOM, ROWS)[:, None]
    x, y, z = np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), -np.cos(azimuth) * np.cos(elevation)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def _surface(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radius (ROWS, COLUMNS) and direction of every vertex, the surface passing through the landmarks."""
    from scipy.interpolate import RBFInterpolator

    flesh = np.concatenate([landmarks[:60], FLESH, FLESH * [-1, 1, 1], CHIN])
    offsets = flesh - SKULL_CENTRE
    reach = np.linalg.norm(offsets, axis=1)
    known = offsets / reach[:, None]
    residual = reach - _skull_radius(known)
    directions = mesh_directions()
    sides, heights = np.meshgrid(np.linspace(0, COLUMNS - 1, 9), np.linspace(0, ROWS - 1, 7))
    anchors = directions[heights.astype(int).ravel(), sides.astype(int).ravel()]
    far = (anchors @ known.T).max(axis=1) < np.cos(np.radians(28))  # leave the face itself to the landmarks
    spline = RBFInterpolator(
        np.concatenate([known, anchors[far]]),
        np.concatenate([residual, np.zeros(far.sum())]),
        kernel="thin_plate_spline",
        smoothing=1e-4,
    )
    bend = spline(directions.reshape(-1, 3)).reshape(ROWS, COLUMNS)
    return _skull_radius(directions) + bend, directions


def _skull_radius(directions: np.ndarray) -> np.ndarray:
    return np.sum(np.abs(directions / SKULL_RADII) ** SKULL_POWER, axis=-1) ** (-1 / SKULL_POWER)


def _hair_and_ears(person: Person, skin: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ROWS, COLUMNS) coverage of hair and of ears in [0, 1]."""
    side = np.degrees(np.abs(np.arctan2(directions[..., 0], -directions[..., 2])))
    y = skin[..., 1]
    ears = np.exp(-(((side - 84) / 9) ** 2) - ((y + 12) / 24) ** 4)
    if person.long_hair:
        line = np.interp(side, [0, 25, 42, 52, 60, 68, 140], [-98, -95, -84, -55, 10, 75, 80])
        return _smoothstep((line - y) / 16 + 0.5), 0.4 * ears
    line = np.interp(side, [0, 25, 45, 58, 68, 76, 84, 96, 140], [-101, -99, -90, -68, -32, -20, 40, 40, 45])
    return _smoothstep((line - y) / 9 + 0.5) * (1 - np.clip(1.6 * ears, 0, 1)), ears


def _paint(person: Person, skin: np.ndarray, hair: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """(TEXTURE, TEXTURE, 3) unlit colours: skin with its blemishes, hair."""
    rng = np.random.default_rng(person.seed)
    place = cv2.resize(skin.astype(np.float32), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)
    cover = cv2.resize(hair.astype(np.float32), (TEXTURE, TEXTURE), interpolation=cv2.INTER_CUBIC)

    def spot(point: np.ndarray, width: float, height: float) -> np.ndarray:
        offset = (place - point.astype(np.float32)) / np.float32([width, height, max(width, height)])
        return np.exp(-np.sum(offset**2, axis=-1))

    tone = np.ones((TEXTURE, TEXTURE, 1), np.float32)
    tone += (0.018 * _noise(rng, 14) + 0.013 * _noise(rng, 3) + 0.016 * _noise(rng, 1))[..., None]
    colour = tone * np.float32(person.skin)
    blush = sum(spot(np.array([x, 4.0, 4.0]), 22, 16) for x in (-42.0, 42.0)) + 0.8 * spot(
        landmarks[30], 10, 10
    )
    colour *= 1 - np.float32([0.13, 0.12, 0.0]) * blush[..., None]
    sockets = sum(spot(landmarks[eye].mean(axis=0) + [0, 1, 2], 20, 13) for eye in (RIGHT_EYE, LEFT_EYE))
    creases = sum(spot(landmarks[i] + [0, 4, 2], 5, 6) for i in (31, 35)) + spot(
        landmarks[57] + [0, 7, 4], 14, 4
    )
    colour *= 1 - np.float32([0.26, 0.26, 0.22]) * np.clip(sockets + creases, 0, 1)[..., None]
    colour *= (
        1 - person.freckles * 0.5 * (np.clip(_noise(rng, 1.5) - 1.3, 0, 1) * np.clip(blush, 0, 1))[..., None]
    )
    beard = _smoothstep((place[..., 1] - 8) / 22) * _smoothstep((66 - np.abs(place[..., 0])) / 20)
    grain = np.clip(0.65 + 0.5 * _noise(rng, 0.7), 0, 1.3)
    colour *= 1 - person.stubble * 0.30 * (beard * grain)[..., None]
    strands = cv2.GaussianBlur(rng.normal(size=(TEXTURE, TEXTURE)).astype(np.float32), (0, 0), 1.0, sigmaY=26)
    strands = 1 + 0.30 * strands / strands.std()
    ragged = _smoothstep(cover * 1.3 - 0.15 + 0.12 * (strands - 1))[..., None]
    return np.clip(colour * (1 - ragged) + ragged * strands[..., None] * np.float32(person.hair), 0.01, 1)


def _noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """(TEXTURE, TEXTURE) smooth noise of unit variance."""
    noise = cv2.GaussianBlur(rng.normal(size=(TEXTURE, TEXTURE)).astype(np.float32), (0, 0), sigma)
    return noise / noise.std()


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
