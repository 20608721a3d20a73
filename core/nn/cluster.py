"""Which machines train one model together; free of TensorFlow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from core.errors import UsageError

CHIEFS = ("chief", "master")  # jobs of one task, which goes before the workers


@dataclass(frozen=True)
class Cluster:
    """The processes that train together, and which of them this one is."""

    workers: tuple[str, ...]  # host:port of each; the first is the chief
    index: int  # of this process

    @property
    def is_chief(self) -> bool:
        """Whether this process saves, and shows previews."""
        return self.index == 0


def find_cluster(
    workers: str | None, index: int | None, environ: Mapping[str, str] = os.environ
) -> Cluster | None:
    """The cluster of the flags `--workers` and `--worker-index`, else of TensorFlow's variable TF_CONFIG.

    Args:
        workers: `host:port` of every worker, separated by commas, the same on every machine.
        index: Which of them this process is.

    Returns:
        `None` where this process trains alone: neither is given, or just one worker.

    Raises:
        UsageError: The flags or the variable do not describe such a cluster.
    """
    if workers is None and index is None:
        text = environ.get("TF_CONFIG", "").strip()
        return _checked(*_from_config(text), "TF_CONFIG") if text else None
    if workers is None or index is None:
        raise UsageError("--workers and --worker-index belong together; give both on every machine")
    return _checked([part.strip() for part in workers.split(",")], index, "--workers")


def _from_config(text: str) -> tuple[list[str], int]:
    """Addresses and own index of TF_CONFIG's JSON."""
    expected = '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    try:
        record = json.loads(text)
        jobs = dict(record.get("cluster") or {})
        task = record["task"] if jobs else {"type": "worker", "index": 0}
        kind, index = str(task["type"]), int(task["index"])
        addresses = {job: [str(address) for address in found] for job, found in jobs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise UsageError(
            f"TF_CONFIG is not understood ({type(err).__name__}: {err}); it should look like {expected}"
        ) from err
    if not addresses:
        return [], 0
    order = [job for job in (*CHIEFS, "worker") if job in addresses]
    strange = sorted(set(addresses) - set(order)) or ([kind] if kind not in order else [])
    if strange:
        raise UsageError(f"TF_CONFIG names the job {strange[0]!r}; training knows only chief and worker")
    before = sum(len(addresses[job]) for job in order[: order.index(kind)])
    if not 0 <= index < len(addresses[kind]):
        raise UsageError(f"TF_CONFIG: there is no {kind} {index} among {len(addresses[kind])}")
    return [address for job in order for address in addresses[job]], before + index


def _checked(workers: list[str], index: int, source: str) -> Cluster | None:
    for address in workers:
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UsageError(f"{source}: {address!r} is no address; give host:port, such as 10.0.0.5:4000")
    if len(set(workers)) < len(workers):
        raise UsageError(f"{source}: an address is given twice; every worker needs a port of its own")
    if workers and not 0 <= index < len(workers):
        raise UsageError(
            f"{source} lists {len(workers)} workers, so 0 to {len(workers) - 1}, but not {index}"
        )
    return Cluster(tuple(workers), index) if len(workers) > 1 else None
