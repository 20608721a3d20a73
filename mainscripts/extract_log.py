"""The record of an extraction, kept beside the faces: what was done, so that a stopped run goes on where it
was.

`<output>/.extract.jsonl` holds one JSON object a line: `{"settings": {...}}` at the start of every run (with
`"anew": true` where it does again what was done), then
`{"frame": "00001.png", "faces": ["00001_0.jpg"]}` for each finished frame, also those without a face. A line
is written after the frame's files, so a frame that was cut off is simply done again.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from core.errors import SampleError
from core.paths import list_images
from core.storage import encode_json, naming

LOG_NAME = ".extract.jsonl"
_FACE_NAME = re.compile(r"^(.+)_\d+$")  # a face's file is named <frame's stem>_<number>


@dataclass
class Record:
    """What earlier runs left in an output folder.

    Attributes:
        settings: Those of the latest run; empty where no log tells.
        done: Names of the frames finished, with the names of their faces.
        replaced: Frames that a run is to do again and did not come to yet, with their old faces.
        logged: Whether a log tells, and not just the faces.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    done: dict[str, list[str]] = field(default_factory=dict)
    replaced: dict[str, list[str]] = field(default_factory=dict)
    logged: bool = False


def read_record(output: Path, frames: list[Path]) -> Record:
    """Find out which of `frames` were extracted before.

    Without a log (the faces are DFL's) the faces' names and metadata tell. A log whose faces are all gone
    means that the user emptied the folder to begin anew. Single faces that are gone were sorted out; they
    stay away.
    """
    record = _read_log(output / LOG_NAME)
    if record.logged:
        faces = [name for names in [*record.done.values(), *record.replaced.values()] for name in names]
        if faces and not any((output / name).exists() for name in faces):
            return Record()
        return record
    return _infer(output, frames)


def _read_log(path: Path) -> Record:
    record = Record()
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return record
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut off when the program was killed
        if not isinstance(entry, dict):
            continue
        if isinstance(entry.get("settings"), dict):
            record.settings, record.logged = entry["settings"], True
            if entry.get("anew"):
                record.replaced.update(record.done)
                record.done = {}
        elif isinstance(entry.get("frame"), str) and isinstance(entry.get("faces"), list):
            record.done[entry["frame"]] = [name for name in entry["faces"] if isinstance(name, str)]
            record.replaced.pop(entry["frame"], None)
            record.logged = True
    return record


def _infer(output: Path, frames: list[Path]) -> Record:
    """Frames that have faces in a folder without a log."""
    record = Record()
    by_stem = {frame.stem: frame.name for frame in frames}
    names = {frame.name for frame in frames}
    for face in list_images(output):
        match = _FACE_NAME.match(face.stem)
        frame = by_stem.get(match[1]) if match else None
        if frame is None:  # sorting renames faces; their metadata still knows
            frame = _source_of(face)
        if frame in names:
            record.done.setdefault(frame, []).append(face.name)
    return record


def _source_of(face: Path) -> str | None:
    from facelib.face_jpeg import read_metadata

    try:
        return read_metadata(face).source_filename
    except SampleError:  # an image without metadata: none of ours
        return None


class LogWriter:
    """Appends to the log; a context manager."""

    def __init__(self, output: Path, settings: dict[str, Any], anew: bool = False) -> None:
        """Log to `output`; `anew` says that frames done before are to be done again."""
        self._path = output / LOG_NAME
        self._header = {"settings": settings} | ({"anew": True} if anew else {})
        self._file: IO[bytes] | None = None

    def __enter__(self) -> LogWriter:
        self._file = self._path.open("ab")
        if self._file.tell():
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            if torn:  # the last line was cut off: do not let the next one run into it
                self._file.write(b"\n")
        self._append(self._header)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, frame: str, faces: list[str]) -> None:
        """Record a finished frame."""
        self._append({"frame": frame, "faces": faces})

    def _append(self, entry: dict[str, Any]) -> None:
        assert self._file is not None
        with naming(self._path):
            self._file.write(encode_json(entry) + b"\n")
            self._file.flush()  # a kill loses nothing; after a power cut a few frames are done again
