"""Flower's SuperNode, with three fixed waits replaced to suit a hospital's node.

``python -m client.node.supernode`` takes the arguments of ``flower-supernode``. Flower 1.41
has no settings for what is changed here (docs/decisions/0009-waiting.md):

- A node asks for messages every 3 seconds, always. Here it asks twice a second after it has
  answered one, and more and more rarely the longer it is given none, down to every 3 seconds
  after a minute: who has waited long may well wait a twentieth of that longer.
- A node that was killed counts as there for a minute (two heartbeats of 30 seconds), and
  is not let in again before. Here a heartbeat is 10 seconds, the shortest that the
  SuperLink takes.
- A node whose predecessor was started and has ended on this machine (its number is in
  OSTEOFED_LAST_NODE) takes leave for it first, and is let in at once. A copy of the site
  elsewhere knows no predecessor and stays out while this one lives.

Besides, it touches a file (OSTEOFED_REACHED) each time the coordinator answered it, so that
`site status` can tell a node that is connected from one that only was.

Everything is put in place before Flower starts; if Flower's own code is no longer what
is expected, it is left as it is, and only the waits are longer.
"""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

#: Flower's pause between two questions for messages, which is told from other pauses by it.
FLOWERS_PAUSE_SECONDS: Final = 3.0
BUSY_PAUSE_SECONDS: Final = 0.5
#: The pause in parts of the time since the node last had work.
PAUSE_SHARE: Final = 0.05
#: Flower's shortest (HEARTBEAT_MIN_INTERVAL); it is late after two.
HEARTBEAT_SECONDS: Final = 10
LAST_NODE: Final = "OSTEOFED_LAST_NODE"
REACHED: Final = "OSTEOFED_REACHED"


class Clock:
    """The module `time`, with a shorter pause while a node has something to do."""

    def __init__(self) -> None:
        self.worked_at: float | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        """Pause: the one between two questions for messages is shorter soon after work."""
        if seconds == FLOWERS_PAUSE_SECONDS and self.worked_at is not None:
            wanted = PAUSE_SHARE * (time.monotonic() - self.worked_at)
            seconds = min(max(wanted, BUSY_PAUSE_SECONDS), seconds)
        time.sleep(seconds)

    def note_work(self) -> None:
        """Note that a message came, or was answered."""
        self.worked_at = time.monotonic()


def fit(loop: ModuleType, connection: ModuleType, heartbeat: ModuleType) -> Clock:
    """Put the waits in place.

    Parameters
    ----------
    loop, connection, heartbeat : module
        Flower's ``supernode.start_client_internal``, ``supernode.fleet_http_connection``
        and ``supercore.heartbeat``.

    Returns
    -------
    Clock
        What the loop now pauses by.
    """
    clock = Clock()
    loop.time = clock  # type: ignore[attr-defined]
    connect = loop.http_request_response
    last = os.environ.get(LAST_NODE, "")

    @contextmanager
    def connected(*arguments: Any) -> Iterator[tuple[Any, ...]]:
        if last.isdigit():
            take_leave(connection, int(last), *arguments)
        opened: AbstractContextManager[tuple[Any, ...]] = connect(*arguments)
        with opened as (node, receive, *others):
            yield (node, _noting(receive, clock), *others)

    loop.http_request_response = connected  # type: ignore[attr-defined]
    for module in (connection, heartbeat):
        vars(module)["HEARTBEAT_DEFAULT_INTERVAL"] = HEARTBEAT_SECONDS
    return clock


def note_answers(connection: ModuleType, reached: Path) -> None:
    """Touch a file each time that the coordinator has answered a request of the node.

    Parameters
    ----------
    connection : module
        Flower's ``supernode.fleet_http_connection``.
    reached : Path
        The file; it is made by the first answer.
    """

    class Noting(connection.FleetHttpClient):  # type: ignore[name-defined]
        def _unary_unary(self, *arguments: Any, **named: Any) -> Any:
            answer = super()._unary_unary(*arguments, **named)
            with suppress(OSError):  # a full disk must not cost the connection
                reached.touch()
            return answer

    vars(connection)["FleetHttpClient"] = Noting


def _noting(receive: Callable[[], Any], clock: Clock) -> Callable[[], Any]:
    """Ask for a message; note when there was one, and when it is answered.

    The node asks for the next one only when the one before is answered.
    """
    had = False

    def noting() -> Any:
        nonlocal had
        had, before = False, had  # asking may fail, and is then no work
        if before:
            clock.note_work()
        found = receive()
        had = found is not None
        if had:
            clock.note_work()
        return found

    return noting


def take_leave(
    connection: ModuleType,
    node: int,
    address: str,
    insecure: bool,
    root_certificates: bytes | str | None = None,
    authentication_keys: tuple[Any, Any] | None = None,
    *_: Any,
) -> bool:
    """Tell the SuperLink that a node of ours is gone; whatever goes wrong is no matter.

    Parameters
    ----------
    connection : module
        Flower's ``supernode.fleet_http_connection``.
    node : int
        Its number.
    address, insecure, root_certificates, authentication_keys
        As Flower's connection has them.

    Returns
    -------
    bool
        Whether it was told. If not, the SuperLink finds out by itself, by heartbeats.
    """
    if authentication_keys is None:
        return False
    try:
        with connection.FleetHttpClient.from_server_address(
            address,
            insecure,
            root_certificates,
            interceptors=[
                connection.RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                connection.NodeAuthHttpInterceptor(*authentication_keys),
            ],
        ) as client:
            client.DeactivateNode(connection.DeactivateNodeRequest(node_id=node))
    except Exception:  # a node that is not there, a SuperLink that is away
        return False
    return True


def main() -> None:
    """Start Flower's SuperNode."""
    from flwr.supercore import heartbeat
    from flwr.supernode import fleet_http_connection, start_client_internal
    from flwr.supernode.cli.flower_supernode import flower_supernode

    fit(start_client_internal, fleet_http_connection, heartbeat)
    if reached := os.environ.get(REACHED):
        note_answers(fleet_http_connection, Path(reached))
    flower_supernode()


if __name__ == "__main__":
    main()
