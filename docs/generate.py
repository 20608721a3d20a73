"""Write docs/options.md from the declarations of options and flags; --check says if it is out of date."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import main as program  # noqa: E402
import models  # noqa: E402
from core.options import NEVER, Condition, OptionSet  # noqa: E402
from mainscripts.exportdfm import ExportOptions  # noqa: E402
from mainscripts.extract import ExtractOptions  # noqa: E402
from mainscripts.sort import SortOptions  # noqa: E402
from merger.options import MergeOptions  # noqa: E402
from models.swap_options import MorphOptions, PersonOptions  # noqa: E402

PAGE = ROOT / "docs" / "options.md"
HEAD = """\
# Options and flags

<!-- Written by docs/generate.py from the declarations in the code: change them there. -->

An option is asked at the terminal, where Enter takes the value in brackets and `?` shows the help. On the
command line `train` and `merge` take `--option KEY=VALUE` (repeatable), `extract` takes flags. What is given
there is not asked. A value out of range is refused on the command line, and moved into the range at a prompt.
Menus may be answered by name or by number; the numbers count from 0 in the order below.

## Options
"""
FLAGS_HEAD = """\
## Flags

`main.py COMMAND --help` prints the same. Flags in bold must be given. What a script of `_internal_batch` is
given on the command line is passed on to every command that it runs.
"""


def option_sections() -> dict[str, type[OptionSet]]:
    """Heading and options of each table."""
    trained = {
        f"Training {kind} (`train --option`)": models.options_class(kind) for kind in models.MODEL_KINDS
    }
    return {
        **trained,
        "Merging (`merge --option`)": MergeOptions,
        "Merging with AMP (flag of `merge`)": MorphOptions,
        "Models of several persons (flags of `merge` and `exportdfm`)": PersonOptions,
        "Export (`exportdfm --option`)": ExportOptions,
        "Extraction (flags of `extract`)": ExtractOptions,
        "Sorting (flags of `sort`)": SortOptions,
    }


def option_section(heading: str, options: type[OptionSet]) -> str:
    """One table, and below it what a table of values cannot say."""
    lines = [f"### {heading}", "", escaped(options.docs_table()), ""]
    specs = options.specs().values()
    unasked = ", ".join(f"`{spec.name}`" for spec in specs if spec.ask == NEVER)
    fixed = ", ".join(f"`{spec.name}`" for spec in specs if spec.fixed)
    if unasked:
        lines += [f"Never asked, only set on the command line: {unasked}.", ""]
    if fixed:
        lines += [f"Fixed at the first run of a model: {fixed}.", ""]
    dependent: dict[str, list[str]] = {}
    for spec in specs:
        if spec.needs:
            dependent.setdefault(conditions(spec.needs), []).append(f"`{spec.name}`")
    lines += [f"- Only with {needed}: {', '.join(names)}." for needed, names in dependent.items()]
    return "\n".join(lines).rstrip() + "\n"


def conditions(needs: Mapping[str, Condition]) -> str:
    """`mode` overlay or seamless, and so on."""
    return " and ".join(f"`{name}` {condition.words}" for name, condition in needs.items())


def command_parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command line that main.py takes, `videoed`'s actions one by one."""
    for name in program.COMMANDS:
        parser = argparse.ArgumentParser(prog=f"main.py {name}")
        importlib.import_module(f"mainscripts.{name.replace('-', '_')}").add_arguments(parser)
        inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not inner:
            yield name, parser
        for action in inner:
            yield from ((f"{name} {word}", choice) for word, choice in action.choices.items())


def flag_section(heading: str, parser: argparse.ArgumentParser) -> str:
    """The flags of one command; those that are options have their table above."""
    expand = parser._get_formatter()._expand_help
    known = ExtractOptions.specs() if heading == "extract" else {}
    rows = ["| flag | meaning |", "|---|---|"]
    for action in parser._actions:
        if action.dest == "help" or action.dest in known:
            continue
        flag = action.option_strings[0] if action.option_strings else f"{action.metavar or action.dest}"
        shown = f"**`{flag}`**" if action.required and action.option_strings else f"`{flag}`"
        choices = f" [{'/'.join(map(str, action.choices))}]" if action.choices else ""
        rows.append(f"| {shown} | {escaped(expand(action))}{choices} |")
    return "\n".join([f"### {heading}", "", *rows]) + "\n"


def everywhere_section() -> str:
    parser = argparse.ArgumentParser(add_help=False)
    program.add_shared_flags(parser)
    return flag_section("every command", parser)


def escaped(text: str) -> str:
    """Markdown would take `<output>` for a tag."""
    return text.replace("<", "&lt;")


def render() -> str:
    """The whole page."""
    options = [option_section(*section) for section in option_sections().items()]
    flags = [everywhere_section(), *(flag_section(*command) for command in command_parsers())]
    return "\n".join([HEAD, *options, FLAGS_HEAD, *flags])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if the page is out of date")
    if not parser.parse_args().check:
        PAGE.write_text(render(), encoding="utf-8", newline="\n")
    fresh = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == render()
    print(f"docs/{PAGE.name} " + ("is up to date" if fresh else "is out of date: python docs/generate.py"))
    return 0 if fresh else 1


if __name__ == "__main__":
    sys.exit(main())
