"""Files that are either whole or absent: every write of user data goes through here."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.errors import FileFormatError


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of a full or failing disk, which names no file, say that it was met at `path`."""
    try:
        yield
    except OSError as err:
        if err.filename is None and err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            err.filename = str(path)
        raise


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path to write; it takes the place of `path` only if the block succeeds.

    Without `durable` the content is left to the system to write in time: for many files that can be made
    again, and are synced together before what they were made from goes (see `sync_everything`).
    """
    path = Path(path)
    # The suffix stays last: encoders choose their format by it.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.{path.name}")
    try:
        with naming(path):
            yield temporary
            if durable or not hasattr(os, "sync"):
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())  # else a power cut can leave the new name without its content
            os.replace(temporary, path)
    except OSError as err:
        if err.filename == str(temporary):
            err.filename = str(path)  # the name that users know
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leavings(folder: Path, name: str = "") -> None:
    """Delete the hidden half-made files of `name`, or of any, whose process was killed.

    POSIX only: elsewhere nobody can be asked whether a process lives.
    """
    if os.name != "posix":
        return
    pattern = re.compile(rf"\.(\d+)-\d+\.{re.escape(name) if name else '.+'}")
    for path in folder.iterdir():
        match = pattern.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # somebody else's
    return True


def write_bytes(path: Path, data: bytes, durable: bool = True) -> None:
    """Replace the content of `path` with `data`, whole or not at all; `durable` as in `replacing`."""
    with replacing(path, durable) as temporary:
        temporary.write_bytes(data)


def move_file(source: Path, goal: Path) -> None:
    """Move a file, in place of another if there is one; to another disk too, whole or not at all."""
    try:
        source.replace(goal)
    except OSError as err:
        if err.errno != errno.EXDEV:
            raise
        with replacing(goal) as temporary:
            shutil.copy2(source, temporary)
        source.unlink()


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with `value` as indented UTF-8 JSON."""
    write_bytes(path, encode_json(value, indent=2))


def encode_json(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8. What a file's name has that is none becomes JSON's escape of it, and comes back."""
    return json.dumps(value, indent=indent, ensure_ascii=False).encode("utf-8", "backslashreplace")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        FileFormatError: It is not JSON in UTF-8.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise FileFormatError(
            f"{path}: not a JSON file ({err}); it was damaged or is of another kind"
        ) from err


def sync_everything() -> None:
    """Have all that was written reach the disk; where the system cannot, `replacing` did already."""
    if hasattr(os, "sync"):
        os.sync()


def sync_directory(path: Path) -> None:
    """Make renames in `path` durable (a no-op where directories cannot be synced)."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems refuse; the rename itself is still atomic
        pass
    finally:
        os.close(descriptor)
