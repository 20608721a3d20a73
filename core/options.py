"""Options declared once: prompt, flag, range check, saved JSON and manual come from one dataclass field."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from core.errors import UsageError

if TYPE_CHECKING:
    from core.interact.prompts import Prompter

ALWAYS = "always"  # asked at every start that asks at all
FIRST_RUN = "first run"  # asked once; fixed for the life of a model
NEVER = "never"  # set by --option only

Scalar = bool | int | float | str
Set = TypeVar("Set", bound="OptionSet")


@dataclass(frozen=True)
class Spec:
    """All that is known of one option; made by `opt`, completed with name and type by `OptionSet.specs`."""

    name: str
    kind: type
    default: Scalar
    help: str
    label: str
    low: float | None
    high: float | None
    multiple: int | None
    choices: tuple[Scalar, ...]
    ask: str
    needs: Mapping[str, Sequence[Scalar]]
    numbered: bool  # a menu whose entries may also be named by their number, as DFL's mode lists are

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def range_text(self) -> str:
        """The values allowed, for prompts and messages; empty when anything goes."""
        if self.kind is bool:
            return "y/n"
        if self.choices:
            return "/".join(str(choice) for choice in self.choices)
        if self.low is None and self.high is None:
            return ""
        low, high = ("" if limit is None else f"{limit:.10g}" for limit in (self.low, self.high))
        return f"{low}..{high}" + (f", a multiple of {self.multiple}" if self.multiple else "")

    def parse(self, text: str) -> Scalar:
        """The value that `text` spells, unchecked against the range.

        Raises:
            ValueError: It spells none of this type.
        """
        text = text.strip()
        if self.kind is bool:
            return _parse_bool(text)
        if self.choices:
            return self._parse_choice(text)
        if self.kind is int:
            return int(text)
        if self.kind is float:
            return float(text)
        return text

    def _parse_choice(self, text: str) -> Scalar:
        for choice in self.choices:
            if str(choice).lower() == text.lower():
                return choice
        if self.numbered and text.isdigit() and int(text) < len(self.choices):
            return self.choices[int(text)]
        raise ValueError(text)

    def check(self, value: Any) -> Scalar:
        """`value` in this option's type if it lies in the range.

        Raises:
            ValueError: It does not.
        """
        if self.kind is bool:
            if not isinstance(value, bool):
                raise ValueError(value)
            return value
        if self.kind in (int, float):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
                raise ValueError(value)
            if self.kind is int and value % 1 != 0:  # nor is infinity whole
                raise ValueError(value)
            value = self.kind(value)
        elif not isinstance(value, str):
            raise ValueError(value)
        if self.choices and value not in self.choices:
            raise ValueError(value)
        if self.clip(value) != value:
            raise ValueError(value)
        return value

    def clip(self, value: Scalar) -> Scalar:
        """The nearest value in the range, rounded down to the multiple; text is returned as it is."""
        if self.kind not in (int, float) or self.choices:
            return value
        if self.low is not None:
            value = max(self.low, value)
        if self.high is not None:
            value = min(self.high, value)
        if self.multiple:
            value = value // self.multiple * self.multiple
        return self.kind(value)

    def refusal(self, value: object) -> UsageError:
        """The error for a value that a flag or a file gives and that is not allowed."""
        wanted = self.range_text() or {int: "a whole number", float: "a number"}.get(self.kind, "text")
        return UsageError(f"option {self.name}: {value!r} is not allowed; give {wanted}")


def opt(
    default: Scalar,
    help: str,
    *,
    label: str = "",
    low: float | None = None,
    high: float | None = None,
    multiple: int | None = None,
    choices: Sequence[Scalar] = (),
    ask: str = ALWAYS,
    needs: Mapping[str, Sequence[Scalar]] | None = None,
    numbered: bool = False,
) -> Any:
    """Declare one option of an `OptionSet`.

    Args:
        default: Value when nobody says otherwise; its type is the option's type.
        help: One or two sentences, shown after `?`, by `--help` and in the manual.
        label: The question; by default the name with spaces.
        low: Smallest value.
        high: Largest value.
        multiple: The value is a multiple of this.
        choices: The only values.
        ask: `ALWAYS`, `FIRST_RUN` or `NEVER`.
        needs: Other options and the values of them that give this one a meaning; else it is not asked.
        numbered: The choices are shown as a numbered menu and may be given by number.
    """
    spec = {
        "help": help,
        "label": label,
        "low": low,
        "high": high,
        "multiple": multiple,
        "choices": tuple(choices),
        "ask": ask,
        "needs": dict(needs or {}),
        "numbered": numbered,
    }
    return field(default=default, metadata={"option": spec})


def _parse_bool(text: str) -> bool:
    value = {"y": True, "yes": True, "true": True, "on": True, "1": True}.get(text.lower())
    if value is None and text.lower() not in ("n", "no", "false", "off", "0"):
        raise ValueError(text)
    return bool(value)


@dataclass(frozen=True, kw_only=True)
class OptionSet:
    """Base of the frozen option records. Every field of a subclass is made by `opt`."""

    RENAMED: ClassVar[Mapping[str, str]] = {}  # names of older files and their names of today

    def __post_init__(self) -> None:
        for spec in self.specs().values():
            value = getattr(self, spec.name)
            try:
                object.__setattr__(self, spec.name, spec.check(value))
            except ValueError:
                raise spec.refusal(value) from None

    @classmethod
    def specs(cls) -> dict[str, Spec]:
        """The options in the order of their declaration, which is the order of the questions."""
        result = {}
        for entry in fields(cls):
            declared = dict(entry.metadata["option"])
            declared["label"] = declared["label"] or entry.name.replace("_", " ").capitalize()
            result[entry.name] = Spec(
                name=entry.name, kind=type(entry.default), default=entry.default, **declared
            )
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
            key = key.strip()
            key = cls.RENAMED.get(key, key)
            if not equals:
                raise UsageError(f"--option {pair!r}: write it as KEY=VALUE")
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
        return replace(base or cls(), **cls.parse_pairs(pairs))

    def to_json(self) -> dict[str, Scalar]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls: type[Set], saved: Mapping[str, Any]) -> tuple[Set, dict[str, Any]]:
        """Options from a saved record.

        Returns:
            The options (defaults where the record is silent) and the saved entries that no option has now,
            which the caller keeps and reports.

        Raises:
            UsageError: A known option has a value that is not allowed.
        """
        specs, known, unknown = cls.specs(), {}, {}
        for key, value in saved.items():
            key = cls.RENAMED.get(key, key)
            if key in specs:
                known[key] = float(value) if specs[key].kind is float and type(value) is int else value
            else:
                unknown[key] = value
        return cls(**known), unknown

    def applies(self, name: str) -> bool:
        """Whether option `name` has a meaning beside the values of the others."""
        needs = self.specs()[name].needs
        return all(getattr(self, other) in allowed for other, allowed in needs.items())

    def ask(
        self: Set, prompter: Prompter, first_run: bool = True, given: Mapping[str, Scalar] | None = None
    ) -> Set:
        """Ask for the options one after another; the present values are the defaults.

        Args:
            prompter: Who asks; one that is not interactive prints each question with its default.
            first_run: Ask also what is fixed later.
            given: Values from the command line: taken over, not asked.
        """
        values = replace(self, **(given or {}))
        for spec in self.specs().values():
            asked = spec.ask == ALWAYS or (spec.ask == FIRST_RUN and first_run)
            if not asked or spec.name in (given or {}) or not values.applies(spec.name):
                continue
            values = replace(values, **{spec.name: prompter.ask(spec, getattr(values, spec.name))})
        return values

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Add one flag per option (`face_type` becomes `--face-type`); values are checked when parsed."""
        for spec in cls.specs().values():
            range_text = spec.range_text()
            text = spec.help + (f" [{range_text}]" if range_text and spec.kind is not bool else "")
            text = f"{text} (default: {_shown(spec.default)})".replace("%", "%%")
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
        return [(name, _shown(getattr(self, name))) for name in self.specs() if self.applies(name)]

    @classmethod
    def docs_table(cls) -> str:
        """The manual's Markdown table of these options."""
        lines = ["| option | default | values | meaning |", "|---|---|---|---|"]
        for spec in cls.specs().values():
            values = spec.range_text().replace("|", "\\|")
            lines.append(f"| `{spec.name}` | {_shown(spec.default)} | {values} | {spec.help} |")
        return "\n".join(lines)


def _flag_type(spec: Spec) -> Any:
    def parse(text: str) -> Scalar:
        try:
            return spec.check(spec.parse(text))
        except ValueError:
            wanted = spec.range_text() or spec.kind.__name__
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give {wanted}") from None

    return parse


def _shown(value: Scalar) -> str:
    """A value as prompts and tables show it."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return f"{value:g}" if isinstance(value, float) else str(value)
