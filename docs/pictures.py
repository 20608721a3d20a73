"""Make the pictures of the README from the workspace of a demo without clips, which shows drawn people only.

    bash _internal_batch/demo.sh
    .venv/bin/python docs/pictures.py workspace_demo

What a model painted is marked as such in the files, like every result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import facelib  # noqa: E402
from core.imageio import encode_image, read_image  # noqa: E402
from core.paths import list_images, require_folder  # noqa: E402
from core.storage import write_bytes  # noqa: E402
from core.video.provenance import mark_image  # noqa: E402
from mainscripts.demo import MOMENTS as MOMENTS_OF_SHEET  # noqa: E402
from mainscripts.demo import TILE as SHEET_TILE  # noqa: E402

IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 120_000
QUALITIES = (88, 80, 72, 64, 56, 48)
TILE = 220  # side of a frame or face in the pictures
MOMENTS = (0.1, 0.45, 0.8)  # of a clip
SIDES = ("data_src", "data_dst")


def tile(image: np.ndarray, side: int = TILE) -> np.ndarray:
    """A square picture at another size."""
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def moments(paths: Sequence[Path]) -> list[Path]:
    return [paths[int(moment * len(paths))] for moment in MOMENTS]


def frames(work: Path) -> np.ndarray:
    """Frames of the source above those of the destination."""
    rows = [[tile(read_image(path)) for path in moments(list_images(work / side))] for side in SIDES]
    return np.vstack([np.hstack(row) for row in rows])


def faces(work: Path) -> np.ndarray:
    """What extraction finds (the debug picture) above what it saves (the aligned face)."""
    found, saved = [], []
    for path in moments(list_images(work / "data_dst" / "aligned")):
        face, metadata = facelib.read_face(path)
        frame = read_image(work / "data_dst" / metadata.source_filename)
        shown = [(metadata.source_rect, metadata.source_landmarks)]
        found.append(tile(facelib.draw_debug(frame, shown, metadata.face_type)))
        saved.append(tile(face))
    return np.vstack([np.hstack(found), np.hstack(saved)])


def preview(work: Path) -> np.ndarray:
    """The trainer's own picture."""
    return read_image(next((work / "model").glob("*_Quick96_preview.jpg")))


def contact_sheet(work: Path) -> np.ndarray:
    """The demo's own picture, smaller: its heading and every other row."""
    sheet = read_image(work / "contact_sheet.jpg")
    heading, rows = np.split(sheet, [sheet.shape[0] - MOMENTS_OF_SHEET * SHEET_TILE])
    image = np.vstack([heading, *np.split(rows, MOMENTS_OF_SHEET)[::2]])
    return cv2.resize(image, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)


PICTURES: dict[
    str, tuple[Callable[[Path], np.ndarray], bool]
] = {  # what draws it, whether a model painted it
    "frames": (frames, False),
    "faces": (faces, False),
    "preview": (preview, True),
    "contact_sheet": (contact_sheet, True),
}


def encode(image: np.ndarray, marked: bool) -> bytes:
    """JPEG of the best quality that keeps the repository small."""
    for quality in QUALITIES:
        data = encode_image(".jpg", image, quality)
        data = mark_image(data) if marked else data
        if len(data) < MOST_BYTES:
            return data
    raise ValueError(f"a picture of {image.shape} does not fit into {MOST_BYTES} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path, help="workspace_demo, after a demo without clips")
    parser.add_argument("names", nargs="*", choices=[[], *PICTURES], help="only these pictures")
    args = parser.parse_args()
    work = require_folder(args.workspace, "the workspace of the demo")
    for name in args.names or PICTURES:
        draw, marked = PICTURES[name]
        write_bytes(IMAGES / f"{name}.jpg", encode(draw(work), marked))
        print(IMAGES / f"{name}.jpg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
