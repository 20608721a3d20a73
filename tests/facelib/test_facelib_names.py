"""The room's public names: all there, and none loaded before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

import facelib


@pytest.mark.parametrize("name", facelib.__all__)
def test_every_name_is_where_it_is_said_to_be(name):
    assert getattr(facelib, name) is not None
    assert name in dir(facelib)


def test_the_type_checkers_list_is_the_same(root):
    tree = ast.parse((root / "facelib/__init__.py").read_text(encoding="utf-8"))
    imported = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        for alias in node.names
    }
    assert imported == {name: f"facelib.{module}" for name, module in facelib._HOMES.items()}
    assert sorted(imported) == sorted(facelib.__all__)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = facelib.no_such_name


def test_importing_the_room_loads_nothing_heavy(root):
    code = (
        "import sys, facelib; facelib.FACE_TYPES; "
        "assert not {'cv2', 'numpy', 'tensorflow', 'ai_edge_litert'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, timeout=30)
