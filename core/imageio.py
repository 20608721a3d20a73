"""Images from and to disk: any path, any depth in, 8-bit BGR out, writes whole or not at all."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from core import storage
from core.errors import FileFormatError
from core.paths import refuse_special

JPEG_SUFFIXES = (".jpg", ".jpeg")


def read_image(path: Path) -> np.ndarray:
    """Read an image file as it is meant to be seen.

    EXIF orientation is applied, 16-bit and float are scaled to 8 bits, grey is repeated, alpha dropped.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        FileFormatError: The file cannot be opened or decoded.
    """
    return to_uint8(read_deep_image(path))


def read_deep_image(path: Path) -> np.ndarray:
    """Read an image file with all its bits: as `read_image`, but uint16 and float stay what they are."""
    path = Path(path)
    try:
        refuse_special(path)
        data = path.read_bytes()  # not cv2.imread: it trips on non-Latin paths under Windows
    except OSError as err:
        raise FileFormatError(f"{path}: cannot be read ({err.strerror})") from err
    return _decode(data, str(path))


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of an image file; see `read_image`. `name` is for the message."""
    return to_uint8(_decode(data, name))


def _decode(data: bytes, name: str) -> np.ndarray:
    if not data:
        raise FileFormatError(f"{name}: the file is empty; make it again")
    if _is_cut_short(data):
        raise FileFormatError(f"{name}: the image was cut short; make it again")
    buffer = np.frombuffer(data, np.uint8)
    try:
        # ANYDEPTH keeps 16 bits for our own scaling; COLOR applies EXIF orientation and drops alpha.
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as err:
        raise FileFormatError(f"{name}: cannot be decoded ({err.err}); make it again") from err
    if image is None:
        raise FileFormatError(f"{name}: not an image; make it again")
    return image


def with_depth_of(image: np.ndarray, before: np.ndarray, deep: np.ndarray) -> np.ndarray:
    """An edit of an 8-bit picture, carried over to the 16-bit picture that it was made of.

    What the edit left alone keeps all its bits; elsewhere its change is added, in steps of 8 bits.

    Args:
        image: (H, W, 3) uint8, `before` edited.
        before: (H, W, 3) uint8, `to_uint8(deep)`.
        deep: (H, W, 3) uint16.

    Returns:
        (H, W, 3) uint16 that `to_uint8` makes `image` of again.
    """
    change = (image.astype(np.int32) - before) * 257
    return np.clip(deep + change, 0, 65535).astype(np.uint16)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Scale uint16 by 1/257 and float in [0, 1] by 255 to uint8; uint8 is returned as it is."""
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return cv2.convertScaleAbs(image, alpha=1 / 257)
    return np.rint(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)


def encode_image(suffix: str, image: np.ndarray, quality: int | None = None) -> bytes:
    """Encode (H, W), (H, W, 1) or (H, W, 3) uint8 (PNG and TIFF: uint16, too) as the format of `suffix`.

    Args:
        suffix: `.png`, `.jpg`, `.tif` and so on.
        image: BGR or grey.
        quality: JPEG 1..100 (default 95); for PNG the compression 0..9 (default 1, which is fast).

    Raises:
        FileFormatError: The encoder refuses the image.
    """
    suffix = suffix.lower()
    if suffix in JPEG_SUFFIXES:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, 95 if quality is None else quality]
    elif suffix == ".png":
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, 1 if quality is None else quality]
        if quality is None and hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.11
            # One filter for all lines: half the time of choosing per line, and on frames no larger files.
            parameters += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    else:
        parameters = []
    try:
        done, buffer = cv2.imencode(suffix, image, parameters)
    except cv2.error as err:
        raise FileFormatError(
            f"an image of shape {image.shape} cannot be written as {suffix} ({err.err})"
        ) from err
    if not done:
        raise FileFormatError(f"an image of shape {image.shape} cannot be written as {suffix}")
    return buffer.tobytes()


def write_image(path: Path, image: np.ndarray, quality: int | None = None) -> None:
    """Write an image atomically; see `encode_image`."""
    path = Path(path)
    storage.write_bytes(path, encode_image(path.suffix, image, quality))


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end marker: decoders fill what is missing with grey, in silence."""
    tail = data[-65536:]
    end = {b"\xff\xd8": b"\xff\xd9", b"\x89P": b"IEND"}.get(data[:2])
    return end is not None and end not in tail
