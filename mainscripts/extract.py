"""Find, align and save the faces of a folder of frames, or of a video."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import FileFormatError, SwapError, UsageError
from core.interact.prompts import Prompter, get_prompter
from mainscripts.extract_options import (
    COMPARED,
    FACE_TYPES,
    MANUAL,
    ExtractOptions,
    add_arguments,
    ask_options,
    given_options,
    gpu_indices,
)

if TYPE_CHECKING:
    from facelib.choice import Choice
    from mainscripts.extract_job import Job
    from mainscripts.extract_log import Record
    from mainscripts.extract_sources import Source

__all__ = ["ExtractOptions", "add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Extract what is missing, tell what came out, and return the exit code."""
    from mainscripts.extract_job import Job, logged_settings
    from mainscripts.extract_log import LogWriter, read_record
    from mainscripts.extract_report import Report

    given = given_options(args)
    source = _open_source(args, given)
    output = _output_folder(args)
    record = read_record(output, source)
    prompter = get_prompter(args)
    options, anew = _ask(prompter, given, record, source, output)
    done = {} if anew else _still_there(record.done, source)
    report = Report(skipped=source.skipped, faces={name: len(faces) for name, faces in done.items()})
    if not _has_work(options, done, record, source):
        print(f"All {len(done)} frames were extracted before; empty {output} to begin anew.")
        report.show(source.names(record.end) or sorted(done))
        return 0
    choice = _choose(prompter, options)
    before = record.replaced | (record.done if anew else {})
    settings = logged_settings(options, choice, source, record.settings)
    with LogWriter(output, settings, anew) as log:
        job = Job(source, output, options, choice, report, done, before, log, args.cpu_only,
                  gpu_indices(args), record.end, getattr(args, "screen", "auto"), record.plans)  # fmt: skip
        _work(job)
    names = job.names()
    report.show(names)
    if report.failed and len(report.failed) == len(names):
        raise SwapError(f"{source.subject}: none of the {len(names)} frames can be read; make them again")
    return 0


def _open_source(args: argparse.Namespace, given: dict[str, Any]) -> Source:
    from mainscripts.extract_sources import FolderSource, VideoSource

    if args.input_file is None:
        return FolderSource(args.input_dir)
    from core.video import parse_rate

    return VideoSource(args.input_file, parse_rate(given.get("fps", "0")))


def _output_folder(args: argparse.Namespace) -> Path:
    """The folder for the faces, made and tried.

    Raises:
        SwapError: It is the folder of the frames, or cannot be written to.
    """
    from core.paths import require_writable_folder
    from core.storage import remove_leavings
    from mainscripts.sort_rename import settle

    output = args.output_dir.expanduser()
    if output.exists() and args.input_dir is not None and output.samefile(args.input_dir.expanduser()):
        raise SwapError(f"{output}: faces cannot go into the folder of frames; choose another --output-dir")
    remove_leavings(require_writable_folder(output, "the folder of aligned faces"))
    settle(output)
    return output


def _ask(
    prompter: Prompter, given: dict[str, Any], record: Record, source: Source, output: Path
) -> tuple[ExtractOptions, bool]:
    """The options, and whether frames that were done are to be done again."""
    known = len(_still_there(record.done, source))
    total = source.total() if record.end is None else record.end
    earlier = _earlier_options(record, output)
    going_on = given | _networks_of_before(given, record, earlier)
    anew = False
    if known and not given.get("manual_output_debug_fix"):
        values = earlier.compared() if record.settings else {}
        differing = [name for name, value in values.items() if going_on.get(name, value) != value]
        for name in differing:
            print(f"Earlier faces here were made with {name} {values[name]}, not {given[name]}.")
        anew = not prompter.ask_bool(
            f"{known} of {total or 'the'} frames were extracted before. Continue with the missing ones?",
            True,
            help="With n, all frames are extracted again, and their faces of the run before are replaced.",
        )
        replanned = differing and earlier.follows_tracks  # what is planned otherwise now is cut again
        if not (anew or replanned or given.get("manual_fix")) and record.settings and known == total:
            return earlier, False  # nothing to do, so nothing to ask
    defaults = earlier if record.settings else ExtractOptions()
    return ask_options(prompter, defaults, given if anew else going_on), anew


