"""``site.yaml``: what `osteofed serve` reads with, and whom it answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.settings.base import Count, Port, Positive, Settings
from shared.settings.pacs import TlsSettings

#: What a caller may be permitted.
Right = Literal["predict", "list", "watch"]
#: A name in a certificate: a subject alternative name of DNS, or the common name.
PeerName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]


def _is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class GrpcSettings(Settings):
    """The gRPC service (docs/grpc.md).

    `peers` says what the holder of a certificate may do, by the certificate's name. Callers need
    a certificate that `tls.authority` signed; without `tls` only a loopback address is served, to
    whoever is on this machine. Of studies that are being received, `receiving` times
    `study_megabytes` (10⁶ bytes) may lie on the disk at once, as long as that leaves its last
    GiB. `seconds` is the longest that one call may take, whatever deadline the caller set.
    """

    host: str = "127.0.0.1"
    port: Port = 50051
    tls: TlsSettings | None = None
    peers: Mapping[PeerName, tuple[Right, ...]] = Field(default_factory=dict)
    study_megabytes: Positive = 2000.0
    study_files: Count = 5000
    part_megabytes: Annotated[float, Field(gt=0, le=64)] = 4.0
    receiving: Count = 8
    watchers: Count = 16
    seconds: Positive = 600.0

    @model_validator(mode="after")
    def _known_callers(self) -> Self:
        """Refuse to answer whom nobody named."""
        if self.tls is None:
            if not _is_loopback(self.host):
                raise ValueError(
                    f"host {self.host or 'every address'} has no TLS (must have `tls` with "
                    "authority, certificate and key, or be this machine's own address)"
                )
            if self.peers:
                raise ValueError("peers are told by their certificates (must have `tls`)")
            return self
        if None in (self.tls.authority, self.tls.certificate, self.tls.key):
            raise ValueError(
                "tls must name authority, certificate and key: callers are told by certificates"
            )
        if not self.peers:
            raise ValueError("peers is empty (must name who may do what, by certificate)")
        return self


class ServeSettings(Settings):
    """What reads at the bedside.

    Versions come from `models` (a folder that the coordinator's export was put into) or from
    `registry`; relative paths are relative to ``site.yaml``. New champions are looked for every
    `follow_seconds`. `waiting` studies may wait to be read; one more is refused at once.
    """

    models: Path | None = None
    registry: str | None = None
    follow_seconds: Positive = 60.0
    waiting: Count = 16
    device: Literal["auto", "cpu", "cuda"] = "auto"
    grpc: GrpcSettings = GrpcSettings()
