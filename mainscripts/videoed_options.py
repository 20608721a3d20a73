"""Options of `videoed` beyond DFL's flags: declared once, for flag, prompt, help and manual."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from core.errors import UsageError
from core.options import NEVER, OptionSet, opt

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class DenoiseOptions(OptionSet):
    """How noise is taken out of frames."""

    method: str = opt(
        "hqdn3d",
        "hqdn3d: DFL's filter, fast, softens detail. motion: averages each frame with those before and after "
        "it, moved onto it, in the measure of the noise that is there; keeps detail, several times slower.",
        label="Denoise method",
        choices=("hqdn3d", "motion"),
    )


@dataclass(frozen=True, kw_only=True)
class CutOptions(OptionSet):
    """How a piece is cut out of a video."""

    method: str = opt(
        "auto",
        "auto: packets are copied where both ends allow it, else all pictures are encoded anew. copy: always "
        "copied, from the last possible place before the start to the first behind the end. encode: always "
        "encoded anew.",
        choices=("auto", "copy", "encode"),
        ask=NEVER,
    )


@dataclass(frozen=True, kw_only=True)
class EncodeOptions(OptionSet):
    """How frames become a film."""

    codec: str = opt(
        "auto",
        "auto: x264, for frames of 16 bits x265 with 10, for .webm vp9. prores and prores4444 are for "
        "editing (.mov, .mkv). ffv1 and png are lossless, 16 bits included.",
        choices=("auto", "x264", "x265", "prores", "prores4444", "vp9", "ffv1", "png"),
        ask=NEVER,
    )
    hardware: str = opt(
        "none",
        "Encoder of the graphics card, tried on a few frames first. auto: the first that works, else the "
        "processor. Faster, larger or worse at the same bit rate.",
        choices=("none", "auto", "nvenc", "qsv", "amf", "vaapi", "videotoolbox"),
        ask=NEVER,
    )
    audio_tracks: str = opt(
        "0",
        "With --include-audio, which sound tracks of the reference: numbers from 0 with commas, or all.",
        ask=NEVER,
    )


def parse_tracks(text: str, flag: str) -> tuple[int, ...] | None:
    """Numbers of sound tracks, None for all.

    Raises:
        UsageError: Neither numbers with commas nor `all`.
    """
    if text.strip().lower() == ALL:
        return None
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} {text!r}: give numbers from 0 with commas, or all") from None
    if any(number < 0 for number in numbers):
        raise UsageError(f"{flag} {text!r}: sound tracks are counted from 0")
    return tuple(dict.fromkeys(numbers))


def add_actions(parser: argparse.ArgumentParser) -> None:
    """Declare the four actions and their flags."""
    from pathlib import Path

    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", required=True)

    extract = actions.add_parser("extract-video", help="video to frames", allow_abbrev=False)
    extract.add_argument("--input-file", type=Path, required=True, help="video; `name.*` finds its suffix")
    extract.add_argument("--output-dir", type=Path, required=True, help="folder for 00001.png and so on")
    extract.add_argument("--output-ext", choices=("png", "jpg"), help="asked if not given (png)")
    extract.add_argument("--fps", help="frames per second, 0 for all frames; asked if not given (0)")
    extract.add_argument(
        "--depth",
        type=int,
        choices=(8, 16),
        help="bits of each colour of png frames; asked if not given and the video has more than 8 (16)",
    )

    cut = actions.add_parser("cut-video", help="a piece of a video", allow_abbrev=False)
    cut.add_argument(
        "--input-file", type=Path, required=True, help="video; the piece is <name>_cut beside it"
    )
    cut.add_argument("--from-time", help="00:00:00.000; asked if not given")
    cut.add_argument("--to-time", help="00:00:00.000 means the end; asked if not given")
    cut.add_argument("--audio-track-id", help="which sound track, from 0, or all; asked if not given")
    cut.add_argument(
        "--bitrate", type=int, help="Mbit/s, encodes anew; asked if not given and pictures are encoded (25)"
    )
    CutOptions.add_flags(cut)

    denoise = actions.add_parser(
        "denoise-image-sequence", help="less noise in frames, in place", allow_abbrev=False
    )
    denoise.add_argument("--input-dir", type=Path, required=True, help="folder of frames")
    denoise.add_argument("--factor", type=int, help="strength 1..20; asked if not given (7)")
    DenoiseOptions.add_flags(denoise)

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
    encode.add_argument(
        "--follow",
        type=Path,
        metavar="DIR",
        help="encode while merge writes: the frames in DIR say which results will come, each is waited for",
    )
    EncodeOptions.add_flags(encode)
