"""What some models leave open until a face is swapped: options of `merge` and `exportdfm`. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING

from core.options import OptionSet, opt

if TYPE_CHECKING:
    from models.base import ModelOptions

_SRC_HELP = "Whose face a model of several persons puts in."
_DST_HELP = "Who is in the video, of the persons of a model of several; their mask is the frame's."


@dataclass(frozen=True, kw_only=True)
class MorphOptions(OptionSet):
    """AMP's."""

    morph_factor: float = opt(
        1.0,
        "Share of the source in AMP's result: 1 is the source's face, 0 the destination's.",
        label="Morph factor",
        low=0,
        high=1,
    )


@dataclass(frozen=True, kw_only=True)
class PersonOptions(OptionSet):
    """Of a model that was trained on several persons; the first and the second of them by default."""

    src_person: str = opt("", _SRC_HELP, label="Source person", hint="one of the model's persons")
    dst_person: str = opt("", _DST_HELP, label="Destination person", hint="one of the model's persons")


def swap_options(kind: str, saved: Callable[[], ModelOptions]) -> OptionSet | None:
    """The options that a model's predictor takes, at their defaults; `None` if it takes none.

    Args:
        kind: Of the model.
        saved: Its saved options; called only where they matter.
    """
    if kind == "AMP":
        return MorphOptions()
    from models import options_class

    if "persons" not in options_class(kind).specs():
        return None
    persons = saved().person_names
    return persons_of(persons)() if persons else None


def persons_of(persons: Sequence[str]) -> type[PersonOptions]:
    """`PersonOptions` whose values are these persons, at least two."""
    declared = {"src_person": (persons[0], _SRC_HELP), "dst_person": (persons[1], _DST_HELP)}
    base = PersonOptions.specs()
    fields = [
        (name, str, opt(default, help, label=base[name].label, choices=persons))
        for name, (default, help) in declared.items()
    ]
    return make_dataclass("PersonOptions", fields, bases=(PersonOptions,), frozen=True, kw_only=True)
