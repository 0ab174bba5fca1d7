"""The tables of the work list. They hold identities: an SQLite file is its owner's alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Engine,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
    create_engine,
    event,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shared.errors import ConfigValueError
from shared.runtime.files import OWNER_ONLY

#: Length of a UID (PS3.5, 6.2) and of a digest.
UID: Final = String(64)
#: Execution option of a connection that will write.
WRITES: Final = "osteofed_writes"


class WorkBase(DeclarativeBase):
    """Tables of the work list."""


class WorkStudy(WorkBase):
    """One study.

    `name` is that of its folder, a keyed digest that says nothing. `state` is a `StudyState`,
    `reason` says why it was refused or held, or what it waits for. `generation` counts what came
    of it, `revision` its answers. `told` is the archive's number of instances. Times are seconds
    since 1970. `forgotten` studies have neither identity nor files.
    """

    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(UID, unique=True)
    uid: Mapped[str] = mapped_column(UID, index=True)
    patient_id: Mapped[str] = mapped_column(Text, index=True)
    issuer: Mapped[str] = mapped_column(Text)
    patient_name: Mapped[str] = mapped_column(Text)
    birth_date: Mapped[str] = mapped_column(Text)
    sex: Mapped[str] = mapped_column(Text)
    accession: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(String(16), index=True)
    reason: Mapped[str] = mapped_column(Text, default="")
    first_heard: Mapped[float]
    last_heard: Mapped[float]
    since: Mapped[float]
    next_try: Mapped[float] = mapped_column(default=0.0)
    attempts: Mapped[int] = mapped_column(default=0)
    generation: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(default=0)
    told: Mapped[int | None]
    released: Mapped[bool] = mapped_column(default=False)
    confirmed: Mapped[bool] = mapped_column(default=False)
    forgotten: Mapped[bool] = mapped_column(default=False)


class WorkInstance(WorkBase):
    """One instance that came. `kind` is empty for one that no rule wants, and `reason` says why.

    Its file, of a wanted one, is named after `digest`. `view` is that of a projection,
    `acquisition` and `said` are what a slice tells of its series.
    """

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("study", "sop_uid"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    sop_uid: Mapped[str] = mapped_column(UID)
    series_uid: Mapped[str] = mapped_column(UID)
    digest: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(40), default="")
    view: Mapped[str] = mapped_column(String(32), default="")
    acquisition: Mapped[int | None]
    said: Mapped[int | None]
    maker: Mapped[str] = mapped_column(Text, default="")
    model: Mapped[str] = mapped_column(Text, default="")


class WorkResult(WorkBase):
    """One object of an answer. Its file lies in the study's folder of results."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    revision: Mapped[int]
    sop_uid: Mapped[str] = mapped_column(UID, unique=True)
    sop_class_uid: Mapped[str] = mapped_column(UID)
    series_uid: Mapped[str] = mapped_column(UID)
    kind: Mapped[str] = mapped_column(String(16))
    part: Mapped[str] = mapped_column(UID)
    file: Mapped[str] = mapped_column(String(120))


class WorkSending(WorkBase):
    """One result on its way to one destination. `state` is a `SendingState`."""

    __tablename__ = "sendings"
    __table_args__ = (UniqueConstraint("result", "destination"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    result: Mapped[int] = mapped_column(ForeignKey("results.id"), index=True)
    destination: Mapped[str] = mapped_column(String(40), index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    next_try: Mapped[float] = mapped_column(default=0.0)
    said: Mapped[str] = mapped_column(Text, default="")
    when: Mapped[float] = mapped_column(default=0.0)


class WorkLook(WorkBase):
    """Who looked at the list, or changed it, and when; never removed by the node."""

    __tablename__ = "looks"
    id: Mapped[int] = mapped_column(primary_key=True)
    when: Mapped[float]
    who: Mapped[str] = mapped_column(String(80))
    what: Mapped[str] = mapped_column(String(200))


def open_work_database(folder: Path, url: str = "") -> Engine:
    """Open the work list's database, and make its tables if they are not there.

    Parameters
    ----------
    folder : Path
        Of the bedside node; it exists and is its owner's alone.
    url : str
        Of SQLAlchemy; empty = ``worklist.sqlite`` in `folder`.

    Raises
    ------
    ConfigValueError
        If there is no such kind of database, or its driver is not installed.
    """
    path = folder / "worklist.sqlite"
    if not url:
        # Made before SQLite does, which would let the umask decide; its side files take its mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
    try:
        address = make_url(url or f"sqlite:///{path}")
        engine = create_engine(address)
    except (ArgumentError, ImportError) as error:
        raise ConfigValueError(
            "site.yaml: bedside.database: no database that can be opened (must be an address of "
            "SQLAlchemy such as postgresql+psycopg://user@host/name with its driver installed, "
            f"or be left out for an SQLite file): {type(error).__name__}"
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _durable)
        event.listen(engine, "begin", _begin)
    WorkBase.metadata.create_all(engine)
    return engine


def _durable(connection: Any, record: Any) -> None:
    """Make each commit outlive a cut of the power, and what is deleted gone from the file."""
    connection.isolation_level = None  # our own BEGIN, not the driver's late one
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000",
        "secure_delete=ON",
    ):  # fmt: skip
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Any) -> None:
    """Who will write takes the lock at once: two that read and then write would deadlock."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
