"""The bedside node as one of the doors of a served site (`client.serving.doors`)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from pathlib import Path

from shared.inference.outputs import Kind
from shared.inference.runtime.runtime import InferenceRuntime
from shared.settings.files import SiteConfig

from .answering.reading import ChampionReader
from .serving import serving

log = logging.getLogger("osteofed.bedside")


class BedsideDoor:
    """The node, open from here on until it is stopped.

    Parameters
    ----------
    site_folder : Path
        The site.
    config : SiteConfig
        Its settings.
    runtime : InferenceRuntime
        Started, with a manner that keeps headers; it outlives the door.

    Raises
    ------
    ConfigError, InputMissingError, PlaceholderSecretError
        See `client.bedside.serving.serving`.
    """

    def __init__(self, site_folder: Path, config: SiteConfig, runtime: InferenceRuntime) -> None:
        reader = ChampionReader(runtime, tuple(Kind(one) for one in config.bedside.formats))
        listen = config.bedside.listen
        self.address = f"{listen.title} at {listen.host}:{listen.port}"
        self._open = ExitStack()
        self.node = self._open.enter_context(serving(site_folder, reader, log.warning))

    async def stop(self) -> None:
        """Take nothing more in; what is read now is finished, what waits goes on at a start."""
        await asyncio.to_thread(self._open.close)
