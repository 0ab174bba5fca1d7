"""Work in other processes: Ctrl-C ends all of them, also one that is half started."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.context import SpawnProcess
from typing import Any

import psutil
import pytest

from shared.phantom.workers import in_order


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_order(str, range(5), workers=2)) == ["0", "1", "2", "3", "4"]


def test_ctrl_c_while_a_worker_starts_ends_that_worker_too(monkeypatch: pytest.MonkeyPatch) -> None:
    start = SpawnProcess._Popen
    started = []

    def interrupted(process: Any) -> Any:
        popen = start(process)
        started.append(psutil.Process(popen.pid))
        os.kill(os.getpid(), signal.SIGINT)  # before it is on any list
        return popen

    monkeypatch.setattr(SpawnProcess, "_Popen", staticmethod(interrupted))
    # What a shell starts in the background has SIGINT ignored; the command line sets this too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(in_order(time.sleep, [60.0] * 4, workers=2))
    finally:
        signal.signal(signal.SIGINT, before)
    _, left = psutil.wait_procs(started, timeout=60)
    for process in left:
        process.kill()
    assert started
    assert left == []
