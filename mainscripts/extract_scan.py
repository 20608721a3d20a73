"""The first pass of an extraction that links faces: what was found in each frame, kept beside the faces.

`<output>/.extract_scan.jsonl` begins with `{"scan": {...}}`, which says by what the faces were found. A line
follows for each frame looked at, also those without a face: `frame`, its `faces` (`rect`, `score`, and
`landmarks` as base64 of 68 x 2 float32 little-endian), perhaps `embeddings` (base64 of one row of 128 float32
for each face, NaN where unknown), a `signature` of the picture (base64 of N x N x 3 bytes) and the `stamp` of
the frame's file. `{"end": 250}` says that a video has no more frames. Lines are only ever appended, so a
stopped run goes on behind the last whole one.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import AlignmentError, SampleError
from core.interact.progress import Progress
from facelib.detected import DetectedFace
from facelib.embedding import LENGTH, EmbeddingPlan, FaceEmbedder, face_chip
from facelib.pipeline import Pipeline
from facelib.shots import SIDE, picture_signature
from facelib.tracking import FrameFaces
from mainscripts.extract_frames import look_at_frames
from mainscripts.extract_log import LineWriter
from mainscripts.extract_sources import Source, frame_name

SCAN_NAME = ".extract_scan.jsonl"


@dataclass(frozen=True, eq=False)
class Seen:
    """What one frame shows."""

    faces: list[DetectedFace]
    embeddings: np.ndarray | None  # (N, 128) float32, rows of NaN where unknown
    signature: np.ndarray  # (N, N, 3) uint8


@dataclass
class Scan:
    """A scan's file, and where in it each frame is."""

    path: Path
    offsets: dict[str, int] = field(default_factory=dict)
    end: int | None = None
    failed: dict[str, SampleError] = field(default_factory=dict)

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, FrameFaces]]:
        """The frames of these names that were looked at, numbered by their place among all names."""
        with self.path.open("rb") as file:
            for index, name in enumerate(names):
                if name in self.offsets:
                    yield name, self.read_one(file, name, index)

    def read_one(self, file: BinaryIO, name: str, index: int) -> FrameFaces:
        """One frame that was looked at; `file` is `path`, open for reading."""
        file.seek(self.offsets[name])
        seen = decode_entry(json.loads(file.readline()))
        return FrameFaces(index, seen.faces, seen.embeddings, seen.signature)


def scan_frames(
    source: Source,
    output: Path,
    pipeline: Pipeline,
    embedder: FaceEmbedder | None,
    every: int,
    settings: dict[str, Any],
) -> Scan:
    """Look at every frame that was not looked at before, by the same networks.

    Args:
        source: The frames.
        output: Folder for the file.
        pipeline: Finds the faces.
        embedder: Makes embeddings of those that need one; None makes none.
        every: Frames until the embedding of a face that just goes on is made again; 1 makes all.
        settings: What else the faces depend on.
    """
    header = settings | source.identity
    header |= {"networks": pipeline.name, "embeddings": every if embedder else 0, "signature": SIDE}
    scan = _read(output / SCAN_NAME, header, source)
    if scan.end is not None and len(scan.offsets) >= scan.end:
        return scan
    total = source.total() if scan.end is None else scan.end

    def finish(name: str, image: np.ndarray, faces: list[DetectedFace]) -> tuple[Seen, list[np.ndarray]]:
        faces, chips = (faces, []) if embedder is None else _with_chips(image, faces)
        return Seen(faces, None, picture_signature(image)), chips

    with (
        LineWriter(scan.path) as log,
        Progress("Looking for faces", total and max(total - len(scan.offsets), 0), "frame") as progress,
    ):
        if not scan.offsets:
            log.append({"scan": header})
        choosing = None if embedder is None else _Choosing(scan, source, embedder, every)
        results = look_at_frames(source.frames(scan.offsets), pipeline, finish, source.ahead)
        with contextlib.closing(results):
            for name, result in results:
                if isinstance(result, SampleError):
                    scan.failed[name] = result
                    progress.write(f"skipped: {result}")
                else:
                    seen = result[0] if choosing is None else choosing.with_embeddings(name, *result)
                    scan.offsets[name] = log.append(encode_entry(name, seen, source.stamp(name)))
                progress.update()
        if source.identity:
            scan.end = max((int(Path(name).stem) for name in {*scan.offsets, *scan.failed}), default=0)
            log.append({"end": scan.end})
    return scan


