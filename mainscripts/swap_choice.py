"""Asks what a model leaves open until a face is swapped: AMP's morph factor, the persons of several."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import UsageError
from models.swap_options import MorphOptions, PersonOptions, swap_options

if TYPE_CHECKING:
    from core.interact.prompts import Prompter
    from core.options import OptionSet, Scalar


def add_flags(parser: argparse.ArgumentParser, morph: bool = True) -> None:
    """One flag per option; `morph` is False where the morph factor stays open."""
    for options in (MorphOptions, PersonOptions) if morph else (PersonOptions,):
        options.add_flags(parser)


def choose(
    prompter: Prompter, args: argparse.Namespace, folder: Path, name: str, morph: bool = True
) -> OptionSet | None:
    """The options of the saved model `name`; `None` if it leaves nothing open.

    Raises:
        UsageError: A flag was given that the model has no use for, or a value that it does not know.
    """
    import models

    given = {**MorphOptions.given_by(args), **PersonOptions.given_by(args)}
    options = swap_options(args.model, lambda: models.saved_options(folder, name, args.model))
    if isinstance(options, MorphOptions) and not morph:
        options = None
    known = options.specs() if options else {}
    strange = [flag for key, flag in _flags().items() if key in given and key not in known]
    if strange:
        raise UsageError(f"{', '.join(strange)}: the {args.model} model {name} has no use for it")
    return options.ask(prompter, given=checked(options, given)) if options else None


def checked(options: OptionSet, given: dict[str, Scalar]) -> dict[str, Scalar]:
    """Values of flags, held against what this very model knows.

    Raises:
        UsageError: One is not allowed.
    """
    specs = options.specs()
    for key, value in given.items():
        try:
            specs[key].check(value)
        except ValueError:
            raise specs[key].refusal(value) from None
    return given


def _flags() -> dict[str, str]:
    specs = {**MorphOptions.specs(), **PersonOptions.specs()}
    return {key: spec.flag for key, spec in specs.items()}
