"""Studies that a person left out: they stay in the store and nothing learns from them.

<site>/exclusions.json    {"studies": ["2.25.…", …]}, the replaced UIDs, 0600

`client.store.site_store.SiteStore.source` honours the list for every split, so that training,
measuring and what the site tells of its numbers leave them out alike. A list that cannot
be read stops all of these: guessing that it was empty would train on what was left out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from shared.errors import InputUnreadableError
from shared.runtime.files import OWNER_ONLY, write_text_atomically
from shared.settings.base import Settings

EXCLUSIONS: Final = "exclusions.json"

#: A UID as `shared.dicom.phi.deidentify.replaced_uid` makes it.
Uid = Annotated[str, Field(pattern=r"^[0-9.]{1,64}$")]


class Exclusions(Settings):
    """What the file holds."""

    studies: tuple[Uid, ...] = ()


def left_out(folder: Path) -> frozenset[str]:
    """Read which studies are left out; none if nobody ever left one out.

    Raises
    ------
    InputUnreadableError
        If the list is there and cannot be understood.
    """
    path = folder / EXCLUSIONS
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise InputUnreadableError(_unreadable(path, type(error).__name__)) from None
    try:
        return frozenset(Exclusions.model_validate_json(text).studies)
    except ValidationError:
        raise InputUnreadableError(_unreadable(path, "not a list of studies")) from None


def leave_out(folder: Path, study: str) -> int:
    """Leave a study out of everything that learns; return how many are left out now."""
    with alone_in(folder):
        return _write(folder, left_out(folder) | {study})


def take_back(folder: Path, study: str) -> int:
    """Use a study again; return how many are left out now."""
    with alone_in(folder):
        return _write(folder, left_out(folder) - {study})


def _write(folder: Path, studies: frozenset[str]) -> int:
    text = Exclusions(studies=tuple(sorted(studies))).model_dump_json(indent=2)
    write_text_atomically(folder / EXCLUSIONS, text + "\n", mode=OWNER_ONLY)
    return len(studies)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until nobody else changes a list of the site: read and write are one step."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unreadable(path: Path, why: str) -> str:
    return (
        f"{path}: the list of studies that were left out cannot be read ({why}); restore it "
        "from your backup, or remove it to use every study again"
    )
