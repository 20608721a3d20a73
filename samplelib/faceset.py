"""A faceset: the aligned faces of one person, in a folder or in DFL's `faceset.pak`.

Opening one reads metadata only. Per face about a kilobyte is kept: name, place, landmarks; pictures are read
when they are wanted, and 100,000 faces are no special case.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import facelib
from core.errors import FileFormatError, SampleError, SwapError
from core.paths import list_images, require_folder
from core.system import cpu_count
from facelib import FaceMetadata
from samplelib.face_header import read_face_header
from samplelib.pak import PAK_NAME, PakEntry, read_pak_table

log = logging.getLogger(__name__)

ScanProgress = Callable[[int, int], None]  # faces looked at, faces in all

_SCAN_CHUNK = 64
_SHOWN_REASONS = 3
_FARTHEST_POINT = 1e6  # pixels; also false for what is not a number
# Numbers that meant other face types in paks of early 2020; the JPEG inside says it by name.
_AMBIGUOUS_NUMBERS = frozenset({4, 5, 6})
_ROW_KEYS = ("filename", "face_type", "shape", "landmarks", "eyebrows_expand_mod", "source_filename")


@dataclass(frozen=True, eq=False, slots=True)
class FaceSample:
    """One stored face; `read` fetches its picture."""

    name: str  # bare file name
    path: Path  # the JPEG, or the pak that holds it
    offset: int  # first byte in `path`
    length: int
    face_type: str  # DFL's string
    size: tuple[int, int]  # width and height in pixels
    landmarks: np.ndarray  # (68, 2) float32, pixels of the stored face
    eyebrows_expand_mod: float
    has_xseg: bool  # a segmentation mask was applied
    source_filename: str | None

    def read_bytes(self) -> bytes:
        """The JPEG as it is stored.

        Raises:
            SampleError: It cannot be read any more.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as err:
            raise SampleError(f"{self.path}: {self.name} cannot be read ({err.strerror})") from err
        if len(data) < self.length:
            raise SampleError(f"{self.path}: {self.name} is shorter than it was; extract it again")
        return data

    def read(self) -> tuple[np.ndarray, FaceMetadata]:
        """The stored picture, (H, W, 3) uint8 BGR, and all its metadata."""
        return facelib.decode_face(self.read_bytes(), f"{self.path}: {self.name}")


class Faceset:
    """The usable faces of a folder, in the order of their file names (of the table, for a pak)."""

    def __init__(self, path: Path, samples: list[FaceSample], skipped: dict[str, str]) -> None:
        self.path = path
        self.samples = samples
        self.skipped = skipped  # file name -> why it cannot be used
        self._yaws: np.ndarray | None = None

    @classmethod
    def open(cls, path: Path, progress: ScanProgress | None = None, workers: int | None = None) -> Faceset:
        """Scan a folder of aligned faces, or the `faceset.pak` in it, which goes before loose files.

        Unusable files are left out, listed in `skipped`, and logged as one warning.

        Args:
            path: The folder, or a `.pak` file itself.
            progress: Called now and then with the faces looked at and the faces in all.
            workers: Threads that read; by default four for each processor, as they mostly wait for the disk.

        Raises:
            SwapError: The folder does not exist.
            SampleError: Nothing in it is usable.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() == ".pak" and path.is_file():
            pak, folder = path, path.parent
        else:
            folder = require_folder(path, "the folder of aligned faces")
            pak = folder / PAK_NAME
        workers = workers or 4 * cpu_count()
        if pak.is_file():
            found = _open_pak(pak, progress, workers)
        else:
            found = _scan_files(list_images(folder), progress, workers)
        samples = [entry for _, entry in found if isinstance(entry, FaceSample)]
        skipped = {name: entry for name, entry in found if not isinstance(entry, FaceSample)}
        _refuse_empty(folder, samples, skipped)
        _warn_of_skipped(folder, skipped)
        return cls(folder, samples, skipped)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> FaceSample:
        return self.samples[index]

    def showing(self, face_type: str) -> list[int]:
        """Numbers of the samples that show at least what a network sees; the rest would be mostly border.

        Raises:
            SampleError: There are none.
        """
        least = facelib.FACE_TYPES[face_type].number
        numbers = [
            number
            for number, sample in enumerate(self.samples)
            if facelib.FACE_TYPES[sample.face_type].number >= least
        ]
        if not numbers:
            raise SampleError(
                f"{self.path}: its faces are {self.samples[0].face_type}, the model needs {face_type} or "
                f"wider; extract them again as {face_type}"
            )
        return numbers

    def yaws(self) -> np.ndarray:
        """(N,) float32 yaw of each sample in radians; measured at the first call."""
        if self._yaws is None:
            from samplelib.yaw import measure_yaws

            self._yaws = measure_yaws(self.samples)
        return self._yaws


Found = tuple[str, "FaceSample | str"]  # a file's name, and its sample or what is wrong with it


def _scan_files(paths: list[Path], progress: ScanProgress | None, workers: int) -> list[Found]:
    return _in_parallel(lambda path: (path.name, _sample_or_reason(path)), paths, progress, workers)


def _in_parallel(
    work: Callable[[Any], Found], items: list[Any], progress: ScanProgress | None, workers: int
) -> list[Found]:
    """Results in the order of the items; chunks keep the threads' bookkeeping small."""
    chunks = [items[start : start + _SCAN_CHUNK] for start in range(0, len(items), _SCAN_CHUNK)]
    found: list[Found] = []
    with ThreadPoolExecutor(min(workers, max(1, len(chunks))), "faceset scan") as pool:
        for results in pool.map(lambda chunk: [work(item) for item in chunk], chunks):
            found += results
            if progress is not None:
                progress(len(found), len(items))
    return found


