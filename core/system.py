"""The machine: processor count, memory, our own priority."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cpu_count() -> int:
    """Processors this process may use (affinity and containers respected where the system tells)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return max(1, os.cpu_count() or 1)


def total_memory() -> int:
    """Physical memory in bytes; 4 GiB where the system does not tell."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 4 << 30


def available_memory() -> int:
    """Bytes that this program can have without swapping, as far as the system tells; else all of the memory.

    A limit on the process (`ulimit -v`) and on its container (cgroup 2) counts, too.
    """
    found = [total_memory()]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        with open("/proc/meminfo", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("MemAvailable:"))
        found.append(int(line.split()[1]) << 10)
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # not under Windows

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        if limit != resource.RLIM_INFINITY:
            found.append(max(0, limit - used))
    with contextlib.suppress(OSError, ValueError, StopIteration):  # "max" where there is no limit
        limit, used = (int((CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        lines = (CGROUP / "memory.stat").read_text().splitlines()
        cached = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        found.append(max(0, limit - used + cached))
    return min(found)


def lower_priority() -> None:
    """Leave the desktop responsive during long work, as DFL does; failure does not matter."""
    if os.name == "nt":
        import ctypes

        below_normal = 0x4000  # BELOW_NORMAL_PRIORITY_CLASS of the Windows API
        kernel32 = ctypes.windll.kernel32
        kernel32.SetPriorityClass(kernel32.GetCurrentProcess(), below_normal)
        return
    with contextlib.suppress(OSError):
        os.nice(10)
