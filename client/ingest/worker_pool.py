"""The worker processes of an ingest: results in order, a bounded queue, no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from shared.runtime.processes import cores

T = TypeVar("T")
R = TypeVar("R")

#: Jobs given out and not fetched yet, for each worker: it never waits, and little piles up.
JOBS_AHEAD: Final = 3
#: Less than this is read sooner than worker processes have started.
WORTH_WORKERS_BYTES: Final = 100_000_000
#: What is imported once, in the server that workers are forked from: what they do, and what a
#: worker imports again of the program that started it.
IMPORTED_ONCE: Final = ("client.ingest.staging", "shared.cli")


def workers_for(source: Path, asked: int | None = None) -> int:
    """Choose one worker for each core, or none besides this process if there is little to read.

    Parameters
    ----------
    source : Path
        A folder or an archive; what is neither, or not there, needs none.
    asked : int or None
        How many somebody wants, however little there is to read.
    """
    try:
        archive = source.suffix.lower() == ".zip" and source.is_file()
        if not archive and not source.is_dir():
            return 1
        size = source.stat().st_size if archive else 0
    except OSError:
        return 1
    if asked is not None:
        return asked
    for base, _, names in os.walk(source):
        for name in names:
            try:
                size += (Path(base) / name).stat().st_size
            except OSError:
                continue
        if size >= WORTH_WORKERS_BYTES:
            break
    return cores() if size >= WORTH_WORKERS_BYTES else 1


def start_early() -> None:
    """Start the server that workers are forked from: it imports while this process does, too.

    Without it, the first worker waits for a second. One that runs is left as it is. Ctrl-C is
    this process's, and would end the server in the midst of its imports.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(IMPORTED_ONCE))
    # The server would start it, and it lets go of all signals that are blocked.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerPool:
    """Workers that stay for several lots of jobs; use it as a context manager.

    The number of workers changes the speed, never the result: a function depends on its
    job only, and results come in the order of the jobs.

    Parameters
    ----------
    workers : int
        Processes; with one, the work is done in this process and no other is started.
    separate : bool
        Start one even then, so that what ends a worker does not end this process.
    """

    def __init__(self, workers: int, *, separate: bool = False) -> None:
        self.workers = workers
        self._here = workers <= 1 and not separate
        self._pool: ProcessPoolExecutor | None = None
        self._generation = 0
        self._others = set(multiprocessing.active_children())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            # What is queued would be finished first; nobody waits for it any more.
            for worker in set(multiprocessing.active_children()) - self._others:
                worker.terminate()
        self._end_pool()

    def each(
        self,
        function: Callable[[T], R],
        jobs: Iterable[T],
        crashed: Callable[[T], R] | None = None,
    ) -> Iterator[R]:
        """Apply a function to jobs.

        Parameters
        ----------
        function : callable
            Importable by a worker; must depend on its argument only.
        jobs : iterable
            Arguments; drawn only a little ahead of the work.
        crashed : callable or None
            Makes the result of a job that ended its worker twice, the second time alone
            (a decoder that crashes). None = the failure is raised.

        Yields
        ------
        object
            Results in the order of the jobs.
        """
        if self._here:
            yield from map(function, jobs)
            return
        rest = iter(jobs)
        given = deque(self._give(function, job) for job in islice(rest, JOBS_AHEAD * self.workers))
        while given:
            job, future, generation = given.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:
                result = self._alone(function, job, crashed)
                given = deque(
                    self._give(function, one[0]) if one[2] == generation else one for one in given
                )
            given.extend(self._give(function, one) for one in islice(rest, 1))
            yield result

    def _give(self, function: Callable[[T], R], job: T) -> tuple[T, Future[R], int]:
        """Give a job out, to new workers where the last ones are gone."""
        try:
            return job, self._running().submit(function, job), self._generation
        except BrokenProcessPool:
            self._end_pool()
            return job, self._running().submit(function, job), self._generation

    def _alone(self, function: Callable[[T], R], job: T, crashed: Callable[[T], R] | None) -> R:
        """Do a job again after its workers ended, with nothing beside it."""
        self._end_pool()
        try:
            return self._running().submit(function, job).result()
        except BrokenProcessPool:
            self._end_pool()
            if crashed is None:
                raise
            return crashed(job)

    def _running(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # A server without threads, connections or locks is what is forked, never this
            # process.
            start_early()
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_end_with_parent
            )
            self._generation += 1
        return self._pool

    def _end_pool(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=False)
            self._pool = None


def _end_with_parent() -> None:
    """Let a worker end with its parent, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent: Any = multiprocessing.parent_process()

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
