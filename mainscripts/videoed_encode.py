"""`videoed video-from-sequence`: frames to a video with the times, colours and sound of its reference."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

from core.errors import SwapError, UsageError
from core.interact.progress import Progress
from core.interact.prompts import Prompter, get_prompter
from mainscripts.videoed_options import EncodeOptions, parse_tracks
from mainscripts.videoed_questions import BITRATES, advance, ask_fps, ask_number, find_video, length_text

BITRATE_HELP = "Megabits per second: size of the file against quality."


def video_from_sequence(args: argparse.Namespace) -> int:
    """Frames to a video with the reference's frame times, colours and, if wanted, sound."""
    from core import video
    from core.video.codecs import CODECS
    from core.video.planning import DEFAULT_BITRATE
    from mainscripts.videoed_follow import Follower

    prompter = get_prompter(args)
    options = EncodeOptions(**EncodeOptions.given_by(args))
    tracks = parse_tracks(options.audio_tracks, "--audio-tracks")
    follower = Follower.of(args.follow, args.input_dir) if args.follow is not None else None
    images = follower.images if follower is not None else _images(args.input_dir, args.ext)
    reference = video.probe(find_video(args.reference_file)) if args.reference_file else None
    rate = _rate(prompter, args.fps, reference is not None, images)
    bitrate = args.bitrate or DEFAULT_BITRATE
    codec = CODECS.get(options.codec)
    if not args.lossless and (codec is None or codec.rated):
        label = "Bitrate of output file in MB/s"
        bitrate = ask_number(prompter, args.bitrate, label, DEFAULT_BITRATE, BITRATES, BITRATE_HELP)
    if follower is not None:
        follower.wait(images[0])
    plan = video.plan_encoding(
        images,
        args.output_file,
        reference,
        rate,
        args.include_audio,
        args.lossless,
        bitrate,
        tracks=tracks,
        codec=options.codec,
        hardware=options.hardware,
    )
    for note in plan.notes:
        print(note)
    with Progress("Encoding", len(images), "frame") as progress:
        waiting = (follower.wait, follower.check) if follower is not None else ()
        video.encode_sequence(plan, advance(progress), *waiting)
    done = video.probe(args.output_file)
    print(
        f"{args.output_file}: {len(images)} frames, {length_text(done)}, "
        f"{plan.encoding.codec.shown}, marked as AI-altered in its metadata"
    )
    return 0


def _rate(prompter: Prompter, given: str | None, has_reference: bool, images: list[Path]) -> Fraction | None:
    """Frames per second; None where the reference or what extraction recorded tells the times."""
    from core.video.timestamps import find_recorded

    recorded = find_recorded(images)
    if given is None and (has_reference or (recorded is not None and recorded.timeline is not None)):
        return None
    usual = str(recorded.rate) if recorded is not None and recorded.rate else "25"
    rate = ask_fps(prompter, given, usual, "Frames per second of the result.")
    if rate == 0:
        raise UsageError("a result cannot have 0 frames per second; leave --fps out for the reference's")
    return rate


def _images(folder: Path, suffix: str | None) -> list[Path]:
    from core import video

    images = video.require_images(folder, "the folder of frames")
    if suffix:
        images = [path for path in images if path.suffix.lower() == "." + suffix.lower().lstrip(".")]
        if not images:
            raise SwapError(f"{folder}: holds no images that end in {suffix}; leave --ext out")
    return images
