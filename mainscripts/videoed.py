"""Cut videos into frames, cut pieces out of them, take noise out of frames, make videos of frames."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SwapError, UsageError
from core.interact.progress import Progress, duration_text
from core.interact.prompts import Prompter, get_prompter
from core.paths import require_file, resolve_wildcard

if TYPE_CHECKING:
    from core.video import VideoInfo
    from core.video.extraction import FolderState, Request

BITRATES = (1, 1000)  # Mbit/s
FPS_HELP = "How many frames of every second of the video are taken. 0 - all frames, as they are."
FORMAT_HELP = "png is lossless, but 10 times slower to write and larger than jpg."
DENOISE_HELP = "How strong; 7 is usual, 20 smears."
BITRATE_HELP = "Megabits per second: size of the file against quality."
COMPLETE = 0.99  # of the frames a container announces; AVI counts empty ones too


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions and their flags."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)

    extract = actions.add_parser("extract-video", help="video to frames", allow_abbrev=False)
    extract.add_argument("--input-file", type=Path, required=True, help="video; `name.*` finds its suffix")
    extract.add_argument("--output-dir", type=Path, required=True, help="folder for 00001.png and so on")
    extract.add_argument("--output-ext", choices=("png", "jpg"), help="asked if not given (png)")
    extract.add_argument("--fps", help="frames per second, 0 for all frames; asked if not given (0)")

    cut = actions.add_parser("cut-video", help="a piece of a video", allow_abbrev=False)
    cut.add_argument(
        "--input-file", type=Path, required=True, help="video; the piece is <name>_cut beside it"
    )
    cut.add_argument("--from-time", help="00:00:00.000; asked if not given")
    cut.add_argument("--to-time", help="00:00:00.000 means the end; asked if not given")
    cut.add_argument("--audio-track-id", type=int, help="which sound track, from 0; asked if not given")
    cut.add_argument("--bitrate", type=int, help="Mbit/s; asked if not given (25)")

    denoise = actions.add_parser(
        "denoise-image-sequence", help="less noise in frames, in place", allow_abbrev=False
    )
    denoise.add_argument("--input-dir", type=Path, required=True, help="folder of frames")
    denoise.add_argument("--factor", type=int, help="strength 1..20; asked if not given (7)")

    encode = actions.add_parser("video-from-sequence", help="frames to video", allow_abbrev=False)
    encode.add_argument("--input-dir", type=Path, required=True, help="folder of frames, taken by name")
    encode.add_argument("--output-file", type=Path, required=True, help=".mp4, .mov, .mkv, .avi or .webm")
    encode.add_argument(
        "--reference-file", type=Path, help="the video the frames are of: rate, colours, sound"
    )
    encode.add_argument("--ext", help="take only images with this suffix; without it all are taken")
    encode.add_argument("--fps", help="frames per second; without it as the reference, else asked (25)")
    encode.add_argument("--bitrate", type=int, help="Mbit/s; asked if not given (16), not if lossless")
    encode.add_argument("--include-audio", action="store_true", help="take the sound of the reference")
    encode.add_argument("--lossless", action="store_true", help="keep every pixel exactly")


def run(args: argparse.Namespace) -> int:
    """Do the action that was chosen; returns the exit code."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "extract-video": extract_video,
        "cut-video": cut_video,
        "denoise-image-sequence": denoise_image_sequence,
        "video-from-sequence": video_from_sequence,
    }
    return actions[args.action](args)


def extract_video(args: argparse.Namespace) -> int:
    """Video to frames; what an earlier run left is kept, completed or, if the user says so, replaced."""
    from core import video
    from core.video.extraction import Request

    prompter = get_prompter(args)
    info = video.probe(_find_video(args.input_file))
    print(_describe(info))
    fps = _ask_fps(prompter, args.fps, "0", FPS_HELP)
    suffix = "." + (
        args.output_ext or prompter.ask_text("Output image format", "png", ("png", "jpg"), FORMAT_HELP)
    )
    if fps > info.frame_rate:
        print(
            f"{video.rate_text(fps)} is more than the video's {video.rate_text(info.frame_rate)}: "
            "frames repeat"
        )
    if info.colour.is_hdr:
        print(
            "this is an HDR video: its frames look flat as pictures; its result will look as the video does"
        )
    request = Request.of(info.path, fps, suffix)
    state = video.inspect_folder(args.output_dir, request)
    choice = _settle_existing(prompter, args.output_dir, state)
    if choice == "keep":
        return 0
    total = round(info.duration * fps) if fps and info.duration else info.expected_frames
    if choice == "finish":
        return _restore(info, args.output_dir, state, request)
    with Progress("Extracting", total, "frame") as progress:
        present = state.present if choice == "go on" else 0
        count = video.extract_frames(info, args.output_dir, fps, suffix, present, _advance(progress))
        progress.update(count - progress.count)
    print(f"{count} frames in {args.output_dir}")
    if not fps and info.frames and count < info.frames * COMPLETE:
        print(f"WARNING: {info.path} should have {info.frames} frames; it may be damaged or cut short")
    return 0


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
            info, folder, state.missing, Fraction(request.fps), request.suffix, _advance(progress)
        )
    print(f"{count} lost frames are back in {folder}")
    return 0


