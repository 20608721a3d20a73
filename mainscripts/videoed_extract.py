"""`videoed extract-video`: a video to frames; what an earlier run left is kept, completed or replaced."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SwapError, UsageError
from core.interact.progress import Progress
from core.interact.prompts import Prompter, get_prompter
from mainscripts.videoed_questions import advance, ask_fps, describe, find_video

if TYPE_CHECKING:
    from core.video import VideoInfo
    from core.video.extraction import FolderState, Request

FPS_HELP = "How many frames of every second of the video are taken. 0 - all frames, as they are."
FORMAT_HELP = "png is lossless, but 10 times slower to write and larger than jpg."
DEPTH_HELP = (
    "16 keeps all that the video has: result videos get 10 bits, and only the new faces have 8. The files "
    "are some three times as large. Faces are found in and cut out of either alike. 8 is enough for a source."
)
COMPLETE = 0.99  # of the frames a container announces; AVI counts empty ones too


def extract_video(args: argparse.Namespace) -> int:
    """Video to frames; what an earlier run left is kept, completed or, if the user says so, replaced."""
    from core import video
    from core.video.extraction import Request

    prompter = get_prompter(args)
    info = video.probe(find_video(args.input_file))
    print(describe(info))
    fps = ask_fps(prompter, args.fps, "0", FPS_HELP)
    suffix = "." + (
        args.output_ext or prompter.ask_text("Output image format", "png", ("png", "jpg"), FORMAT_HELP)
    )
    depth = _ask_depth(prompter, args.depth, info, suffix)
    if fps > info.frame_rate:
        print(
            f"{video.rate_text(fps)} is more than the video's {video.rate_text(info.frame_rate)}: "
            "frames repeat"
        )
    if info.colour.is_hdr:
        print(
            "this is an HDR video: its frames look flat as pictures; its result will look as the video does"
        )
    request = Request.of(info.path, fps, suffix, depth)
    state = video.inspect_folder(args.output_dir, request)
    choice = _settle_existing(prompter, args.output_dir, state)
    if choice == "keep":
        return 0
    if choice == "finish":
        return _restore(info, args.output_dir, state, request)
    total = round(info.duration * fps) if fps and info.duration else info.expected_frames
    with Progress("Extracting", total, "frame") as progress:
        present = state.present if choice == "go on" else 0
        count = video.extract_frames(info, args.output_dir, fps, suffix, present, advance(progress), depth)
        progress.update(count - progress.count)
    print(f"{count} frames in {args.output_dir}")
    _record_times(info, args.output_dir, fps, count)
    if not fps and info.frames and count < info.frames * COMPLETE:
        print(f"WARNING: {info.path} should have {info.frames} frames; it may be damaged or cut short")
    return 0


def _ask_depth(prompter: Prompter, given: int | None, info: VideoInfo, suffix: str) -> int:
    if suffix != ".png":
        if given == 16:
            raise UsageError("--depth 16 needs png: jpg has 8 bits; leave one of the two out")
        if info.bits > 8:
            print(f"the video has {info.bits} bits for each colour, jpg keeps 8")
        return 8
    if given is not None or info.bits <= 8:
        return given or 8
    label = f"Bits per colour of the frames (the video has {info.bits})"
    return int(prompter.ask_text(label, "16", ("8", "16"), DEPTH_HELP))


def _record_times(info: VideoInfo, folder: Path, fps: Fraction, count: int) -> None:
    """Write down when frames are shown where no rate says it."""
    from core import video

    timeline = video.read_timeline(info) if not fps else None
    varying = timeline is not None and len(timeline) > 1 and timeline.constant_rate(info.rates) is None
    usable = varying and timeline is not None and len(timeline) == count
    video.write_timestamps(folder, info.path.name, timeline if usable else None)
    if usable:
        print("the frame rate of the video varies: the time of each frame is in timestamps.json")
    elif varying and timeline is not None:
        print(
            f"WARNING: the frame rate of the video varies, and it tells the times of {len(timeline)} frames, "
            f"not of {count}: they are not recorded"
        )


def _settle_existing(prompter: Prompter, folder: Path, state: FolderState) -> str:
    """What to do about the frames that are there: `write`, `go on`, `finish` (only lost ones) or `keep`.

    Raises:
        SwapError: They are of something else, and the user does not want them replaced.
    """
    from core.video.extraction import remove_frames

    if state.kind == "empty":
        return "write"
    count = len(state.frames)
    if state.kind == "unfinished":
        print(f"going on with an extraction that was stopped: {state.present} frames are there")
        return "go on"
    if state.kind == "foreign":
        question = f"{folder} holds {count} frames {state.origin}. Delete them?"
        if not prompter.ask_bool(question, False):
            raise SwapError(
                f"{folder}: holds {count} frames {state.origin}; "
                "choose an empty folder, or delete these frames"
            )
        remove_frames(state.frames, folder)
        return "write"
    lost = f", {len(state.missing)} have gone since" if state.missing else ""
    print(f"already done: the frames of this video are in {folder} ({count}{lost})")
    choices = ("keep", "finish", "replace") if state.missing else ("keep", "replace")
    help = "keep: leave the folder as it is. replace: delete the frames and make them again."
    help += " finish: make only those that have gone." if state.missing else ""
    choice = prompter.ask_text("What to do", "finish" if state.missing else "keep", choices, help)
    if choice == "replace":
        remove_frames(state.frames, folder)
        return "write"
    return choice


def _restore(info: VideoInfo, folder: Path, state: FolderState, request: Request) -> int:
    from core import video

    with Progress("Extracting lost frames", None, "frame") as progress:
        count = video.restore_frames(
            info,
            folder,
            state.missing,
            Fraction(request.fps),
            request.suffix,
            advance(progress),
            request.depth,
        )
    print(f"{count} lost frames are back in {folder}")
    return 0
