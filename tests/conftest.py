"""Fixtures for all tests: the repository, and the shared clips where they are mounted."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Shared machines stall at random: a slow example is no failure, and speed is measured in benchmarks/.
settings.register_profile("facelab", deadline=None)
settings.load_profile("facelab")

# A shell in the background and nohup have these ignored, and Python then leaves them so; tests send them.
for name, handler in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, name), handler)

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real clips and DFL's own files; tests that need them skip where they are absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the shared data folder is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def wide_sums():
    """Call with a function and its arguments: names of the sums of more than two tensors in its graph.

    On a CPU these round differently from run to run (`core.nn.losses`). Grappler makes such sums, so the
    graph that is looked at is the one after its work.
    """
    import tensorflow as tf
    from tensorflow.python.eager import context

    def find(function, *args) -> list[str]:
        fresh = tf.function(getattr(function, "python_function", function))  # only a first run is recorded
        context.enable_run_metadata()
        try:
            context.export_run_metadata()  # of what ran since another test enabled it
            fresh(*args)
            metadata = context.export_run_metadata()
        finally:
            context.disable_run_metadata()
        graphs = [graph.post_optimization_graph for graph in metadata.function_graphs]
        nodes = [
            node
            for graph in graphs
            for nodes in (graph.node, *(function.node_def for function in graph.library.function))
            for node in nodes
        ]
        assert nodes, "no graph was recorded"
        return [node.name for node in nodes if "AddN" in node.op and _data_inputs(node) > 2]

    return find


def _data_inputs(node) -> int:
    return sum(not name.startswith("^") for name in node.input)


@pytest.fixture(scope="session")
def vgg16_file(tmp_path_factory) -> Path:
    """Random weights of VGG16 without top, as Keras saves them."""
    import keras

    keras.utils.set_random_seed(4)
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.weights.h5"
    keras.applications.VGG16(include_top=False, weights=None).save_weights(path)
    return path


@pytest.fixture(autouse=True, scope="module")
def release_memory():
    """Give back what a module's networks held: in one process the whole suite would need some 15 GB."""
    yield
    if "tensorflow" not in sys.modules:
        return
    import keras

    keras.backend.clear_session()
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps freed pages otherwise
        ctypes.CDLL("libc.so.6").malloc_trim(0)
