"""A folder of images as the frames of a film: one size, decoded ahead, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SampleError, SwapError
from core.paths import list_images, require_folder

if TYPE_CHECKING:
    import numpy as np

AHEAD = 4  # frames decoded before they are asked for: bounded, a 4K frame takes 25 MB
WORKERS = 2
PNG_START = b"\x89PNG\r\n\x1a\n"


def require_images(folder: Path, what: str) -> list[Path]:
    """The images of a folder in the order of their names.

    Raises:
        SwapError: No such folder, or no image in it.
    """
    folder = require_folder(folder, what)
    images = list_images(folder)
    if not images:
        raise SwapError(f"{folder}: holds no images (png, jpg or tif); run the step that makes them")
    return images


def check_sizes(images: Sequence[Path]) -> None:
    """Find an image of another size before hours of work, by reading the headers only.

    Width and height may be swapped here (EXIF orientation); `read_frames` checks exactly.

    Raises:
        SampleError: Names the first odd file.
    """
    from PIL import Image, UnidentifiedImageError

    first: tuple[int, int] | None = None
    Image.MAX_IMAGE_PIXELS = None  # headers only: there is nothing to be bombed with
    for path in images:
        try:
            with Image.open(path) as image:
                size = image.size
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
            continue  # perhaps a format that only OpenCV knows; if not, decoding says so
        first = first or size
        if sorted(size) != sorted(first):
            raise _odd_size(path, size, images[0], first)


def read_frames(
    images: Sequence[Path], deep: bool = False, wait: Callable[[Path], object] | None = None
) -> Iterator[np.ndarray]:
    """Yield each image as (H, W, 3) BGR, all of the size of the first: uint8, or uint16 with `deep`.

    `wait` is called with the path of each before it is read, in this thread, and returns when it is there.

    Raises:
        FileFormatError: An image cannot be decoded.
        SampleError: An image has another size.
    """
    from core.imageio import read_image

    read = _read_uint16 if deep else read_image
    first: tuple[int, int] | None = None
    waiting: deque = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for position in range(len(images)):
                ahead = 1 if wait is not None else AHEAD
                while len(waiting) < ahead and position + len(waiting) < len(images):
                    if wait is not None:
                        wait(images[position + len(waiting)])
                    waiting.append(pool.submit(read, images[position + len(waiting)]))
                frame = waiting.popleft().result()
                size = frame.shape[1], frame.shape[0]
                first = first or size
                if size != first:
                    raise _odd_size(images[position], size, images[0], first)
                yield frame
        finally:
            for future in waiting:
                future.cancel()


def _read_uint16(path: Path) -> np.ndarray:
    import numpy as np

    from core.imageio import read_deep_image, to_uint8

    image = read_deep_image(path)
    return image if image.dtype == np.uint16 else to_uint8(image).astype(np.uint16) * 257


def is_deep(path: Path) -> bool:
    """Whether an image has 16 bits for each channel (PNG; others are taken as 8-bit), by its header."""
    try:
        with path.open("rb") as file:
            head = file.read(25)
    except OSError:
        return False
    return head.startswith(PNG_START) and head[24:] == b"\x10"  # of IHDR: width, height, depth


def _odd_size(path: Path, size: tuple[int, int], reference: Path, wanted: tuple[int, int]) -> SampleError:
    return SampleError(
        f"{path}: is {size[0]}x{size[1]}, but {reference.name} is {wanted[0]}x{wanted[1]}; "
        "all frames must have one size, move or remake this one"
    )
