"""One small pool of threads for all Programs. It knows nothing of circuits.

The pool is made on first use and dropped after a fork. Its size is the number of
processors this process may use, or ``QSTORE_NUM_THREADS``. Results never depend on it:
callers fix the chunks and the order of every sum.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from qstore_pl._computer import processors

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def count() -> int:
    """Number of threads the pool has.

    Raises:
        ValueError: If ``QSTORE_NUM_THREADS`` is set, but not to a number >= 1.
    """
    named = os.environ.get("QSTORE_NUM_THREADS")
    if named is None:
        return processors()
    if not named.isdecimal() or int(named) < 1:
        raise ValueError(
            f"Environment variable QSTORE_NUM_THREADS must be an integer >= 1, but is "
            f"{named!r}."
        )
    return int(named)


def run(task: Callable[[int], None], indices: Iterable[int]) -> None:
    """Call ``task`` for every index, in any order, and wait for all."""
    if count() == 1:
        for index in indices:
            task(index)
        return
    for _ in _get_pool().map(task, indices):
        pass


def together(task: Callable[[int], None], workers: int) -> None:
    """Call ``task`` with the number of each worker, in this thread and in others.

    The workers share their work among themselves. The call ends when this thread has
    found nothing more to do; a worker that has not begun by then is called off.
    """
    if workers == 1:
        task(0)
        return
    others = [_get_pool().submit(task, worker) for worker in range(1, workers)]
    try:
        task(0)
    finally:
        for other in others:
            if not other.cancel():
                other.result()


def _get_pool() -> ThreadPoolExecutor:
    global _pool
    with _lock:
        if _pool is None:
            _pool = ThreadPoolExecutor(count(), thread_name_prefix="qstore")
        return _pool


def _drop() -> None:
    """Forget a pool whose threads did not survive a fork."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop)
