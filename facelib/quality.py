"""How sharp a picture is, and how well landmarks make a face; each from one image alone.

`cpbd_sharpness` is the cumulative probability of blur detection (N. D. Narvekar, L. J. Karam: "A No-Reference
Image Blur Metric Based on the Cumulative Probability of Blur Detection", IEEE TIP 2011) in the variant that
DFL's sorter uses (reference/faces-and-files.md section 5.1), worked out for whole arrays instead of pixel by
pixel: the same numbers, a hundred times faster.
"""

from __future__ import annotations

import cv2
import numpy as np

from core.errors import AlignmentError
from facelib.landmarks import MEAN_HEAD_3D

__all__ = ["cpbd_sharpness", "landmark_error", "masked_grey", "motion_sharpness"]

BLOCK = 64
EDGE_SHARE = 0.002  # of a block's pixels must be Canny edges for the block to count
CANNY_LOW, CANNY_HIGH = 0.1, 0.2  # on the scale 0..255: hardly any threshold, but DFL's
CANNY_REACH = 4  # pixels that the Gaussian of sigma 1 is cut off at, as scipy does
LONGEST_STEP = 101  # pixels that an edge's slope is followed for on each side
LOW_CONTRAST = 50  # grey levels in a block up to which a just noticeable blur is wider
WIDE, NARROW = 5, 3  # width of a just noticeable blur in blocks of low and of high contrast
BETA = 3.6
LAST_SHARP_BIN = 63  # of 101 bins of the probability that blur is seen
_RIGID = np.array([*range(17, 36), 36, 39, 42, 45, 48, 54])  # brows, nose, corners of the eyes and the mouth
_RIGID_HEAD = MEAN_HEAD_3D[_RIGID].astype(np.float64)
_RIGID_HEAD = _RIGID_HEAD - _RIGID_HEAD.mean(axis=0)
_RIGID_INVERSE = np.linalg.pinv(_RIGID_HEAD)  # (3, N)
_RIGID_SPREAD = float(np.sqrt((_RIGID_HEAD**2).sum(axis=1).mean()))
_ON_SLOPE = np.tan(np.pi / 8)  # a gradient within 22.5 degrees of the row is followed along it


