"""Tools for a folder of aligned faces. Several flags run one after another, in the order of this list."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from core.errors import UsageError
from core.interact.prompts import Prompter, get_prompter

Action = Callable[[Path, Prompter], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DFL's flags."""
    parser.add_argument("--input-dir", type=Path, required=True, help="folder of aligned faces")
    for name, (text, _) in ACTIONS.items():
        parser.add_argument(flag(name), action="store_true", help=text)
    parser.add_argument(
        "--report",
        action="store_true",
        help="write <folder>_report.html: counts, poses, sharpness, light, duplicates, suspects",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="DIR",
        help="with --report: the destination's faces; does --input-dir cover their poses and light?",
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked for, in DFL's order.

    Raises:
        UsageError: Nothing was asked for.
    """
    from core.paths import require_folder
    from core.storage import remove_leavings
    from core.system import lower_priority
    from mainscripts.sort_rename import settle

    chosen = [action for name, (_, action) in ACTIONS.items() if getattr(args, name)]
    if args.compare is not None and not args.report:
        raise UsageError("--compare goes with --report")
    if not chosen and not args.report:
        raise UsageError(f"nothing to do; give one or more of {', '.join(map(flag, ACTIONS))}, --report")
    folder = require_folder(args.input_dir, "the folder of aligned faces")
    compared = args.compare and require_folder(args.compare, "the folder of the destination's faces")
    prompter = get_prompter(args)
    lower_priority()
    remove_leavings(folder)
    settle(folder)
    for action in chosen:
        action(folder, prompter)
    if args.report:
        from mainscripts.faceset_report import report

        report(folder, compared)
    return 0


def flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _add_debug_images(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_faces import add_debug_images

    add_debug_images(folder)


def _recover_names(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_faces import recover_names

    recover_names(folder)


def _save_metadata(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_metadata import save_metadata

    save_metadata(folder, prompter)


def _restore_metadata(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_metadata import restore_metadata

    restore_metadata(folder)


def _pack(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_pack import pack

    pack(folder, prompter)


def _unpack(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_pack import unpack

    unpack(folder)


def _export_masks(folder: Path, prompter: Prompter) -> None:
    from mainscripts.util_faces import export_masks

    export_masks(folder)


# In the order in which DFL runs them.
ACTIONS: dict[str, tuple[str, Action]] = {
    "add_landmarks_debug_images": (
        "write <name>_debug.jpg beside each face, with its landmarks drawn in",
        _add_debug_images,
    ),
    "recover_original_aligned_filename": (
        "name the faces after the frames they come from again, as extraction did",
        _recover_names,
    ),
    "save_faceset_metadata": (
        "save the faces' metadata to meta.dat, before another program edits the pictures",
        _save_metadata,
    ),
    "restore_faceset_metadata": (
        "put the metadata of meta.dat back into the edited pictures, and resize those to what they were",
        _restore_metadata,
    ),
    "pack_faceset": ("put all faces into one file, faceset.pak, which loads faster", _pack),
    "unpack_faceset": ("turn faceset.pak back into separate files", _unpack),
    "export_faceset_mask": (
        "write <name>_mask.jpg beside each face that has an applied mask or drawn polygons",
        _export_masks,
    ),
}
