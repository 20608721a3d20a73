"""Finding the user's files: image folders, wildcards as the numbered scripts pass them, early checks."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from core.errors import FileFormatError, SwapError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff"})  # the set that DFL scans
_SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def list_images(folder: Path) -> list[Path]:
    """Images directly inside `folder`, sorted by path.

    Hidden files (our temporary ones) are left out, and so are pipes, sockets and devices, which can never be
    images. Folders and broken links with an image's name are listed: whoever reads them says so.
    """
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
            and not _is_special(entry)
        ]
    return [Path(folder) / name for name in sorted(names)]


def _is_special(entry: os.DirEntry[str]) -> bool:
    try:
        # the first question is answered by the listing itself, so that plain files cost nothing
        return not entry.is_file(follow_symlinks=False) and _special_kind(entry) is not None
    except OSError:
        return False


def _special_kind(path: Path | os.DirEntry[str]) -> str | None:
    """What this is, or its link leads to, if neither file nor folder: reading it may never end."""
    return _SPECIAL.get(stat.S_IFMT(path.stat().st_mode))


def refuse_special(path: Path) -> None:
    """Refuse a pipe, socket or device before it is opened: a reader would wait for ever.

    Raises:
        FileFormatError: It is one.
        OSError: There is nothing to look at.
    """
    kind = _special_kind(path)
    if kind is not None:
        raise FileFormatError(f"{path}: cannot be read (this is {kind}, not a file)")


def is_file_name(name: object) -> bool:
    """Whether this is a text that names one file in a folder, and leads nowhere else."""
    return isinstance(name, str) and name not in ("", ".", "..") and not any(sign in name for sign in "/\\\0")


def require_folder(path: Path, what: str) -> Path:
    """`path` if it is a folder; `what` names its role in the message.

    Raises:
        SwapError: It is missing or is a file.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise SwapError(f"{path}: {what} does not exist; check the path or run the step that makes it")
    if not path.is_dir():
        raise SwapError(f"{path}: {what} must be a folder, this is a file; choose another path")
    return path


def require_file(path: Path, what: str) -> Path:
    """`path` if it is a file; `what` names its role in the message.

    Raises:
        SwapError: It is missing, or no file: a folder, a device or the like.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise SwapError(f"{path}: {what} does not exist; check the path")
    if not path.is_file():
        kind = _special_kind(path) or "a folder"
        raise SwapError(f"{path}: {what} must be a file, this is {kind}; choose another path")
    return path


def require_writable_folder(path: Path, what: str) -> Path:
    """Make `path` if need be and prove by a trial file that it can be written to.

    Raises:
        SwapError: It cannot be made or written to.
    """
    path = Path(path).expanduser()
    try:
        if path.exists():
            require_folder(path, what)
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as err:
        raise SwapError(
            f"{path}: {what} cannot be written to ({err.strerror}); allow writing there or choose another"
        ) from err
    return path


def resolve_wildcard(path: Path) -> Path:
    """Turn `folder/data_src.*` into the first file there with that stem, as DFL's scripts rely on.

    A path without the literal suffix `.*` is returned as it is.

    Raises:
        SwapError: Nothing in the folder has that stem.
    """
    path = Path(path).expanduser()
    if path.suffix != ".*":
        return path
    folder = require_folder(path.parent, "the folder of the video")
    stem = path.name[:-2].lower()
    matches = sorted(p for p in folder.iterdir() if p.is_file() and p.stem.lower() == stem)
    if not matches:
        raise SwapError(
            f"{path}: no file of that name; put the video there, for example as {path.name[:-2]}.mp4"
        )
    return matches[0]
