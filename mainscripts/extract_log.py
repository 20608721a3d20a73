"""The record of an extraction, kept beside the faces: what was done, so that a stopped run goes on where it
was.

`<output>/.extract.jsonl` holds one JSON object a line: `{"settings": {...}}` at the start of every run (with
`"anew": true` where it does again what was done), then `{"frame": "00001.png", "faces": ["00001_0.jpg"]}` for
each finished frame, also those without a face, and `{"end": 250}` once a video's end was seen.
Where faces are linked over time, a frame has the fingerprint of its `"plan"`, and is cut again when that has
changed. A line is written after the frame's files, so a frame that was cut off is simply done again.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from core.errors import SampleError, SwapError
from core.paths import list_images
from core.storage import encode_json, naming

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from mainscripts.extract_sources import Source

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
        end: Number of a video's frames, once a run has seen its end.
        plans: Fingerprints of what was to be cut out of the finished frames, where that was planned before.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    done: dict[str, list[str]] = field(default_factory=dict)
    replaced: dict[str, list[str]] = field(default_factory=dict)
    logged: bool = False
    end: int | None = None
    plans: dict[str, str] = field(default_factory=dict)


def read_record(output: Path, source: Source) -> Record:
    """Find out which frames of `source` were extracted before.

    Without a log (the faces are DFL's) the faces' names and metadata tell. A log whose faces are all gone
    means that the user emptied the folder to begin anew. Single faces that are gone were sorted out; they
    stay away.
    """
    record = _read_log(output / LOG_NAME)
    if record.logged:
        faces = [name for names in [*record.done.values(), *record.replaced.values()] for name in names]
        if faces and not any((output / name).exists() for name in faces):
            return Record()
        _check_same_video(output, record, source)
        return record
    return _infer(output, source)


def _check_same_video(output: Path, record: Record, source: Source) -> None:
    """Frames of all videos have the same names, so faces of two would be taken for one's."""
    before, now = (_video_of(identity) for identity in (record.settings, source.identity))
    if record.done and before and now and before | {"video_name": ""} != now | {"video_name": ""}:
        raise SwapError(
            f"{output}: holds faces of another video ({before.get('video_name')}) or of another --fps "
            f"({before.get('fps')}); choose another --output-dir, or empty it"
        )


def _video_of(settings: dict[str, Any]) -> dict[str, Any]:
    video = settings.get("video")
    return video if isinstance(video, dict) else {}


def _read_log(path: Path) -> Record:
    record = Record()
    for entry in read_entries(path):
        if isinstance(entry.get("settings"), dict):
            record.settings, record.logged = entry["settings"], True
            if entry.get("anew"):
                record.replaced.update(record.done)
                record.done = {}
        elif isinstance(entry.get("frame"), str) and isinstance(entry.get("faces"), list):
            record.done[entry["frame"]] = [name for name in entry["faces"] if _is_face_file(name)]
            record.replaced.pop(entry["frame"], None)
            record.plans[entry["frame"]] = str(entry.get("plan", ""))
            record.logged = True
        elif isinstance(entry.get("end"), int):
            record.end = entry["end"]
    return record


def _is_face_file(name: object) -> bool:
    """Whether a name in the log is one of a face, perhaps in a person's folder, and leads nowhere else."""
    if not isinstance(name, str) or "\0" in name:
        return False
    path = Path(name)
    return not path.anchor and not path.drive and ".." not in path.parts and len(path.parts) in (1, 2)


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines; none where there is no file, torn lines are left out."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue  # cut off when the program was killed
            if isinstance(entry, dict):
                yield entry


def _infer(output: Path, source: Source) -> Record:
    """Frames that have faces in a folder without a log."""
    record = Record()
    for face in list_images(output):
        match = _FACE_NAME.match(face.stem)
        frame = source.name_of(match[1]) if match else None
        if frame is None:  # sorting renames faces; their metadata still knows
            frame = _source_of(face)
        if frame is not None and source.name_of(Path(frame).stem) == frame:
            record.done.setdefault(frame, []).append(face.name)
    return record


def _source_of(face: Path) -> str | None:
    from facelib.face_jpeg import read_metadata

    try:
        return read_metadata(face).source_filename
    except SampleError:  # an image without metadata: none of ours
        return None


class LineWriter:
    """Appends JSON objects to a file, one a line; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._file = self._path.open("ab")
        if self._file.tell():
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                torn = file.read(1) != b"\n"
            if torn:  # the last line was cut off: do not let the next one run into it
                self._file.write(b"\n")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with naming(self._path):  # closing tries once more to write what did not fit on the disk
                self._file.close()

    def append(self, entry: dict[str, Any]) -> int:
        """Write one object; a kill right after loses nothing, a power cut a few of the last.

        Returns:
            Where in the file it begins.
        """
        assert self._file is not None
        offset = self._file.tell()
        with naming(self._path):
            self._file.write(encode_json(entry) + b"\n")
            self._file.flush()
        return offset


class LogWriter(LineWriter):
    """Appends to the log of an extraction; a context manager."""

    def __init__(self, output: Path, settings: dict[str, Any], anew: bool = False) -> None:
        """Log to `output`; `anew` says that frames done before are to be done again."""
        super().__init__(output / LOG_NAME)
        self._header: dict[str, Any] | None = {"settings": settings} | ({"anew": True} if anew else {})

    def begin(self) -> None:
        """Note the settings, before the first frame: a run that cannot even begin leaves none behind."""
        if self._header is not None:
            self.append(self._header)
            self._header = None

    def add(self, frame: str, faces: list[str], plan: str = "") -> None:
        """Record a finished frame; `plan` is the fingerprint of what was to be cut out of it."""
        self.begin()
        self.append({"frame": frame, "faces": faces} | ({"plan": plan} if plan else {}))

    def end(self, count: int) -> None:
        """Record that the source has `count` frames and no more."""
        self.begin()
        self.append({"end": count})
