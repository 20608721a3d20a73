"""Many small jobs in threads, with results in order and only a few in memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from core.system import cpu_count

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator[Result]:
    """`map` by threads that stay only a little ahead of who takes the results.

    Args:
        function: Called in the threads; what it raises is raised when its result is due.
        items: Taken one by one as room is made.
        workers: Threads; by default one for each processor and one more, which waits for the disk.
        ahead: Items taken beyond the one whose result is due; by default four for each thread.
    """
    workers = workers or cpu_count() + 1
    ahead = 4 * workers if ahead is None else ahead
    with threads(workers) as pool:
        yield from stay_ahead(pool, function, items, ahead)


@contextlib.contextmanager
def threads(count: int) -> Iterator[Executor]:
    """A pool whose waiting work is dropped, and whose begun work is awaited, however the block is left."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def stay_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Iterator[Result]:
    """Results of `function` on items in order, while up to `count` more of them are in work or wait."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > count:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
