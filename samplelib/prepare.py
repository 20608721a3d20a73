"""From a stored face to what every later visit of it samples from: decoded, cropped, filtered, with masks.

This is the slow part of a sample, the same each time, so its result is kept (`PreparedCache`). In our own
mode the stored pixels around the wanted crop are low-pass filtered for the network's resolution and kept
about twice as fine as that, with the affine that leads there. A visit then needs one single interpolation
for alignment, jitter and warp together, without aliasing. In DFL's mode the face is brought to the
network's resolution at once, by cubic interpolation without a filter, as DFL does.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

import facelib
from core.errors import AlignmentError, FileFormatError, SampleError
from core.imagelib.warp import apply_affine, compose, invert
from samplelib.faceset import FaceSample
from samplelib.request import SampleRequest

OVERSAMPLING = 2.0  # kept pixels per pixel of the network; a finer face is reduced to this
LEAST_OVERSAMPLING = 1.45  # a JPEG is decoded at half its size or less while this much is left
LANCZOS_LOBES = 3
PASS_BAND = 0.95  # of the network's pixel, the filter's cut; below 1 makes up for the interpolation
MARGIN = 0.12  # of the side: stored pixels around the crop that rotation, shift and scale bring into view


@dataclass(frozen=True, eq=False)
class PreparedFace:
    """A face ready for sampling; face pixels are those of the network's crop before any jitter."""

    image: np.ndarray  # (h, w, 3) uint8 BGR
    masks: dict[str, np.ndarray]  # mask type -> (h, w) uint8, pixel on pixel with the image
    image_from_face: np.ndarray  # (2, 3) float64, face pixels to pixels of `image`
    landmarks: np.ndarray  # (68, 2) float32, face pixels

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + sum(mask.nbytes for mask in self.masks.values()) + 2048


