"""Write a trained model as DeepFaceLab saves its own, so that it can be opened and trained there."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from core.errors import SwapError
from core.interact.prompts import get_prompter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model-dir", type=Path, required=True, help="folder of the saved models")
    parser.add_argument("--model", required=True, metavar="KIND", help="kind of the model, such as SAEHD")
    parser.add_argument("--force-model-name", metavar="NAME", help="take this model and do not ask which")
    parser.add_argument(
        "--output-dir",
        type=Path,
        required=True,
        help="folder for DeepFaceLab's files, such as its model folder",
    )


def run(args: argparse.Namespace) -> int:
    """Choose the model, write it, report.

    Raises:
        SwapError: DeepFaceLab has no such model, or the folder is taken; nothing was written.
    """
    import models
    from core.paths import require_folder, require_writable_folder
    from core.system import lower_priority
    from mainscripts.merge import choose_model
    from models.dfl_export import check_kind, export_dfl_model, refuse_overwriting

    models.options_class(args.model)  # refuses an unknown kind
    check_kind(args.model)
    folder = require_folder(args.model_dir, "the folder of models")
    name = choose_model(get_prompter(args), folder, args.model, args.force_model_name)
    store = models.CheckpointStore(folder, name, args.model)
    if not store.exists():
        raise SwapError(
            f"{folder}: the model {name} is DeepFaceLab's own and was not trained here yet; copy its files"
        )
    output = args.output_dir.expanduser()
    _refuse_home(output, folder, store.folder)
    refuse_overwriting(output, name, args.model)
    lower_priority()
    require_writable_folder(output, "the folder for DeepFaceLab's files")
    saved = store.load_latest()
    done = export_dfl_model(saved, name, output)
    for note in saved.notes + done.notes:
        print(note)
    width = max(len(path.name) for path in done.files)
    for path, content in done.files.items():
        print(f"{path.name:{width}}  {path.stat().st_size / 1e6:10.1f} MB  {content}")
    if done.left_out:
        print(f"options that DeepFaceLab does not know, left out: {', '.join(sorted(done.left_out))}")
    print(f"{output}: the model {name} of iteration {saved.iteration}, as DeepFaceLab saves it")
    return 0


def _refuse_home(output: Path, *homes: Path) -> None:
    """Its own folder holds what the model was read from, and perhaps DeepFaceLab's files of another time."""
    for home in homes:
        if os.path.realpath(output) == os.path.realpath(home):
            raise SwapError(f"{output}: this is the model's own folder; choose another --output-dir")
