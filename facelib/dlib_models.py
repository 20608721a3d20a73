"""The optional package dlib and the model files for it; whoever needs them learns here how to get them."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from core.errors import SwapError

# name -> (file, its size in bytes), as the pip package face_recognition_models 0.3.0 installs them
MODEL_FILES = {
    "cnn": ("mmod_human_face_detector.dat", 729_940),
    "68": ("shape_predictor_68_face_landmarks.dat", 99_693_937),
    "embedding": ("dlib_face_recognition_resnet_model_v1.dat", 22_466_066),
}
PACKAGE = "face_recognition_models"

_Model = TypeVar("_Model")


def remedy() -> str:
    """How to install what is missing, for the end of a message."""
    python = Path(sys.executable).name or "python"
    requirements = Path(__file__).resolve().parent.parent / "requirements-dlib.txt"
    return f'install it with `{python} -m pip install -r "{requirements}"`'


def available() -> bool:
    """Whether dlib and its model files are installed; imports nothing."""
    return _found("dlib") and all(path.is_file() for path in map(_model_path, MODEL_FILES))


@functools.cache
def import_dlib(what: str) -> Any:
    """The module dlib.

    Args:
        what: What needs it, for the message.

    Raises:
        SwapError: It is not installed or does not load; says how to install it.
    """
    try:
        import dlib
    except ImportError as err:
        raise SwapError(f"{what} needs the optional pip package dlib-bin ({err}); {remedy()}") from err
    return dlib


def model_file(name: str, what: str) -> Path:
    """Path of a model file, one of `MODEL_FILES`, whole.

    The package's own code is not imported: it needs pkg_resources, which setuptools no longer has.

    Raises:
        SwapError: It is not installed, or was cut short.
    """
    path, size = _model_path(name), MODEL_FILES[name][1]
    try:
        found = path.stat().st_size
    except OSError:
        raise SwapError(f"{what} needs the optional pip package {PACKAGE}; {remedy()}") from None
    if found != size:
        raise SwapError(f"{path}: expected {size} bytes, found {found}; remove {PACKAGE} and {remedy()}")
    return path


def load_model(name: str, what: str, load: Callable[[str], _Model]) -> _Model:
    """What `load` (a class of dlib's) makes of a model file.

    Raises:
        SwapError: The file is missing or dlib cannot read it.
    """
    path = model_file(name, what)
    try:
        return load(str(path))
    except RuntimeError as err:  # what dlib's deserialisation raises
        raise SwapError(f"{path}: dlib cannot read it ({err}); remove {PACKAGE} and {remedy()}") from err


def _found(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _model_path(name: str) -> Path:
    """Where the file would be; finding a package's place does not run its code."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    folder = Path(places[0]) / "models" if places else Path(PACKAGE)
    return folder / MODEL_FILES[name][0]
