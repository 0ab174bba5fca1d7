"""Whether a site can be served: its versions, certificates, address and disk, without serving."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from client.serving.served_site import ServedSite
from shared.errors import ConfigError, OsteofedError
from shared.inference.runtime.runtime import InferenceRuntime
from shared.runtime.files import ROOM_TO_LEAVE
from shared.settings.files import resolve

#: A certificate that ends sooner is named.
SOON: Final = timedelta(days=30)
MEGABYTE: Final = 10**6


@dataclass(frozen=True)
class CheckedThing:
    """One thing that was looked at: whether it is good, and in words what was found."""

    what: str
    good: bool
    words: str


def check_site(site: ServedSite) -> list[CheckedThing]:
    """Look at everything that serving needs; one bad thing hides no other."""
    checks: tuple[tuple[str, Callable[[ServedSite], Iterator[str]]], ...] = (
        ("versions", _versions),
        ("certificates", _certificates),
        ("address", _address),
        ("disk", _disk),
    )
    return [_checked(what, check, site) for what, check in checks]


def _checked(
    what: str, check: Callable[[ServedSite], Iterator[str]], site: ServedSite
) -> CheckedThing:
    try:
        return CheckedThing(what, True, "; ".join(check(site)))
    except OsteofedError as error:
        return CheckedThing(what, False, str(error))


def _versions(site: ServedSite) -> Iterator[str]:
    """Verify and try every champion."""
    runtime: InferenceRuntime = site.runtime()
    try:
        runtime.start()
        for one in runtime.current.facts():
            yield f"{one.task} {one.version} ({one.digest[:12]}), verified and tried"
        for task in runtime.current.missing:
            yield f"{task}: no version"
    finally:
        runtime.close()


def _certificates(site: ServedSite) -> Iterator[str]:
    """Look at the files of the TLS, and how long the certificates hold."""
    from cryptography import x509

    from shared.inference.service.rights import server_credentials

    settings = site.settings.grpc
    server_credentials(settings, site.folder)
    if settings.tls is None:
        yield f"none; {settings.host} is this machine's own"
        return
    for path in (settings.tls.certificate, settings.tls.authority):
        where = resolve(site.folder, path or Path())
        try:
            ends = x509.load_pem_x509_certificate(where.read_bytes()).not_valid_after_utc
        except ValueError:
            raise ConfigError(f"{where}: is no PEM certificate (serve.grpc.tls names it)") from None
        left = ends - datetime.now(UTC)
        if left < timedelta():
            raise ConfigError(f"{where}: ended on {ends:%Y-%m-%d}; get a new certificate")
        soon = " (soon: get a new one)" if left < SOON else ""
        yield f"{where.name} holds until {ends:%Y-%m-%d}{soon}"
    yield from (f"{name} may {', '.join(may)}" for name, may in settings.peers.items())


def _address(site: ServedSite) -> Iterator[str]:
    """Whether the port can be had."""
    settings = site.settings.grpc
    try:
        family, *_, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, socket.SOCK_STREAM) as asked:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            asked.bind(address)
    except OSError as error:
        raise ConfigError(
            f"serve.grpc: {settings.host}:{settings.port} cannot be listened on "
            f"({error.strerror}); is it served already, or is the port another program's?"
        ) from None
    yield f"{settings.host}:{settings.port} is free"


def _disk(site: ServedSite) -> Iterator[str]:
    """Whether the studies that may come in at once have room where they are put."""
    settings = site.settings
    most = (settings.grpc.receiving + settings.waiting) * settings.grpc.study_megabytes
    free = (shutil.disk_usage(site.folder).free - ROOM_TO_LEAVE) / MEGABYTE
    if free < settings.grpc.study_megabytes:
        raise ConfigError(
            f"{site.folder}: {max(free, 0):,.0f} MB are free for studies, besides the GiB that is "
            f"left to the ledger (one study may have {settings.grpc.study_megabytes:,.0f}); make "
            "room"
        )
    yield (
        f"{free:,.0f} MB are free in {site.folder}; {most:,.0f} would be needed if every study "
        "that may be there were as large as one may be"
    )
