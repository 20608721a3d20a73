"""One extraction as it runs: what it works on, and how a finished frame is recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import SampleError
from core.interact.progress import Progress
from mainscripts.extract_log import LogWriter
from mainscripts.extract_options import FACE_TYPES, MANUAL, ExtractOptions
from mainscripts.extract_report import Report
from mainscripts.extract_sources import Source

if TYPE_CHECKING:
    from facelib.choice import Choice
    from facelib.pipeline import Pipeline
    from mainscripts.extract_frames import Target

COMPLETE = 0.95  # of the frames that a video's container tells, perhaps by its length alone
PERSON_FOLDER = re.compile(r"person_\d+")


@dataclass
class Job:
    """What all ways of extracting share."""

    source: Source
    output: Path
    options: ExtractOptions
    choice: Choice
    report: Report
    done: dict[str, list[str]]  # finished frames and their faces
    before: dict[str, list[str]]  # faces of earlier runs, by frame, that new ones replace
    log: LogWriter
    cpu_only: bool = False
    devices: list[int] | None = None
    end: int | None = None  # number of the source's frames, once known
    screen: str = "auto"
    plans: dict[str, str] = field(default_factory=dict)  # see `Record.plans`

    @property
    def debug(self) -> Path | None:
        """The folder of debug pictures, if there are to be any."""
        return debug_folder(self.output) if self.options.output_debug else None

    @property
    def missing(self) -> int | None:
        """Number of frames that are not done, None if nobody knows."""
        total = self.end if self.end is not None else self.source.total()
        return None if total is None else max(total - len(self.done), 0)

    def target(self, by_hand: bool = False) -> Target:
        """Where faces go."""
        from mainscripts.extract_frames import Target

        options = self.options
        return Target(
            self.output,
            self.debug,
            FACE_TYPES[options.face_type],
            options.image_size,
            options.jpeg_quality,
            check_area=self.choice.detector == "s3fd" and not by_hand,
        )

    def pipeline(self) -> Pipeline:
        """The networks, loaded."""
        from facelib.pipeline import Pipeline

        options = self.options
        return Pipeline(
            self.choice.detector,
            self.choice.landmarker,
            max_faces=0 if options.follows_tracks else options.max_faces_from_image,  # chosen later
            face_type=FACE_TYPES[options.face_type],
            cpu_only=self.cpu_only,
            devices=self.devices,
            precision=options.precision,
        )

    def settle(
        self, name: str, faces: tuple[str, ...] | SampleError, progress: Progress, plan: str = ""
    ) -> None:
        """Record a frame: its faces are written, or it cannot be used."""
        if isinstance(faces, SampleError):
            self.report.failed[name] = str(faces)
            progress.write(f"skipped: {faces}")
        else:
            remove_replaced(self.output, self.before.get(name, []), faces)
            self.log.add(name, list(faces), plan)
            self.done[name] = list(faces)
            self.report.finished(name, len(faces))
        progress.update()

    def reached_end(self, names: Iterable[str] = ()) -> None:
        """All frames of the source were seen, `names` among them: from now on their number is known."""
        if self.end is None and self.source.identity:
            seen = {*names, *self.done, *self.report.failed}
            self.end = max((int(Path(name).stem) for name in seen), default=0)
            self.log.end(self.end)
            said = self.source.total() or 0
            if self.end < COMPLETE * said:
                self.report.notes.append(
                    f"WARNING: {self.source.subject} should have {said} frames, {self.end} were found; "
                    "it may be damaged or cut short"
                )

    def names(self) -> list[str]:
        """The names of all frames, as far as they are known."""
        known = self.source.names(self.end)
        return known if known is not None else sorted({*self.done, *self.report.failed})


def debug_folder(output: Path) -> Path:
    """Where the debug pictures of a folder of faces lie."""
    return output.with_name(output.name + "_debug")


def remove_replaced(output: Path, old: list[str], new: tuple[str, ...]) -> None:
    """Remove a frame's faces of the run before that the new run did not write over, as was asked."""
    for name in set(old) - set(new):
        *folders, file = Path(name).parts
        if not folders or (len(folders) == 1 and PERSON_FOLDER.fullmatch(folders[0])):
            (output.joinpath(*folders) / file).unlink(missing_ok=True)


def logged_settings(options: ExtractOptions, choice: Choice, source: Source, before: dict[str, Any]) -> dict:
    """What the log says of a run: settings, the networks in use, the video.

    `auto` is logged as what it came to, so that going on takes the same networks. Repairs by hand leave the
    settings that are there.
    """
    if options.manual_output_debug_fix and before:
        return before
    landmarker = "fan" if choice.landmarker == "fan3d" else choice.landmarker
    detector = MANUAL if options.detector == MANUAL else choice.detector
    asked = {"asked": f"{options.detector}+{options.landmarker}", "networks": choice.name}
    return options.compared() | {"detector": detector, "landmarker": landmarker} | asked | source.identity
