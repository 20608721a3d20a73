"""What `extract` is asked: options, their flags, and the answers of earlier runs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import UsageError
from core.interact.prompts import Prompter
from core.options import NEVER, OptionSet, Spec, opt

# what prompts say and what files say; the flag takes either
FACE_TYPES = {
    "h": "half_face",
    "mf": "midfull_face",
    "f": "full_face",
    "wf": "whole_face",
    "head": "head",
    "mark_only": "mark_only",
}
HEAD_SIZE = 768  # default size of heads, whose face is a smaller part of the picture
MANUAL = "manual"


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(OptionSet):
    """What an extraction is asked, in the order of DFL's questions and with its defaults."""

    face_type: str = opt(
        "wf",
        "How much of the head the aligned faces show: half, mid-half, full, whole face or head. Whole face "
        "covers the forehead; head needs a model and masks for hair. mark_only keeps whole frames.",
        label="Face type",
        choices=tuple(FACE_TYPES),
    )
    max_faces_from_image: int = opt(
        0,
        "Keep only so many of the largest faces of a frame; 0 keeps all. With --person only the faces of "
        "this person count.",
        label="Max faces from image",
        low=0,
    )
    image_size: int = opt(
        512,
        "Side of the aligned faces in pixels. More than the face has in the frame brings nothing.",
        label="Image size",
        low=256,
        high=2048,
    )
    jpeg_quality: int = opt(90, "Quality of the faces' JPEG files.", label="Jpeg quality", low=1, high=100)
    detector: str = opt(
        "auto",
        "What finds the faces. s3fd is DFL's and needs its weights (main.py weights); blazeface is quickest; "
        "mtcnn finds more of many small faces; dlib-hog and dlib-cnn need the package dlib; manual: you mark "
        "them. auto means s3fd where its weights are, else blazeface.",
        label="Detector",
        choices=("auto", "s3fd", "mtcnn", "blazeface", "dlib-hog", "dlib-cnn", MANUAL),
    )
    landmarker: str = opt(
        "auto",
        "What finds the 68 points: fan (DFL's; 3DFAN for heads), facemesh, or dlib68. auto means fan with "
        "s3fd and by hand where its weights are, else facemesh.",
        choices=("auto", "fan", "facemesh", "dlib68"),
        ask=NEVER,
    )
    precision: str = opt(
        "auto",
        "What S3FD and FAN compute in. float32 gives DFL's very boxes and points; bfloat16 is quicker where "
        "the processor has it, and auto takes it there.",
        choices=("auto", "float32", "bfloat16"),
        ask=NEVER,
    )
    output_debug: bool = opt(
        False,
        "Write every frame with the found points drawn in, to the folder <output>_debug beside the faces.",
        label="Write debug images to aligned_debug?",
    )
    fps: str = opt(
        "0",
        "With --input-file: frames per second to take, as in 25 or 30000/1001; 0 takes every frame.",
        ask=NEVER,
    )
    person: str = opt(
        "",
        "Keep only the faces of this person: a picture, or a folder of pictures or aligned faces. Needs the "
        "package dlib.",
        ask=NEVER,
    )
    person_threshold: float = opt(
        0.5,
        "With --person: largest distance of a face's 128 numbers from the person's; less is stricter. Faces "
        "with less than 45 pixels between the eyes must be a tenth nearer.",
        low=0.1,
        high=2.0,
        ask=NEVER,
    )
    track: bool = opt(
        False,
        "Link faces from frame to frame, fill short gaps and drop what shows up too briefly. The video is "
        "looked through first, and the faces are cut in a second pass.",
        ask=NEVER,
    )
    min_track: int = opt(5, "With --track: drop what is seen in fewer frames than this.", low=1, ask=NEVER)
    max_gap: int = opt(
        10,
        "With --track: fill gaps of up to so many frames between sightings; 0 fills none.",
        low=0,
        ask=NEVER,
    )
    split_people: bool = opt(
        False,
        "Write one subfolder for each person (person_01 is seen most). Links faces as --track does.",
        ask=NEVER,
    )
    smooth: bool = opt(
        False,
        "Steady the points along each track before faces are cut. Links faces as --track does.",
        ask=NEVER,
    )
    smooth_strength: float = opt(
        1.0, "With --smooth: more is steadier, less follows closer.", low=0.05, high=20.0, ask=NEVER
    )
    manual_fix: bool = opt(
        False, "After the search, mark by hand the frames in which nothing was found.", ask=NEVER
    )
    manual_output_debug_fix: bool = opt(
        False,
        "Only mark by hand the frames whose pictures you deleted from the folder <output>_debug.",
        ask=NEVER,
    )
    manual_window_size: int = opt(
        1368,
        "Width of the window for marking by hand; 0 shows frames as they are.",
        low=0,
        high=8192,
        ask=NEVER,
    )

    @property
    def follows_tracks(self) -> bool:
        """Whether faces are linked over time, or told apart, so that finding and cutting are two passes."""
        return self.links or bool(self.person)

    @property
    def links(self) -> bool:
        """Whether faces are linked over time."""
        return self.track or self.split_people or self.smooth

    @property
    def by_hand(self) -> bool:
        return self.detector == MANUAL or self.manual_output_debug_fix

    def compared(self) -> dict[str, Any]:
        """The settings that decide how a frame's faces look."""
        return {name: getattr(self, name) for name in COMPARED}


