"""The watch folder: what is put there is taken as if it were sent, and removed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from shared.errors import InputUnreadableError

from .arrivals import Arrivals

#: A file that was written to so lately may not be whole.
SETTLED_SECONDS: Final = 2.0
#: What is no DICOM object is set aside here, beside what is watched.
REFUSED: Final = "refused"


def take_folder(
    folder: Path,
    arrivals: Arrivals,
    trouble: Callable[[str], None],
    settled_seconds: float = SETTLED_SECONDS,
) -> int:
    """Take every settled file of a folder, subfolders included; each is removed once it is safe.

    Parameters
    ----------
    folder : Path
        Watched; made if it is not there. What is no object moves into its folder ``refused``.
    arrivals : Arrivals
    trouble : callable
        Told, in a sentence without a name, what could not be taken.
    settled_seconds : float
        A file younger than this waits.

    Returns
    -------
    int
        How many files were taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / REFUSED
    before = time.time() - settled_seconds
    taken = 0
    for path in sorted(folder.rglob("*")):
        if aside in path.parents or path.is_symlink() or not path.is_file():
            continue
        try:
            if path.stat().st_mtime > before:
                continue
            arrivals.take_file(path)
            path.unlink()
            taken += 1
        except InputUnreadableError as error:
            aside.mkdir(exist_ok=True)
            path.replace(aside / f"{secrets.token_hex(4)}-{path.name}")
            trouble(f"the watch folder holds {error}; it was moved to its folder {REFUSED}")
        except OSError as error:
            trouble(f"a file of the watch folder waits: {error.strerror or error}")
    return taken
