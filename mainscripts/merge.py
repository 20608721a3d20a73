"""Put the predicted face into every frame, and write the merged frames and their masks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SwapError, UsageError
from core.interact.prompts import Prompter, get_prompter

if TYPE_CHECKING:
    from core.options import OptionSet
    from merger.frames import FrameFaces, Matching
    from merger.options import MergeOptions
    from merger.pool import Report
    from merger.session import MergeSession
    from models.base import Model

SHOWN_NAMES = 8  # of frames or faces, before a list is cut off


@dataclass(frozen=True)
class Folders:
    """The folders of a run, checked."""

    input: Path
    output: Path
    mask: Path
    aligned: Path
    model: Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DFL's flags and `--option`."""
    parser.add_argument("--input-dir", type=Path, required=True, help="folder of frames")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the merged frames")
    parser.add_argument("--output-mask-dir", type=Path, required=True, help="folder for their masks")
    parser.add_argument(
        "--aligned-dir",
        type=Path,
        help="folder of the frames' aligned faces (default: aligned in --input-dir)",
    )
    parser.add_argument("--model-dir", type=Path, required=True, help="folder of the saved models")
    parser.add_argument("--model", required=True, metavar="KIND", help="kind of the model, such as Quick96")
    parser.add_argument("--force-model-name", metavar="NAME", help="take this model and do not ask which")
    parser.add_argument("--cpu-only", action="store_true", help="compute on the CPU")
    parser.add_argument("--force-gpu-idxs", metavar="A,B", help="compute on these GPUs, numbers with commas")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a merge option (repeatable), such as mode=seamless; what is not set is asked",
    )
    from mainscripts.swap_choice import add_flags

    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Check, ask, merge what is missing, report."""
    from core.system import lower_priority
    from mainscripts import swap_choice
    from merger.options import MergeOptions

    gpus = parse_gpu_indices(args.force_gpu_idxs)
    given = MergeOptions.parse_pairs(args.option)
    folders = check_folders(args)
    prompter = get_prompter(args)
    name = choose_model(prompter, folders.model, args.model, args.force_model_name)
    matching = read_frames(folders)
    how = swap_choice.choose(prompter, args, folders.model, name)
    options = MergeOptions().ask(prompter, given=given)
    workers = ask_workers(prompter)
    lower_priority()
    model = load(folders.model, name, args.model, args.cpu_only, gpus)
    show_summary(model, options, how)
    report = merge_missing(matching, options, model, folders, workers, prompter, how)
    return show_report(report)


def parse_gpu_indices(text: str | None) -> list[int] | None:
    """Numbers parted by commas.

    Raises:
        UsageError: They are none.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--force-gpu-idxs {text!r}: give numbers parted by commas, such as 0,1") from None


def check_folders(args: argparse.Namespace) -> Folders:
    """All folders, before anything is asked or loaded.

    Raises:
        SwapError: One is missing, cannot be written to, or would be used for two things.
    """
    from core.paths import require_folder, require_writable_folder
    from core.storage import remove_leavings

    source = require_folder(args.input_dir, "the folder of frames")
    model = require_folder(args.model_dir, "the folder of models")
    default = source / "aligned"
    aligned = require_folder(args.aligned_dir or default, "the folder of aligned faces (--aligned-dir)")
    output, mask = args.output_dir.expanduser(), args.output_mask_dir.expanduser()
    taken = {os.path.realpath(source): "--input-dir", os.path.realpath(aligned): "--aligned-dir"}
    for path, flag in ((output, "--output-dir"), (mask, "--output-mask-dir")):
        other = taken.setdefault(os.path.realpath(path), flag)
        if other != flag:
            raise SwapError(f"{path}: {flag} must be another folder than {other}")
    remove_leavings(require_writable_folder(output, "the folder of merged frames"))
    remove_leavings(require_writable_folder(mask, "the folder of masks"))
    return Folders(source, output, mask, aligned, model)


