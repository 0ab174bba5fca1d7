"""Work spread over processes: results in order, and no process left behind."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from types import FrameType
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    """Apply a function to items, in worker processes where that pays.

    Parameters
    ----------
    function : callable
        Importable by a worker; must depend on its argument only.
    items : sequence
        Arguments.
    workers : int
        Processes; one works in this process.

    Yields
    ------
    object
        Results in the order of the items.
    """
    if workers <= 1 or len(items) < 2:
        yield from map(function, items)
        return
    # spawned, not forked: the parent may hold threads of PyTorch
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(items)), mp_context=context, initializer=_end_with_parent
    )
    try:
        # Not pool.map: left early it cancels what it queued, and CPython's pool then fails
        # in a thread of its own when a worker ends under a cancelled future.
        with _interrupt_later():
            queued = deque(pool.submit(function, item) for item in items)
        while queued:
            yield queued.popleft().result()
    except BaseException:
        # what is queued would be finished first; nobody waits for it any more
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(wait=True)


@contextlib.contextmanager
def _interrupt_later() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended, in which workers start.

    One that is half started is on nobody's list of workers yet: it would not be ended with
    the others, but by itself, once it notices that its parent is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C is the main thread's
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


def _end_with_parent() -> None:
    """Let a worker end with its parent, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