def cut_video(args: argparse.Namespace) -> int:
    """A piece of a video beside it, as `<name>_cut`."""
    from core import video
    from core.video.cutting import DEFAULT_BITRATE

    prompter = get_prompter(args)
    info = video.probe(_find_video(args.input_file))
    print(_describe(info))
    start = _ask_time(prompter, args.from_time, "From time")
    end = _ask_time(prompter, args.to_time, "To time (00:00:00.000 - the end)")
    last_track = max(0, len(info.audio) - 1)
    track = args.audio_track_id
    if track is None:
        track = prompter.ask_int("Specify audio track id", 0, 0, last_track)
    elif info.audio and not 0 <= track <= last_track:
        raise UsageError(f"--audio-track-id {track} is outside 0..{last_track}: {_sound(info)}")
    bitrate = _ask_number(prompter, args.bitrate, "Bitrate of output file in MB/s", DEFAULT_BITRATE, BITRATES)
    output = info.path.with_name(f"{info.path.stem}_cut{info.path.suffix}")
    if output.exists() and not prompter.ask_bool(f"{output.name} exists. Replace it?", True):
        raise SwapError(f"{output}: exists and was kept; move it away first")
    length = (end or info.duration or 0) - start
    total = round(length * info.frame_rate) if length > 0 else None
    with Progress("Cutting", total, "frame") as progress:
        video.cut(info, output, start, end, track, bitrate, _advance(progress))
    done = video.probe(output)
    print(f"{output}: {done.expected_frames} frames, {_length(done)}")
    return 0


def denoise_image_sequence(args: argparse.Namespace) -> int:
    """Less noise in every frame of a folder, in place."""
    from core import video
    from core.video.denoising import FACTORS

    prompter = get_prompter(args)
    images = video.require_images(args.input_dir, "the folder of frames")
    factor = _ask_number(prompter, args.factor, "Denoise factor", 7, FACTORS, DENOISE_HELP, flag="--factor")
    begun, done = video.unfinished_run(images)
    if done:
        print(
            f"going on with a run that was stopped: {done} of {len(images)} frames are done (factor {begun})"
        )
        factor = begun
    with Progress("Denoising", len(images), "frame") as progress:
        video.denoise(images, factor, done, _advance(progress))
    print(f"{len(images)} frames denoised in {args.input_dir}")
    return 0


def video_from_sequence(args: argparse.Namespace) -> int:
    """Frames to a video with the reference's frame times, colours and, if wanted, sound."""
    from core import video
    from core.video.planning import DEFAULT_BITRATE

    prompter = get_prompter(args)
    images = video.require_images(args.input_dir, "the folder of frames")
    if args.ext:
        images = [path for path in images if path.suffix.lower() == "." + args.ext.lower().lstrip(".")]
        if not images:
            raise SwapError(f"{args.input_dir}: holds no images that end in {args.ext}; leave --ext out")
    reference = video.probe(_find_video(args.reference_file)) if args.reference_file else None
    if reference is not None and args.fps is None:
        rate = None
    else:
        rate = _ask_fps(prompter, args.fps, "25", "Frames per second of the result.")
        if rate == 0:
            raise UsageError("a result cannot have 0 frames per second; leave --fps out for the reference's")
    bitrate = args.bitrate or DEFAULT_BITRATE
    if not args.lossless:
        label = "Bitrate of output file in MB/s"
        bitrate = _ask_number(prompter, args.bitrate, label, DEFAULT_BITRATE, BITRATES, BITRATE_HELP)
    plan = video.plan_encoding(
        images, args.output_file, reference, rate, args.include_audio, args.lossless, bitrate
    )  # fmt: skip
    for note in plan.notes:
        print(note)
    with Progress("Encoding", len(images), "frame") as progress:
        video.encode_sequence(plan, _advance(progress))
    done = video.probe(args.output_file)
    print(f"{args.output_file}: {len(images)} frames, {_length(done)}, marked as AI-altered in its metadata")
    return 0


def _find_video(path: Path) -> Path:
    return require_file(resolve_wildcard(path), "the video")


def _describe(info: VideoInfo) -> str:
    from core.video import rate_text

    turned = f", turned by {info.rotation} degrees" if info.rotation else ""
    return (
        f"{info.path.name}: {info.codec} {info.width}x{info.height}{turned}, {rate_text(info.frame_rate)} "
        f"frames per second, {_length(info)}, {_sound(info)}"
    )


def _sound(info: VideoInfo) -> str:
    return f"{len(info.audio)} sound tracks" if len(info.audio) != 1 else "1 sound track"


def _length(info: VideoInfo) -> str:
    return (
        "length unknown"
        if info.duration is None
        else f"{info.duration:.2f} s ({duration_text(info.duration)})"
    )


def _advance(progress: Progress) -> Callable[[int], None]:
    """The progress as the video room reports it, in frames done so far."""
    return lambda done: progress.update(done - progress.count) if done > progress.count else None


def _ask_fps(prompter: Prompter, given: str | None, default: str, help: str) -> Fraction:
    from core.video import parse_rate

    while True:
        text = given if given is not None else prompter.ask_text("Enter FPS", default, help=help)
        try:
            return parse_rate(text)
        except UsageError as err:
            if given is not None or not prompter.interactive:
                raise
            print(err)


def _ask_time(prompter: Prompter, given: str | None, label: str) -> float:
    from core.video import parse_time

    while True:
        text = given if given is not None else prompter.ask_text(label, "00:00:00.000")
        try:
            return parse_time(text)
        except UsageError as err:
            if given is not None or not prompter.interactive:
                raise
            print(err)


def _ask_number(
    prompter: Prompter,
    given: int | None,
    label: str,
    default: int,
    limits: tuple[int, int],
    help: str = "",
    flag: str = "--bitrate",
) -> int:
    """A whole number: refused outside the limits as a flag, moved into them at the prompt."""
    if given is None:
        return prompter.ask_int(label, default, *limits, help=help)
    if not limits[0] <= given <= limits[1]:
        raise UsageError(f"{flag} {given} is outside {limits[0]}..{limits[1]}")
    return given
