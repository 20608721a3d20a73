"""Memory of what was merged how: a stopped run goes on, and nothing is overwritten that was not written here.

One line of JSON per event in `merge_session.jsonl` of the output folder, appended as it happens:

    {"version": 1}
    {"run": "<key>", "options": {...}, "model": {...}}      how the frames that follow are merged
    {"frame": "<stem>", "begin": "<key>"}                   from here on its two files are ours
    {"frame": "<stem>", "run": "<key>", "input": "<hash>", "sizes": [picture, mask]}

A line that a crash cut short is dropped. The file is rewritten at the start of a run, one line per frame.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from core import storage
from core.errors import FileFormatError
from merger.frames import FrameFaces
from merger.options import MergeOptions

FILE_NAME = "merge_session.jsonl"
VERSION = 1


class State(Enum):
    """What is known of a frame's result."""

    MISSING = "to be merged"
    DONE = "merged with the same options, model and faces"
    OUTDATED = "merged by us with others"
    FOREIGN = "there, but not as we wrote it"


@dataclass(frozen=True)
class _Record:
    """What the session says of one frame; run and sizes are unknown while it is being written."""

    run: str | None
    input: str = ""
    sizes: tuple[int, int] = (-1, -1)


class MergeSession:
    """The session of one output folder and its mask folder."""

    def __init__(self, output_dir: Path, mask_dir: Path) -> None:
        """Read the session, if there is one.

        Raises:
            FileFormatError: The file is of another program or a later version.
        """
        self.output_dir, self.mask_dir = Path(output_dir), Path(mask_dir)
        self.path = self.output_dir / FILE_NAME
        self.runs: dict[str, dict[str, Any]] = {}
        self._records: dict[str, _Record] = {}
        self._run = ""
        self._file = None
        self._lock = threading.Lock()
        if self.path.exists():
            self._read()

    def result_path(self, stem: str) -> Path:
        return self.output_dir / f"{stem}.png"

    def mask_path(self, stem: str) -> Path:
        return self.mask_dir / f"{stem}.png"

    def begin_run(self, options: MergeOptions, model: Mapping[str, Any]) -> None:
        """Say how frames are merged from now on, and start writing.

        Args:
            options: Of this run.
            model: What tells one state of a model from another: name, kind, iteration and so on.
        """
        settings = {"options": options.to_json(), "model": dict(model)}
        self._run = _hash(json.dumps(settings, sort_keys=True).encode())
        self.runs[self._run] = settings
        self._rewrite()
        self._file = self.path.open("a", encoding="utf-8")

    def state(self, frame: FrameFaces) -> State:
        """What is to be done with a frame; `begin_run` comes first."""
        sizes = tuple(_size(path) for path in (self.result_path(frame.stem), self.mask_path(frame.stem)))
        record = self._records.get(frame.stem)
        if sizes == (-1, -1):
            return State.MISSING
        if record is None:
            return State.FOREIGN
        if record.run is None:  # we were stopped while writing it
            return State.MISSING
        if any(size not in (-1, known) for size, known in zip(sizes, record.sizes, strict=True)):
            return State.FOREIGN  # retouched by hand, perhaps
        if -1 in sizes:
            return State.MISSING
        same = record.run == self._run and record.input == input_hash(frame)
        return State.DONE if same else State.OUTDATED

    def begin_frame(self, frame: FrameFaces) -> None:
        """Claim a frame's files, before the first is written."""
        self._append(frame.stem, _Record(None))

    def finish_frame(self, frame: FrameFaces, input_key: str) -> None:
        """Record that both files of a frame are written; `input_key` is the `input_hash` it was read with."""
        sizes = (_size(self.result_path(frame.stem)), _size(self.mask_path(frame.stem)))
        self._append(frame.stem, _Record(self._run, input_key, sizes))

    def close(self) -> None:
        """Stop writing; may be called twice."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> MergeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, stem: str, record: _Record) -> None:
        with self._lock:
            self._records[stem] = record
            if self._file is not None:
                with storage.naming(self.path):
                    self._file.write(_frame_line(stem, record, self._run))
                    self._file.flush()  # a killed process loses nothing that has reached the system

    def _rewrite(self) -> None:
        used = {record.run for record in self._records.values()} | {self._run}
        self.runs = {key: settings for key, settings in self.runs.items() if key in used}
        lines = [json.dumps({"version": VERSION}) + "\n"]
        lines += [json.dumps({"run": key, **settings}) + "\n" for key, settings in self.runs.items()]
        lines += [_frame_line(stem, record, self._run) for stem, record in self._records.items()]
        storage.write_bytes(self.path, "".join(lines).encode("utf-8"))

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n")
        lines.pop()  # what follows the last newline was cut short, or is empty
        for number, line in enumerate(lines, 1):
            try:
                self._take_over(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as err:
                raise FileFormatError(
                    f"{self.path}: line {number} is damaged ({err}); move the file away to start anew"
                ) from err

    def _take_over(self, entry: dict[str, Any]) -> None:
        if "version" in entry:
            if entry["version"] != VERSION:
                raise ValueError(f"version {entry['version']}, this program knows {VERSION}")
        elif "begin" in entry:
            self._records[str(entry["frame"])] = _Record(None)
        elif "frame" in entry:
            picture, mask = (int(size) for size in entry["sizes"])
            self._records[str(entry["frame"])] = _Record(
                str(entry["run"]), str(entry["input"]), (picture, mask)
            )
        else:
            self.runs[str(entry["run"])] = {"options": entry["options"], "model": entry["model"]}


def input_hash(frame: FrameFaces) -> str:
    """Changes when the frame's file or its faces change."""
    status = frame.path.stat()
    parts = [f"{frame.path.name} {status.st_size} {status.st_mtime_ns}".encode("utf-8", "surrogateescape")]
    for face in frame.faces:
        parts.append(face.landmarks.tobytes())
        parts.append(f"{face.motion.power:.3f} {face.motion.angle:.3f}".encode())
    return _hash(b"\n".join(parts))


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _frame_line(stem: str, record: _Record, run: str) -> str:
    if record.run is None:
        return json.dumps({"frame": stem, "begin": run}) + "\n"
    return (
        json.dumps({"frame": stem, "run": record.run, "input": record.input, "sizes": list(record.sizes)})
        + "\n"
    )
