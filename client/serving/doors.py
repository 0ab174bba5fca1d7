"""The doors that a served site opens over its one runtime: the gRPC service, the bedside node.

Another way in is one more door in `open_doors`; it is given the site and its runtime, and hands
studies to `InferenceRuntime.submit`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from client.serving.served_site import INCOMING, ROOM, ServedSite
from shared.inference.runtime.runtime import InferenceRuntime


class Door(Protocol):
    """Something that takes studies in until it is stopped."""

    async def stop(self) -> None:
        """Take nothing more in, and finish what was."""
        ...


@dataclass(frozen=True)
class OpenDoor:
    """A door with where it is, for people and programs."""

    name: str
    address: str
    door: Door


async def open_doors(site: ServedSite, runtime: InferenceRuntime) -> list[OpenDoor]:
    """Open every door of a site, the first first; the bedside node where anybody may send.

    Raises
    ------
    ConfigError, ConfigValueError, InputMissingError, PlaceholderSecretError
        If one cannot be opened; those before it are closed again.
    """
    from shared.inference.service.rights import server_credentials
    from shared.inference.service.server import start_service

    settings = site.settings.grpc
    credentials = server_credentials(settings, site.folder)
    incoming = site.folder / ROOM / INCOMING
    service = await start_service(runtime, settings, credentials, incoming)
    doors = [OpenDoor("grpc", f"{settings.host}:{service.port}", service)]
    if site.config.bedside.listen.senders:
        from client.bedside.door import BedsideDoor

        try:
            bedside = BedsideDoor(site.folder, site.config, runtime)
        except BaseException:
            await service.stop()
            raise
        doors.append(OpenDoor("dicom", bedside.address, bedside))
    return doors


def serve(site: ServedSite, say: Callable[[Mapping[str, str], InferenceRuntime], None]) -> None:
    """Serve a site until SIGINT or SIGTERM; studies that are being read are finished.

    Parameters
    ----------
    site : ServedSite
        What is served.
    say : callable
        Called once, when every door is open, with their addresses by name, and the runtime.

    Raises
    ------
    OsteofedError
        See `InferenceRuntime.start` and `open_doors`.
    """
    runtime = site.runtime()
    runtime.start(site.settings.follow_seconds)
    try:
        asyncio.run(_until_stopped(site, runtime, say))
    finally:
        runtime.close()


async def _until_stopped(
    site: ServedSite,
    runtime: InferenceRuntime,
    say: Callable[[Mapping[str, str], InferenceRuntime], None],
) -> None:
    doors = await open_doors(site, runtime)
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        say({one.name: one.address for one in doors}, runtime)
        await stopped.wait()
    finally:
        for one in reversed(doors):
            await one.door.stop()
