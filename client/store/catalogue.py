"""The catalogue of a site's store: typed tables, nothing that identifies a patient.

Pseudonyms, replaced UIDs and keyed digests stand where identifiers were; file
names appear only as keyed digests, since names of files can be names of people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Engine,
    ForeignKey,
    String,
    create_engine,
    event,
    exists,
    inspect,
    text,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

#: "1" knew no volumes, quality or identifiers, "2" not how large volumes are and which levels
#: their masks have, "3" neither marks nor how images were turned, "4" neither how views were told,
#: of how many scans an image was chosen, the slices of volumes, nor whether all are there;
#: `client.store.site_store` brings such a store up.
SCHEMA: Final = "5"


class Base(DeclarativeBase):
    """Tables of the catalogue."""


class Property(Base):
    """Facts about the store itself: ``schema``, ``secret_check``, ``ledger_id``."""

    __tablename__ = "properties"
    key: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[str] = mapped_column(String(200))


class Patient(Base):
    """One patient. `split` is empty until the ingest that brought the patient ends."""

    __tablename__ = "patients"
    pseudonym: Mapped[str] = mapped_column(String(64), primary_key=True)
    split: Mapped[str | None] = mapped_column(String(10), index=True)


class Study(Base):
    """One study. `day` is moved by a secret amount, the same for all of a patient's studies.

    `visit` is the keyed digest of patient id and date, by which labels that come
    later find their study. A study without images (`has_images`) is a visit of which only
    labels came; its `maker` is the vendor that the table names, empty where the
    table names none and `vendor` follows from the patient's other studies.
    """

    __tablename__ = "studies"
    uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    patient: Mapped[str] = mapped_column(ForeignKey("patients.pseudonym"), index=True)
    vendor: Mapped[str] = mapped_column(String(16))
    visit: Mapped[str | None] = mapped_column(String(64), index=True)
    day: Mapped[int | None]
    sex: Mapped[str | None] = mapped_column(String(1))
    age_years: Mapped[float | None]
    height_cm: Mapped[float | None]
    weight_kg: Mapped[float | None]
    ethnic_group: Mapped[str | None] = mapped_column(String(64))
    maker: Mapped[str | None] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(64))
    #: How the study was de-identified: PS3.15 codes, comma-separated.
    method: Mapped[str | None] = mapped_column(String(120))


class Image(Base):
    """One projection of a study; its arrays lie beside the catalogue.

    `turned` says which of its array's axes are in the reverse order of its file's: ``rows``,
    ``columns``, both with a blank between them, or none; of an image that schema 3 stored it is
    unknown until its file is taken in again. `told` is how it was told what it shows
    (`shared.scan_types.ViewTold`). `scans` is how many scans of this view came with it, itself
    included, and `chosen` why it is used (`shared.dicom.repeats`), empty of a single one. All
    three are unknown of an image that schema 4 stored.
    """

    __tablename__ = "images"
    study: Mapped[str] = mapped_column(ForeignKey("studies.uid"), primary_key=True)
    view: Mapped[str] = mapped_column(String(32), primary_key=True)
    row_mm: Mapped[float]
    column_mm: Mapped[float]
    spacing_provenance: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    mask_digest: Mapped[str | None] = mapped_column(String(64))
    lossy: Mapped[bool | None]
    turned: Mapped[str | None] = mapped_column(String(16))
    scans: Mapped[int | None]
    chosen: Mapped[str | None] = mapped_column(String(80))
    told: Mapped[str | None] = mapped_column(String(12))


class Volume(Base):
    """One CT series of a study; its arrays lie beside the catalogue, named by `series`.

    `digest` is the keyed digest of the sorted digests of its slices. `rows` and `columns` are
    those of its array, `levels` the codes of its mask, separated by blanks and empty without a
    mask; of a volume that schema 2 stored they are unknown until a data contract is checked.

    `completeness` is ``whole``, ``incomplete`` or ``unknown``
    (`shared.dicom.ct.completeness`), `short` whether an archive gave fewer files of its study than
    it said, and `grid` how its slices lie as they came: direction cosines, spacing in mm, rows and
    columns. Of a volume that schema 4 stored all three are unknown until its files are taken in
    again.
    """

    __tablename__ = "volumes"
    study: Mapped[str] = mapped_column(ForeignKey("studies.uid"), primary_key=True)
    series: Mapped[str] = mapped_column(String(64), primary_key=True)
    slices: Mapped[int]
    slice_mm: Mapped[float]
    row_mm: Mapped[float]
    column_mm: Mapped[float]
    origin: Mapped[str] = mapped_column(String(80))
    kvp: Mapped[float | None]
    kernel: Mapped[str] = mapped_column(String(64))
    thickness_mm: Mapped[float | None]
    contrast: Mapped[bool | None]
    lossy: Mapped[bool | None]
    resampled: Mapped[str] = mapped_column(String(40))
    digest: Mapped[str] = mapped_column(String(64))
    mask_digest: Mapped[str | None] = mapped_column(String(64))
    rows: Mapped[int | None]
    columns: Mapped[int | None]
    levels: Mapped[str | None] = mapped_column(String(80))
    completeness: Mapped[str | None] = mapped_column(String(12))
    short: Mapped[bool | None]
    grid: Mapped[str | None] = mapped_column(String(240))


class Slice(Base):
    """One slice of a volume, so that more of the series can be told from other content.

    One that is not `kept` was seen and set aside: it belongs to the series, and shows that the
    volume is not whole. It may come before any other of its study.

    `digest` is the keyed digest of the content of its file, `frame` which frame of it, `x_mm`,
    `y_mm` and `z_mm` where it lies, in patient coordinates. `number`, `acquisition`, `said` and
    `apart_mm` are what its header says of the series
    (`shared.dicom.ct.completeness.SliceTold`).
    """

    __tablename__ = "slices"
    study: Mapped[str] = mapped_column(String(64), primary_key=True)
    series: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    frame: Mapped[int] = mapped_column(primary_key=True)
    kept: Mapped[bool]
    x_mm: Mapped[float]
    y_mm: Mapped[float]
    z_mm: Mapped[float]
    number: Mapped[int | None]
    acquisition: Mapped[int | None]
    said: Mapped[int | None]
    apart_mm: Mapped[float | None]


class Quality(Base):
    """One quality flag of an image: its name and how strong it is, 0 to 1.

    An image that was assessed and has no flag has one row with flag ``none``.
    """

    __tablename__ = "quality"
    study: Mapped[str] = mapped_column(ForeignKey("studies.uid"), primary_key=True)
    view: Mapped[str] = mapped_column(String(32), primary_key=True)
    flag: Mapped[str] = mapped_column(String(32), primary_key=True)
    strength: Mapped[float]
    code: Mapped[int | None]  # NHANES DXA invalidity code, where one fits


class Identifier(Base):
    """An identifier that was seen at ingest, as a keyed digest: what `audit phi` looks for.

    `length` and `words` say what to compare: so many characters, in so many words.
    """

    __tablename__ = "identifiers"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(24))
    length: Mapped[int]
    words: Mapped[int]


class Label(Base):
    """One label of a study: ``bmd`` in g/cm² on the vendor's scale, ``genant`` grade, ``class``.

    A ``class`` has the hospital's word for it as its name, and the value 1.

    A disputed label is one about which two sources differ; it is kept so that
    neither is believed later, and never given out.
    """

    __tablename__ = "labels"
    study: Mapped[str] = mapped_column(ForeignKey("studies.uid"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    name: Mapped[str] = mapped_column(String(24), primary_key=True)
    value: Mapped[float]
    disputed: Mapped[bool] = mapped_column(default=False)


class Marking(Base):
    """A mark on an image or a volume: kind ``box``, ``point`` or ``slice``, of a vertebra.

    `image` is the view or the series; `vertebra` is empty of a box of which nobody said which.
    `numbers` are those of `shared.dicom.labels.marks.Markable.place`, with blanks between them:
    pixels of the stored array, or the index of a slice in it. Disputed as a `Label` is.
    """

    __tablename__ = "markings"
    study: Mapped[str] = mapped_column(ForeignKey("studies.uid"), primary_key=True)
    image: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    vertebra: Mapped[str] = mapped_column(String(8), primary_key=True)
    numbers: Mapped[str] = mapped_column(String(80), primary_key=True)
    disputed: Mapped[bool] = mapped_column(default=False)


class SourceFile(Base):
    """How a file, or a row of a table that joined no study with images, ended when last seen."""

    __tablename__ = "files"
    name_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    content_digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str] = mapped_column(String(32))


class UndecidedScan(Base):
    """A scan that a person may decide about (`client.ingest.deciding`), or has decided about.

    By keyed digests of its content and of its kind. `scope` is what a decision is about: this
    ``scan`` alone, or its ``kind``. `reason` is why it was set aside, `now` how it ended when
    last seen. `name` is what it is called, empty where that could name a patient.
    """

    __tablename__ = "undecided"
    content: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64), index=True)
    scope: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(String(32))
    now: Mapped[str] = mapped_column(String(32))
    vendor: Mapped[str] = mapped_column(String(16))
    maker: Mapped[str] = mapped_column(String(64))
    model: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int]
    columns: Mapped[int]


def has_images() -> ColumnElement[bool]:
    """Condition on `Study`: that images or volumes of it are stored, not labels alone."""
    image, volume = exists().where(Image.study == Study.uid), Volume.study == Study.uid
    return image | exists().where(volume)


def open_catalogue(path: Path) -> Engine:
    """Open a catalogue (SQLite, write-ahead log, foreign keys enforced)."""
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    return engine


def bring_up(engine: Engine) -> None:
    """Give a catalogue of an older schema the tables and columns that are new.

    All that is new may be empty, so nothing that is there changes; a catalogue of this
    schema is only read.
    """
    with Session(engine) as session:
        known = session.get(Property, "schema")
        if known is not None and known.value == SCHEMA:
            return
    with engine.begin() as connection:
        # Whole or not at all, and by one process only: Python's SQLite begins nothing for DDL.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        Base.metadata.create_all(connection)
        for table in Base.metadata.sorted_tables:
            there = {column["name"] for column in inspect(connection).get_columns(table.name)}
            for column in table.columns:
                if column.name not in there:
                    kind = column.type.compile(engine.dialect)
                    connection.execute(
                        text(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")
                    )
        connection.execute(update(Property).where(Property.key == "schema").values(value=SCHEMA))
