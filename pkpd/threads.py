"""Slices of a batch shared out to threads: compiled loops that let go of Python's lock, each slice on its own.

The calling thread works too, so two threads wake one. The pool is the process's, made when it is first needed, and
grows; a process that was forked makes its own.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

__all__ = ["share", "slices"]

_pool: list[ThreadPoolExecutor] = []
_inside = threading.local()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.clear)


def slices(n: int, count: int) -> list[tuple[int, int]]:
    """0 … n cut into ``count`` slices (first, last) of about equal size, none of them empty; one where n is 0."""
    count = max(1, min(count, n))
    edges = [n * k // count for k in range(count + 1)]
    return list(itertools.pairwise(edges))


def share(work: Callable[[int, int], object], bounds: Sequence[tuple[int, int]], threads: int) -> None:
    """Run ``work(first, last)`` for every slice, on at most ``threads`` threads, the caller's among them.

    Within a slice's work it shares nothing out: the pool's threads do not wait for one another.

    Raises:
        Exception: the first that a slice raised; the slices not yet begun are left undone.
    """
    parts = min(threads, len(bounds))
    if parts <= 1 or getattr(_inside, "work", False):
        for first, last in bounds:
            work(first, last)
        return
    if not _pool or _pool[0]._max_workers < parts - 1:
        _pool[:] = [ThreadPoolExecutor(parts - 1, thread_name_prefix="doseloop")]
    left = deque(bounds)

    def drain() -> None:
        _inside.work = True
        try:
            while True:
                try:
                    first, last = left.popleft()
                except IndexError:
                    return
                work(first, last)
        except BaseException:
            left.clear()
            raise
        finally:
            _inside.work = False

    tasks = [_pool[0].submit(drain) for _ in range(parts - 1)]
    try:
        drain()
    finally:  # one that did not wake before all was done need not wake
        errors = [t.exception() for t in tasks if not t.cancel()]
    for error in errors:
        if error is not None:
            raise error
