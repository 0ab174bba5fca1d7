"""The ledger's file: its tables and its identity; SQLite that survives a power cut."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from shared.errors import StoreMissingError

#: How long one process waits for another that writes, seconds.
PATIENCE_SECONDS: Final = 60
#: What a ledger and its store know each other by.
IDENTITY_BYTES: Final = 16

METADATA = sa.MetaData()
PROPERTIES = sa.Table(
    "properties",
    METADATA,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
MECHANISMS = sa.Table(
    "mechanisms",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String, nullable=False),
    sa.Column("round", sa.Integer, nullable=False),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("cohort", sa.String, nullable=False),
    sa.Column("model_digest", sa.String, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, default=1),
    sa.Column("mode", sa.String, nullable=False),  # private | plain
    sa.Column("state", sa.String, nullable=False),  # reserved | committed
    sa.Column("repeatable", sa.Boolean, nullable=False),
    sa.Column("sample_rate", sa.Float, nullable=False),
    sa.Column("noise_multiplier", sa.Float, nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("reserved_at", sa.String, nullable=False),
    sa.Column("committed_at", sa.String, nullable=True),
    sa.UniqueConstraint("run", "round", "task", "cohort", "model_digest", "attempt"),
)

#: What the noise of a reserved round needs besides the site's secret; gone once it is committed.
NOISE_KEYS = sa.Table(
    "noise_keys",
    METADATA,
    sa.Column("entry", sa.Integer, primary_key=True),
    sa.Column("key", sa.LargeBinary, nullable=False),
)

#: What one step costs by the ledger's rule, where that takes time to compute
#: (`client.privacy.privacy_filter`).
PRICES = sa.Table(
    "prices",
    METADATA,
    sa.Column("sample_rate", sa.Float, primary_key=True),
    sa.Column("noise_multiplier", sa.Float, primary_key=True),
    sa.Column("price", sa.Float, nullable=False),
)

#: Models measured on the validation patients, which no epsilon covers.
EVALUATIONS = sa.Table(
    "evaluations",
    METADATA,
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("task", sa.String, primary_key=True),
    sa.Column("models", sa.Integer, nullable=False),
)
#: One line per model measured; the coordinator's names of runs do not divide them.
MEASURED = sa.Table(
    "measured",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),  # seconds since 1970, UTC
)


def make_ledger(path: Path) -> str:
    """Make an empty ledger, mode 0600.

    Parameters
    ----------
    path : Path
        The SQLite file; it must not exist, its folder must.

    Returns
    -------
    str
        Its identity, which the store must keep (see `open_own_ledger`).

    Raises
    ------
    FileExistsError
        If there is one: a ledger is never begun anew.
    """
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    identity = secrets.token_hex(IDENTITY_BYTES)
    engine = open_ledger_file(path)
    with writing(engine) as connection:
        METADATA.create_all(connection, checkfirst=False)
        connection.execute(PROPERTIES.insert().values(key="ledger_id", value=identity))
    engine.dispose()
    return identity


def open_ledger_file(path: Path) -> sa.Engine:
    """Open the file; every change is on the disk before it counts as made."""
    engine = sa.create_engine(
        f"sqlite:///{path}",
        poolclass=sa.pool.NullPool,
        connect_args={"timeout": PATIENCE_SECONDS, "isolation_level": None},
    )
    sa.event.listen(engine, "connect", _make_durable)
    return engine


def open_own_ledger(path: Path, identity: str) -> sa.Engine:
    """Open the ledger that was made with a store.

    It is never made anew, since an empty ledger says that nothing was spent.

    Parameters
    ----------
    path : Path
        The SQLite file that `make_ledger` made.
    identity : str
        What `make_ledger` returned.

    Raises
    ------
    StoreMissingError
        If the file is missing, damaged or another store's ledger.
    """
    if not path.is_file():
        raise StoreMissingError(
            f"{path}: the privacy ledger of the site is missing; restore it from your "
            "backup (site.yaml: ledger), for without it nobody knows what was spent"
        )
    engine = open_ledger_file(path)
    if _identity_of(engine) != identity:
        engine.dispose()
        raise StoreMissingError(
            f"{path}: is not the privacy ledger of this store (site.yaml: ledger); restore "
            "the one that was made with it from your backup"
        )
    return engine


def _identity_of(engine: sa.Engine) -> str:
    """Read a ledger's identity; empty if the file is no ledger."""
    query = sa.select(PROPERTIES.c.value).where(PROPERTIES.c.key == "ledger_id")
    try:
        with engine.connect() as connection:
            return str(connection.scalar(query) or "")
    except (sa.exc.DatabaseError, sqlite3.DatabaseError) as error:
        if "locked" in str(error):
            raise
        return ""


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a transaction that excludes other writers from its first statement on."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def _make_durable(connection: Any, _: object) -> None:
    """A committed line survives a power cut (WAL, synchronous FULL); a deleted one does not."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")


def empty_log(engine: sa.Engine) -> None:
    """Empty the log beside the file, in which erased lines still stand.

    Where another process reads at this moment it stays until the next time.
    """
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