class PreparedCache:
    """Prepared faces up to a number of bytes.

    Once full it keeps what it has: a shuffled deck wants every face once per epoch, so the one thrown out
    is as likely to come next as the one that takes its place; least-recently-used would miss more often.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.nbytes = 0
        self._faces: dict[int, PreparedFace] = {}
        self._lock = threading.Lock()

    def get(self, key: int) -> PreparedFace | None:
        return self._faces.get(key)

    def offer(self, key: int, face: PreparedFace) -> None:
        """Keep the face if there is room."""
        with self._lock:
            if key not in self._faces and self.nbytes + face.nbytes <= self.capacity:
                self._faces[key] = face
                self.nbytes += face.nbytes

    def __len__(self) -> int:
        return len(self._faces)


def prepare_face(sample: FaceSample, request: SampleRequest) -> PreparedFace:
    """Read and prepare one face.

    Raises:
        SampleError: The file is unreadable or changed since the scan, or its landmarks give no alignment.
    """
    data = sample.read_bytes()
    face_from_source = _face_from_source(sample, request)
    if request.augment.dfl_warp:
        return _prepare_as_dfl(sample, data, request, face_from_source)
    return _prepare_filtered(sample, data, request, face_from_source)


def source_mask(sample: FaceSample, data: bytes, mask_type: str) -> np.ndarray:
    """(H, W) float32 mask of the stored face in its own pixels: `full` or `eyes_mouth`.

    The full mask is XSeg's where it was applied, else the hull of the landmarks.
    """
    width, height = sample.size
    shape = (height, width, 3)
    mask = None
    if sample.has_xseg:
        mask = facelib.extract_metadata(data, str(sample.path)).decode_xseg_mask()
    if mask is not None:
        mask = mask.reshape(mask.shape[:2])
        if mask.shape != (height, width):
            mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_CUBIC)
        mask = np.clip(mask, 0, 1)
    else:
        mask = facelib.hull_mask(shape, sample.landmarks, sample.eyebrows_expand_mod)[..., 0]
    if mask_type == "full":
        return mask
    parts = facelib.eyes_mask(shape, sample.landmarks) + facelib.mouth_mask(shape, sample.landmarks)
    return np.clip(parts[..., 0], 0, 1) * (mask != 0)


def _face_from_source(sample: FaceSample, request: SampleRequest) -> np.ndarray:
    if sample.face_type == request.face_type:  # as stored: a face aligned by hand stays as it is
        width, height = sample.size
        return np.array([[request.resolution / width, 0, 0], [0, request.resolution / height, 0]], np.float64)
    return facelib.transform_mat(sample.landmarks, request.resolution, request.face_type)


def _prepare_filtered(
    sample: FaceSample, data: bytes, request: SampleRequest, face_from_source: np.ndarray
) -> PreparedFace:
    scale = _pixels_per_pixel(face_from_source)
    reduction = next((factor for factor in (8, 4, 2) if scale / factor >= LEAST_OVERSAMPLING), 1)
    image = _decode(sample, data, reduction)
    source_from_image = np.array([[reduction, 0, (reduction - 1) / 2], [0, reduction, (reduction - 1) / 2]])
    face_from_image = compose(face_from_source, source_from_image)
    scale /= reduction

    margin = MARGIN if sample.face_type != request.face_type and request.augment.transform else 0.0
    side = request.resolution
    reach = int(np.ceil(LANCZOS_LOBES * max(1.0, scale))) + 1
    image, face_from_image = _crop(sample, image, face_from_image, side, margin, reach)
    image = _low_pass(image, scale)
    if scale > OVERSAMPLING * 1.05:
        image, face_from_image = _reduce(image, face_from_image, side, margin)
    else:
        image, face_from_image = _crop(sample, image, face_from_image, side, margin, 2)  # for the cubic
    image_from_face = invert(face_from_image)
    image_from_source = compose(image_from_face, face_from_source)
    return PreparedFace(
        image=np.ascontiguousarray(image),
        masks={
            kind: _fit_mask(source_mask(sample, data, kind), image_from_source, image.shape)
            for kind in request.mask_types()
        },
        image_from_face=image_from_face,
        landmarks=apply_affine(face_from_source, sample.landmarks).astype(np.float32),
    )


def _prepare_as_dfl(
    sample: FaceSample, data: bytes, request: SampleRequest, face_from_source: np.ndarray
) -> PreparedFace:
    side = request.resolution
    same = sample.face_type == request.face_type

    def bring(image: np.ndarray, interpolation: int, border: int) -> np.ndarray:
        if same:
            return cv2.resize(image, (side, side), interpolation=interpolation)
        return cv2.warpAffine(image, face_from_source, (side, side), flags=interpolation, borderMode=border)

    image = bring(_decode(sample, data, 1), cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
    masks = {}
    for kind in request.mask_types():
        mask = bring(source_mask(sample, data, kind), cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
        masks[kind] = _to_uint8(mask)
    return PreparedFace(
        image=image,
        masks=masks,
        image_from_face=np.eye(2, 3),
        landmarks=apply_affine(face_from_source, sample.landmarks).astype(np.float32),
    )


def _decode(sample: FaceSample, data: bytes, reduction: int) -> np.ndarray:
    """(h, w, 3) uint8; JPEG's own scaling makes a smaller picture cheaper and without aliasing."""
    flag = {1: 1, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
    # Landmarks are in stored pixels, so an orientation tag must not turn them.
    flags = flag[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as err:
        raise FileFormatError(f"{sample.path}: {sample.name} cannot be decoded ({err.err})") from err
    width, height = sample.size
    expected = (-(-height // reduction), -(-width // reduction))
    if image is None or image.shape[:2] != expected or b"\xff\xd9" not in data[-65536:]:
        raise FileFormatError(f"{sample.path}: {sample.name} was cut short or changed; extract it again")
    return image


def _pixels_per_pixel(face_from_image: np.ndarray) -> float:
    """Stored pixels along the side of one pixel of the network."""
    area = abs(np.linalg.det(face_from_image[:, :2]))
    if not np.isfinite(area) or area < 1e-12:
        raise AlignmentError("landmarks do not determine an alignment; extract this face again")
    return float(1 / np.sqrt(area))


def _crop(
    sample: FaceSample, image: np.ndarray, face_from_image: np.ndarray, side: int, margin: float, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that the face, its margin and `reach` more pixels need, and its affine."""
    low, high = -margin * side - 0.5, side - 0.5 + margin * side
    corners = np.array([(low, low), (high, low), (high, high), (low, high)])
    corners = apply_affine(invert(face_from_image), corners)
    left, top = np.maximum(np.floor(corners.min(axis=0)) - reach, 0).astype(int)
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + reach + 1
    cropped = image[top:bottom, left:right]
    if cropped.size == 0:
        raise SampleError(f"{sample.path}: the landmarks of {sample.name} lie outside it; extract it again")
    return cropped, compose(face_from_image, np.array([[1.0, 0, left], [0, 1, top]]))


def _low_pass(image: np.ndarray, scale: float) -> np.ndarray:
    """Remove detail that the network's pixels, each `scale` image pixels wide, cannot show."""
    if scale <= 1.05:
        return image
    kernel = _lanczos_kernel(round(scale * PASS_BAND, 2))
    return cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=256)
def _lanczos_kernel(width: float) -> np.ndarray:
    """Windowed sinc (Duchon 1979) that passes wavelengths above two `width`s."""
    reach = int(np.ceil(LANCZOS_LOBES * width))
    steps = np.arange(-reach, reach + 1) / width
    kernel = np.sinc(steps) * np.sinc(steps / LANCZOS_LOBES) * (np.abs(steps) < LANCZOS_LOBES)
    return (kernel / kernel.sum()).astype(np.float32)


def _reduce(
    image: np.ndarray, face_from_image: np.ndarray, side: int, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Resample a filtered image to `OVERSAMPLING` pixels per pixel of the network, to spare memory."""
    border = int(np.ceil(margin * side)) + 2
    small = round((side + 2 * border) * OVERSAMPLING)
    offset = border * OVERSAMPLING
    small_from_face = np.array([[OVERSAMPLING, 0, offset], [0, OVERSAMPLING, offset]])
    small_from_image = compose(small_from_face, face_from_image)
    size = (small, small)
    reduced = cv2.warpAffine(
        image, small_from_image, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return reduced, invert(small_from_face)


def _fit_mask(mask: np.ndarray, image_from_source: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(h, w) uint8: the mask on the pixels of the prepared image, its edge averaged over their width."""
    width = 2 * int(_pixels_per_pixel(image_from_source) * OVERSAMPLING / 2) + 1
    mask = _to_uint8(mask)
    if width > 1:
        mask = cv2.blur(mask, (width, width), borderType=cv2.BORDER_REPLICATE)
    return cv2.warpAffine(mask, image_from_source, (shape[1], shape[0]), flags=cv2.INTER_LINEAR)


def _to_uint8(mask: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(np.maximum(mask, 0), alpha=255)
