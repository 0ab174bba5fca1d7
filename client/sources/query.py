"""Which studies are wanted, and what a PACS said it has."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from typing import Any, Final

from pydicom.dataset import Dataset

from shared.errors import ConfigValueError, SourceRefusedError
from shared.phrases import counted

#: Attributes of a study that every query asks for, by keyword.
STUDY_FIELDS: Final = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyDescription",
    "ModalitiesInStudy",
    "NumberOfStudyRelatedInstances",
)
#: Attributes of a series that may hold the name of a scan.
SERIES_FIELDS: Final = ("SeriesDescription", "ProtocolName")
#: The most answers to one query; a year of a large hospital is less.
MOST_STUDIES: Final = 100_000
#: Characters of a text that are kept; a description has 64 (PS3.5, 6.2, LO).
LONGEST_TEXT: Final = 1000


@dataclass(frozen=True)
class Wanted:
    """A query. Whatever is None or empty does not restrict it.

    Attributes
    ----------
    since, until : date or None
        First and last day of the study, both included.
    modalities : tuple of str
        A study with any of them, as (0008,0060) names them.
    description : str
        Words in the description of the study, of one of its series or in the protocol's
        name, case ignored; ``*`` stands for anything.
    """

    since: date | None = None
    until: date | None = None
    modalities: tuple[str, ...] = ()
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse a range that no day is in."""
        if self.since is not None and self.until is not None and self.since > self.until:
            raise ConfigValueError(
                f"--from {self.since} is after --to {self.until} "
                "(must be the same day or an earlier one)"
            )

    @property
    def restricts(self) -> bool:
        """Whether it asks for less than everything."""
        return self != Wanted()

    @property
    def study_date(self) -> str:
        """Range as DICOM writes it (PS3.4, C.2.2.2.5), empty for any day."""
        if self.since is None and self.until is None:
            return ""
        ends = ("" if day is None else f"{day:%Y%m%d}" for day in (self.since, self.until))
        return "-".join(ends)

    def describes(self, texts: Iterable[str]) -> bool:
        """Whether one of a study's descriptions holds the words that are wanted."""
        pattern = f"*{self.description.strip().lower()}*"
        return any(fnmatchcase(text.lower(), pattern) for text in texts)

    def may_be(self, found: FoundStudy) -> bool:
        """Whether a study is in the range and of a modality, as far as the PACS says.

        Servers may ignore what they do not support in a query, so it is looked at again.
        """
        if found.day and not (
            (self.since is None or found.day >= f"{self.since:%Y%m%d}")
            and (self.until is None or found.day <= f"{self.until:%Y%m%d}")
        ):
            return False
        return not (self.modalities and found.modalities) or bool(
            set(self.modalities) & set(found.modalities)
        )


@dataclass(frozen=True)
class FoundStudy:
    """A study that a PACS has. It identifies: it is never shown and never kept.

    `instances` is None if the PACS does not say; `day` is ``YYYYMMDD`` or empty.
    """

    study_uid: str
    instances: int | None
    day: str = ""
    modalities: tuple[str, ...] = ()
    description: str = ""

    def __repr__(self) -> str:
        """Hide everything, so that no log or traceback shows a study."""
        return "Found(***)"


def count_of(value: Any) -> int | None:
    """Read a number of instances; None if there is none that can be."""
    try:
        number = int(str(value))
    except ValueError:
        return None
    return number if number > 0 else None


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5, 9.1); what a PACS says goes into addresses."""
    return bool(re.fullmatch(r"[0-9][0-9.]{0,63}", text))


def identifier_of(level: str, fields: Iterable[str], study_uid: str = "") -> Dataset:
    """Make what a C-FIND, C-GET or C-MOVE asks for (PS3.4, C.4).

    Parameters
    ----------
    level : str
        ``STUDY`` or ``SERIES``.
    fields : iterable of str
        Keywords of what is to be told.
    study_uid : str
        Of the one study that is meant; empty for any.
    """
    query = Dataset()
    query.QueryRetrieveLevel = level
    for field in fields:
        setattr(query, field, None if field.startswith("Number") else "")
    if study_uid:
        query.StudyInstanceUID = study_uid
    return query


def clipped(text: str) -> str:
    """Cut off what no description has."""
    return text[:LONGEST_TEXT]


def too_many(name: str) -> SourceRefusedError:
    """Make the error of a source that finds without end."""
    return SourceRefusedError(
        f"{name}: answers a query with more than {counted(MOST_STUDIES, 'study', 'studies')} "
        "(ask for fewer at once with --from, --to or --modality; if there are not so many, it "
        "answers without end)"
    )
