"""Find, align and save the faces of a folder of frames."""

from __future__ import annotations

import argparse
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SwapError, UsageError
from core.interact.prompts import Prompter, get_prompter
from core.options import NEVER, OptionSet, opt

if TYPE_CHECKING:
    from mainscripts.extract_frames import FrameResult
    from mainscripts.extract_log import Record

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
SHOWN_RANGES = 40  # of frame names in a list of the summary


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
        "Keep only so many of the largest faces of a frame; 0 keeps all.",
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
        "What finds the faces. blazeface is quick; mtcnn is ten times slower and finds more of many small "
        "faces. auto means blazeface.",
        label="Detector",
        choices=("auto", "mtcnn", "blazeface"),
    )
    landmarker: str = opt(
        "auto", "What finds the 68 points; auto means facemesh.", choices=("auto", "facemesh"), ask=NEVER
    )
    output_debug: bool = opt(
        False,
        "Write every frame with the found points drawn in, to the folder <output>_debug beside the faces.",
        label="Write debug images to aligned_debug?",
    )


# What decides how a frame's faces look; a run with others is not a continuation.
_COMPARED = ("face_type", "max_faces_from_image", "image_size", "jpeg_quality", "detector", "landmarker")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DFL's flags. Those not given are asked."""
    specs = ExtractOptions.specs()
    parser.add_argument("--input-dir", type=Path, required=True, help="folder of frames")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the aligned faces")
    for name, spec in specs.items():
        text = spec.help.replace("%", "%%")
        if name == "face_type":
            both = [name for pair in FACE_TYPES.items() for name in pair]
            choices = tuple(dict.fromkeys(both))
            parser.add_argument(
                spec.flag, type=str.lower, choices=choices, help=text, metavar="|".join(FACE_TYPES.values())
            )
        elif spec.kind is bool:
            parser.add_argument(spec.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif spec.kind is int:
            parser.add_argument(spec.flag, type=int, metavar="N", help=f"{text} [{spec.range_text()}]")
        else:
            parser.add_argument(spec.flag, choices=spec.choices, help=text)
    parser.add_argument(
        "--cpu-only",
        action="store_true",
        help="use no GPU (the networks that exist now run on the CPU anyway)",
    )
    parser.add_argument(
        "--force-gpu-idxs", metavar="A,B", help="accepted for DFL's sake; the networks here run on the CPU"
    )


def run(args: argparse.Namespace) -> int:
    """Extract what is missing, tell what came out, and return the exit code."""
    from core.paths import require_folder, require_writable_folder
    from core.storage import remove_leavings
    from mainscripts.extract_log import read_record

    given = _given(args)
    frames, skipped = _frames(require_folder(args.input_dir, "the folder of frames"))
    output = args.output_dir.expanduser()
    if output.exists() and output.samefile(args.input_dir.expanduser()):
        raise SwapError(f"{output}: faces cannot go into the folder of frames; choose another --output-dir")
    remove_leavings(require_writable_folder(output, "the folder of aligned faces"))
    record = read_record(output, frames)
    prompter = get_prompter(args)
    options, anew = _ask(prompter, given, record, frames)
    report = Report(skipped=skipped)
    done = (
        {} if anew else {frame.name: record.done[frame.name] for frame in frames if frame.name in record.done}
    )
    report.faces.update({name: len(faces) for name, faces in done.items()})
    missing = [frame for frame in frames if frame.name not in done]
    if missing:
        before = record.replaced | (record.done if anew else {})
        _extract(missing, output, options, before, report, anew)
    else:
        print(f"All {len(frames)} frames were extracted before; empty {output} to begin anew.")
    report.show(frames)
    if report.failed and len(report.failed) == len(frames):
        raise SwapError(f"{args.input_dir}: none of the {len(frames)} frames can be read; make them again")
    return 0


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Options whose flags were used, checked.

    Raises:
        UsageError: A value is out of range.
    """
    given = ExtractOptions.given_by(args)
    if "face_type" in given:
        shorts = {name: short for short, name in FACE_TYPES.items()}
        given["face_type"] = shorts.get(given["face_type"], given["face_type"])
    ExtractOptions(**given)
    if args.force_gpu_idxs and not all(part.strip().isdigit() for part in args.force_gpu_idxs.split(",")):
        raise UsageError(f"--force-gpu-idxs {args.force_gpu_idxs!r}: give numbers parted by commas")
    return given


def _frames(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The frames to extract, and those left out because their faces would get the names of another's.

    Raises:
        SwapError: The folder holds no image.
    """
    from core.paths import IMAGE_SUFFIXES, list_images

    images = list_images(folder)
    if not images:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SwapError(f"{folder}: no frames in this folder ({kinds}); extract the video's frames first")
    frames: dict[str, Path] = {}
    skipped = {}
    for image in images:
        first = frames.setdefault(os.path.normcase(image.stem), image)
        if first is not image:
            skipped[image.name] = f"{first.name} has the same name but for its ending"
    return list(frames.values()), skipped


def _ask(
    prompter: Prompter, given: dict[str, Any], record: Record, frames: list[Path]
) -> tuple[ExtractOptions, bool]:
    """The options, and whether frames that were done are to be done again."""
    known = sum(frame.name in record.done for frame in frames)
    anew = False
    earlier, _ = ExtractOptions.from_json({k: v for k, v in record.settings.items() if k in _COMPARED})
    differing = [k for k in _COMPARED if record.settings and k in given and given[k] != getattr(earlier, k)]
    if known:
        for name in differing:
            print(f"Earlier faces here were made with {name} {getattr(earlier, name)}, not {given[name]}.")
        anew = not prompter.ask_bool(
            f"{known} of {len(frames)} frames were extracted before. Continue with the missing ones?",
            True,
            help="With n, all frames are extracted again, and their faces of the run before are replaced.",
        )
        if not anew and record.settings and known == len(frames):
            return earlier, False  # nothing to do, so nothing to ask
    options = earlier if record.settings else ExtractOptions()
    return _ask_options(prompter, options, given), anew


def _ask_options(prompter: Prompter, defaults: ExtractOptions, given: dict[str, Any]) -> ExtractOptions:
    """Ask for what no flag gives; the default size depends on the face type."""
    values = defaults.to_json() | given
    for spec in ExtractOptions.specs().values():
        if spec.name in given or spec.ask == NEVER:
            continue
        default = values[spec.name]
        if spec.name == "image_size" and default == spec.default and values["face_type"] == "head":
            default = HEAD_SIZE
        values[spec.name] = prompter.ask(spec, default)
    return ExtractOptions(**values)


def _extract(
    frames: list[Path],
    output: Path,
    options: ExtractOptions,
    before: dict[str, list[str]],
    report: Report,
    anew: bool,
) -> None:
    """Extract `frames` into `output` and fill the report.

    Args:
        frames: What to do.
        output: Folder of the faces.
        options: How.
        before: Faces of the run before, by frame, that the new ones replace.
        report: Gets every result.
        anew: Frames that were done are done again.
    """
    from core.interact.progress import Progress
    from core.paths import require_writable_folder
    from core.storage import remove_leavings
    from core.system import cpu_count
    from facelib.pipeline import Pipeline
    from mainscripts.extract_frames import Target, extract_frames
    from mainscripts.extract_log import LogWriter

    debug = output.with_name(output.name + "_debug") if options.output_debug else None
    if debug is not None:
        remove_leavings(require_writable_folder(debug, "the folder of debug pictures"))
    pipeline = Pipeline(options.detector, options.landmarker, max_faces=options.max_faces_from_image)
    face_type = FACE_TYPES[options.face_type]
    target = Target(output, debug, face_type, options.image_size, options.jpeg_quality)
    threads = min(cpu_count() + 1, len(frames))  # one more than cores: some wait for the disk
    print(f"Finding faces with {pipeline.name} on {threads} threads.", flush=True)
    settings = {name: getattr(options, name) for name in _COMPARED}
    with (
        LogWriter(output, settings, anew) as log,
        Progress("Extracting faces", len(frames), "frame") as progress,
    ):
        results = extract_frames(frames, pipeline, target, threads)
        with contextlib.closing(results):  # an interruption ends the threads before it goes on
            for result in results:
                report.add(result)
                if result.error:
                    progress.write(f"skipped: {result.error}")
                else:
                    _remove_replaced(output, before.get(result.frame.name, []), result.faces)
                    log.add(result.frame.name, list(result.faces))
                progress.update()


def _remove_replaced(output: Path, old: list[str], new: tuple[str, ...]) -> None:
    """Remove a frame's faces of the run before that the new run did not write over, as was asked."""
    for name in set(old) - set(new):
        (output / Path(name).name).unlink(missing_ok=True)


@dataclass
class Report:
    """What an extraction came to."""

    skipped: dict[str, str] = field(default_factory=dict)  # frames that were not tried, and why
    failed: dict[str, str] = field(default_factory=dict)  # frames that could not be read, and why
    faces: dict[str, int] = field(default_factory=dict)  # number of faces of each finished frame

    def add(self, result: FrameResult) -> None:
        """Count one frame."""
        if result.error:
            self.failed[result.frame.name] = result.error
        else:
            self.faces[result.frame.name] = len(result.faces)

    def show(self, frames: list[Path]) -> None:
        """Print the summary, earlier runs included."""
        order = [frame.name for frame in frames]
        without = [number for number, name in enumerate(order) if self.faces.get(name) == 0]
        several = [number for number, name in enumerate(order) if self.faces.get(name, 0) > 1]
        print("-------------------------")
        print(f"Images found:      {len(order)}")
        print(f"Faces detected:    {sum(self.faces.values())}")
        print(f"Without a face:    {_ranges_text(without, order)}")
        print(f"With several:      {_ranges_text(several, order)}")
        print("-------------------------")
        for name, reason in (self.skipped | self.failed).items():
            print(f"skipped {name}: {reason.removeprefix(name + ': ')}")


def _ranges_text(numbers: list[int], names: list[str]) -> str:
    """`3 (00012.png-00013.png, 00040.png)` for a sorted list of positions in `names`."""
    if not numbers:
        return "0"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [names[a] if a == b else f"{names[a]}-{names[b]}" for a, b in ranges[:SHOWN_RANGES]]
    more = f", and {len(ranges) - SHOWN_RANGES} more ranges" if len(ranges) > SHOWN_RANGES else ""
    return f"{len(numbers)} ({', '.join(shown)}{more})"