def choose_model(prompter: Prompter, folder: Path, kind: str, forced: str | None) -> str:
    """Name of the saved model to merge with; the last saved one is the default.

    Raises:
        SwapError: There is none, or none of that name.
    """
    import models

    models.options_class(kind)  # refuses an unknown kind
    names = models.list_models(folder, kind)
    if not names:
        raise SwapError(f"{folder}: no {kind} model is saved there; train one first")
    if forced is not None:
        if forced not in names:
            raise SwapError(f"{folder}: no {kind} model is named {forced!r}; there are {', '.join(names)}")
        return forced
    for number, name in enumerate(names):
        print(f"[{number}] : {name}{' - latest' if number == 0 else ''}")
    label = "Choose one of the saved models by number or name"
    while True:
        answer = prompter.ask_text(label, "0")
        if answer in names:
            return answer
        if answer.isdigit():
            return names[min(int(answer), len(names) - 1)]
        print(f"{answer!r} is not in the list")


def read_frames(folders: Folders) -> Matching:
    """The frames with their faces, and a word about those that found no partner.

    Raises:
        SwapError: There are no frames, or none of the faces belongs to one.
    """
    from core.paths import list_images
    from merger.frames import aligned_faces, match_faces
    from samplelib import Faceset
    from samplelib.pak import PAK_NAME

    frames = list_images(folders.input)
    if not frames:
        raise SwapError(
            f"{folders.input}: no images in the folder of frames; extract them from the video first"
        )
    faceset = Faceset.open(folders.aligned)
    if (folders.aligned / PAK_NAME).is_file():
        loose = len(list_images(folders.aligned))
        ignored = f"; {loose} images beside it are not" if loose else ""
        print(f"{folders.aligned} is packed: the {len(faceset)} faces of {PAK_NAME} are used{ignored}")
    matching = match_faces(frames, aligned_faces(faceset))
    if all(not frame.faces for frame in matching.frames):
        raise SwapError(
            f"{folders.aligned}: none of the {len(faceset)} faces belongs to a frame of {folders.input}; "
            "extract the faces from these frames"
        )
    _show_matching(matching)
    return matching


def _show_matching(matching: Matching) -> None:
    from merger.frames import name_ranges

    names = [printable(frame.stem) for frame in matching.frames]
    faceless, several = matching.without_face, matching.with_several
    print(f"{len(names)} frames, {len(names) - len(faceless)} with a face")
    if faceless:
        print(f"{len(faceless)} frames without a face stay as they are: {name_ranges(names, faceless)}")
    if several:
        print(f"{len(several)} frames have several faces, all get the new one: {name_ranges(names, several)}")
    if matching.without_frame:
        print(f"{len(matching.without_frame)} frames that faces come from are missing: "
              f"{_shortened(matching.without_frame)}")  # fmt: skip
    if matching.without_source:
        print(f"{len(matching.without_source)} faces do not say which frame they come from: "
              f"{_shortened(matching.without_source)}")  # fmt: skip


def ask_workers(prompter: Prompter) -> int:
    """How many threads read, blend and write."""
    from core.system import cpu_count

    limit = max(2, 2 * cpu_count())
    help = "Threads that read, blend and write frames beside the one that predicts. Fewer need less memory."
    return prompter.ask_int("Number of workers", min(limit, cpu_count() + 1), low=1, high=limit, help=help)


def load(folder: Path, name: str, kind: str, cpu_only: bool, gpus: list[int] | None) -> Model:
    """The model, its network on the chosen devices.

    It computes as its training on this machine did: a probe at each start could choose otherwise in the
    middle of a film.
    """
    from core.nn import devices

    print("Loading the model ...", flush=True)
    in_use = devices.prepare(cpu_only, gpus)
    import models
    from mainscripts.training_start import settled_precision

    store, saved = models.CheckpointStore(folder, name, kind), models.saved_options(folder, name, kind)
    precision = settled_precision(store, saved, in_use)
    model = models.load_model(folder, name, kind, precision=precision, training=False)
    for note in model.notes:
        print(note)
    return model


def show_summary(model: Model, options: MergeOptions, how: OptionSet | None) -> None:
    """The model and the options in one box."""
    rows = [
        ("model", f"{model.name} ({model.kind})"),
        ("iteration", str(model.iteration)),
        ("resolution", str(model.resolution)),
        ("face type", model.face_type),
        ("computes in", model.precision.describe()),
        *(how.rows() if how else ()),
        *options.rows(),
    ]
    width = max(len(label) for label, _ in rows)
    print(f"{' Merge ':=^60}")
    for label, value in rows:
        print(f"{label:>{width}}: {value}")
    print("=" * 60, flush=True)


