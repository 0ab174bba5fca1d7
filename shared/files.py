"""Files that are there whole or not at all, and private ones that are never overwritten."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: What a new file may be read and written by, less the umask.
ANYBODY: Final = 0o666
OWNER_ONLY: Final = 0o600


def write_text_atomically(path: Path, text: str, *, mode: int = ANYBODY) -> None:
    """Write a text file so that a reader, or a crash, never sees half of it.

    Parameters
    ----------
    path : Path
        The file; its folder is made if it is not there.
    text : str
        What it will hold.
    mode : int
        Its permissions, less the umask.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def make_private_file(path: Path, content: bytes) -> None:
    """Make a file that only its owner may read, durably.

    Raises
    ------
    FileExistsError
        If there is one: what it holds (a key, a secret) is never overwritten.
    """
    # Mode and exclusiveness in one call: at no moment can somebody else read it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
