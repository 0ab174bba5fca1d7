"""Serve the pages on this machine's loopback, and nowhere else."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from client.browse.app import link, make_app
from client.browse.gate import Keys
from client.store.site_store import SiteStore
from shared.errors import ConfigValueError, NotPermittedError

#: Not a setting: no address of this machine but this one is ever bound.
LOOPBACK: Final = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """Bind a socket to loopback; port 0 takes a free one.

    Raises
    ------
    ConfigValueError
        If another program has the port.
    NotPermittedError
        If this user may not have it.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
        found.listen(64)
    except PermissionError:
        found.close()
        raise NotPermittedError(
            f"--port {port}: this user may not listen on it; name one from 1024 on, or leave it out"
        ) from None
    except OSError as error:
        found.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigValueError(
            f"--port {port}: another program listens on it; name another, or leave it out and a "
            "free one is taken"
        ) from None
    return found


def browse(
    folder: Path, port: int, say: Callable[[str, str], None], tell: Callable[[str], None]
) -> None:
    """Serve a site's pages until interrupted.

    Parameters
    ----------
    folder : Path
        The site folder.
    port : int
        Port of loopback; 0 = a free one.
    say : callable
        Called once, when the pages can be reached, with the site's name and the link.
    tell : callable
        Called with a new link when the last one was used and somebody asks to be let in.

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError, PlaceholderSecretError
        See `SiteStore.open`.
    ConfigValueError, NotPermittedError
        See `listen`.
    """
    import uvicorn

    store = SiteStore.open(folder)
    try:
        with listen(port) as listening:
            port = listening.getsockname()[1]
            keys = Keys()

            class Server(uvicorn.Server):
                async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                    await super().startup(sockets)
                    say(store.config.site, link(port, keys.offer() or ""))

            server = Server(
                uvicorn.Config(
                    make_app(store, keys, port, tell),
                    loop="asyncio",
                    http="h11",
                    ws="none",
                    lifespan="off",
                    log_level="warning",
                    access_log=False,  # addresses hold the link's token
                    server_header=False,
                    proxy_headers=False,  # nobody stands between the browser and us
                )
            )
            server.run(sockets=[listening])
    finally:
        store.close()
