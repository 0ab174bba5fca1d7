"""A line between a hospital and the coordinator that is good, or cuts connections, or is slow."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.suite.waiting import HANG_SECONDS

BLOCK = 4096
#: A connection that carried nothing for so long is idle.
IDLE_SECONDS = 0.3


@dataclass
class BadLine:
    """A TCP proxy on loopback.

    `cut_every`: each n-th connection is cut after `cut_after_bytes` from either side.
    `bytes_per_second`: what one direction of one connection carries (0: no limit).
    `life_seconds`: a connection is closed when it is older and idle, as firewalls do
    (0: never), so that there are many of them. All four may change while it runs: the next
    connections are as they say then, and a rate holds at once for those that there are.
    """

    host: str
    port: int
    cut_every: int = 0
    cut_after_bytes: int = 2000
    bytes_per_second: int = 0
    life_seconds: float = 0.0
    listen: int = 0
    connections: int = 0
    cuts: int = 0
    carried: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)

    async def _serve(self, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.listen = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await stop.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        cut = bool(self.cut_every) and self.connections % self.cut_every == 0
        try:
            far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        left = [self.cut_after_bytes if cut else -1]
        last = [time.monotonic()]
        ways = [
            asyncio.create_task(self._pump(reader, far_writer, left, last)),
            asyncio.create_task(self._pump(far_reader, writer, left, last)),
        ]
        ways.append(asyncio.create_task(self._grow_old(last)))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        if cut and left[0] <= 0:
            self.cuts += 1
        for end in (writer, far_writer):
            end.transport.abort() if cut else end.close()

    async def _grow_old(self, last: list[float]) -> None:
        born = time.monotonic()
        while not self.life_seconds or time.monotonic() < max(
            born + self.life_seconds, last[0] + IDLE_SECONDS
        ):
            await asyncio.sleep(0.05)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        left: list[int],
        last: list[float],
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(BLOCK):
                last[0] = time.monotonic()
                self.carried += len(data)
                if left[0] >= 0:
                    left[0] -= len(data)
                    if left[0] <= 0:
                        return
                writer.write(data)
                await writer.drain()
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)

    def run(self, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        """Serve until told to stop; for a thread."""
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(self._serve(stop))


@contextmanager
def line_to(host: str, port: int) -> Iterator[BadLine]:
    """Run a line to an address, good until it is told otherwise; its own port is `listen`."""
    line = BadLine(host, port)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=line.run, args=(stop, loop), daemon=True)
    thread.start()
    assert line._ready.wait(HANG_SECONDS)
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(HANG_SECONDS)
        loop.close()
