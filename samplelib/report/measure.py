"""What the report measures of each face: one small row, with a tiny picture for comparing; no image is kept.

A picture is decoded at the least reduction that keeps its detail, and the face in it brought to one size and
place, whatever the face type and the stored size. So numbers of two sets can be compared.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import facelib
from core.errors import AlignmentError, FileFormatError, SampleError
from core.imageio import decode_image
from core.parallel import map_in_order
from facelib import FaceMetadata
from facelib.face_jpeg import parse_header
from facelib.quality import cpbd_sharpness, landmark_error, masked_grey
from facelib.resample import crop_face
from samplelib.sorting.look import Watch

FACE_SIDE = 140  # pixels that the mean face's unit square gets; a whole face of 256 pixels has as many
CHIP_SIDE = 192  # whole blocks of the sharpness measure; the face with its jaw fits in
CHIP_SHIFT = np.array([26.0, 12.0])  # of the unit square in the chip: forehead to chin are in its middle
TINY = 24  # side of the picture that faces are compared by
_CHUNK = 8
_POSE_SIDE = 256  # of the crop that a frame's landmarks are brought into for their pose
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

ROW = np.dtype(
    [
        ("yaw", np.float32),  # degrees, positive towards the viewer's left
        ("pitch", np.float32),  # degrees, positive up
        ("sharpness", np.float32),  # 0 .. 1, see `facelib.quality`; NaN where there are no edges
        ("brightness", np.float32),  # mean grey level of the face, 0 .. 255
        ("red", np.float32),  # mean Lab a of the face; above 0 red, below green
        ("yellow", np.float32),  # mean Lab b; above 0 yellow, below blue
        ("side_light", np.float32),  # -1 .. 1, positive if the half on the viewer's left is brighter
        ("size", np.int32),  # stored width in pixels
        ("rect_side", np.float32),  # root of the source rectangle's area, frame pixels; NaN if unknown
        ("crop_side", np.float32),  # frame pixels that the stored width was made of; NaN if unknown
        ("unit_side", np.float32),  # the mean face's square in frame pixels; NaN if unknown
        ("landmark_error", np.float32),  # see `facelib.quality.landmark_error`
        ("misfit", np.float32),  # how far the crop is from what its landmarks ask for, in its sides
        ("has_mask", np.bool_),  # an applied mask
        ("has_polys", np.bool_),  # drawn polygons
    ]
)


@dataclass(frozen=True, slots=True)
class StoredImage:
    """Where one image of a faceset lies."""

    name: str  # to show: the file's name, with the person's folder where there are several
    path: Path  # the file, or the pak that holds it
    offset: int = 0
    length: int = -1  # bytes; -1 for all of the file
    person: str = ""

    def read(self) -> bytes:
        """The image file's bytes.

        Raises:
            FileFormatError: They cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as err:
            raise FileFormatError(f"{self.name}: cannot be read ({err.strerror})") from err
        if self.length >= 0 and len(data) < self.length:
            raise FileFormatError(f"{self.name}: is shorter in the pak than its table says")
        return data


@dataclass(frozen=True, eq=False, slots=True)
class Measured:
    """One face."""

    row: np.void  # of `ROW`
    tiny: np.ndarray  # (TINY, TINY) uint8 grey, the face at one size and place
    face_type: str
    source: str | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """One image that is no face for the report."""

    reason: str
    readable: bool  # it is a picture, just without usable face data


@dataclass(frozen=True, eq=False)
class FaceTable:
    """All of a faceset that the report knows; about a kilobyte a face.

    Attributes:
        items: The N faces.
        rows: (N,) of `ROW`.
        tiny: (N, TINY, TINY) uint8.
        face_types: DFL's name of each.
        sources: The frame that each names as its source.
        foreign: Images without face data: name -> why.
        unreadable: Files that cannot be read or decoded: name -> why.
        notes: What else is to be told of the set.
    """

    items: list[StoredImage] = field(default_factory=list)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, ROW))
    tiny: np.ndarray = field(default_factory=lambda: np.zeros((0, TINY, TINY), np.uint8))
    face_types: list[str] = field(default_factory=list)
    sources: list[str | None] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)


