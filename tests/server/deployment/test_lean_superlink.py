"""Requests go past the layers of Flower's SuperLink that do nothing for them, and no others."""

from __future__ import annotations

import asyncio
import inspect
from types import SimpleNamespace
from typing import Any

import pytest

from server.deployment import lean_superlink
from server.deployment.lean_superlink import _past, is_control, is_logged, is_traced, layers


def request(path: str, plugin: object = None, kind: str = "http") -> dict[str, Any]:
    state = SimpleNamespace(fleet_event_log_plugin=plugin)
    return {"type": kind, "path": path, "app": SimpleNamespace(state=state)}


def way(concerns: Any, scope: dict[str, Any]) -> list[str]:
    """Which of the layer and what lies behind it a request came to."""
    came: list[str] = []

    async def whole(self: Any, scope: Any, receive: Any, send: Any) -> None:
        came.append("layer")

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        came.append("behind")

    call = _past(whole, concerns)
    asyncio.run(call(SimpleNamespace(app=behind), scope, None, None))
    return came


def test_accounts_and_licence_are_asked_for_every_control_request() -> None:
    assert way(is_control, request("/v1/control/start-run")) == ["layer"]
    assert way(is_control, request("/v1/fleet/pull-messages")) == ["behind"]
    assert way(is_control, request("/v1/control/start-run", kind="lifespan")) == ["layer"]
    assert way(is_control, request("/v1/fleet/pull-messages", kind="lifespan")) == ["layer"]


def test_a_log_and_tracing_are_written_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = "/v1/fleet/pull-messages"
    assert way(is_logged, request(fleet)) == ["behind"]
    assert way(is_logged, request(fleet, plugin=object())) == ["layer"]
    monkeypatch.delenv("FLWR_TRACING_ENABLED", raising=False)
    assert way(is_traced, request(fleet)) == ["behind"]
    monkeypatch.setenv("FLWR_TRACING_ENABLED", "1")
    assert way(is_traced, request(fleet)) == ["layer"]


def test_flower_has_these_layers_and_they_decide_as_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """An update of Flower that changes one of these: then look at its layer again."""
    found = {layer.__name__: layer for layer in layers()}
    for layer in found.values():
        monkeypatch.setattr(layer, "__call__", layer.__call__)
    assert lean_superlink.fit() == list(found)
    said = {name: inspect.getsource(layer.dispatch) for name, layer in found.items()}
    assert "_is_control_sensitive_route(request)" in said["ControlSensitiveResponseMiddleware"]
    from flwr.superlink.routers.control import middlewares as control

    assert all(path.startswith("/v1/control/") for _, path in control.CONTROL_SENSITIVE_ROUTE_KEYS)
    for name in ("Authentication", "License", "EventLog"):
        assert "not _is_control_path(request.url.path)" in said[f"Control{name}Middleware"]
    assert "plugin is None" in said["FleetEventLogMiddleware"]
    assert 'os.getenv("FLWR_TRACING_ENABLED") != "1"' in said["RuntimeTracingMiddleware"]
    # What tells who asks, reads the request and answers errors is not among them.
    assert not {"NodeAuthMiddleware", "ProtobufTranslationMiddleware"} & set(found)


def test_another_flower_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from flwr.superlink.routers.control import middlewares as control

    monkeypatch.delattr(control, "ControlLicenseMiddleware")
    assert lean_superlink.fit() == []
