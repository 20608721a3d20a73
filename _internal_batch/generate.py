"""Write the numbered .sh and .bat scripts from scripts.toml; with --check only say which are out of step."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # of requirements-dev.txt

HERE = Path(__file__).resolve().parent
HAND_WRITTEN = ("setenv.sh", "setenv.bat", "test.sh", "test.bat")
ORIGIN = "Written by generate.py from scripts.toml: change it there."

SH = """\
#!/usr/bin/env bash
# {does}
# {origin}
. "$(dirname "$(readlink -f "${{BASH_SOURCE[0]}}" 2>/dev/null || echo "${{BASH_SOURCE[0]}}")")/setenv.sh"
{lines}
"""
SH_NEEDS_FILE = '[ $# -gt 0 ] || { echo "usage: $(basename "$0") VIDEO" >&2; exit 2; }'
SH_LINE = '"$PYTHON" "$REPO/main.py" {words}'

BAT = """\
@echo off
rem {does}
rem {origin}
setlocal
call "%~dp0setenv.bat" "{sh}.sh" %*
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end
if defined HANDED_OVER goto end
{lines}
:end
if not defined FACELAB_NO_PAUSE pause
exit /b %CODE%
"""
BAT_NEEDS_FILE = """\
if not "%~1"=="" goto given
echo Drop a video on this script.
set "CODE=2"
goto end
:given"""
BAT_LINE = """\
"%PYTHON%" "%REPO%\\main.py" {words}
set "CODE=%ERRORLEVEL%"
if not "%CODE%"=="0" goto end"""


@dataclass(frozen=True)
class Script:
    """One entry of the table."""

    sh: str  # names without suffix
    bat: str
    does: str
    run: tuple[str, ...]

    @property
    def needs_file(self) -> bool:
        return any("{file}" in line for line in self.run)


def read_table(path: Path = HERE / "scripts.toml") -> list[Script]:
    """All scripts in the order of the steps."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["script"]
    return [Script(e["sh"], e["bat"], e["does"], tuple(e["run"])) for e in entries]


def sh_line(line: str) -> str:
    """The words of one main.py line, quoted for bash, with what the user added after them."""
    words, rest = [], '"$@"'
    for word in shlex.split(line):
        if word == "{file}":
            words.append('"$1"')
            rest = '"${@:2}"'
        elif "{workspace}" in word:
            words.append(f'"{word.format(workspace="$WORKSPACE")}"')
        else:
            words.append(shlex.quote(word))
    return SH_LINE.format(words=" ".join([*words, rest]))


def bat_line(line: str) -> str:
    """The same for cmd; `%*` knows no shift, so the words after a dropped file are counted out."""
    words, rest = [], "%*"
    for word in shlex.split(line):
        if word == "{file}":
            words.append('"%~1"')
            rest = "%2 %3 %4 %5 %6 %7 %8 %9"
        elif "{workspace}" in word:
            path = word.format(workspace="%WORKSPACE%").replace("/", "\\")
            words.append(f'"{path}"')
        else:
            words.append(word)
    return BAT_LINE.format(words=" ".join([*words, rest]))


def render(script: Script) -> dict[str, bytes]:
    """File name -> content of the two files of one entry (LF for bash, CRLF for cmd)."""
    sh_lines = [*([SH_NEEDS_FILE] if script.needs_file else []), *map(sh_line, script.run)]
    bat_lines = [*([BAT_NEEDS_FILE] if script.needs_file else []), *map(bat_line, script.run)]
    sh = SH.format(does=script.does, origin=ORIGIN, lines="\n".join(sh_lines))
    bat = BAT.format(does=script.does, origin=ORIGIN, sh=script.sh, lines="\n".join(bat_lines))
    return {
        f"{script.sh}.sh": sh.encode("ascii"),
        f"{script.bat}.bat": bat.replace("\n", "\r\n").encode("ascii"),
    }


def render_all(scripts: list[Script]) -> dict[str, bytes]:
    """Every generated file of the folder."""
    return {name: content for script in scripts for name, content in render(script).items()}


def out_of_step(folder: Path = HERE) -> list[str]:
    """What differs between the table and the folder, one line each; nothing if they agree."""
    wanted = render_all(read_table(folder / "scripts.toml"))
    found = {
        p.name: p for p in folder.iterdir() if p.suffix in (".sh", ".bat") and p.name not in HAND_WRITTEN
    }
    lines = [f"missing: {name}" for name in wanted.keys() - found.keys()]
    lines += [f"not in the table: {name}" for name in found.keys() - wanted.keys()]
    lines += [
        f"differs: {name}" for name in wanted.keys() & found.keys() if _content(found[name]) != wanted[name]
    ]
    return sorted(lines)


def _content(path: Path) -> bytes:
    """As git keeps it on every system: bash files with LF, cmd files with CRLF."""
    lf = path.read_bytes().replace(b"\r\n", b"\n")
    return lf.replace(b"\n", b"\r\n") if path.suffix == ".bat" else lf


def write_all(folder: Path = HERE) -> None:
    """Write what is wanted and remove generated files whose entry is gone."""
    wanted = render_all(read_table(folder / "scripts.toml"))
    for path in folder.iterdir():
        generated = path.suffix in (".sh", ".bat") and path.name not in HAND_WRITTEN
        if generated and path.name not in wanted and ORIGIN.encode() in path.read_bytes():
            path.unlink()
    for name, content in wanted.items():
        (folder / name).write_bytes(content)
        if name.endswith(".sh"):
            (folder / name).chmod(0o755)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a script is out of step")
    if not parser.parse_args().check:
        write_all()
    lines = out_of_step()
    print("\n".join(lines) or f"{len(read_table())} scripts in step with scripts.toml")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
