"""The files of a model: the names they may have, who may write them, renaming and deleting all of them."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from core.errors import CheckpointError

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what file systems without locks say
REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EACCES: "allow writing there or choose another --model-dir",
    errno.EPERM: "allow writing there or choose another --model-dir",
    errno.EROFS: "choose another --model-dir",
    errno.ENOTDIR: "a file is in the way; choose another --model-dir",
    errno.EEXIST: "a file is in the way; move it away or choose another --model-dir",
}


@contextlib.contextmanager
def clear_errors(folder: Path) -> Iterator[None]:
    """Turn the disk's refusals into one line that says what to do."""
    try:
        yield
    except OSError as err:
        advice = REMEDIES.get(err.errno or 0, "check the disk")
        raise CheckpointError(
            f"{folder}: the model cannot be saved: {err.strerror or err}; {advice}. "
            "What was saved before is untouched"
        ) from err


@contextlib.contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Within, no other process can reserve the model of this folder, which need not exist.

    It is free again however this process ends. Where the file system knows no locks, nothing is kept apart.

    Raises:
        CheckpointError: Another process holds it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    # a soft lock in place of the system's would outlive a killed process
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    with clear_errors(folder):
        try:
            lock.acquire()
        except Timeout:
            raise CheckpointError(
                f"{folder}: another program is training this model just now; end that one first, or train a "
                "model of another name"
            ) from None
        except OSError as err:
            if err.errno not in NO_LOCKS:
                raise
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # before it is let go: nobody else may have it then
        lock.release()


def check_model_name(name: str) -> str:
    """A name that can be part of a file name on every system and, as DFL demands, has no underscore.

    Raises:
        CheckpointError: It has none of these properties.
    """
    bad = sorted(set(name) & set('_/\\:*?"<>|'))
    if not name.isprintable():
        bad = ["characters that cannot be shown"]
    if bad or not name.strip() or name != name.strip() or name.startswith("."):
        why = f"it contains {' '.join(bad)}" if bad else "it is empty or begins or ends with a space or a dot"
        raise CheckpointError(
            f"model name {name!r} cannot be used: {why}; give another name (r in the list that train shows "
            "renames a saved one)"
        )
    return name


def model_files(model_dir: Path | str, name: str, kind: str) -> list[Path]:
    """Every file and folder of a model: ours, DFL's, history, previews and backups."""
    prefix, folder = f"{name}_{kind}", Path(model_dir)
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name == prefix or path.name.startswith(f"{prefix}_")
    )


def rename_model(model_dir: Path | str, kind: str, old: str, new: str) -> None:
    """Rename a model with everything that belongs to it.

    Raises:
        CheckpointError: The new name cannot be used or is taken, or the model is being trained.
    """
    check_model_name(new)
    taken = [path.name for path in model_files(model_dir, new, kind)]
    if taken:
        more = f" and {len(taken) - 2} more" if len(taken) > 2 else ""
        raise CheckpointError(
            f"model name {new!r} is taken: there are {', '.join(taken[:2])}{more}; choose another, or "
            "delete that model or these files first"
        )
    with reserved(Path(model_dir) / f"{old}_{kind}"):
        for path in model_files(model_dir, old, kind):
            path.rename(path.with_name(f"{new}_{kind}{path.name[len(f'{old}_{kind}') :]}"))


def delete_model(model_dir: Path | str, kind: str, name: str) -> None:
    """Delete a model with everything that belongs to it.

    Raises:
        CheckpointError: It is being trained.
    """
    with reserved(Path(model_dir) / f"{name}_{kind}"):
        for path in model_files(model_dir, name, kind):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
