"""Folders that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def in_use(folder: Path) -> bool:
    """Say whether a path is taken: a file, or a folder that holds anything."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


@contextmanager
def appearing_whole(folder: Path, *, mode: int = 0o777) -> Iterator[Path]:
    """Fill a hidden folder beside the one that is wanted, and rename it at the end.

    Parameters
    ----------
    folder : Path
        The folder to make; it may exist if it is empty (see `in_use`).
    mode : int
        Its permissions, less the umask; 0o700 = nobody but the owner ever sees in.

    Yields
    ------
    Path
        Where to write. If the block fails or is interrupted, it is removed.
    """
    folder = folder.absolute()
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True, mode=mode)
        yield part
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
