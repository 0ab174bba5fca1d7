"""Files that are there whole or not at all, and a lock that a killed process lets go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.errors import RunFailedError

#: The lock of a run, in its folder.
LOCK: Final = "lock"


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


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