def masked_grey(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8 grey of a BGR image, black outside of a mask of zeros and ones."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return grey * (mask.reshape(grey.shape) > 0)


def motion_sharpness(image: np.ndarray, mask: np.ndarray) -> float:
    """Variance of the 11 x 11 Laplacian over all channels of the image inside the mask, as in DFL."""
    masked = image * (mask.reshape(*image.shape[:2], 1) > 0)
    return float(cv2.Laplacian(masked, cv2.CV_64F, ksize=11).var())


def cpbd_sharpness(grey: np.ndarray) -> float:
    """Share of the edges whose blur is not noticed: 1 is sharp, 0 is blurred everywhere.

    Args:
        grey: (H, W) uint8.

    Returns:
        A number in [0, 1]; NaN where no 64 x 64 block has an edge to judge by (DFL says 0 there).
    """
    height, width = (side // BLOCK * BLOCK for side in grey.shape)
    if not height or not width:
        return float("nan")
    values = grey.astype(np.float32)
    rows, columns, widths = _edge_widths(values)
    inside = (rows < height) & (columns < width)
    rows, columns, widths = rows[inside], columns[inside], widths[inside]
    across = width // BLOCK
    block = rows // BLOCK * across + columns // BLOCK
    wanted = np.bincount(block, minlength=height // BLOCK * across) > 0
    counted = _blocks_with_edges(values, wanted.reshape(-1, across)).ravel()
    if not counted.any():
        return float("nan")
    tiles = grey[:height, :width].reshape(-1, BLOCK, across, BLOCK)
    contrast = tiles.max(axis=(1, 3)).astype(int) - tiles.min(axis=(1, 3))
    noticeable = np.where(contrast.ravel() <= LOW_CONTRAST, WIDE, NARROW)
    kept = counted[block]
    probability = 1 - np.exp(-((widths[kept] / noticeable[block[kept]]) ** BETA))
    return float(np.mean(np.round(100 * probability) <= LAST_SHARP_BIN))


def _edge_widths(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and widths of the vertical edges whose gradient lies along the row.

    Args:
        image: (H, W) float32 holding whole numbers, so that all of this is exact.
    """
    slope = cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REFLECT)
    strength = slope * slope
    threshold = 2 * np.sqrt(strength.mean(dtype=np.float64))
    strength[strength <= threshold] = 0
    middle = strength[1:-1, 1:-1]  # edges on the border have no width
    edges = (middle > strength[1:-1, :-2]) & (middle > strength[1:-1, 2:])
    edges |= (middle > strength[:-2, 1:-1]) & (middle > strength[2:, 1:-1])
    rows, columns = np.nonzero(edges)
    rows, columns = rows + 1, columns + 1
    across = image[rows, columns + 1] - image[rows, columns - 1]
    down = image[rows + 1, columns] - image[rows - 1, columns]
    # Where the row does not change DFL takes the angle as 0, whatever the column does.
    level = (across == 0) | (np.abs(down) < _ON_SLOPE * np.abs(across))
    rows, columns, rising = rows[level], columns[level], across[level] >= 0
    # One row below the other: positions in the flat image, and where in its row each one is.
    flat, places, width = image.ravel(), rows * image.shape[1] + columns, image.shape[1]
    sign = np.where(rising, 1, -1).astype(np.float32)
    left = _steps(flat, places, columns, -1, -sign)
    right = _steps(flat, places, width - 1 - columns, 1, sign)
    return rows, columns, left + right


def _steps(
    flat: np.ndarray, places: np.ndarray, room: np.ndarray, direction: int, sign: np.ndarray
) -> np.ndarray:
    """How far the brightness goes on changing by `sign` on one side of each pixel; at least 1.

    The step from the pixel to its neighbour is taken for granted.

    Args:
        flat: The image, flattened.
        places: (N,) where in `flat` the pixels are.
        room: (N,) pixels between each and the image's border on that side, at least 1.
        direction: -1 to the left, 1 to the right.
        sign: (N,) 1 where values have to rise on the way, -1 where they have to fall.
    """
    steps = np.ones(len(places), np.int32)
    going = np.arange(len(places))
    for step in range(1, LONGEST_STEP):
        going = going[room[going] > step]
        at = places[going] + direction * step
        on = (flat[at + direction] - flat[at]) * sign[going] > 0
        going = going[on]
        if not len(going):
            break
        steps[going] += 1
    return steps


def _blocks_with_edges(image: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which blocks have Canny edges on more than 0.2 % of their pixels (as scikit-image 0.14 finds them).

    Nearly every block shows that by its local maxima alone: a gradient that none of its eight neighbours
    exceeds is an edge however Canny interpolates. Only where that is not enough Canny is worked out.

    Args:
        image: (H, W) float32.
        wanted: (rows, columns) bool: the blocks of interest; the others come out False.
    """
    needed = EDGE_SHARE * BLOCK * BLOCK
    across, down, magnitude = _gradient(image)
    peaks = (magnitude >= cv2.dilate(magnitude, np.ones((3, 3), np.uint8))) & (magnitude >= CANNY_HIGH)
    peaks[[0, -1]] = peaks[:, [0, -1]] = False
    certain = wanted & (_per_block(peaks) > needed)
    if (certain == wanted).all():
        return certain
    doubtful = wanted & ~certain
    thin = _local_maxima(across, down, magnitude, _pixels_of(doubtful, image.shape))
    strong = certain | (doubtful & (_per_block(thin & (magnitude >= CANNY_HIGH)) > needed))
    weak = certain | (doubtful & (_per_block(thin & (magnitude >= CANNY_LOW)) > needed))
    if (strong == weak).all():
        return strong
    # Weak edges count where they hang together with a strong one, anywhere in the image.
    thin = _local_maxima(across, down, magnitude, np.ones(image.shape, bool)) & (magnitude >= CANNY_LOW)
    _, labels = cv2.connectedComponents(thin.astype(np.uint8), connectivity=8)
    good = np.zeros(labels.max() + 1, bool)
    good[labels[thin & (magnitude >= CANNY_HIGH)]] = True
    good[0] = False
    return wanted & (_per_block(good[labels]) > needed)


def _pixels_of(blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: the pixels of the blocks that are set."""
    pixels = np.zeros(shape, bool)
    for row, column in np.argwhere(blocks) * BLOCK:
        pixels[row : row + BLOCK, column : column + BLOCK] = True
    return pixels


def _per_block(flags: np.ndarray) -> np.ndarray:
    """How many pixels of each whole block are set."""
    height, width = (side // BLOCK * BLOCK for side in flags.shape)
    columns = np.add.reduceat(flags[:height, :width].view(np.uint8), range(0, width, BLOCK), axis=1,
                              dtype=np.int32)  # fmt: skip
    return np.add.reduceat(columns, range(0, height, BLOCK), axis=0)


def _gradient(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sobel gradient (across, down, its length) of the image smoothed by a Gaussian of sigma 1."""
    offsets = np.arange(-CANNY_REACH, CANNY_REACH + 1)
    kernel = np.exp(-(offsets**2) / 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    smooth = cv2.sepFilter2D(image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
    # What the kernel misses outside of the image is made up for.
    weights = [np.convolve(np.ones(max(side, kernel.size)), kernel, "same")[:side] for side in image.shape]
    smooth /= np.float32(weights[0])[:, None]
    smooth /= np.float32(weights[1])[None]
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_REFLECT)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_REFLECT)
    return across, down, cv2.magnitude(across, down)


def _local_maxima(
    across: np.ndarray, down: np.ndarray, magnitude: np.ndarray, within: np.ndarray
) -> np.ndarray:
    """(H, W) bool: pixels of `within` not exceeded on either side along the gradient; values between two
    pixels are interpolated; the image's border is none of them."""
    result = np.zeros(magnitude.shape, bool)
    width = magnitude.shape[1]
    rows, columns = np.nonzero((magnitude[1:-1, 1:-1] >= CANNY_LOW) & within[1:-1, 1:-1])
    rows, columns = rows + 1, columns + 1
    dx, dy = across[rows, columns], down[rows, columns]
    steep = np.abs(dy) > np.abs(dx)
    long, short = np.where(steep, dy, dx), np.where(steep, dx, dy)
    share = np.abs(short) / np.abs(long)  # of the diagonal neighbour; the rest is the straight one's
    stride = np.where(steep, width, 1)
    aside = np.where(steep, 1, width) * np.where((dx < 0) == (dy < 0), 1, -1)
    flat, places = magnitude.ravel(), rows * width + columns
    here = flat[places]
    kept = np.ones(len(places), bool)
    for side in (1, -1):
        straight = places + side * stride
        beyond = flat[straight + side * aside] * share + flat[straight] * (1 - share)
        kept &= beyond <= here
    result[rows[kept], columns[kept]] = True
    return result


def landmark_error(landmarks: np.ndarray) -> float:
    """How far landmarks are from those of a rigid human head, as a share of the head's size.

    A head turned at will and seen from afar (scaled orthographic projection) is fitted to the points by least
    squares, without those that talking and blinking move and without the jaw, which slides round a turned
    head. A person keeps much the same error in all of his pictures, so it tells good from bad in one faceset.

    Args:
        landmarks: (68, 2) pixels.

    Returns:
        Root of the mean squared distance by the spread of the fitted head; 0 is perfect, 0.1 usual.

    Raises:
        AlignmentError: The landmarks are not 68, not finite, or coincide.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise AlignmentError(f"68 finite landmarks are needed, found an array of shape {points.shape}")
    points = points[_RIGID] - points[_RIGID].mean(axis=0)
    linear = points.T @ _RIGID_INVERSE.T  # (2, 3): the affine camera that fits best
    u, scales, vt = np.linalg.svd(linear, full_matrices=False)
    scale = scales.mean()
    if scale < 1e-6:
        raise AlignmentError("the landmarks coincide; detect this face again")
    seen = _RIGID_HEAD @ (scale * (u @ vt)).T  # a rigid head shows both axes in one scale
    return float(np.sqrt(((points - seen) ** 2).sum(axis=1).mean()) / (scale * _RIGID_SPREAD))
