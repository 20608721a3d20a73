"""The manual agrees with the program: examples run, names and links exist, both languages say the same."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from core.imageio import read_image
from merger.options import MergeOptions

ROOT = Path(__file__).resolve().parents[1]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
PAGES = (*READMES, *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"^```python(?P<slow> slow)?\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
SPAN = re.compile(r"`([^`]+)`")
SIGNATURE = re.compile(r"^### ([\w.]+)\((.*)\)$", re.MULTILINE)
LARGEST_PICTURE = 120_000


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def examples(with_slow: bool) -> list[str]:
    blocks = BLOCK.finditer(text(ROOT / "docs" / "api.md"))
    return [block["code"] for block in blocks if with_slow or not block["slow"]]


def run_examples(codes: list[str], folder: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + "\n".join(codes)
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_examples_run(tmp_path):
    assert len(examples(with_slow=False)) > 5
    run_examples(examples(with_slow=False), tmp_path)


@pytest.mark.slow
def test_the_examples_with_a_model_run(tmp_path):
    assert len(examples(with_slow=True)) > len(examples(with_slow=False))
    run_examples(examples(with_slow=True), tmp_path)


def documented(name: str) -> object:
    """The object behind a dotted name, whose first words are modules."""
    words = name.split(".")
    for count in range(len(words) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(words[:count]))
        except ModuleNotFoundError:
            continue
        for word in words[count:]:
            found = getattr(found, word)
        return found
    raise AssertionError(f"{name} is no module's")


@pytest.mark.parametrize(("name", "parameters"), SIGNATURE.findall(text(ROOT / "docs" / "api.md")))
def test_signatures_are_as_documented(name, parameters):
    wanted = [part.partition("=")[0].strip() for part in parameters.split(",")]
    actual = inspect.signature(documented(name)).parameters
    assert wanted == list(actual)
    for part in parameters.split(","):
        key, has_default, default = part.strip().partition("=")
        assert bool(has_default) == (actual[key].default is not inspect.Parameter.empty), key
        if has_default and not default.startswith(("cv2.", "print")):
            assert actual[key].default == ast.literal_eval(default), key


def anchors(page: Path) -> set[str]:
    """The targets that headings make, by GitHub's rule."""
    headings = re.findall(r"^#+ (.+)$", text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    broken = []
    for link in LINK.finditer(text(page)):
        path, _, anchor = unquote(link["target"]).partition("#")
        if "://" in path:
            continue
        target = (page.parent / path) if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link["target"])
    assert not broken


def named_scripts(page: Path) -> set[str]:
    spans = itertools.chain.from_iterable(SPAN.findall(line) for line in text(page).splitlines())
    words = (re.match(r"(?:_internal_batch/)?(.+\.(?:sh|bat))(?: -.*)?$", span) for span in spans)
    return {word[1] for word in words if word}


def test_both_readmes_name_every_script():
    english, chinese = map(named_scripts, READMES)
    existing = {path.name for path in (ROOT / "_internal_batch").iterdir() if path.suffix in (".sh", ".bat")}
    assert english == chinese
    assert english <= existing
    helpers = {
        "setenv.sh",
        "setenv.bat",
        "demo.sh",
        "test.sh",
    }  # the last two stand in the blocks of commands
    assert existing - english <= helpers


def test_both_readmes_hold_the_same():
    english, chinese = map(text, READMES)
    for pattern in (r"^```.*?^```", r"docs/[\w./-]+", r"--[a-z-]+", r"FACELAB_\w+"):
        flags = re.MULTILINE | re.DOTALL
        first, second = ([re.sub(r"\s+#.*", "", found) for found in re.findall(pattern, page, flags)]
                         for page in (english, chinese))  # fmt: skip
        assert sorted(set(first)) == sorted(set(second)), pattern
    for pattern in (r"^## ", r"^\|", r"!\["):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(
            re.findall(pattern, chinese, re.MULTILINE)
        )


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_merge_options_in_the_readme_have_their_defaults(page):
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \| .+ \|$", text(page), re.MULTILINE)
    specs = MergeOptions.specs()
    assert len(rows) >= 5
    assert not [name for name, default in rows if str(specs[name].default) != default]


def sources() -> str:
    """All that the program may print, whitespace and the seams of split literals taken out."""
    rooms = ("core", "facelib", "samplelib", "models", "merger", "mainscripts", "_internal_batch")
    files = [p for room in rooms for p in (ROOT / room).rglob("*") if p.suffix in (".py", ".sh", ".bat")]
    return re.sub(r'"\s+f?"', "", "\n".join(path.read_text(encoding="utf-8") for path in files))


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_messages_in_the_troubleshooting_table_are_real(page):
    section = text(page).split("--debug")[-1].partition("\n## ")[0]
    table = re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)
    messages = [span for cell in table for span in SPAN.findall(cell)]
    printed = sources()
    assert len(messages) > 15
    assert not [m for m in messages for part in m.split("…") if part.strip() not in printed]


def test_the_page_of_options_is_up_to_date():
    script = ROOT / "docs" / "generate.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pictures_are_small_and_can_be_read():
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    for path in pictures:
        assert path.stat().st_size < LARGEST_PICTURE and read_image(path).ndim == 3


def test_no_page_names_a_place_of_one_machine():
    assert not [page.name for page in PAGES if re.search(r"/(home|Users|tmp|work|root)/", text(page))]