def _with_chips(image: np.ndarray, faces: list[DetectedFace]) -> tuple[list[DetectedFace], list[np.ndarray]]:
    """Faces with what the embedder is to see of each.

    A face whose landmarks determine no alignment is left out, as it is when faces are written.

    Raises:
        AlignmentError: That leaves none.
    """
    kept, chips, unaligned = [], [], None
    for face in faces:
        try:
            chips.append(face_chip(image, face.landmarks))
        except AlignmentError as err:
            unaligned = err
            continue
        kept.append(face)
    if unaligned is not None and not kept:
        raise unaligned
    return kept, chips


class _Choosing:
    """Embeds the faces of frame after frame that are worth it, by what came before.

    After a stop, what came before is read again, so that the same faces are chosen as without the stop.
    """

    def __init__(self, scan: Scan, source: Source, embedder: FaceEmbedder, every: int) -> None:
        self._scan, self._embedder = scan, embedder
        self._plan = EmbeddingPlan(every)
        self._order = source.names(None)  # None for a video, whose frames are numbered
        self._places = {name: number for number, name in enumerate(self._order or ())}
        self._next = 0

    def with_embeddings(self, name: str, seen: Seen, chips: list[np.ndarray]) -> Seen:
        """The frame with a row for each face, NaN where it is not worth it."""
        index = self._places[name] if self._order else int(Path(name).stem) - 1
        self._catch_up(index)
        chosen = self._plan.choose(FrameFaces(index, seen.faces, None, seen.signature))
        self._next = index + 1
        if not chosen:
            return seen
        rows = np.full((len(seen.faces), LENGTH), np.nan, np.float32)
        rows[chosen] = self._embedder.embed_chips([chips[number] for number in chosen])
        return Seen(seen.faces, rows, seen.signature)

    def _catch_up(self, index: int) -> None:
        """Take the frames before `index` that an earlier run looked at."""
        if self._next == index:
            return
        with self._scan.path.open("rb") as file:
            for number in range(self._next, index):
                name = self._order[number] if self._order else frame_name(number + 1)
                if name in self._scan.offsets:
                    self._plan.choose(self._scan.read_one(file, name, number))


def _read(path: Path, header: dict[str, Any], source: Source) -> Scan:
    """What an earlier run left, if it looked with the same networks; else an empty scan."""
    scan = Scan(path)
    if not path.exists():
        return scan
    header = json.loads(json.dumps(header))
    same = False
    with path.open("rb") as file:
        offset = 0
        for line in file:
            entry = _entry(line)
            if "scan" in entry:
                same = entry["scan"] == header
                if not same:
                    break
            elif _is_good(entry) and entry.get("stamp") == source.stamp(entry["frame"]):
                scan.offsets[entry["frame"]] = offset
            elif isinstance(entry.get("end"), int):
                scan.end = entry["end"]
            offset += len(line)
    if same:
        return scan
    path.unlink()
    return Scan(path)


def _entry(line: bytes) -> dict[str, Any]:
    """The object of a line; empty where it was cut off."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _is_good(entry: dict[str, Any]) -> bool:
    """Whether it is a frame's line whose content can be used."""
    if not isinstance(entry.get("frame"), str):
        return False
    try:
        decode_entry(entry)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def encode_entry(name: str, seen: Seen, stamp: list[int] | None) -> dict[str, Any]:
    """A line's object; see the head of the module."""
    entry: dict[str, Any] = {
        "frame": name,
        "faces": [
            {"rect": list(face.rect), "score": face.score, "landmarks": _pack(face.landmarks, "<f4")}
            for face in seen.faces
        ],
        "signature": _pack(seen.signature, "u1"),
        "stamp": stamp,
    }
    if seen.embeddings is not None:
        entry["embeddings"] = _pack(seen.embeddings, "<f4")
    return entry


def decode_entry(entry: dict[str, Any]) -> Seen:
    """What `encode_entry` made a line of."""
    faces = [
        DetectedFace(
            tuple(face["rect"]), _unpack(face["landmarks"], "<f4").reshape(68, 2), float(face["score"])
        )
        for face in entry["faces"]
    ]
    embeddings = None
    if "embeddings" in entry:
        embeddings = _unpack(entry["embeddings"], "<f4").reshape(len(faces), LENGTH)
    signature = _unpack(entry["signature"], "u1")
    side = math.isqrt(len(signature) // 3)
    signature = signature.reshape(side, side, 3)
    return Seen(faces, embeddings, signature)


def _pack(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)
