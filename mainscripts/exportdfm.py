"""Write a trained model as a .dfm file, which DeepFaceLive and other programs run through ONNX."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import SwapError
from core.interact.prompts import get_prompter
from core.options import OptionSet, opt


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OptionSet):
    """What `exportdfm` asks."""

    quantized: bool = opt(
        False,
        "Let the networks compute in half precision: a file of up to half the size, that some graphics cards "
        "run faster; colours differ by a shade or two of 255.",
        label="Export quantized?",
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from mainscripts.swap_choice import add_flags

    parser.add_argument("--model-dir", type=Path, required=True, help="folder of the saved models")
    parser.add_argument("--model", required=True, metavar="KIND", help="kind of the model, such as SAEHD")
    parser.add_argument("--force-model-name", metavar="NAME", help="take this model and do not ask which")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set an option, such as quantized=y",
    )
    ExportOptions.add_flags(parser)
    add_flags(parser, morph=False)


def run(args: argparse.Namespace) -> int:
    """Choose the model, convert it, write the file into the model folder.

    Raises:
        SwapError: There is no such model, packages are missing, or the folder cannot be written to.
    """
    import models
    from core.paths import require_folder, require_writable_folder
    from core.storage import write_bytes
    from core.system import lower_priority
    from mainscripts import swap_choice
    from mainscripts.merge import choose_model

    given = {**ExportOptions.parse_pairs(args.option), **ExportOptions.given_by(args)}
    models.options_class(args.model)  # refuses an unknown kind
    check_packages()
    folder = require_folder(args.model_dir, "the folder of models")
    prompter = get_prompter(args)
    name = choose_model(prompter, folder, args.model, args.force_model_name)
    chosen = swap_choice.choose(prompter, args, folder, name, morph=False)
    how = chosen.to_json() if chosen else {}
    quantized = ExportOptions().ask(prompter, given=given).quantized
    require_writable_folder(folder, "the folder of models")
    lower_priority()
    content, model = convert(folder, name, args.model, quantized, how)
    path = dfm_path(folder, name, args.model, how)
    replaced = path.exists()
    write_bytes(path, content)
    size = f"{len(content) / 1e6:.1f} MB"
    print(f"{path}: iteration {model.iteration}, {size}{', replaces the one before' if replaced else ''}")
    if model.iteration == 0:
        print(f"/!\\ {name} has not been trained yet: what it makes is noise.")
    return 0


def check_packages() -> None:
    """
    Raises:
        SwapError: The package that writes ONNX is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("onnx") is None:
        raise SwapError(
            "exporting needs the package onnx; install it with `python -m pip install -r requirements.txt` "
            "in the program's folder"
        )


def dfm_path(folder: Path, name: str, kind: str, how: dict[str, Any]) -> Path:
    """`new_SAEHD_model.dfm`; the persons of a model of several stand in the name."""
    persons = "".join(f"_{how[key]}" for key in ("src_person", "dst_person") if key in how)
    return folder / f"{name}_{kind}_model{persons}.dfm"


def convert(folder: Path, name: str, kind: str, quantized: bool, how: dict[str, Any]) -> tuple[bytes, Any]:
    """The file's content, and the model; computed on the CPU."""
    from core.nn import devices

    print("Loading the model ...", flush=True)
    devices.prepare(cpu_only=True)
    import models

    model = models.load_model(folder, name, kind, precision="float32", training=False)
    for note in model.notes:
        print(note)
    from models.dfm import dfm_bytes

    print("Converting ...", flush=True)
    return dfm_bytes(model, quantized, **how), model
