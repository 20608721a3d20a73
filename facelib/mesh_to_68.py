"""The 68 iBUG landmarks from the 468 vertices of FaceMesh: a vertex each, plus a constant offset each.

The vertices follow the published correspondence. The mesh places some points by other rules than the people
who marked the 68 points did (the jaw above all), so each point gets an offset that turns with the head.
Across and down the face the offsets are medians over 53 faces with known points; their depths were fitted to
18 turned faces and their mirror images, held close to nothing where these do not tell. All are symmetric left
to right, so that a mirrored picture gives mirrored landmarks. Mean error over the outer eye corners, each
picture left out of the fit in turn: 7.9 % by vertices alone, 6.0 % with flat offsets, 5.3 % with depth.
"""

from __future__ import annotations

import numpy as np

RIGHT_EYE, LEFT_EYE = 33, 263  # vertices of the outer eye corners; the person's right is the viewer's left
FOREHEAD, CHIN = 10, 152

VERTICES = np.array(
    [
        *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
        *(71, 63, 105, 66, 107, 336, 296, 334, 293, 301),  # brows
        *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),  # mouth
    ]
)

# Offsets of points 0..67 in thousandths of the distance of the outer eye corners: along the eyes, down the
# face, and away from the viewer of an upright face.
_OFFSETS = """
-27,175,-10 -19,60,-119 -7,115,-122 -38,-31,-120 -33,11,-97 14,65,-96 -25,45,-66 -57,57,-53 0,73,-57
57,57,-53 25,45,-66 -14,65,-96 33,11,-97 38,-31,-120 7,115,-122 19,60,-119 27,175,-10
48,74,-94 21,10,8 40,11,10 40,15,9 22,51,1 -22,51,1 -40,15,9 -40,11,10 -21,10,8 -48,74,-94
0,31,-31 0,-7,18 0,-23,56 0,18,32 -14,11,-6 1,1,-14 0,26,-10 -1,1,-14 14,11,-6
29,18,-40 35,13,-30 14,16,-35 -20,10,-2 -8,5,-20 11,7,-13
20,10,-2 -14,16,-35 -35,13,-30 -29,18,-40 -11,7,-13 8,5,-20
-2,18,7 -21,25,24 8,19,1 0,22,14 -8,19,1 21,25,24 2,18,7 43,7,5 -1,14,-23 0,11,-24 1,14,-23 -43,7,5
3,27,-13 -12,2,-45 0,9,-21 12,2,-45 -3,27,-13 12,18,-26 0,23,-18 -12,18,-26
"""
OFFSETS = np.array([[float(v) for v in point.split(",")] for point in _OFFSETS.split()]) / 1000


def landmarks_from_mesh(mesh: np.ndarray) -> np.ndarray:
    """68 landmarks from a mesh.

    Args:
        mesh: (468, 3) float, x and y in pixels of an image (not mirrored), depth in the same unit.

    Returns:
        (68, 2) float64, pixels of the same image.
    """
    mesh = np.asarray(mesh, np.float64)
    return mesh[VERTICES, :2] + OFFSETS @ head_frame(mesh)[:, :2]


def head_frame(mesh: np.ndarray) -> np.ndarray:
    """Axes of the head in image space: along the eyes, down the face, into the head.

    Returns:
        (3, 3) float64, an axis a row, each as long as the outer eye corners are apart in space.
    """
    eyes = mesh[LEFT_EYE] - mesh[RIGHT_EYE]
    length = max(float(np.linalg.norm(eyes)), 1e-9)
    across = eyes / length
    down = mesh[CHIN] - mesh[FOREHEAD]
    down = down - (down @ across) * across
    down = down / max(float(np.linalg.norm(down)), 1e-9)
    return length * np.array([across, down, np.cross(across, down)])
