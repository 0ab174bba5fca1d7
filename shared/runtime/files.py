"""Files that are there whole or not at all, and private ones that are never overwritten."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.errors import PlaceholderSecretError

#: What a new file may be read and written by, less the umask.
ANYBODY: Final = 0o666
OWNER_ONLY: Final = 0o600
OWNERS_FOLDER: Final = 0o700

#: What libraries say of a full disk, and what SQLite says when its side files have no room.
FULL: Final = ("disk is full", "No space left")
SQLITE_IN_NEED: Final = ("unable to open database file", "disk I/O error")
LEAST_ROOM_BYTES: Final = 1_000_000
#: Free space that nothing may use up which can come, or be made, again: the ledger and the audit
#: chain are on the same disk, and a site that cannot write them cannot train.
ROOM_TO_LEAVE: Final = 1024**3


@contextlib.contextmanager
def alone_with(lock: Path) -> Iterator[None]:
    """Wait until no other process holds a lock file, and hold it; it ends with the process."""
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, OWNER_ONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def appearing(path: Path, *, durably: bool = True, alone: bool = False) -> Iterator[Path]:
    """Give a name beside a file to write to; after the block the file is there, whole.

    Whoever reads, or a crash, sees what was there before or all of what is new. If the
    block raises, nothing of it is left.

    Parameters
    ----------
    path : Path
        The file; its folder is there.
    durably : bool
        Whether it outlives a failure of power. Without, only a killed process.
    alone : bool
        Whether no other process writes it meanwhile: then what a killed one left beside it is
        written over, and does not add up.
    """
    part = path.with_name(f"{path.name}.part" if alone else f"{path.name}.{os.getpid()}.part")
    try:
        yield part
        if durably:
            with part.open("rb") as file:
                os.fsync(file.fileno())
    except Exception:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)


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
    with appearing(path) as part:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


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


def settle(path: Path) -> None:
    """Make durable what a file holds, or the names in a folder after files were made or renamed."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_folder(path: Path) -> None:
    """Make a folder that only its owner may enter; one that is there becomes such.

    Raises
    ------
    PermissionError
        If it is there, others may enter it, and it is somebody else's.
    """
    path.mkdir(parents=True, exist_ok=True, mode=OWNERS_FOLDER)
    if path.stat().st_mode & 0o077:
        path.chmod(OWNERS_FOLDER)


def require_private(path: Path, what: str) -> None:
    """Do nothing if only its owner may use a file.

    Parameters
    ----------
    path : Path
        The file; it must exist.
    what : str
        What it holds, for the sentence: ``the signing key``.

    Raises
    ------
    PlaceholderSecretError
        If others may read or write it.
    OSError
        If it is not there.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise PlaceholderSecretError(
            f"{path}: mode {mode:04o} lets others read {what} (must be 0600; run "
            f"`chmod 600 {path}`)"
        )


def leaves_room(folder: Path, size: int) -> bool:
    """Say whether `ROOM_TO_LEAVE` is still free on a folder's disk with so many bytes more."""
    return shutil.disk_usage(folder).free >= size + ROOM_TO_LEAVE


def is_disk_full(error: BaseException | None, folder: Path) -> bool:
    """Tell whether an error, or one that it came from, is a full disk.

    Parameters
    ----------
    error : BaseException or None
        What was raised.
    folder : Path
        What was written to. SQLite says of a disk without room for its side files only
        that it cannot open the database; then the disk itself is asked.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        said = str(error)
        if any(words in said for words in FULL):
            return True
        if any(words in said for words in SQLITE_IN_NEED) and _room(folder) < LEAST_ROOM_BYTES:
            return True
        error = error.__cause__ or error.__context__
    return False


def _room(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return LEAST_ROOM_BYTES
