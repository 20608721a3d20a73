"""The house rules that a program can check: heavy imports, old Pythons, nothing of one machine."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("core", "facelib", "samplelib", "models", "merger", "mainscripts")
SOURCES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py")) + [ROOT / "main.py"]
EVERYTHING = SOURCES + sorted(
    p for top in ("tests", "benchmarks", "_internal_batch") for p in (ROOT / top).rglob("*.py")
)
HEAVY = {"tensorflow", "keras", "mtcnn"}  # mtcnn imports TensorFlow
LIGHT_TOPS = (
    "main",
    "mainscripts",
    "merger",
    "samplelib",
)  # rooms that reach TensorFlow only inside functions


def module_level_imports(tree: ast.Module) -> Iterator[str]:
    """Names of the modules imported when the file is, those under `if TYPE_CHECKING` left out."""
    todo: list[ast.stmt] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                todo += node.body
            todo += node.orelse
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
            todo += node.body + getattr(node, "orelse", []) + getattr(node, "finalbody", [])
            todo += [line for handler in getattr(node, "handlers", []) for line in handler.body]


def may_import_heavy(path: Path) -> bool:
    """core/nn, models and facelib's nets build graphs; an `__init__` only re-exports."""
    parts = path.relative_to(ROOT).parts
    if path.name == "__init__.py":
        return False
    return parts[:2] == ("core", "nn") or parts[0] in ("models", "facelib")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_tensorflow_is_imported_only_where_graphs_are_built():
    offenders = {
        relative(path): found
        for path in SOURCES
        if not may_import_heavy(path)
        and (found := HEAVY & {name.split(".")[0] for name in module_level_imports(parsed(path))})
    }
    assert not offenders


def test_rooms_load_without_tensorflow():
    names = [room for room in ROOMS if (ROOT / room / "__init__.py").exists()]
    scripts = [f"mainscripts.{p.stem}" for p in (ROOT / "mainscripts").glob("*.py") if p.stem != "__init__"]
    code = f"import sys, {', '.join(names + scripts)}; assert not {HEAVY!r} & set(sys.modules), 'loaded'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_nobody_imports_main():
    for path in SOURCES:
        nodes = list(ast.walk(parsed(path)))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert "main" not in names, relative(path)


def test_sources_are_python_3_10():
    for path in EVERYTHING:
        ast.parse(path.read_text(encoding="utf-8"), filename=relative(path), feature_version=(3, 10))


def test_modules_say_what_they_are():
    assert not [relative(p) for p in SOURCES if not ast.get_docstring(parsed(p))]


def test_nobody_imports_everything():
    starred = [
        relative(path)
        for path in EVERYTHING
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]
    assert not starred


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode != 0:
        pytest.skip("not a git clone")
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_large_files_and_no_media_are_tracked():
    files = tracked_files()
    assert not [relative(p) for p in files if p.stat().st_size > 1_500_000]
    media = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".tflite", ".safetensors", ".h5", ".onnx", ".pak"}
    assert not [relative(p) for p in files if p.suffix.lower() in media]
