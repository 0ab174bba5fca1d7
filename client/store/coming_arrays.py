"""Arrays of a volume that replaces a stored one, until the catalogue says that it does.

<site>/store/arrays/<study>/<series>.hu.npy.coming-<digest>

A volume that is new can be renamed into place before its row is written: no row names it. One
that replaces another cannot, or a crash in between would leave rows that say one thing and arrays
that hold another. So it waits beside the other under the digest of its row, and takes its place
once the row is committed: by whoever wrote it, or, after a crash, by who opens the store next.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.store.arrays import What, array_path, check_whole
from client.store.catalogue import Property, Volume

COMING: Final = ".coming-"
#: Property of a catalogue beside whose arrays some may wait.
FLAG: Final = "arrays_coming"
#: Hexadecimal digits of the row's digest that stand in a file's name.
DIGITS: Final = 16


def coming_path(arrays: Path, study: str, series: str, what: What, digest: str) -> Path:
    """Where an array waits until a volume's row has this digest."""
    path = array_path(arrays, study, series, what)
    return path.with_name(f"{path.name}{COMING}{digest[:DIGITS]}")


def expect_arrays(session: Session) -> None:
    """Say in the catalogue that arrays wait; committed with the rows that they are of."""
    statement = insert(Property).values(key=FLAG, value="1")
    session.execute(statement.on_conflict_do_nothing())


def settle_arrays(engine: Engine, arrays: Path, *, alone: bool) -> None:
    """Put arrays in place whose rows are committed.

    Parameters
    ----------
    engine : Engine
        The catalogue.
    arrays : Path
        The store's folder of arrays.
    alone : bool
        Whether nobody else writes the store meanwhile: then what waits for a row that was never
        committed is removed, too.

    Raises
    ------
    StoreMissingError
        If an array that waits is not whole: the disk lost it. What it should replace stays.
    """
    with Session(engine) as session:
        waits = session.get(Property, FLAG) is not None
        if not waits and not alone:
            return
        # An ingest that was killed before its commit left arrays and no flag.
        for path in sorted(arrays.glob(f"*/*{COMING}*")):
            name, _, digest = path.name.partition(COMING)
            series = name.rsplit(".", 2)[0]
            query = select(Volume.digest).where(
                Volume.study == path.parent.name, Volume.series == series
            )
            with suppress(FileNotFoundError):  # somebody else was quicker
                if (session.scalar(query) or "").startswith(digest):
                    if path.exists():
                        check_whole(path)  # never what is cut off over what was whole
                    path.replace(path.with_name(name))
                elif alone:
                    path.unlink()
        if waits and alone:
            session.execute(delete(Property).where(Property.key == FLAG))
            session.commit()
