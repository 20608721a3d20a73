"""Moving things out of a workspace, or deleting them, with a list of what went where."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

from core import storage
from mainscripts.clear_workspace_parts import Part

LOG = "removed.log"
TRASH = "trash"


class Removal:
    """One clearing of a workspace.

    The list is written before a thing goes, so that nothing is gone that is not in it. In the trash
    everything has the place it had in the workspace.
    """

    def __init__(self, workspace: Path, delete: bool, name: str) -> None:
        self.workspace, self.delete = workspace, delete
        self.log = workspace / LOG
        self.trash = _free(workspace / TRASH / name)
        self.count = 0
        self.failed: list[tuple[Path, str]] = []

    def remove(self, part: Part) -> None:
        """Remove all of a part; what cannot be removed is kept in `failed`."""
        to = "deleted" if self.delete else f"moved to {self.trash.relative_to(self.workspace)}"
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        self._note(f"{now} {part.what}: {part.files} files, {size_text(part.size)}, {to}")
        for path in part.paths:
            self._note(f"  {path.relative_to(self.workspace)}")
            try:
                self._delete(path) if self.delete else self._move(path)
                self.count += 1
            except OSError as err:
                reason = err.strerror or str(err)
                if err.errno == errno.EXDEV:
                    reason = "it is on another disk than the workspace's trash; delete it, or move it by hand"
                self.failed.append((path, reason))
                self._note(f"  ... is still there: {reason}")

    def _move(self, path: Path) -> None:
        target = self.trash / path.relative_to(self.workspace)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)  # a link moves as a link

    def _delete(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def _note(self, line: str) -> None:
        with storage.naming(self.log), self.log.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(line + "\n")


def _free(path: Path) -> Path:
    """`path`, or the next like it that is not there."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name} ({number})"), number + 1
    return candidate


def size_text(size: int) -> str:
    """`12 MB`, as people say sizes."""
    for unit, bytes_ in (("GB", 1 << 30), ("MB", 1 << 20)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{max(1, size >> 10)} kB" if size else "0 kB"
