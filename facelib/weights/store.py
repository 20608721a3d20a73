"""Where the weights of pretrained networks lie on this machine, and how they come there.

Looked for in the user's folder (`where`), then in the folder that `FACELAB_WEIGHTS` names. In the user's
folder only genuine files count, and others that were imported as such; in the other folder any that has the
right tensors, with a warning: that is for research and tests.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import CheckpointError, FileFormatError, SwapError
from core.interact.progress import Progress
from core.paths import require_file, require_writable_folder
from core.storage import remove_leavings, replacing
from facelib.weights.contents import (
    Digests,
    Origin,
    Tensors,
    digests_of,
    read_copy,
    read_origin,
    read_source,
    require_size,
    size_limit,
    write_copy,
)
from facelib.weights.download import OpenProgress, Say, download
from facelib.weights.registry import WEIGHTS, WeightFile, weight_file

FOLDER_VARIABLE = "FACELAB_WEIGHTS"
_told: set[Path] = set()  # of which it was said in this process that they are not the genuine files


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


def where() -> Path:
    """The user's folder for weights; it need not exist yet."""
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        data_home = Path(os.environ.get("XDG_DATA_HOME", ""))
        base = data_home if data_home.is_absolute() else Path.home() / ".local" / "share"
    return base / "facelab" / "weights"


def further_folder() -> Path | None:
    """The folder that `FACELAB_WEIGHTS` names, whether it exists or not."""
    named = os.environ.get(FOLDER_VARIABLE, "").strip()
    return Path(named).expanduser() if named else None


@dataclass(frozen=True)
class Place:
    """One folder in which the weights of `entry` may lie."""

    entry: WeightFile
    folder: Path
    takes_any: bool  # also files with other checksums than the pinned ones

    @property
    def source(self) -> Path:
        return self.folder / self.entry.file

    @property
    def part(self) -> Path:
        return self.folder / f"{self.entry.file}.part"

    @property
    def copy(self) -> Path:
        return self.folder / f"{self.entry.name}.safetensors"

    def origin(self) -> Origin | None:
        return read_origin(self.copy, self.entry)

    def has_source(self) -> bool:
        return self.source.is_file()

    def is_filled(self) -> bool:
        """Whether there is something to load; a file that is damaged counts, so that nobody overlooks it."""
        return self.has_source() or self.origin() is not None


def places(entry: WeightFile) -> Iterator[Place]:
    """The folders that are looked into, in their order."""
    yield Place(entry, where(), takes_any=False)
    folder = further_folder()
    if folder is not None:
        yield Place(entry, folder, takes_any=True)


def filled_place(entry: WeightFile) -> Place | None:
    return next((place for place in places(entry) if place.is_filled()), None)


def available(name: str) -> bool:
    """Whether `load(name)` has something to read; quick, what is in it is not looked at."""
    return filled_place(weight_file(name)) is not None


def load(name: str, say: Say = _warn) -> dict[str, np.ndarray]:
    """The weights `name` for building its network.

    Args:
        name: One of `WEIGHTS`.
        say: Receives a line if the file is not the genuine one, or its copy was made anew.

    Returns:
        float32 arrays by the variables' paths without `:0`; what has one number per channel is (C,).

    Raises:
        CheckpointError: They are not here, or the file in the user's folder is not the genuine one.
        FileFormatError: The file is damaged or holds other tensors.
    """
    entry = weight_file(name)
    place = filled_place(entry)
    if place is None:
        raise CheckpointError(
            f"the weights {entry.name} are not here; fetch them: main.py weights fetch {entry.name}, "
            f"or give a file that you have: main.py weights import {entry.file}"
        )
    return {key: np.asarray(array, np.float32) for key, array in _tensors(place, say).items()}


def _tensors(place: Place, say: Say) -> Tensors:
    """The tensors of one place, from its copy where that is sound and of the present source."""
    entry, origin = place.entry, place.origin()
    if origin is not None and (not place.has_source() or origin.is_of(place.source)):
        may_be_used = origin.genuine or origin.accepted or place.takes_any
        tensors = read_copy(place.copy, entry, origin) if may_be_used else None
        if tensors is not None:
            _tell_if_other(place, origin.genuine, say)
            return tensors
        if not place.has_source():
            raise CheckpointError(
                f"{place.copy}: the copy is damaged; fetch it again: main.py weights fetch {entry.name}"
            )
        say(f"{place.copy} is damaged; it is made again of {entry.file}")
    require_size(place.source, entry)
    digests = digests_of(place.source)
    accepted = origin is not None and origin.accepted and origin.source_sha256 == digests.sha256
    _admit(place, digests.are_genuine(entry), accepted)
    if origin is not None and origin.source_sha256 != digests.sha256:
        say(f"{place.source} is another file than before; its copy {place.copy.name} is made anew")
    tensors = read_source(place.source, entry)
    _tell_if_other(place, digests.are_genuine(entry), say)
    _try_to_copy(place, tensors, digests, accepted, say)
    return tensors


def _admit(place: Place, genuine: bool, accepted: bool) -> None:
    """Refuse another file than the genuine one where it may not be."""
    if not (genuine or accepted or place.takes_any):
        name = place.entry.name
        raise CheckpointError(
            f"{place.source}: its checksum is not that of DeepFaceLab's file; replace it: main.py weights "
            f"fetch {name}, or accept it: main.py weights import --any-checksum {place.source}"
        )