def merge_missing(
    matching: Matching,
    options: MergeOptions,
    model: Model,
    folders: Folders,
    workers: int,
    prompter: Prompter,
    how: OptionSet | None,
) -> Report:
    """Merge the frames that have no result yet and those that the user wants anew.

    `how` is what the model's predictor is told; a frame merged with another is not like one merged now.
    """
    from core.interact.progress import Progress
    from merger.frames import with_motion
    from merger.placement import FaceModel
    from merger.pool import MergeSettings, Report, merge_all
    from merger.session import MergeSession

    frames, told = matching.frames, how.to_json() if how else {}
    if options.motion_blur_power:
        frames = with_motion(frames, whole_pixels=options.dfl_exact)
    with MergeSession(folders.output, folders.mask) as session:
        session.begin_run(options, _identity(model) | told)
        todo = choose_frames(frames, session, prompter)
        if not todo:
            print("Nothing is left to merge.")
            return Report()
        settings = MergeSettings(options, FaceModel(model.resolution, model.face_type), workers)
        with Progress("Merging", len(todo), "frame") as progress:
            return merge_all(todo, model.predictor(**told), settings, session, progress.update)


def _identity(model: Model) -> dict[str, Any]:
    """What tells this state of the model from any other."""
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for path, value in sorted(model.weights().items()):
        digest.update(path.encode())
        digest.update(value.data)
    return {
        "name": model.name,
        "kind": model.kind,
        "iteration": model.iteration,
        "weights": digest.hexdigest(),
    }


def choose_frames(
    frames: Sequence[FrameFaces], session: MergeSession, prompter: Prompter
) -> list[FrameFaces]:
    """The frames to merge: what is missing, and after asking what was merged otherwise or is not ours.

    Raises:
        SwapError: Nothing would be done because the results there are not ours.
    """
    from merger.frames import name_ranges
    from merger.session import State

    names = [printable(frame.stem) for frame in frames]
    places: dict[State, list[int]] = {state: [] for state in State}
    for index, frame in enumerate(frames):
        places[session.state(frame)].append(index)
    chosen = set(places[State.MISSING])
    done, outdated, foreign = places[State.DONE], places[State.OUTDATED], places[State.FOREIGN]
    if done:
        print(f"{len(done)} frames are merged already and stay: {name_ranges(names, done)}")
    if outdated:
        print(f"{len(outdated)} frames were merged with other options, faces or another state of the model: "
              f"{name_ranges(names, outdated)}")  # fmt: skip
        if prompter.ask_bool("Merge them again?", True, help="No keeps them as they are."):
            chosen.update(outdated)
    if foreign:
        folders = f"{session.output_dir} and {session.mask_dir}"
        print(f"{len(foreign)} results in {folders} were written or changed by another program: "
              f"{name_ranges(names, foreign)}")  # fmt: skip
        if prompter.ask_bool("Overwrite them?", False, help="No keeps them as they are."):
            chosen.update(foreign)
        elif len(foreign) == len(frames):
            raise SwapError(
                f"{session.output_dir}: all results there or in {session.mask_dir} were made by another "
                "program and are kept; move them away or choose other folders"
            )
    return [frames[index] for index in sorted(chosen)]


def show_report(report: Report) -> int:
    """Print what became of the frames.

    Raises:
        SwapError: Not one of the frames could be merged.
    """
    print(f"{report.merged} frames merged, {report.passed_through} without a face left as they are")
    for text, entries in (
        ("could not be read and have no result", report.unreadable),
        ("could not be merged and were left as they are", report.failed),
        ("were merged, but not as asked", report.notes),
    ):
        if entries:
            print(f"{len(entries)} frames {text}:")
            for name, reason in list(entries.items())[:SHOWN_NAMES]:
                print(f"  {printable(name)}: {printable(reason)}")
            if len(entries) > SHOWN_NAMES:
                print(f"  and {len(entries) - SHOWN_NAMES} more")
    troubled = len(report.unreadable) + len(report.failed)
    if troubled and not report.merged:
        first = next(iter({**report.unreadable, **report.failed}.values()))
        raise SwapError(f"none of {troubled} frames could be merged; the first: {printable(first)}")
    return 0


def printable(text: str) -> str:
    """A name as one line of any terminal: control characters become `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _shortened(names: Iterable[str]) -> str:
    names = [printable(name) for name in names]
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more
