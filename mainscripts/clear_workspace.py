"""Clear the workspace for the next job: videos stay, and nothing that took long to make goes unasked."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SwapError
from core.interact.prompts import get_prompter
from core.paths import require_folder

if TYPE_CHECKING:
    from mainscripts.clear_workspace_parts import Part

FOLDERS = ("data_src", "data_src/aligned", "data_dst", "data_dst/aligned", "model")  # as DFL leaves it
TRASH_HELP = (
    "No moves everything to a new folder in the workspace's `trash`, from where it can be moved back; "
    "delete that folder when the space is needed."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The workspace, and what is to become of things."""
    parser.add_argument("--workspace-dir", type=Path, required=True, help="folder with data_src and so on")
    parser.add_argument(
        "--dry-run", action="store_true", help="ask and change nothing: say what is there and what would go"
    )


def run(args: argparse.Namespace) -> int:
    """Show what is there, ask for each kind of thing, move it away, note it in removed.log."""
    from mainscripts.clear_workspace_parts import find_parts, left_alone

    prompter = get_prompter(args)
    workspace = require_folder(args.workspace_dir, "the workspace").absolute()
    if not any((workspace / name).is_dir() for name in ("data_src", "data_dst", "model")):
        raise SwapError(
            f"{workspace}: is no workspace, none of data_src, data_dst and model is in it; "
            "give the right folder with --workspace-dir"
        )
    parts = find_parts(workspace)
    if not parts:
        print(f"{workspace} is clear already.")
        return 0
    for part in parts:
        print(f"{'quick' if part.quick else 'asked'}: {_describe(part)}")
    others = left_alone(workspace, parts)
    if others:
        print(f"left alone: {', '.join(others)}")
    if args.dry_run:
        print("Nothing was removed (--dry-run). `quick` is what --no-prompt would remove.")
        return 0
    chosen = [part for part in parts if prompter.ask_bool(f"Remove {_describe(part)}?", part.quick)]
    if not chosen:
        print("Nothing was removed.")
        return 0
    delete = prompter.ask_bool("Delete for good, which frees the space?", False, TRASH_HELP)
    return _remove(workspace, chosen, delete)


def _describe(part: Part) -> str:
    from mainscripts.clear_workspace_removal import size_text

    files = f"{part.files} file{'' if part.files == 1 else 's'}, {size_text(part.size)}"
    return f"{part.what} ({part.place}: {files}{'; ' + part.warning if part.warning else ''})"


def _remove(workspace: Path, parts: list[Part], delete: bool) -> int:
    from mainscripts.clear_workspace_removal import Removal

    removal = Removal(workspace, delete, time.strftime("%Y-%m-%d %H.%M.%S"))
    for part in parts:
        removal.remove(part)
    for name in FOLDERS:
        (workspace / name).mkdir(parents=True, exist_ok=True)
    where = "deleted" if delete else f"moved to {removal.trash}"
    print(f"{removal.count} files and folders {where}; the list is in {removal.log}")
    for path, reason in removal.failed:
        print(f"WARNING: {path} is still there: {reason}")
    return 1 if removal.failed else 0