def _tell_if_other(place: Place, genuine: bool, say: Say) -> None:
    """Warn once in a run of a file that is not the genuine one."""
    if not genuine and place.source not in _told:
        _told.add(place.source)
        say(f"{place.source} is not DeepFaceLab's file (another checksum); using it as it is")


def _try_to_copy(place: Place, tensors: Tensors, digests: Digests, accepted: bool, say: Say) -> None:
    """Write the safetensors copy; a folder of others that cannot be written to does without."""
    try:
        write_copy(place.copy, tensors, place.entry, place.source, digests, accepted)
    except OSError as err:
        if not place.takes_any:
            say(f"{place.copy} could not be written ({err.strerror}); {place.source} is read in its place")


def is_genuine(place: Place) -> bool:
    """Whether the source has the pinned checksums; reads all of it."""
    return place.has_source() and digests_of(place.source).are_genuine(place.entry)


def fetch(name: str, say: Say = print, open_progress: OpenProgress = Progress) -> Path:
    """Download the weights `name` into the user's folder, unless the genuine file is there.

    Args:
        name: One of `WEIGHTS`.
        say: Receives what a user should know: interruptions, where the file is.
        open_progress: Makes the progress display.

    Raises:
        SwapError: No address has the genuine file, or there is no room for it.
    """
    entry = weight_file(name)
    folder = require_writable_folder(where(), "the folder for weights")
    remove_leavings(folder)
    place = Place(entry, folder, takes_any=False)
    if is_genuine(place):
        say(f"{entry.name}: already here, checksums right: {place.source}")
        digests = None if place.origin() else digests_of(place.source)
    else:
        _require_room(place)
        digests = download(entry, place.source, say, open_progress)
        say(f"{entry.name}: fetched, checksums right: {place.source}")
    if digests is not None:
        _try_to_copy(place, read_source(place.source, entry), digests, False, say)
    return place.source


def _require_room(place: Place) -> None:
    """Raises SwapError unless the file and its copy fit on the disk."""
    here = place.part.stat().st_size if place.part.is_file() else 0
    needed, free = 2 * place.entry.data_bytes - here, shutil.disk_usage(place.folder).free
    if free < needed:
        raise SwapError(
            f"{place.folder}: {place.entry.name} needs {needed / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; "
            "make room there"
        )


def ensure(name: str, ask: Callable[[str], bool] | None = None, say: Say = print) -> bool:
    """Whether the weights `name` are here, after fetching them if need be.

    Args:
        name: One of `WEIGHTS`.
        ask: Is asked before a download; without it nothing is asked.
        say: Receives in one line why a download failed.
    """
    entry = weight_file(name)
    if available(name):
        return True
    question = f"Download {entry.file} ({entry.data_bytes / 1e6:.0f} MB) of DeepFaceLab"
    if ask is not None and not ask(question):
        return False
    say(entry.licence)
    try:
        fetch(name, say)
    except SwapError as err:
        say(str(err))
    except OSError as err:
        say(f"{err.filename or where()}: {err.strerror}")
    return available(name)


def import_file(path: Path, any_checksum: bool = False, say: Say = print) -> Path:
    """Take a weight file that the user has into his folder; which one it is is told by its checksum.

    Args:
        path: One of DFL's `.npy` files.
        any_checksum: Take files with the right tensors whatever their checksum; their name tells which.
        say: Receives a line if the file is not the genuine one.

    Raises:
        FileFormatError: It is none of them, is damaged or hostile.
    """
    path = require_file(path, "the weight file")
    if path.stat().st_size > max(map(size_limit, WEIGHTS.values())):
        raise FileFormatError(
            f"{path}: has {path.stat().st_size} bytes, more than any weight file; choose the right one"
        )
    digests = digests_of(path)
    entry = _recognise(path, digests, any_checksum)
    folder = require_writable_folder(where(), "the folder for weights")
    remove_leavings(folder)
    place = Place(entry, folder, takes_any=False)
    with replacing(place.source) as temporary:
        shutil.copyfile(path, temporary)
        if digests_of(temporary) != digests:
            raise FileFormatError(f"{path}: was changed while it was being read; import it again")
        try:
            tensors = read_source(temporary, entry)
        except FileFormatError as err:  # told of the file that the user knows
            raise FileFormatError(str(err).replace(str(temporary), str(path))) from err
    genuine = digests.are_genuine(entry)
    write_copy(place.copy, tensors, entry, place.source, digests, accepted=not genuine)
    if not genuine:
        say(f"{path} is not DeepFaceLab's {entry.file} (another checksum); it is used as it is")
    place.part.unlink(missing_ok=True)
    return place.source


def _recognise(path: Path, digests: Digests, any_checksum: bool) -> WeightFile:
    """Which weights a file is: by its checksums, or by its name if any are taken."""
    for entry in WEIGHTS.values():
        if digests.are_genuine(entry):
            return entry
    if not any_checksum:
        raise FileFormatError(
            f"{path}: none of DeepFaceLab's files has its SHA-256 {digests.sha256}; get a sound copy, or, if "
            "you trust it, import it with --any-checksum"
        )
    for entry in WEIGHTS.values():
        if path.stem.lower() == entry.name.lower():
            return entry
    raise FileFormatError(
        f"{path}: its name does not tell which weights these are; call it "
        f"{' or '.join(entry.file for entry in WEIGHTS.values())}"
    )
