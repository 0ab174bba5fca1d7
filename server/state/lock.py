"""A lock on a file, which ends with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.errors import RunFailedError

#: The lock of a run, in its folder.
LOCK: Final = "lock"


@contextlib.contextmanager
def alone(path: Path, seconds: float) -> Iterator[None]:
    """Hold a lock file for the block; the kernel lets go of it when the process ends.

    Parameters
    ----------
    path : Path
        Made if it is not there.
    seconds : float
        How long to wait for another process that holds it.

    Raises
    ------
    RunFailedError
        If it is still held then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    latest = time.monotonic() + seconds
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= latest:
                    raise RunFailedError(
                        f"{path.parent}: another process works on this run; wait for its end or "
                        "stop it"
                    ) from None
                time.sleep(0.1)
        yield