def _earlier_options(record: Record, output: Path) -> ExtractOptions:
    """The options that the faces in `output` were made with.

    Raises:
        FileFormatError: The log tells impossible ones.
    """
    from mainscripts.extract_log import LOG_NAME

    try:
        return ExtractOptions.from_json({k: v for k, v in record.settings.items() if k in COMPARED})[0]
    except UsageError as err:
        raise FileFormatError(
            f"{output / LOG_NAME}: damaged ({err}); delete this file: the faces tell what was done, too"
        ) from err


def _networks_of_before(given: dict[str, Any], record: Record, earlier: ExtractOptions) -> dict[str, Any]:
    """The networks that an earlier run came to, where it was asked for the same: half a faceset of others
    would not match."""
    asked = dict(zip(("detector", "landmarker"), str(record.settings.get("asked", "auto+auto")).split("+")))
    same = [name for name in asked if name in given and given[name] in ("auto", asked[name])]
    return {name: getattr(earlier, name) for name in same if record.settings}


def _has_work(options: ExtractOptions, done: dict[str, list[str]], record: Record, source: Source) -> bool:
    """Whether any frame may be left to look at."""
    names = source.names(record.end)
    if options.manual_fix or options.manual_output_debug_fix or options.follows_tracks or names is None:
        return True
    return any(name not in done for name in names)


def _still_there(done: dict[str, list[str]], source: Source) -> dict[str, list[str]]:
    """The finished frames that the source still has."""
    return {name: faces for name, faces in done.items() if source.name_of(Path(name).stem) == name}


def _choose(prompter: Prompter, options: ExtractOptions) -> Choice:
    """Settle on networks; weights that are not here are asked for."""
    from facelib.choice import choose

    def offer(question: str) -> bool:
        return prompter.ask_bool(question, False)

    choice = choose(
        MANUAL if options.by_hand else options.detector,
        options.landmarker,
        FACE_TYPES[options.face_type],
        ask=lambda question: prompter.ask_bool(question, True),
        offer=offer if prompter.interactive and sys.stdin and sys.stdin.isatty() else None,
    )
    if options.detector == "auto" and not options.by_hand:
        reason = "" if choice.detector == "s3fd" else " (for DFL's S3FD and FAN: main.py weights fetch)"
        print(f"auto takes {choice.name}{reason}.")
    return choice


def _work(job: Job) -> None:
    """Do what the options ask for, frames that are done left out."""
    from core.paths import require_writable_folder
    from core.storage import remove_leavings

    if job.debug is not None:
        remove_leavings(require_writable_folder(job.debug, "the folder of debug pictures"))
    if job.options.by_hand or job.options.manual_fix:
        from mainscripts import extract_by_hand
        from mainscripts.extract_manual import check_screen

        check_screen(job.screen)  # not after the search
    if job.options.by_hand:
        extract_by_hand.run(job)
        return
    if job.options.follows_tracks:
        from mainscripts import extract_tracks

        extract_tracks.run(job)
    else:
        _automatic(job)
    if job.options.manual_fix:
        extract_by_hand.fix(job)


def _automatic(job: Job) -> None:
    """Find the faces of frame after frame and write them."""
    from core.interact.progress import Progress
    from mainscripts.extract_frames import look_at_frames, write_faces

    if job.missing == 0 and job.end is not None:
        return
    pipeline, target = job.pipeline(), job.target()
    print(f"Finding faces with {pipeline.name}.", flush=True)
    with Progress("Extracting faces", job.missing, "frame") as progress:
        results = look_at_frames(
            job.source.frames(job.done),
            pipeline,
            lambda name, image, faces: write_faces(name, image, faces, target),
            job.source.ahead,
        )
        with contextlib.closing(results):  # an interruption ends the threads before it goes on
            for name, faces in results:
                job.settle(name, faces, progress)
    job.reached_end()
