"""Make a faceset anew: with finer detail, at another size or face type, or cut again from its frames."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from core.interact.prompts import get_prompter
from core.options import OptionSet, opt

SAME = "same"
SHORT_TYPES = {
    "h": "half_face",
    "mf": "midfull_face",
    "f": "full_face",
    "wf": "whole_face",
    "head": "head",
    SAME: SAME,
}


@dataclass(frozen=True, kw_only=True)
class ResizeOptions(OptionSet):
    """What `facesettool resize` asks, as DFL does."""

    image_size: int = opt(512, "New side of the faces in pixels.", label="New image size", low=128, high=2048)
    face_type: str = opt(
        SAME,
        "Change the face type to half, mid-full, full, whole face or head. A type that shows more is cut "
        "from the frames where they are, else what the old picture does not show becomes black.",
        label="Change face type",
        choices=tuple(SHORT_TYPES),
    )


@dataclass(frozen=True, kw_only=True)
class RealignOptions(OptionSet):
    """What `facesettool realign` asks."""

    image_size: int = opt(512, "New side of the faces in pixels.", label="New image size", low=128, high=2048)
    face_type: str = opt(
        SAME,
        "How much of the head the new pictures show: half, mid-full, full, whole face or head.",
        label="Face type",
        choices=tuple(SHORT_TYPES),
    )
    jpeg_quality: int = opt(90, "Quality of the faces' JPEG files.", label="Jpeg quality", low=1, high=100)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the three actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)
    enhance = actions.add_parser(
        "enhance", help="draw in finer detail with DFL's FaceEnhancer network", allow_abbrev=False
    )
    _add_shared(enhance)
    enhance.add_argument("--cpu-only", action="store_true", help="compute on the CPU")
    enhance.add_argument("--force-gpu-idxs", metavar="A,B", help="compute on these GPUs, numbers with commas")

    resize = actions.add_parser(
        "resize", help="another size or face type, from the aligned pictures", allow_abbrev=False
    )
    _add_shared(resize)
    _add_frames(resize)
    ResizeOptions.add_flags(resize)

    realign = actions.add_parser(
        "realign",
        help="cut the faces again from the frames, at another size, face type or quality, by the landmarks "
        "that they have: nothing is detected again",
        allow_abbrev=False,
    )
    _add_shared(realign)
    _add_frames(realign)
    RealignOptions.add_flags(realign)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input-dir", type=Path, required=True, help="folder of aligned faces")
    parser.add_argument(
        "--merge-back",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="put the new faces in the place of the old ones at the end, without asking",
    )


def _add_frames(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--frames",
        type=Path,
        metavar="PATH",
        help="folder of the frames that the faces come from, or the video (default: the folder above "
        "--input-dir)",
    )
    parser.add_argument(
        "--fps",
        default="0",
        metavar="N",
        help="with a video: what extraction was given as --fps (default: 0)",
    )


def run(args: argparse.Namespace) -> int:
    """Do the action that was chosen; returns the exit code."""
    from core.paths import require_folder
    from core.storage import remove_leavings
    from core.system import lower_priority
    from mainscripts.sort_rename import settle

    folder = require_folder(args.input_dir, "the folder of aligned faces")
    prompter = get_prompter(args)
    lower_priority()
    remove_leavings(folder)
    settle(folder)
    if args.action == "enhance":
        from mainscripts.facesettool_enhance import enhance

        return enhance(folder, prompter, args)
    from mainscripts.facesettool_cut import realign, resize

    return {"resize": resize, "realign": realign}[args.action](folder, prompter, args)
