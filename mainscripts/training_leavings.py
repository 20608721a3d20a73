"""A new model whose start fails leaves nothing behind: its name stays free."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mainscripts.training_history import history_path
from mainscripts.training_summary import pictures_path, summary_path
from models import model_files

if TYPE_CHECKING:
    from models import CheckpointStore


@contextlib.contextmanager
def nothing_left_of_a_failed_start(store: CheckpointStore, prefix: Path) -> Iterator[None]:
    """Within: what a new model writes beside its checkpoints goes again if it never gets to the first one.

    What was there before stays, and so does all of a training that was lost later, because of a full disk.
    """
    before = _beside(store, prefix).items()
    try:
        yield
    finally:
        if not store.exists() and _rows(history_path(prefix)) <= 1:
            for path, _ in _beside(store, prefix).items() - before:
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            with contextlib.suppress(OSError):
                store.folder.rmdir()  # where a save failed; only if it is empty


def _beside(store: CheckpointStore, prefix: Path) -> dict[Path, int]:
    """Summary, losses, previews and their history, with what tells a file from another of that name.

    What was put aside under other names is not among them.
    """
    names = {summary_path(prefix).name, history_path(prefix).name, pictures_path(prefix).name}
    previews = f"{prefix.name}_preview"
    files = model_files(store.model_dir, store.name, store.kind)
    return {
        path: path.stat().st_ino for path in files if path.name in names or path.name.startswith(previews)
    }


def _rows(path: Path) -> int:
    """Iterations of a history file."""
    try:
        return path.read_bytes().count(b"\n") - 1
    except OSError:
        return 0