def _sample_or_reason(path: Path) -> FaceSample | str:
    try:
        length = path.stat().st_size
        metadata, size = read_face_header(path, 0, length, path.name)
        return _make_sample(path.name, path, 0, length, size, metadata)
    except OSError as err:
        return f"{path.name}: cannot be read ({err.strerror})"
    except SwapError as err:
        return str(err)


def _make_sample(
    name: str, path: Path, offset: int, length: int, size: tuple[int, int], metadata: FaceMetadata
) -> FaceSample:
    return FaceSample(
        name=name,
        path=path,
        offset=offset,
        length=length,
        face_type=_known_face_type(metadata.face_type, name),
        size=size,
        landmarks=_usable_landmarks(metadata.landmarks, size, name),
        eyebrows_expand_mod=float(metadata.eyebrows_expand_mod),
        has_xseg=metadata.xseg_mask is not None,
        source_filename=metadata.source_filename,
    )


def _known_face_type(face_type: str, name: str) -> str:
    face_type = face_type.lower()
    if face_type == "mark_only" or face_type not in facelib.FACE_TYPES:
        raise FileFormatError(f"{name}: a face of type {face_type!r} cannot be trained on; extract it again")
    return sys.intern(face_type)


def _usable_landmarks(landmarks: Any, size: tuple[int, int], name: str) -> np.ndarray:
    points = np.asarray(landmarks, np.float64)
    if points.shape != (68, 2) or not (np.abs(points) < _FARTHEST_POINT).all() or min(size) < 1:
        raise FileFormatError(f"{name}: its landmarks are not 68 points; extract its frame again")
    return points.astype(np.float32)


def _open_pak(pak: Path, progress: ScanProgress | None, workers: int) -> list[Found]:
    entries = read_pak_table(pak, _slim)
    doubtful = _doubtful_numbers(pak, entries)

    def work(entry: PakEntry) -> Found:
        name = str(entry.row.get("filename"))
        try:
            return name, _packed_sample(pak, entry, name, doubtful)
        except (SwapError, TypeError, ValueError, LookupError, OverflowError) as err:
            return name, f"{name}: {err}" if not isinstance(err, SwapError) else str(err)

    return _in_parallel(work, entries, progress, workers)


def _slim(row: dict[str, Any]) -> dict[str, Any]:
    """What a sample needs of a row: the rest of 100,000 rows would fill the memory."""
    kept = {key: row[key] for key in _ROW_KEYS if key in row}
    points = kept.get("landmarks")
    if isinstance(points, np.ndarray):
        kept["landmarks"] = points.astype(np.float32)
    return {**kept, "has_xseg": row.get("xseg_mask_compressed") is not None}


def _packed_sample(pak: Path, entry: PakEntry, name: str, doubtful: frozenset[int]) -> FaceSample:
    """From the row of the table; from the JPEG where the row does not say enough."""
    row = entry.row
    number, shape = row.get("face_type"), row.get("shape")
    if number in doubtful or number is None or not shape or row.get("landmarks") is None:
        metadata, size = read_face_header(pak, entry.offset, entry.length, name)
        return _make_sample(name, pak, entry.offset, entry.length, size, metadata)
    size = (int(shape[1]), int(shape[0]))
    source = row.get("source_filename")
    return FaceSample(
        name=name,
        path=pak,
        offset=entry.offset,
        length=entry.length,
        face_type=_known_face_type(facelib.face_type_from_number(int(number)), name),
        size=size,
        landmarks=_usable_landmarks(row["landmarks"], size, name),
        eyebrows_expand_mod=float(row.get("eyebrows_expand_mod") or 1.0),
        has_xseg=row["has_xseg"],
        source_filename=None if source is None else str(source),
    )


def _doubtful_numbers(pak: Path, entries: Iterable[PakEntry]) -> frozenset[int]:
    """Face type numbers of this pak whose meaning differs from today's, or cannot be checked.

    A pak is written by one program in one go, so the first face of each number speaks for all.
    """
    doubtful: set[int] = set()
    checked: set[int] = set()
    for entry in entries:
        number = entry.row.get("face_type")
        if not isinstance(number, int) or number not in _AMBIGUOUS_NUMBERS - checked:
            continue
        checked.add(number)
        try:
            metadata, _ = read_face_header(pak, entry.offset, entry.length, str(entry.row.get("filename")))
            if facelib.face_type_from_number(number) != metadata.face_type:
                doubtful.add(number)
        except SwapError:
            doubtful.add(number)
    return frozenset(doubtful)


def _refuse_empty(folder: Path, samples: list[FaceSample], skipped: dict[str, str]) -> None:
    if samples:
        return
    if not skipped:
        raise SampleError(f"{folder}: no face images in it; extract faces into this folder first")
    reason = next(iter(skipped.values()))
    raise SampleError(
        f"{folder}: none of {len(skipped)} images is a usable face ({reason}); extract faces into this folder"
    )


def _warn_of_skipped(folder: Path, skipped: dict[str, str]) -> None:
    if not skipped:
        return
    reasons = "; ".join(list(skipped.values())[:_SHOWN_REASONS])
    more = f"; and {len(skipped) - _SHOWN_REASONS} more" if len(skipped) > _SHOWN_REASONS else ""
    log.warning("%s: %d files skipped: %s%s", folder, len(skipped), reasons, more)
