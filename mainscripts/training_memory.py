"""Memory: what a training will need, and what it does when that runs out."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from core.errors import SwapError
from core.system import available_memory

if TYPE_CHECKING:
    from models.base import Model, ModelOptions

# Beside TensorFlow's own error: cuDNN, cuBLAS and XLA tell it in words, within errors of other kinds.
WORDS = ("out of memory", "oom when allocating", "failed to allocate", "alloc_failed", "out_of_memory")
HINTS = 4  # shown of them
NO_MEMORY = -4  # OpenCV's code
FAR_ABOVE = 1.25  # times what is free: more than the estimate can be wrong by
FIXED = ("resolution", "ae_dims", "inter_dims", "e_dims", "d_dims", "d_mask_dims")  # what networks cost by


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, in TensorFlow or here."""
    if isinstance(error, MemoryError):
        return True
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):
        told = str(error).lower()
        exhausted = isinstance(error, tensorflow.errors.ResourceExhaustedError)
        return exhausted or any(words in told for words in WORDS)
    cv2 = sys.modules.get("cv2")
    return cv2 is not None and isinstance(error, cv2.error) and getattr(error, "code", 0) == NO_MEMORY


def halved_batch(model: Model) -> int:
    """The batch size to try next; 0 if there is no smaller one."""
    size = model.options.batch_size
    distribution = getattr(model, "distribution", None)
    return size // 2 if distribution is None else distribution.halved(size)


def nothing_left(model: Model) -> SwapError:
    """The error of a training that cannot go on with a smaller batch by itself; names what to lower."""
    return no_room(model.options, halved_batch(model))


def no_room(options: ModelOptions, smaller: int | None = None) -> SwapError:
    """The error of a program without memory; names what to lower.

    Args:
        smaller: The next smaller batch size, 0 if there is none; by default half.
    """
    smaller = options.batch_size // 2 if smaller is None else smaller
    specs, ways = options.specs(), []
    if smaller:
        ways.append(f"--option batch_size={smaller}")
    if getattr(options, "models_opt_on_gpu", False):
        ways.append("--option models_opt_on_gpu=n")
    if getattr(options, "adabelief", False):
        ways.append("--option adabelief=n")
    if getattr(options, "gan_power", 0):
        ways.append("a lower gan_dims")
    if options.precision == "float32":
        ways.append("--option precision=auto")
    lower = [name for name in FIXED if name in specs]
    if lower:
        ways.append(f"a new model with a lower {', '.join(lower)}")
    ways.append("--cpu-only")
    return SwapError(
        f"out of memory {'' if smaller else 'even '}with batch_size {options.batch_size}; close other "
        f"programs, or give {', '.join(ways[:-1])}{' or ' if len(ways) > 1 else ''}{ways[-1]}"
    )


def free_memory(on_gpu: bool) -> int:
    """Bytes that are free where training runs: of the GPU that has least, or of the machine; 0 if unknown."""
    if not on_gpu:
        return available_memory()
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    command = [tool, "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        found = subprocess.run(command, capture_output=True, text=True, timeout=15, check=True)
        return min(int(line) for line in found.stdout.split()) << 20
    return 0


def fitting_batch(model: Model, room: int) -> int:
    """The batch size to begin with: the model's own, or less where that is far too much for a processor.

    TensorFlow's code for processors does not survive that memory runs out (a segmentation fault under a
    limit, Linux's killer without), so that afterwards would be too late. A GPU tells, and is left to try.

    Args:
        model: With its options; its weights are in memory already.
        room: Bytes that are free; 0 if unknown.
    """
    estimate, size = model.memory(), model.options.batch_size
    held = estimate.total - estimate.weights - estimate.activations
    fitting = size
    while room and held + estimate.activations * fitting / size > FAR_ABOVE * room:
        smaller = model.distribution.halved(fitting)
        if not smaller:
            break
        fitting = smaller
    return fitting


def memory_rows(model: Model, room: int) -> list[tuple[str, str]]:
    """For the summary box."""
    estimate = model.memory()
    rows = [("needed, about", f"{estimate.total / 1e9:.2f} GB")]
    return [*rows, ("free", f"{room / 1e9:.2f} GB")] if room else rows


def memory_lines(model: Model, room: int) -> list[str]:
    """What training will need, and what to lower where that is more than there is."""
    estimate = model.memory()
    lines = [f"{estimate.describe()}."]
    if room and estimate.total > room:
        hints = "; ".join(estimate.hints()[:HINTS])
        lines.append(f"/!\\ Only {room / 1e9:.1f} GB are free. If it does not fit: {hints}.")
    return lines
