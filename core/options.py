"""Options declared once: prompt, flag, range check, saved JSON and manual come from one dataclass field."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from core.errors import UsageError
from core.option_spec import (
    ALWAYS,
    FIRST_RUN,
    NEVER,
    NOT_ZERO,
    Condition,
    Derived,
    Scalar,
    Spec,
    as_in,
    one_of,
    opt,
    shown,
)

if TYPE_CHECKING:
    from core.interact.prompts import Prompter

__all__ = [
    "ALWAYS",
    "FIRST_RUN",
    "NEVER",
    "NOT_ZERO",
    "Check",
    "Condition",
    "Derived",
    "OptionSet",
    "Scalar",
    "Spec",
    "as_in",
    "one_of",
    "opt",
    "shown",
]

Set = TypeVar("Set", bound="OptionSet")


@dataclass(frozen=True)
class Check:
    """What several options must agree on."""

    names: tuple[str, ...]  # of the options; messages name the last
    fault: Callable[[Any], str]  # from a set of options what is wrong and what to give instead, or nothing
    mend: Callable[[Any], Mapping[str, Scalar]] | None = None  # at a prompt: values to take, unasked


@dataclass(frozen=True, kw_only=True)
class OptionSet:
    """Base of the frozen option records. Every field of a subclass is made by `opt`."""

    RENAMED: ClassVar[Mapping[str, str]] = {}  # names of older files and their names of today
    DROPPED: ClassVar[frozenset[str]] = frozenset()  # names of older files that mean nothing any more
    CHECKS: ClassVar[tuple[Check, ...]] = ()

    def __post_init__(self) -> None:
        for spec in self.specs().values():
            value = getattr(self, spec.name)
            if value is None and spec.derive is not None:
                value = spec.derived(self)
            try:
                object.__setattr__(self, spec.name, spec.check(value))
            except ValueError:
                raise spec.refusal(value) from None
        for check in self.CHECKS:
            if fault := check.fault(self):
                raise UsageError(f"option {check.names[-1]}: {fault}")

    @classmethod
    def specs(cls) -> dict[str, Spec]:
        """The options in the order of their declaration, which is the order of the questions."""
        result = {}
        for entry in fields(cls):
            declared = dict(entry.metadata["option"])
            declared["label"] = declared["label"] or entry.name.replace("_", " ").capitalize()
            result[entry.name] = Spec(name=entry.name, kind=type(declared["default"]), **declared)
        return result

    @classmethod
    def parse_pairs(cls, pairs: Iterable[str]) -> dict[str, Scalar]:
        """The values that `KEY=VALUE` texts give, checked.

        Raises:
            UsageError: A key is unknown or a value out of range; the message gives the range.
        """
        specs, values = cls.specs(), {}
        for pair in pairs:
            key, equals, text = pair.partition("=")
            if not equals:
                raise UsageError(f"--option {pair!r}: write it as KEY=VALUE")
            key = cls.RENAMED.get(key.strip(), key.strip())
            if key not in specs:
                near = difflib.get_close_matches(key, specs, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(specs)}"
                raise UsageError(f"--option {pair!r}: there is no option {key!r}; {hint}")
            try:
                values[key] = specs[key].check(specs[key].parse(text))
            except ValueError:
                raise specs[key].refusal(text.strip()) from None
        return values

    @classmethod
    def from_pairs(cls: type[Set], pairs: Iterable[str], base: Set | None = None) -> Set:
        """`base` (or the defaults) with `KEY=VALUE` texts applied; see `parse_pairs`."""
        return (base or cls()).changed(**cls.parse_pairs(pairs))

    def changed(self: Set, **values: Scalar) -> Set:
        """These options with other values; defaults that followed from the old ones follow from the new.

        Raises:
            UsageError: A value is not allowed.
        """
        return type(self)(**vars(self._draft(values)))

    def _draft(self: Set, values: Mapping[str, Scalar]) -> Set:
        """As `changed`, unchecked: while questions are asked, values may not fit together yet."""
        draft = object.__new__(type(self))
        for spec in self.specs().values():
            value = values.get(spec.name, getattr(self, spec.name))
            follows = spec.derive is not None and spec.name not in values and value == spec.derived(self)
            object.__setattr__(draft, spec.name, spec.derived(draft) if follows else value)
        return draft

    def to_json(self) -> dict[str, Scalar]:
        return dataclasses.asdict(self)

    def inherited(self) -> dict[str, Scalar]:
        """What the next new model is to propose: not what belongs to this one or follows from the rest."""
        return {
            name: getattr(self, name)
            for name, spec in self.specs().items()
            if spec.inherited and not (spec.derive and getattr(self, name) == spec.derived(self))
        }

    @classmethod
    def from_json(cls: type[Set], saved: Mapping[str, Any]) -> tuple[Set, dict[str, Any]]:
        """Options from a saved record.

        Returns:
            The options (defaults where the record is silent) and the saved entries that no option has now,
            which the caller keeps and reports.

        Raises:
            UsageError: A known option has a value that is not allowed.
        """
        specs = cls.specs()
        renamed = {cls.RENAMED.get(key, key): value for key, value in saved.items() if key not in cls.DROPPED}
        known = {key: value for key, value in renamed.items() if key in specs}
        return cls(**known), {key: value for key, value in renamed.items() if key not in specs}

    def applies(self, name: str) -> bool:
        """Whether option `name` has a meaning beside the values of the others."""
        needs = self.specs()[name].needs
        return all(condition.test(getattr(self, other)) for other, condition in needs.items())

    def effective(self, name: str) -> Scalar:
        """The value of option `name`, or its default where it has no meaning beside the others."""
        return getattr(self, name) if self.applies(name) else self.specs()[name].derived(self)

    def ask(
        self: Set, prompter: Prompter, first_run: bool = True, given: Mapping[str, Scalar] | None = None
    ) -> Set:
        """Ask for the options one after another; the present values are the defaults.

        An answer that does not fit those before is mended where the check knows how, else asked again. What
        has no meaning beside the others is not asked, and takes its default where it does not fit.

        Args:
            prompter: Who asks; one that is not interactive prints each question with its default.
            first_run: Ask also what is fixed later.
            given: Values from the command line: taken over, not asked.

        Raises:
            UsageError: Given values do not fit together, or nobody can answer and a default does not fit.
        """
        given = dict(given or {})
        wanted = (ALWAYS, FIRST_RUN) if first_run else (ALWAYS,)
        asked = [spec for spec in self.specs().values() if spec.ask in wanted and spec.name not in given]
        draft, open_names = self._draft(given), {spec.name for spec in asked}
        draft._settle("", open_names, given)
        for spec in asked:
            open_names.discard(spec.name)
            if draft.applies(spec.name):
                draft = draft._ask_one(prompter, spec, open_names, given)
            elif any(spec.name in check.names and check.fault(draft) for check in self.CHECKS):
                draft = draft._draft({spec.name: spec.derived(draft)})  # what it was elsewhere
        return draft.changed()

    def _ask_one(
        self: Set, prompter: Prompter, spec: Spec, open_names: set[str], given: Mapping[str, Scalar]
    ) -> Set:
        while True:
            answer = prompter.ask(spec, getattr(self, spec.name))
            try:
                settled, words = self._draft({spec.name: spec.check(answer)})._settle(
                    spec.name, open_names, given
                )
            except ValueError:
                error = spec.refusal(answer)
            except UsageError as err:
                error = err
            else:
                for text in words:
                    prompter.tell(text)
                return settled
            if not prompter.can_answer:
                raise error
            prompter.tell(str(error))

    def _settle(
        self: Set, name: str, open_names: set[str], given: Mapping[str, Scalar]
    ) -> tuple[Set, list[str]]:
        """Run the checks that concern `name` (all, for an empty one) and no option still to be asked.

        Returns:
            The options, mended where a check knows how, and what was mended, in words.

        Raises:
            UsageError: Something does not fit and cannot be mended.
        """
        settled, words = self, []
        for check in self.CHECKS:
            if open_names & set(check.names) or (name and name not in check.names):
                continue
            fault = check.fault(settled)
            if not fault:
                continue
            mended = dict(check.mend(settled)) if check.mend and name else {}
            if not mended or set(mended) & set(given):
                raise UsageError(f"option {check.names[-1]}: {fault}")
            settled = settled._draft(mended)
            words.append(f"{fault}; taking {', '.join(f'{key} {value}' for key, value in mended.items())}")
        return settled, words

    def idle(self, names: Iterable[str]) -> list[str]:
        """A line for each of `names` that has no meaning beside the others' values."""
        needs = {name: self.specs()[name].needs for name in names if not self.applies(name)}
        return [
            f"option {name} has no effect here: it needs "
            + " and ".join(f"{other} {condition.words}" for other, condition in conditions.items())
            for name, conditions in needs.items()
        ]

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add one flag per option (`face_type` becomes `--face-type`); values are checked when parsed."""
        for spec in cls.specs().values():
            range_text = spec.range_text()
            text = spec.help + (f" [{range_text}]" if range_text and spec.kind is not bool else "")
            text = f"{text} (default: {spec.default_text()})".replace("%", "%%")
            if spec.kind is bool:
                parser.add_argument(
                    spec.flag, dest=spec.name, default=None, action=argparse.BooleanOptionalAction, help=text
                )
            else:
                metavar = {int: "N", float: "X"}.get(spec.kind, "NAME")
                parser.add_argument(
                    spec.flag, dest=spec.name, default=None, type=_flag_type(spec), metavar=metavar, help=text
                )

    @classmethod
    def given_by(cls, args: argparse.Namespace) -> dict[str, Scalar]:
        """The options whose flags were used, from what `add_flags` parsed."""
        values = {name: getattr(args, name, None) for name in cls.specs()}
        return {name: value for name, value in values.items() if value is not None}

    def rows(self) -> list[tuple[str, str]]:
        """Name and shown value of each option that applies, for the summary box."""
        return [(name, shown(getattr(self, name))) for name in self.specs() if self.applies(name)]

    @classmethod
    def docs_table(cls) -> str:
        """The manual's Markdown table of these options."""
        lines = ["| option | default | values | meaning |", "|---|---|---|---|"]
        for spec in cls.specs().values():
            values = spec.range_text().replace("|", "\\|")
            lines.append(f"| `{spec.name}` | {spec.default_text()} | {values} | {spec.help} |")
        return "\n".join(lines)


def _flag_type(spec: Spec) -> Any:
    def parse(text: str) -> Scalar:
        try:
            return spec.check(spec.parse(text))
        except ValueError:
            wanted = spec.range_text() or spec.kind.__name__
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give {wanted}") from None

    return parse
