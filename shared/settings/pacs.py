"""``site.yaml``: where a hospital's studies come from."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.scan_types import ScanType, folded
from shared.settings.base import Count, Port, Positive, Settings
from shared.settings.patterns import ApplicationEntity, WebAddress


class TlsSettings(Settings):
    """Certificates of a connection; paths are relative to ``site.yaml``.

    `authority` is the certificate that the other side's must be signed by (None: the
    system's, which will not do for a side that listens); `certificate` and `key` are this
    side's own, where the PACS asks for them. The key is 0600.
    """

    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


class RetrySettings(Settings):
    """How long a PACS that does not answer is waited for, and how it is asked again.

    `timeout_seconds` is for a connection and an association, which take an archive no time.
    `patience_seconds` is for what it may have to load: the longest time in which nothing of
    a query or a study comes, and the longest after which either is asked for once more. The
    wait in between doubles from `first_wait_seconds` to `longest_wait_seconds`.
    """

    attempts: Count = 6
    first_wait_seconds: Positive = 1.0
    longest_wait_seconds: Positive = 60.0
    timeout_seconds: Positive = 60.0
    patience_seconds: Positive = 600.0


class DicomWebSettings(Settings):
    """A DICOMweb server (QIDO-RS and WADO-RS).

    `credentials` is a file of the hospital's own (0600) with one line, ``user:password`` or
    ``Bearer token``; it stands outside of ``site.yaml`` so that settings can be shown.
    Without TLS only a loopback address is taken, unless `insecure` says so on purpose.
    """

    url: WebAddress
    credentials: Path | None = None
    tls: TlsSettings = TlsSettings()
    insecure: bool = False


class PeerSettings(Settings):
    """A DIMSE peer that is queried (C-FIND), and gives by C-GET or by C-MOVE to `listen`.

    Without TLS only a loopback address is taken, unless `insecure` says so on purpose.
    """

    host: str
    port: Port = 104
    title: ApplicationEntity
    retrieve: Literal["get", "move"] = "get"
    tls: TlsSettings | None = None
    insecure: bool = False


class ListenSettings(Settings):
    """The node that takes what the PACS pushes (C-STORE).

    Only `senders` (their application entity titles) may send, and only what names this
    `title`. An empty list lets nobody in. A study is taken in when nothing of it came
    for `quiet_seconds`, one with CT slices when nothing came for `quiet_seconds_ct`: a scanner
    may send a series as it reconstructs it, with pauses of minutes. With TLS they also need a
    certificate signed by its `authority`; without, only a loopback address is listened on,
    unless `insecure` says so on purpose.
    """

    host: str = "127.0.0.1"
    port: Port = 11112
    title: ApplicationEntity = "OSTEOFED"
    senders: tuple[ApplicationEntity, ...] = ()
    quiet_seconds: Positive = 10.0
    quiet_seconds_ct: Positive = 180.0
    tls: TlsSettings | None = None
    insecure: bool = False


class PacsSettings(Settings):
    """Where studies come from, besides folders and ZIP archives."""

    web: DicomWebSettings | None = None
    peer: PeerSettings | None = None
    listen: ListenSettings = ListenSettings()
    retry: RetrySettings = RetrySettings()


class MakerSettings(Settings):
    """What is known of one maker's radiographs that their files say wrongly or not at all.

    `maker` is a part of (0008,0070), whatever its case. `inverted` says that bone is dark
    when the file is read as it says of itself.
    """

    maker: Annotated[str, Field(min_length=2, max_length=64)]
    inverted: bool = False


#: Numberings of vertebrae in masks; TotalSegmentator's changed with its version 2.
MaskScheme = Literal["verse", "totalsegmentator", "totalsegmentator_v1"]
#: As long as ProtocolName and SeriesDescription can be.
ScanName = Annotated[str, Field(min_length=1, max_length=64)]


class ReadingSettings(Settings):
    """How files are read where they say too little of themselves, or are known to be wrong.

    `mask_scheme` is the numbering of masks that name neither their levels nor a scheme, of those
    whose file's name fits `mask_files` (as ``*_seg.nii.gz``); without it such a number is no
    vertebra. `scan_names` says what scans of a name (ProtocolName, else SeriesDescription) show,
    before the shipped table is asked. Case, accents, width and punctuation do not count.
    """

    makers: tuple[MakerSettings, ...] = ()
    mask_scheme: MaskScheme | None = None
    mask_files: Annotated[str, Field(min_length=1, max_length=128)] = "*"
    scan_names: Mapping[Annotated[str, Field(max_length=64)], ScanType] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        """Refuse what is no name, and two spellings of one name that mean different scans."""
        meant: dict[str, tuple[str, ScanType]] = {}
        for name, scan in self.scan_names.items():
            if not folded(name):
                raise ValueError(
                    f"scan_names: {name!r} is no name (a letter or a digit was expected); what "
                    "has no name is told by its pixels or by `osteofed site decide`"
                )
            other, before = meant.setdefault(folded(name), (name, scan))
            if before is not scan:
                raise ValueError(
                    f"scan_names: {other!r} ({before.value}) and {name!r} ({scan.value}) are one "
                    "name, as case, accents and punctuation do not count; keep one of them"
                )
        return self

    def scheme_of(self, file_name: str) -> MaskScheme | None:
        """Return the numbering of a mask of this name, None if nobody said."""
        fits = fnmatchcase(file_name.lower(), self.mask_files.lower())
        return self.mask_scheme if fits else None

    def scan_named(self, name: str) -> ScanType | None:
        """Scan type that ``site.yaml`` gives a name, None if it does not name it."""
        sought = folded(name)
        return next((scan for one, scan in self.scan_names.items() if folded(one) == sought), None)

    def of_maker(self, name: str) -> MakerSettings | None:
        """Return the first settings whose maker is part of a name, None if there are none."""
        return next((one for one in self.makers if one.maker.lower() in name.lower()), None)
