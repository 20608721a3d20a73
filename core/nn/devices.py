"""Which devices TensorFlow computes on, and the environment it must find when it is first imported."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.errors import UsageError

# Without oneDNN the gradients of bfloat16 convolutions take 50 times as long (platform notes, section 3).
ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "KERAS_BACKEND": "tensorflow",
}
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "GRPC_VERBOSITY": "ERROR"}
LOG_LINE = re.compile(
    rb"[IWE]\d{4} [\d:. ]+\d+ [\w.]+:\d+\] |WARNING: All log messages before absl|To enable the following"
)


@dataclass(frozen=True)
class Devices:
    """The devices in use."""

    gpus: tuple[str, ...]  # names of the GPUs, none when computing on the CPU
    capability: tuple[int, int] | None  # lowest CUDA compute capability of them
    threads: int  # CPU threads of one operation

    @property
    def on_gpu(self) -> bool:
        return bool(self.gpus)

    def describe(self) -> str:
        return ", ".join(self.gpus) if self.gpus else f"CPU ({self.threads} threads)"


def set_environment() -> None:
    """Set what TensorFlow reads when it is imported; a log level that the user chose is kept."""
    os.environ.update(ENVIRONMENT)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


_prepared: dict[tuple[bool, tuple[int, ...] | None], Devices] = {}


def prepare(cpu_only: bool = False, gpu_indices: Sequence[int] | None = None) -> Devices:
    """Import TensorFlow quietly, choose its devices and let GPU memory grow on demand.

    The choice can be made once in a process; later calls that ask for nothing else return it.

    Args:
        cpu_only: Leave every GPU alone.
        gpu_indices: The GPUs to use, in the numbering of `nvidia-smi`; `None` takes the best one.

    Raises:
        UsageError: A GPU with such a number is not there, or TensorFlow computes on other devices already.
    """
    key = (cpu_only, None if gpu_indices is None else tuple(gpu_indices))
    if key in _prepared:
        return _prepared[key]
    if _prepared and key == (False, None):
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
    except RuntimeError as err:
        raise UsageError(f"devices cannot be changed once TensorFlow computes: {err}") from err
    details = [tf.config.experimental.get_device_details(gpu) for gpu in chosen]
    capabilities = [detail["compute_capability"] for detail in details if "compute_capability" in detail]
    with _without_log_lines():
        (tf.ones(1) + 1).numpy()  # makes the context: no device can be chosen from here on
    threads = tf.config.threading.get_intra_op_parallelism_threads() or len(_affinity())
    _prepared[key] = Devices(
        gpus=tuple(str(detail.get("device_name", gpu.name)) for detail, gpu in zip(details, chosen)),
        capability=min(capabilities) if len(capabilities) == len(chosen) > 0 else None,
        threads=threads,
    )
    return _prepared[key]


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
