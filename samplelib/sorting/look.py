"""Looking at the faces of a folder one by one, on all processors, keeping only what was measured."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

import facelib
from core.errors import FileFormatError, SampleError
from core.imageio import decode_image
from core.system import cpu_count
from facelib import FaceMetadata
from samplelib.face_header import read_face_header

Value = TypeVar("Value")
_CHUNK = 8  # files a task: keeps the threads' bookkeeping small
_AHEAD = 4  # tasks waiting for each thread
_HEADER_THREADS = 4  # for each processor, as they mostly wait for the disk
_SWITCH_SECONDS = 2e-4  # threads of many short calls would wait most of the time at Python's own 5 ms


class Counter(Protocol):
    """What shows the progress of one step."""

    def update(self, n: int = 1) -> None: ...


Watch = Callable[[str, int, str], AbstractContextManager[Counter]]  # label, how many, of what


@dataclass(frozen=True, eq=False)
class Look:
    """One file as it was found.

    Attributes:
        path: Of the file.
        metadata: Of the face; None where it is none of DFL's or ours.
        image: (H, W, 3) uint8 BGR, if it was wanted and can be decoded.
        size: Width and height; zeros where unknown.
        problem: Why it is no face, or no image at all; empty for a sound face.
    """

    path: Path
    metadata: FaceMetadata | None
    image: np.ndarray | None
    size: tuple[int, int]
    problem: str = ""


def look(path: Path, picture: bool) -> Look:
    """Read a file's metadata, and its picture if wanted; what is wrong with it is said in `problem`."""
    try:
        if not picture:
            metadata, size = read_face_header(path, 0, path.stat().st_size, path.name)
            return Look(path, metadata, None, size)
        data = path.read_bytes()
    except SampleError as err:
        return Look(path, None, None, (0, 0), str(err))
    except OSError as err:
        return Look(path, None, None, (0, 0), f"{path.name}: cannot be read ({err.strerror})")
    try:
        image, metadata = facelib.decode_face(data, path.name)
        return Look(path, metadata, image, image.shape[1::-1])
    except SampleError as err:
        problem = str(err)
    try:
        image = decode_image(data, path.name)
        return Look(path, None, image, image.shape[1::-1], problem)
    except FileFormatError as err:
        return Look(path, None, None, (0, 0), str(err))


def measure(
    paths: Sequence[Path], work: Callable[[Look], Value], picture: bool, watch: Watch, label: str
) -> list[tuple[Value, str | None]]:
    """What `work` makes of each file, in order, with the frame that the face names as its source.

    Args:
        paths: The files.
        work: Called in several threads, with what was found of a file.
        picture: Whether it wants the pictures.
        watch: Shows the progress.
        label: Of the progress.
    """

    def task(chunk: Sequence[Path]) -> list[tuple[Value, str | None]]:
        results = []
        for path in chunk:
            found = look(path, picture)
            source = found.metadata.source_filename if found.metadata else None
            results.append((work(found), source))
        return results

    threads = cpu_count() * (1 if picture else _HEADER_THREADS)
    results: list[tuple[Value, str | None]] = []
    before = cv2.getNumThreads(), sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    cv2.setNumThreads(1)  # every thread has a picture of its own; more would only get in the way
    try:
        with ThreadPoolExecutor(threads, "sort") as pool, watch(label, len(paths), "face") as counter:
            chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
            for values in in_order(pool, task, chunks, threads * _AHEAD):
                results += values
                counter.update(len(values))
    finally:
        cv2.setNumThreads(before[0])
        sys.setswitchinterval(before[1])
    return results


def in_order(pool: Any, work: Callable[[Any], Value], items: Sequence[Any], ahead: int) -> Iterator[Value]:
    """Results of a pool in the order of the items, of which no more than `ahead` are under way."""
    waiting: deque[Future[Value]] = deque()
    rest = iter(items)
    try:
        for item in itertools.islice(rest, ahead):
            waiting.append(pool.submit(work, item))
        while waiting:
            result = waiting.popleft().result()
            for item in itertools.islice(rest, 1):
                waiting.append(pool.submit(work, item))
            yield result
    finally:
        for future in waiting:
            future.cancel()
