"""Sort a folder of faces by sharpness, pose, likeness or another measure, and rename its files in that order.

Files sorted out go to the folder <name>_trash beside it. `--by origname` brings the original order and names
back. A run that was cut off is finished, or undone, by the next.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SwapError
from core.interact.prompts import Prompter, get_prompter
from core.options import OptionSet, opt

if TYPE_CHECKING:
    from samplelib.sorting.journal import Journal
    from samplelib.sorting.orders import Verdict

# DFL's menu in its order, then ours; `samplelib.sorting.orders.METHODS` has the same keys.
METHODS = (
    "blur",
    "motion-blur",
    "face-yaw",
    "face-pitch",
    "face-source-rect-size",
    "hist",
    "hist-dissim",
    "brightness",
    "hue",
    "black",
    "origname",
    "oneface",
    "absdiff",
    "final-by-blur",
    "final-by-size",
    "face-similarity",
    "landmark-quality",
)
ALIASES = {"final": "final-by-blur", "final-fast": "final-by-size"}
SHOWN = 10  # lines of a dry run, and of what is wrong


@dataclass(frozen=True, kw_only=True)
class SortOptions(OptionSet):
    """What `sort` is asked."""

    by: str = opt(
        "hist",
        "What to sort by: blur and motion-blur, sharpest first; yaw and pitch, left and up first; hist, "
        "faces alike in colour side by side; hist-dissim, the most unlike all others first; origname, "
        "original order and names; oneface, only faces alone in their frame; absdiff, pictures alike side "
        "by side; final, the best of all poses; face-similarity, person by person, the odd ones last; "
        "landmark-quality, worst last.",
        label="Choose a sort method",
        choices=METHODS,
        numbered=True,
    )
    target: int = opt(
        2000,
        "How many of the best faces are to be kept, about.",
        label="Target number of faces",
        low=1,
        high=1_000_000,
        needs={"by": ("final-by-blur", "final-by-size")},
    )
    similar: bool = opt(
        True,
        "Pictures most alike side by side; with n, those most different.",
        label="Sort by similar?",
        needs={"by": ("absdiff",)},
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; those of DFL keep their names."""
    parser.add_argument(
        "--input-dir", type=Path, required=True, metavar="DIR", help="folder of faces, as `extract` makes it"
    )
    SortOptions.add_flags(parser)
    by = next(action for action in parser._actions if action.dest == "by")
    declared = by.type
    by.type = lambda text: declared(ALIASES.get(text, text))
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only tell what would be renamed and sorted out; change nothing",
    )
    parser.add_argument(
        "--undo", action="store_true", help="give the old names back where a sort was cut off, and end there"
    )


def run(args: argparse.Namespace) -> int:
    """Sort one folder, or each subfolder of a faceset of several persons; returns the exit code."""
    from core.paths import require_folder
    from core.storage import remove_leavings
    from samplelib.pak import PAK_NAME

    folder = require_folder(args.input_dir, "the folder of faces").absolute()
    prompter = get_prompter(args)
    folders = _folders(folder)
    for one in folders if not args.dry_run else []:
        remove_leavings(one)
    pending = [one for one in folders if _settle(one, args, prompter)]
    if args.undo:
        if not pending:
            print(f"{folder}: no sort was cut off here; `--by origname` brings the original order back")
        return 0
    if args.dry_run and pending:
        return 0
    folders = [one for one in folders if _images(one)]
    packed = (folder / PAK_NAME).is_file()
    if not folders:
        if packed:
            raise SwapError(f"{folder / PAK_NAME}: a packed faceset keeps its order; unpack it first (util)")
        print(f"{folder}: 0 images; nothing to sort")
        return 0
    if packed:
        print(f"{folder / PAK_NAME}: is left as it is; only the loose files beside it are sorted")
    options = SortOptions().ask(prompter, given=SortOptions.given_by(args))
    for one in folders:
        _sort(one, _trash_of(one, folder), options, args.dry_run)
    return 0


