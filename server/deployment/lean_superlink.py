"""Flower's SuperLink, with steps left out of a request that do nothing for it.

``python -m server.deployment.lean_superlink`` takes the arguments of ``flower-superlink``. Each
request passes nine layers of Flower 1.41 (its middleware), and each layer costs two tasks and a
queue, half of what the SuperLink spends on a request. Six of them look at the request, find
that it is none of theirs, and hand it on. Here such a request goes past them
(docs/decisions/0009-waiting.md):

- four layers of ``/v1/control/`` (its accounts, licence, log, and caching), for any other path;
- the log of ``/v1/fleet/``, where no log was asked for;
- tracing, where it is not switched on.

What tells who asks (a node's key), reads a request and turns errors into answers stays as it
is. If Flower's own code is no longer what is expected, it is left as it is, and only slower.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Concerns = Callable[[Scope], bool]
CONTROL: Final = "/v1/control/"


def is_control(scope: Scope) -> bool:
    """Whether a request is routed to the interface that starts runs and admits nodes.

    The path that Flower routes by, not the address that the request claims to ask for.
    """
    return str(scope["path"]).startswith(CONTROL)


def is_logged(scope: Scope) -> bool:
    """Whether somebody wants a log of what nodes ask."""
    return getattr(scope["app"].state, "fleet_event_log_plugin", None) is not None


def is_traced(_: Scope) -> bool:
    """Whether tracing is switched on."""
    return os.environ.get("FLWR_TRACING_ENABLED") == "1"


def layers() -> dict[Any, Concerns]:
    """Give Flower's layers that hand most requests on, and which they do something for.

    Raises
    ------
    ImportError, AttributeError
        If this Flower has them elsewhere.
    """
    from flwr.supercore.routers.runtime.tracing import RuntimeTracingMiddleware
    from flwr.superlink.routers.control import middlewares as control
    from flwr.superlink.routers.fleet.middlewares import FleetEventLogMiddleware

    return {
        control.ControlSensitiveResponseMiddleware: is_control,
        control.ControlAuthenticationMiddleware: is_control,
        control.ControlLicenseMiddleware: is_control,
        control.ControlEventLogMiddleware: is_control,
        FleetEventLogMiddleware: is_logged,
        RuntimeTracingMiddleware: is_traced,
    }


def fit() -> list[str]:
    """Let requests go past the layers that do nothing for them.

    Returns
    -------
    list of str
        The layers' names; empty if this Flower has them elsewhere, and stays as it is.
    """
    try:
        found = layers()
    except (ImportError, AttributeError):
        return []
    for layer, concerns in found.items():
        layer.__call__ = _past(layer.__call__, concerns)
    return [layer.__name__ for layer in found]


def _past(whole: Callable[..., Awaitable[None]], concerns: Concerns) -> Callable[..., Any]:
    async def call(self: Any, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not concerns(scope):
            await self.app(scope, receive, send)
        else:
            await whole(self, scope, receive, send)

    return call


def main() -> None:
    """Start Flower's SuperLink."""
    # What it starts (a run's own program) finds its modules as if Flower had been started.
    os.environ.pop("PYTHONPATH", None)
    fit()
    from flwr.superlink.cli.flower_superlink import flower_superlink

    flower_superlink()


if __name__ == "__main__":
    main()