def measure_all(
    items: Sequence[StoredImage], watch: Watch, label: str, notes: Sequence[str] = ()
) -> FaceTable:
    """Measure the images of a faceset on all processors, with only some of them in memory."""
    table = FaceTable(
        rows=np.zeros(len(items), ROW), tiny=np.zeros((len(items), TINY, TINY), np.uint8), notes=list(notes)
    )
    chunks = (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # every thread has a picture of its own
    try:
        with watch(label, len(items), "face") as counter:
            for results in map_in_order(lambda chunk: [(one, _measure_or_say(one)) for one in chunk], chunks):
                for item, found in results:
                    _enter(table, item, found)
                counter.update(len(results))
    finally:
        cv2.setNumThreads(before)
    count = len(table.items)
    return FaceTable(
        table.items, table.rows[:count], table.tiny[:count], table.face_types, table.sources,
        table.foreign, table.unreadable, table.notes,
    )  # fmt: skip


def _enter(table: FaceTable, item: StoredImage, found: Measured | Unusable) -> None:
    if isinstance(found, Unusable):
        (table.foreign if found.readable else table.unreadable)[item.name] = found.reason
        return
    number = len(table.items)
    table.rows[number], table.tiny[number] = found.row, found.tiny
    table.items.append(item)
    table.face_types.append(sys.intern(found.face_type))
    table.sources.append(found.source)


def _measure_or_say(item: StoredImage) -> Measured | Unusable:
    try:
        data = item.read()
    except FileFormatError as err:
        return Unusable(_without_name(err, item), readable=False)
    try:
        return measure(data, item.name)
    except SampleError as err:
        return Unusable(_without_name(err, item), readable=_is_picture(data))


def _without_name(err: Exception, item: StoredImage) -> str:
    return str(err).removeprefix(f"{item.name}: ")


def _is_picture(data: bytes) -> bool:
    try:
        decode_image(data, "")
    except FileFormatError:
        return False
    return True


def measure(data: bytes, name: str) -> Measured:
    """Measure the JPEG of an aligned face.

    Raises:
        FileFormatError: It is no face, or damaged.
        AlignmentError: Its landmarks are none of a face.
    """
    (_, width), metadata = parse_header(data, name)
    points = np.asarray(metadata.landmarks, np.float64)
    unit_side = _unit_side(points)
    image, reduction = decode_reduced(data, unit_side / FACE_SIDE, name)
    near = (points + 0.5) / reduction - 0.5
    to_unit = facelib.unit_from_image(near)
    matrix = np.column_stack([FACE_SIDE * to_unit[:, :2], FACE_SIDE * to_unit[:, 2] + CHIP_SHIFT])
    chip = crop_face(image, matrix, CHIP_SIDE)
    places = facelib.transform_points(near, matrix)
    row = np.zeros((), ROW)
    row["size"] = width
    row["pitch"], row["yaw"] = _pose(metadata, width)
    row["landmark_error"] = landmark_error(points)
    row["misfit"] = _misfit(metadata, width)
    _enter_origin(row, metadata, unit_side)
    _enter_light(row, chip, places)
    mask = facelib.hull_mask(chip.shape, places)
    row["sharpness"] = cpbd_sharpness(masked_grey(chip, mask))
    row["has_mask"], row["has_polys"] = metadata.xseg_mask is not None, bool(metadata.seg_ie_polys)
    grey = cv2.cvtColor(chip, cv2.COLOR_BGR2GRAY)
    tiny = cv2.resize(grey, (TINY, TINY), interpolation=cv2.INTER_AREA)
    return Measured(row[()], tiny, metadata.face_type, metadata.source_filename)


def decode_reduced(data: bytes, shrinking: float, name: str) -> tuple[np.ndarray, int]:
    """Decode a JPEG that will be made `shrinking` times smaller, as small as the decoder can do for that.

    Returns:
        (h, w, 3) uint8 BGR and the reduction, 1, 2, 4 or 8.

    Raises:
        FileFormatError: It cannot be decoded, or was cut short.
    """
    if b"\xff\xd9" not in data[-65536:]:
        raise FileFormatError(f"{name}: the picture was cut short; extract its frame again")
    reduction = next((factor for factor in (8, 4, 2) if shrinking >= factor), 1)
    flags = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION  # landmarks are in stored pixels
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise FileFormatError(f"{name}: its pixels cannot be decoded; extract its frame again")
    return image, reduction


def _unit_side(landmarks: np.ndarray) -> float:
    """Side of the mean face's square, in the pixels of the landmarks."""
    linear = facelib.unit_from_image(landmarks)[:, :2]
    return float(1 / np.sqrt(max(abs(np.linalg.det(linear)), 1e-12)))


def _pose(metadata: FaceMetadata, width: int) -> tuple[float, float]:
    """Pitch and yaw in degrees."""
    points = np.asarray(metadata.landmarks, np.float32)
    if metadata.face_type == "mark_only":  # landmarks in the frame
        matrix = facelib.transform_mat(points, _POSE_SIDE, "full_face")
        points, width = facelib.transform_points(points, matrix), _POSE_SIDE
    pitch, yaw, _ = facelib.estimate_pose(points, width)
    return float(np.degrees(pitch)), float(np.degrees(yaw))


def _misfit(metadata: FaceMetadata, width: int) -> float:
    """How far the crop's corners are from where its landmarks put them; 0 for what has no crop."""
    if metadata.face_type == "mark_only":
        return 0.0
    matrix = facelib.transform_mat(metadata.landmarks, width, metadata.face_type)
    corners = np.array([(0, 0), (width, 0), (width, width), (0, width)], np.float64)
    return float(
        np.linalg.norm(facelib.transform_points(corners, matrix) - corners, axis=1).mean() / max(width, 1)
    )


def _enter_origin(row: np.ndarray, metadata: FaceMetadata, unit_side: float) -> None:
    """How large the face was in its frame."""
    row["rect_side"] = row["crop_side"] = row["unit_side"] = np.nan
    if metadata.source_rect is not None:
        left, top, right, bottom = (int(edge) for edge in metadata.source_rect)
        row["rect_side"] = np.sqrt(abs(float(right - left) * float(bottom - top)))
    shrinking = None
    if metadata.source_landmarks is not None:
        with contextlib.suppress(AlignmentError):
            shrinking = _unit_side(metadata.source_landmarks) / unit_side
    if shrinking is None and metadata.image_to_face_mat is not None:
        scale = np.sqrt(abs(np.linalg.det(metadata.image_to_face_mat[:, :2])))
        shrinking = 1 / scale if scale > 1e-6 else None
    if shrinking is not None:
        row["crop_side"], row["unit_side"] = row["size"] * shrinking, unit_side * shrinking


def _enter_light(row: np.ndarray, chip: np.ndarray, places: np.ndarray) -> None:
    """Brightness, colour and where the light comes from, inside the face's outline."""
    chip = cv2.resize(
        chip, (CHIP_SIDE // 2, CHIP_SIDE // 2), interpolation=cv2.INTER_AREA
    )  # means need no more
    places = (places + 0.5) / 2 - 0.5
    mask = facelib.hull_mask(chip.shape, places)[..., 0] > 0
    if not mask.any():
        raise AlignmentError("the face lies outside of its picture; detect this face again")
    row["brightness"] = cv2.cvtColor(chip, cv2.COLOR_BGR2GRAY)[mask].mean()
    pixels = np.ascontiguousarray(chip[mask][:, None].astype(np.float32) / 255)
    row["red"], row["yellow"] = cv2.cvtColor(pixels, cv2.COLOR_BGR2Lab)[:, 0, 1:].mean(axis=0)
    top, chin = places[27], places[8]  # the ridge of the nose and the chin part the face in two
    y, x = np.nonzero(mask)
    along = chin - top
    leftwards = (x - top[0]) * along[1] - (y - top[1]) * along[0] < 0
    levels = chip[mask].mean(axis=1)
    if leftwards.any() and not leftwards.all():
        left, right = levels[leftwards].mean(), levels[~leftwards].mean()
        row["side_light"] = (left - right) / max(left + right, 1.0)