def _folders(folder: Path) -> list[Path]:
    """The folder itself if there are images in it, else its subfolders, one for each person."""
    from samplelib.sorting.journal import JOURNAL

    if _images(folder) or (folder / JOURNAL).exists():
        return [folder]
    return [folder, *sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")]


def _images(folder: Path) -> list[Path]:
    from core.paths import list_images

    return [path for path in list_images(folder) if path.is_file()]


def _trash_of(folder: Path, root: Path) -> Path:
    """`aligned_trash` beside `aligned`; a person's goes inside that: beside it, it would be a person."""
    trash = root.with_name(root.name + "_trash")
    return trash if folder == root else trash / folder.name


def _settle(folder: Path, args: argparse.Namespace, prompter: Prompter) -> bool:
    """Finish or undo what was cut off in a folder; whether there was anything."""
    from mainscripts.sort_rename import alone_in, go_on
    from samplelib.sorting.journal import load, progress_of

    with alone_in(folder):
        journal = load(folder)
        if journal is None:
            return False
        print(
            f"{folder}: a sort by {journal.method} was cut off here; {progress_of(journal)} of "
            f"{len(journal.moves)} files have their new names."
        )
        if args.dry_run:
            print("Without --dry-run it would be finished, or undone with --undo; nothing was changed.")
            return True
        finish = not args.undo and prompter.ask_bool(
            "Finish it?", True, help="With n, all files get their old names back."
        )
        for note in go_on(journal, back=not finish):
            print(note)
        print("It is finished." if finish else "It is undone.")
        return True


def _sort(folder: Path, trash: Path, options: SortOptions, dry_run: bool) -> None:
    """Find the order of a folder and carry it out, or only tell it."""
    from core.interact.progress import Progress
    from mainscripts.sort_rename import alone_in, carry_out
    from samplelib.sorting.journal import Journal
    from samplelib.sorting.names import identify, original_names, plan_moves
    from samplelib.sorting.orders import Job, run_method

    with alone_in(folder):
        paths = _images(folder)
        print(f"Sorting {len(paths)} images by {options.by}: {folder}")
        verdict = run_method(options.by, Job(paths, Progress, options.target, options.similar))
        _tell_problems(verdict)
        if not verdict.changes:
            print("\n".join(verdict.notes))
            return
        files = identify(folder, verdict.sources)
        give = None
        if options.by == "origname":

            def give(kept):
                return list(map(original_names(kept).__getitem__, (file.name for file in kept)))

        moves = plan_moves(folder, trash, files, verdict.kept, list(verdict.trashed), give)
        journal = Journal(folder, trash, moves, options.by)
        if dry_run:
            _tell_plan(journal, verdict)
            return
        if all(move.old == move.new and not move.trashed for move in moves):
            print("All files have these names already.")
            return
        notes = carry_out(journal)
        print("\n".join([*notes, *verdict.notes, *_summary(journal, verdict)]))


def _tell_problems(verdict: Verdict) -> None:
    for line in verdict.problems[:SHOWN]:
        print(line)
    if len(verdict.problems) > SHOWN:
        print(f"... and {len(verdict.problems) - SHOWN} more files with such problems")


def _tell_plan(journal: Journal, verdict: Verdict) -> None:
    kept = [move for move in journal.moves if not move.trashed]
    trashed = [move for move in journal.moves if move.trashed]
    for move in kept[:SHOWN]:
        value = verdict.values.get(move.old)
        print(f"{move.old} -> {move.new}" + (f"  ({value})" if value else ""))
    if len(kept) > SHOWN:
        print(f"... and {len(kept) - SHOWN} more")
    for move in trashed[:SHOWN]:
        print(f"{move.old} -> {journal.trash.name}/{move.new}  ({verdict.trashed[move.old]})")
    if len(trashed) > SHOWN:
        print(f"... and {len(trashed) - SHOWN} more to {journal.trash}")
    print("\n".join(verdict.notes), end="\n" if verdict.notes else "")
    goes = f", {len(trashed)} would go to {journal.trash}" if trashed else ""
    print(f"Dry run: {len(kept)} files would be renamed{goes}; nothing was changed.")


def _summary(journal: Journal, verdict: Verdict) -> list[str]:
    """What was done, and what was sorted out for which reasons."""
    from collections import Counter

    lines = [f"{len(verdict.kept)} images are in order."]
    if verdict.trashed:
        reasons = Counter(verdict.trashed.values()).most_common()
        why = ", ".join(f"{reason}: {count}" for reason, count in reasons)
        lines.append(f"{len(verdict.trashed)} went to {journal.trash} ({why}).")
    return lines
