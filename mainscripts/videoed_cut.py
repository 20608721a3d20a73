"""`videoed cut-video`: a piece of a video beside it, as `<name>_cut`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SwapError, UsageError
from core.interact.progress import Progress
from core.interact.prompts import Prompter, get_prompter
from mainscripts.videoed_options import CutOptions, parse_tracks
from mainscripts.videoed_questions import (
    BITRATES,
    advance,
    ask_number,
    ask_time,
    describe,
    find_video,
    length_text,
    sound_text,
)

if TYPE_CHECKING:
    from core.video import VideoInfo
    from core.video.cutting import CopyPlan


def cut_video(args: argparse.Namespace) -> int:
    """A piece of a video beside it, as `<name>_cut`."""
    from core import video
    from core.video.cutting import DEFAULT_BITRATE, check_times, piece_path

    prompter = get_prompter(args)
    options = CutOptions(**CutOptions.given_by(args))
    info = video.probe(find_video(args.input_file))
    print(describe(info))
    start = ask_time(prompter, args.from_time, "From time")
    end = ask_time(prompter, args.to_time, "To time (00:00:00.000 - the end)")
    check_times(info, start, end)
    tracks = _ask_tracks(prompter, args.audio_track_id, info)
    plan = _choose(info, start, end, options.method, args.bitrate)
    bitrate = args.bitrate or DEFAULT_BITRATE
    if plan is None or args.bitrate is not None:
        label = "Bitrate of output file in MB/s"
        bitrate = ask_number(prompter, args.bitrate, label, DEFAULT_BITRATE, BITRATES)
    output = piece_path(info.path)
    if output.suffix != info.path.suffix:
        print(f"pieces of {info.path.suffix or 'such files'} are written as {output.suffix}")
    if output.exists() and not prompter.ask_bool(f"{output.name} exists. Replace it?", True):
        raise SwapError(f"{output}: exists and was kept; move it away first")
    if plan is not None:
        _copy(info, plan, output, tracks, options.method) or _encode(
            info, output, start, end, tracks, bitrate
        )
    else:
        _encode(info, output, start, end, tracks, bitrate)
    done = video.probe(output)
    print(f"{output}: {len(video.read_timeline(done))} frames, {length_text(done)}")
    return 0


def _ask_tracks(prompter: Prompter, given: str | None, info: VideoInfo) -> tuple[int, ...]:
    last_track = max(0, len(info.audio) - 1)
    if given is None:
        return (prompter.ask_int("Specify audio track id", 0, 0, last_track),)
    tracks = parse_tracks(given, "--audio-track-id")
    if tracks is None:
        return tuple(range(len(info.audio)))
    if info.audio and max(tracks) > last_track:
        raise UsageError(f"--audio-track-id {given} is outside 0..{last_track}: {sound_text(info)}")
    return tracks


def _choose(info: VideoInfo, start: float, end: float, method: str, bitrate: int | None) -> CopyPlan | None:
    """The copy that will be made, or None where pictures are encoded; says which and why."""
    from core import video

    if method == "encode":
        return None
    if bitrate is not None:
        if method == "copy":
            raise UsageError("--bitrate has no meaning for --method copy; leave one of the two out")
        return None
    plan = video.plan_copy(info, start, end)
    if plan is None:
        if method == "copy":
            raise SwapError(f"{info.path}: no place for a cut without encoding was found; take --method auto")
        print("all pictures are encoded anew: the video has no usable place for a cut there")
        return None
    ends = "the end" if plan.end is None else f"{plan.end:.3f} s"
    if plan.exact:
        print(f"nothing is encoded: {plan.start:.3f} s to {ends} can be copied as it is")
        return plan
    if method == "copy":
        print(f"nothing is encoded, the piece is a little longer: {plan.start:.3f} s to {ends}")
        return plan
    print(
        "all pictures are encoded anew: the cut does not fall on key frames; "
        f"--method copy would copy {plan.start:.3f} s to {ends} without loss"
    )
    return None


def _copy(info: VideoInfo, plan: CopyPlan, output: Path, tracks: tuple[int, ...], method: str) -> bool:
    """Whether the copy was made and is right.

    Raises:
        SwapError: It is not, and the user wants nothing else.
    """
    from core import video
    from core.errors import VideoError

    with Progress("Copying", plan.packets, "frame") as progress:
        try:
            fault = video.copy_piece(info, plan, output, tracks, advance(progress))
        except VideoError as err:
            fault = str(err)
    if not fault:
        return True
    if method == "copy":
        raise SwapError(f"{info.path}: the copy is not right ({fault}); take --method encode")
    print(f"the copy is not right ({fault}): all pictures are encoded anew")
    return False


def _encode(
    info: VideoInfo, output: Path, start: float, end: float, tracks: tuple[int, ...], bitrate: int
) -> None:
    from core import video

    length = (end or info.duration or 0) - start
    total = round(length * info.frame_rate) if length > 0 else None
    if info.dynamic_hdr:
        print(f"{info.dynamic_hdr} metadata are lost on encoding; what is left is HDR10")
    with Progress("Cutting", total, "frame") as progress:
        video.cut(info, output, start, end, tracks, bitrate, advance(progress))
