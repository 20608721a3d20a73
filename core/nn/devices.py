"""Which devices TensorFlow computes on, and the environment it must find when it is first imported."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import SwapError, UsageError
from core.nn.cluster import Cluster

# Without oneDNN the gradients of bfloat16 convolutions take 50 times as long (platform notes, section 3).
ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "KERAS_BACKEND": "tensorflow",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR"}
VIRTUAL_CPUS = "FACELAB_VIRTUAL_CPUS"  # this many CPU devices where no GPU is used, to test several devices
LOG_LINE = re.compile(
    rb"[IWE]\d{4} [\d:. ]+\d+ [\w.]+:\d+\] |WARNING: All log messages before absl|To enable the following"
)


@dataclass(frozen=True)
class Devices:
    """The devices in use."""

    gpus: tuple[str, ...]  # names of the GPUs, none when computing on the CPU
    capability: tuple[int, int] | None  # lowest CUDA compute capability of them
    threads: int  # CPU threads of one operation
    logical: tuple[str, ...] = ("CPU:0",)  # TensorFlow's names of the devices that share a training's batch
    strategy: Any = field(default=None, compare=False, repr=False)  # `tf.distribute`'s, of several machines

    @property
    def on_gpu(self) -> bool:
        return bool(self.gpus)

    def describe(self) -> str:
        if self.gpus:
            return ", ".join(self.gpus)
        share = f"{len(self.logical)} shares, " if len(self.logical) > 1 else ""
        return f"CPU ({share}{self.threads} threads)"


def set_environment() -> None:
    """Set what TensorFlow reads when it is imported; a log level that the user chose is kept."""
    os.environ.update(ENVIRONMENT)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


_prepared: dict[tuple, Devices] = {}


def prepare(
    cpu_only: bool = False,
    gpu_indices: Sequence[int] | None = None,
    cluster: Cluster | None = None,
    virtual_cpus: int | None = None,
) -> Devices:
    """Import TensorFlow quietly, choose its devices and let GPU memory grow on demand.

    The choice can be made once in a process; later calls that ask for nothing else return it.

    Args:
        cpu_only: Leave every GPU alone.
        gpu_indices: The GPUs to use, in the numbering of `nvidia-smi`; `None` takes the best one.
        cluster: The machines to train with; returns when all of them are there.
        virtual_cpus: Where no GPU is used, as how many devices the CPU shall appear; `None` takes the number
            of the environment variable FACELAB_VIRTUAL_CPUS, else one. For tests: it makes nothing faster.

    Raises:
        UsageError: A GPU with such a number is not there, or TensorFlow computes on other devices already.
        SwapError: The other machines did not come.
    """
    key = (cpu_only, None if gpu_indices is None else tuple(gpu_indices), cluster, virtual_cpus)
    if key in _prepared:
        return _prepared[key]
    if _prepared and key == (False, None, None, None):
        return next(iter(_prepared.values()))
    if "tensorflow" not in sys.modules:
        set_environment()
    with _without_log_lines():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        physical = tf.config.list_physical_devices("GPU")
    chosen = [] if cpu_only else _choose(tf, physical, gpu_indices)
    try:
        tf.config.set_visible_devices(chosen, "GPU")
        for gpu in chosen:
            tf.config.experimental.set_memory_growth(gpu, True)
        if not chosen:
            _split_cpu(tf, virtual_cpus)
    except RuntimeError as err:
        raise UsageError(f"devices cannot be changed once TensorFlow computes: {err}") from err
    details = [tf.config.experimental.get_device_details(gpu) for gpu in chosen]
    capabilities = [detail["compute_capability"] for detail in details if "compute_capability" in detail]
    with _without_log_lines():
        # TensorFlow wants it made before anything is computed
        strategy = _meet(tf, cluster, bool(chosen)) if cluster is not None else None
        (tf.ones(1) + 1).numpy()  # makes the context: no device can be chosen from here on
    logical = tf.config.list_logical_devices("GPU" if chosen else "CPU")
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(_affinity())
    _prepared[key] = Devices(
        gpus=tuple(str(detail.get("device_name", gpu.name)) for detail, gpu in zip(details, chosen)),
        capability=min(capabilities) if len(capabilities) == len(chosen) > 0 else None,
        threads=threads,
        logical=tuple(device.name for device in logical),
        strategy=strategy,
    )
    return _prepared[key]


def _split_cpu(tf, count: int | None) -> None:
    """Make one CPU appear as several devices, if that is asked for."""
    text = os.environ.get(VIRTUAL_CPUS, "").strip() or "1"
    if count is None and not text.isdecimal():
        raise UsageError(f"{VIRTUAL_CPUS}={text}: give a number of devices")
    count = int(text) if count is None else count
    if count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(cpu, parts)


def _meet(tf, cluster: Cluster, on_gpu: bool) -> Any:
    """The strategy of several machines; waits until all of them are there.

    Raises:
        SwapError: They did not come, or the own port is taken.
    """
    ways = tf.distribute.experimental.CommunicationImplementation
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=ways.AUTO if on_gpu else ways.RING  # NCCL, where it is built in
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.workers)}),
        task_type="worker",
        task_id=cluster.index,
        rpc_layer="grpc",
    )
    try:
        with _plain_interrupt():
            return tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except (tf.errors.OpError, RuntimeError) as err:
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        own = cluster.workers[cluster.index]
        raise SwapError(
            f"the workers did not come together ({reason}); start all of {', '.join(cluster.workers)}, "
            f"let them reach each other, and see that {own} is this machine and a free port"
        ) from err


@contextlib.contextmanager
def _plain_interrupt() -> Iterator[None]:
    """Ctrl-C ends the process at once in this block: a wait inside TensorFlow never gets back to Python.

    SIGTERM cannot be helped: TensorFlow catches it there, and the wait keeps all of Python's threads waiting.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Drop the lines that TensorFlow's C++ side logs in this block; everything else on stderr is passed on.

    Its messages of oneDNN and CUDA obey no environment variable before its logging is set up.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # there is no stderr
        yield
        return
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            rest = b"".join(line for line in caught if not LOG_LINE.match(line))
            if rest:
                os.write(2, rest)


def _choose(tf, physical: list, gpu_indices: Sequence[int] | None) -> list:
    if gpu_indices is None:
        return physical[:1]  # CUDA lists the fastest first
    wrong = [index for index in gpu_indices if not 0 <= index < len(physical)]
    if wrong:
        there = f"0..{len(physical) - 1}" if physical else "none; use --cpu-only"
        raise UsageError(f"GPU {wrong[0]} is not there; TensorFlow sees {there}")
    return [physical[index] for index in gpu_indices]


def _affinity() -> Sequence[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)
