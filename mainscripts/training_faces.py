"""The facesets of a training: whose faces each side reads, and whether they suffice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import SampleError, UsageError
from mainscripts.training_choice import require_faces

if TYPE_CHECKING:
    from mainscripts.training_console import Console
    from models.base import ModelOptions
    from samplelib import Faceset

# What a missing folder is called, and the step that fills it.
FACES_OF = {
    "src": ("the folder of source faces", "step 4"),
    "dst": ("the folder of destination faces", "step 5"),
}
PROGRESS_EVERY = 5000  # faces


def is_pretraining(options: ModelOptions) -> bool:
    """Whether this run learns from the faces of many people, before the two persons."""
    return bool(getattr(options, "pretrain", False))


def require_folders(folders: Mapping[str, Path]) -> None:
    """Check the persons' folders.

    Raises:
        SwapError: One is missing or empty.
    """
    for side, folder in folders.items():
        require_faces(folder, *FACES_OF.get(side, (f"the folder of {side}'s faces", "step 4")))


def folders_to_read(
    options: ModelOptions, persons: Mapping[str, Path], pretraining: Path | None
) -> dict[str, Path]:
    """The folder that each side reads: its person's, or that of `--pretraining-data-dir` for all of them.

    Raises:
        UsageError: The model is to be pretrained, and there is no such folder on the command line.
        SwapError: A folder is missing or empty.
    """
    if not is_pretraining(options):
        require_folders(persons)
        return dict(persons)
    if pretraining is None:
        raise UsageError(
            "option pretrain: faces of many people are needed; give their folder with "
            "--pretraining-data-dir, or turn pretraining off with --option pretrain=n"
        )
    require_faces(pretraining, "the folder of faces for pretraining", "--pretraining-data-dir")
    return dict.fromkeys(persons, pretraining)


def open_facesets(folders: Mapping[str, Path], options: ModelOptions, console: Console) -> dict[str, Faceset]:
    """The faceset of each side; in pretraining one that all share.

    Raises:
        SampleError: A folder holds no usable face or none that shows enough, or heads have no masks.
    """
    from samplelib import Faceset

    facesets: dict[str, Faceset] = {}
    for side, path in folders.items():
        if facesets and is_pretraining(options):
            facesets[side] = next(iter(facesets.values()))
            continue
        faceset = Faceset.open(path, progress=_scan_progress(console, side))
        if getattr(options, "face_type", "") == "head":
            faceset = _only_masked(faceset, console)
        faceset.showing(options.full_face_type)
        facesets[side] = faceset
        shared = " for pretraining" if is_pretraining(options) else ""
        console.say(f"{'all sides' if shared else side}: {len(faceset)} faces of {path}{shared}")
    return facesets


def _only_masked(faceset: Faceset, console: Console) -> Faceset:
    """The faces with an applied mask: the hull of the landmarks, which others have, leaves out the hair.

    Raises:
        SampleError: There are none.
    """
    from samplelib import Faceset

    masked = [sample for sample in faceset.samples if sample.has_xseg]
    if not masked:
        raise SampleError(
            f"{faceset.path}: face_type head needs faces with applied XSeg masks, and none of {len(faceset)} "
            "has one; apply a trained XSeg model to this folder (with DeepFaceLab), or train a new model "
            "with face_type=wf"
        )
    if len(masked) < len(faceset):
        console.say(
            f"{faceset.path}: {len(faceset) - len(masked)} of {len(faceset)} faces have no applied XSeg "
            "mask, which face_type head needs, and are left out."
        )
    return Faceset(faceset.path, masked, faceset.skipped)


def _scan_progress(console: Console, side: str) -> Callable[[int, int], None]:
    """Tells how far the scan of a large faceset is."""
    told = 0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if done // PROGRESS_EVERY > told:
            told = done // PROGRESS_EVERY
            console.say(f"{side}: {done} of {total} faces read")

    return progress
