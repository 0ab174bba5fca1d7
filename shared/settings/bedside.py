"""``site.yaml``, bedside: the node that answers what a scanner or the PACS sends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.records import View
from shared.settings.base import Count, Port, Positive, Settings
from shared.settings.pacs import DicomWebSettings, ListenSettings, PeerSettings
from shared.settings.patterns import ApplicationEntity, SiteName

#: A part of a maker's or a model's name, whatever its case.
PartOfName = Annotated[str, Field(max_length=64)]


#: What can be sent back: a segmentation, a structured report, a secondary capture with the
#: outlines, the report as an encapsulated PDF.
AnswerFormat = Literal["seg", "sr", "sc", "pdf"]


class ExpectedViews(Settings):
    """Views without which a DXA study of a scanner is not complete.

    `maker` and `model` are parts of (0008,0070) and (0008,1090); an empty one fits any.
    """

    maker: PartOfName = ""
    model: PartOfName = ""
    views: Annotated[tuple[View, ...], Field(min_length=1)]

    def fits(self, maker: str, model: str) -> bool:
        """Whether a scanner is meant."""
        return self.maker.lower() in maker.lower() and self.model.lower() in model.lower()


class DestinationSettings(Settings):
    """Where results are sent: a DIMSE peer (C-STORE) or a DICOMweb server (STOW-RS), one of them.

    `name` is what the work list calls it.
    """

    name: SiteName
    peer: PeerSettings | None = None
    web: DicomWebSettings | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.peer is None) == (self.web is None):
            raise ValueError(f"{self.name} must have either `peer` or `web`, and not both")
        return self


class BedsideListen(ListenSettings):
    """The bedside node's own address, title and senders; otherwise as `pacs.listen`."""

    port: Port = 11113
    title: ApplicationEntity = "OSTEOFEDREAD"


class BedsideSettings(Settings):
    """The node that answers studies.

    `expected` says which views a scanner's DXA study has; without a line for it such a study is
    complete after quiet time. `ask_archive` asks `pacs.peer` how many instances a study has and
    whose it is, when it seems complete and again before a result is sent. `patience_seconds` is
    how long a study waits where the archive or the scanner says that more is to come.
    `associations` may be open at once, one study may have `most_study_bytes`. Results, in
    `formats`, go to each of `send_to`. What was answered or refused keeps its files and
    its identity for `retention_days`. `watch` is a folder whose files are taken as if they were
    sent. `database` is an address of SQLAlchemy; without it the work list is an SQLite file of
    the site's.
    """

    listen: BedsideListen = BedsideListen()
    expected: tuple[ExpectedViews, ...] = ()
    ask_archive: bool = False
    patience_seconds: Positive = 600.0
    associations: Count = 10
    most_study_bytes: Count = 4 * 1024**3
    formats: Annotated[tuple[AnswerFormat, ...], Field(min_length=1)] = ("seg", "sr", "sc", "pdf")
    send_to: tuple[DestinationSettings, ...] = ()
    retention_days: Positive = 7.0
    watch: Path | None = None
    database: str = ""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [one.name for one in self.send_to]
        if len(set(names)) < len(names):
            raise ValueError("send_to names a destination twice (each needs a name of its own)")
        return self

    def expected_of(self, maker: str, model: str) -> frozenset[View]:
        """Views that a scanner's study has; empty if nobody said."""
        fitting = (one.views for one in self.expected if one.fits(maker, model))
        return frozenset(next(fitting, ()))