# A run with other values of these is not a continuation.
COMPARED = (
    "face_type",
    "max_faces_from_image",
    "image_size",
    "jpeg_quality",
    "detector",
    "landmarker",
    "person",
    "person_threshold",
    "track",
    "min_track",
    "max_gap",
    "split_people",
    "smooth",
    "smooth_strength",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DFL's flags and ours. Those of the questions that are not given are asked."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input-dir", type=Path, help="folder of frames")
    source.add_argument(
        "--input-file",
        type=Path,
        metavar="CLIP",
        help="a video instead of a folder of frames: it is decoded as it goes, and the faces are the same. "
        "Merging needs the frames in a folder (videoed extract-video), so this is for data_src",
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the aligned faces")
    for name, spec in ExtractOptions.specs().items():
        text = spec.help.replace("%", "%%")
        if name == "face_type":
            both = [name for pair in FACE_TYPES.items() for name in pair]
            choices = tuple(dict.fromkeys(both))
            parser.add_argument(
                spec.flag, type=str.lower, choices=choices, help=text, metavar="|".join(FACE_TYPES.values())
            )
        else:
            _add_flag(parser, spec, text)
    parser.add_argument(
        "--cpu-only",
        action="store_true",
        help="use no GPU (only S3FD and FAN use one; the other networks run on the CPU anyway)",
    )
    parser.add_argument(
        "--force-gpu-idxs", metavar="A,B", help="the GPUs that S3FD and FAN may use, by number"
    )


def _add_flag(parser: argparse.ArgumentParser, spec: Spec, text: str) -> None:
    if spec.kind is bool:
        parser.add_argument(spec.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif spec.kind in (int, float):
        metavar = "N" if spec.kind is int else "X"
        parser.add_argument(spec.flag, type=spec.kind, metavar=metavar, help=f"{text} [{spec.range_text()}]")
    elif spec.choices:
        parser.add_argument(spec.flag, choices=spec.choices, help=text)
    else:
        parser.add_argument(spec.flag, metavar="PATH" if spec.name == "person" else "TEXT", help=text)


def given_options(args: argparse.Namespace) -> dict[str, Any]:
    """Options whose flags were used, checked.

    Raises:
        UsageError: A value is out of range, or two contradict each other.
    """
    given = ExtractOptions.given_by(args)
    if "face_type" in given:
        shorts = {name: short for short, name in FACE_TYPES.items()}
        given["face_type"] = shorts.get(given["face_type"], given["face_type"])
    options = ExtractOptions(**given)
    if "fps" in given and args.input_file is None:
        raise UsageError("--fps is for --input-file; a folder's frames are taken as they are")
    if options.by_hand and options.follows_tracks:
        raise UsageError(
            "faces marked by hand are not linked: leave out --track, --person, --smooth and the like"
        )
    if options.person:
        given["person"] = str(Path(options.person).expanduser())
    gpu_indices(args)
    return given


def gpu_indices(args: argparse.Namespace) -> list[int] | None:
    """The numbers that `--force-gpu-idxs` gives, None without it.

    Raises:
        UsageError: They are no numbers.
    """
    if not args.force_gpu_idxs:
        return None
    parts = [part.strip() for part in args.force_gpu_idxs.split(",")]
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"--force-gpu-idxs {args.force_gpu_idxs!r}: give numbers parted by commas")
    return [int(part) for part in parts]


def ask_options(prompter: Prompter, defaults: ExtractOptions, given: dict[str, Any]) -> ExtractOptions:
    """Ask for what no flag gives; the default size depends on the face type."""
    values = defaults.to_json() | given
    for spec in ExtractOptions.specs().values():
        if spec.name in given or spec.ask == NEVER:
            continue
        if spec.name in ("detector", "output_debug") and values["manual_output_debug_fix"]:
            continue  # goes without saying
        default = values[spec.name]
        if spec.name == "image_size" and default == spec.default and values["face_type"] == "head":
            default = HEAD_SIZE
        values[spec.name] = prompter.ask(spec, default)
    if values["manual_output_debug_fix"]:
        values["output_debug"] = True  # else the same frames would be missing again
    return ExtractOptions(**values)
