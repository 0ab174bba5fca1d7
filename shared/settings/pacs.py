"""``site.yaml``: where a hospital's studies come from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

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
    """How long a PACS that does not answer is asked again.

    The wait doubles from `first_wait_seconds` to `longest_wait_seconds`.
    """

    attempts: Count = 6
    first_wait_seconds: Positive = 1.0
    longest_wait_seconds: Positive = 60.0
    timeout_seconds: Positive = 60.0


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


class ReadingSettings(Settings):
    """How DICOM files are read where their own attributes are known to be wrong."""

    makers: tuple[MakerSettings, ...] = ()

    def of_maker(self, name: str) -> MakerSettings | None:
        """Return the first settings whose maker is part of a name, None if there are none."""
        return next((one for one in self.makers if one.maker.lower() in name.lower()), None)
