"""The first pass of an extraction that links faces: what was found in each frame, kept beside the faces.

`<output>/.extract_scan.jsonl` begins with `{"scan": {...}}`, which says by what the faces were found. A line
follows for each frame looked at, also those without a face: `frame`, its `faces` (`rect`, `score`, and
`landmarks` as base64 of 68 x 2 float32 little-endian), perhaps `embeddings` (base64 of one row of 128 float32
for each face, NaN where unknown), a `signature` of the picture (base64 of 12 x 12 x 3 bytes) and the `stamp`
of the frame's file. `{"end": 250}` says that a video has no more frames. Lines are only ever appended, so a
stopped run goes on behind the last whole one.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import SampleError
from core.interact.progress import Progress
from facelib.detected import DetectedFace
from facelib.pipeline import Pipeline
from facelib.tracking import FrameFaces, picture_signature
from mainscripts.extract_frames import look_at_frames
from mainscripts.extract_log import LineWriter
from mainscripts.extract_sources import Source

SCAN_NAME = ".extract_scan.jsonl"
EMBEDDING = 128
Embed = Callable[[np.ndarray, list[np.ndarray]], np.ndarray]


@dataclass(frozen=True, eq=False)
class Seen:
    """What one frame shows."""

    faces: list[DetectedFace]
    embeddings: np.ndarray | None  # (N, 128) float32
    signature: np.ndarray  # (12, 12, 3) uint8


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
                    file.seek(self.offsets[name])
                    seen = decode_entry(json.loads(file.readline()))
                    yield name, FrameFaces(index, seen.faces, seen.embeddings, seen.signature)


def scan_frames(
    source: Source,
    output: Path,
    pipeline: Pipeline,
    embed: Embed | None,
    every: int,
    settings: dict[str, Any],
    anew: bool = False,
) -> Scan:
    """Look at every frame that was not looked at before, by the same networks.

    Args:
        source: The frames.
        output: Folder for the file.
        pipeline: Finds the faces.
        embed: Makes embeddings of them; None for none.
        every: Of frames with a single face, only every so many-th gets its embedding: they are slow.
        settings: What else the faces depend on.
        anew: Forget what there is.
    """
    header = settings | {"networks": pipeline.name, "embeddings": every if embed else 0} | source.identity
    scan = _read(output / SCAN_NAME, header, source, anew)
    if scan.end is not None and len(scan.offsets) >= scan.end:
        return scan
    total = source.total() if scan.end is None else scan.end

    def finish(name: str, image: np.ndarray, faces: list[DetectedFace]) -> Seen:
        wanted = embed is not None and (len(faces) > 1 or _number(name) % every == 0)
        rows = embed(image, [face.landmarks for face in faces]) if wanted and faces else None
        return Seen(faces, rows, picture_signature(image))

    with (
        LineWriter(scan.path) as log,
        Progress("Looking for faces", total and max(total - len(scan.offsets), 0), "frame") as progress,
    ):
        if not scan.offsets:
            log.append({"scan": header})
        results = look_at_frames(source.frames(scan.offsets), pipeline, finish, source.ahead)
        with contextlib.closing(results):
            for name, seen in results:
                if isinstance(seen, SampleError):
                    scan.failed[name] = seen
                    progress.write(f"skipped: {seen}")
                else:
                    scan.offsets[name] = log.append(encode_entry(name, seen, source.stamp(name)))
                progress.update()
        if source.identity:
            scan.end = max((int(Path(name).stem) for name in {*scan.offsets, *scan.failed}), default=0)
            log.append({"end": scan.end})
    return scan


def _number(name: str) -> int:
    """A number that stays with a frame: that of its name, or one made of it."""
    stem = Path(name).stem
    return int(stem) if stem.isascii() and stem.isdigit() else sum(stem.encode("utf-8", "replace"))


def _read(path: Path, header: dict[str, Any], source: Source, anew: bool) -> Scan:
    """What an earlier run left, if it looked with the same networks; else an empty scan."""
    scan = Scan(path)
    if anew:
        path.unlink(missing_ok=True)
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
            elif isinstance(entry.get("frame"), str) and entry.get("stamp") == source.stamp(entry["frame"]):
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
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


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
        embeddings = _unpack(entry["embeddings"], "<f4").reshape(len(faces), EMBEDDING)
    signature = _unpack(entry["signature"], "u1").reshape(12, 12, 3)
    return Seen(faces, embeddings, signature)


def _pack(values: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype).tobytes()).decode("ascii")


def _unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)
