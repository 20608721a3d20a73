"""The contact sheets: which faces each shows, and their small pictures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from core.errors import FileFormatError
from core.imageio import encode_image
from core.parallel import map_in_order
from facelib.face_jpeg import parse_header
from samplelib.report.findings import Study
from samplelib.report.measure import StoredImage, decode_reduced
from samplelib.report.wording import counted

SHOWN = 12  # faces of a sheet
MOST_SUSPECTS = 48
MOST_GROUPS = 12  # of duplicates
OF_A_GROUP = 3
LOOKED_AT = 400  # of the foremost faces, for some that differ
LIKENESS = 3.0  # mean grey levels below which two faces of one sheet show the same
THUMB = 96  # pixels
QUALITY = 72


@dataclass(frozen=True)
class Sheet:
    """A row of faces with a caption each."""

    title: str
    text: str
    faces: list[int]
    captions: list[str]


def make_sheets(study: Study) -> list[Sheet]:
    """All sheets that have something to show."""
    if not len(study.table):
        return []
    rows = study.table.rows
    plans = (
        ("Sharpest", "sharpness", True, "{:.2f}"),
        ("Blurriest", "sharpness", False, "{:.2f}"),
        ("Looking farthest to the viewer's left", "yaw", True, "{:.0f}°"),
        ("Looking farthest to the viewer's right", "yaw", False, "{:.0f}°"),
        ("Looking farthest up", "pitch", True, "{:.0f}°"),
        ("Looking farthest down", "pitch", False, "{:.0f}°"),
        ("Brightest", "brightness", True, "{:.0f}"),
        ("Darkest", "brightness", False, "{:.0f}"),
        ("Smallest in the film", "crop_side", False, "{:.0f} px"),
    )
    sheets = [_suspects(study), _duplicates(study)]
    for title, name, largest, form in plans:
        faces = extremes(rows[name], study.table.tiny, largest)
        captions = [form.format(float(rows[name][face]) + 0.0) for face in faces]
        sheets.append(Sheet(title, "The foremost of those that differ visibly.", faces, captions))
    return [sheet for sheet in sheets if sheet.faces]


def extremes(values: np.ndarray, tiny: np.ndarray, largest: bool, wanted: int = SHOWN) -> list[int]:
    """The foremost faces by a number, without such as look like one already chosen; NaN is left out."""
    known = np.flatnonzero(np.isfinite(values))
    ranks = known[np.argsort(-values[known] if largest else values[known], kind="stable")]
    chosen: list[int] = []
    for face in ranks[:LOOKED_AT].tolist():
        if all(cv2.absdiff(tiny[face], tiny[other]).mean() > LIKENESS for other in chosen):
            chosen.append(face)
            if len(chosen) == wanted:
                break
    return chosen


def _suspects(study: Study) -> Sheet:
    suspects = study.suspicion.suspects
    shown = suspects[:MOST_SUSPECTS]
    text = f"{counted(len(suspects), 'face')}, the most conspicuous first"
    text += f"; the first {MOST_SUSPECTS} are shown." if len(shown) < len(suspects) else "."
    return Sheet("Suspects", text, [one.index for one in shown], [one.reason for one in shown])


def _duplicates(study: Study) -> Sheet:
    faces, captions = [], []
    for number, group in enumerate(study.groups[:MOST_GROUPS], 1):
        few = group[:OF_A_GROUP].tolist()
        faces += few
        captions += [f"group {number}: {counted(len(group), 'face')}"] * len(few)
    text = f"{counted(len(study.groups), 'group')}, the largest first"
    text += f"; {MOST_GROUPS} are shown" if len(study.groups) > MOST_GROUPS else ""
    return Sheet("Next to identical", f"{text}, with up to {OF_A_GROUP} faces of each.", faces, captions)


def thumbnails(
    study: Study, sheets: Iterable[Sheet], tell: Callable[[int], None] = lambda n: None
) -> dict[int, str]:
    """The faces of the sheets as `data:` addresses of small JPEGs, without those that are gone by now."""
    wanted = list(dict.fromkeys(face for sheet in sheets for face in sheet.faces))
    pictures = map_in_order(lambda face: thumbnail(study.table.items[face]), wanted)
    found = {}
    for face, picture in zip(wanted, pictures):
        if picture is not None:
            found[face] = picture
        tell(1)
    return found


def thumbnail(item: StoredImage) -> str | None:
    """A face's small picture, or None where it cannot be read any more."""
    try:
        data = item.read()
        (height, width), _ = parse_header(data, item.name)
        image, _ = decode_reduced(data, max(height, width) / (2 * THUMB), item.name)
    except FileFormatError:
        return None
    scale = min(1.0, THUMB / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return "data:image/jpeg;base64," + base64.b64encode(encode_image(".jpg", small, QUALITY)).decode()
