"""Figures for Prometheus, on loopback only, made anew from what is written down at each look."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from shared.errors import OsteofedError, RuntimeUnavailableError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOOPBACK: Final = "127.0.0.1"


def gauge(name: str, what: str, value: float | None) -> Iterator[Metric]:
    """Give one figure; none where there is no value.

    Parameters
    ----------
    name : str
        With its unit, as Prometheus has it; ``osteofed_`` is put before it.
    what : str
        One sentence.
    value : float or None
        What it is now.
    """
    from prometheus_client.core import GaugeMetricFamily

    if value is not None:
        yield GaugeMetricFamily(f"osteofed_{name}", what, value=float(value))


def counter(name: str, what: str, value: float) -> Iterator[Metric]:
    """Give one figure that only grows; Prometheus adds ``_total`` to its name."""
    from prometheus_client.core import CounterMetricFamily

    yield CounterMetricFamily(f"osteofed_{name}", what, value=float(value))


def by_label(
    name: str, what: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]
) -> Iterator[Metric]:
    """Give one figure per combination of labels."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"osteofed_{name}", what, labels=labels)
    for key in sorted(values):
        family.add_metric(key, float(values[key]))
    yield family


@contextmanager
def serving_metrics(port: int | None, collect: Callable[[], Iterable[Metric]]) -> Iterator[None]:
    """Serve figures at ``http://127.0.0.1:PORT/metrics`` while the block runs.

    Parameters
    ----------
    port : int or None
        None: nothing is served.
    collect : callable
        Makes the figures, at each look; if it cannot, the answer says so by
        ``osteofed_readable 0``.

    Raises
    ------
    RuntimeUnavailableError
        If the port is taken.
    """
    if port is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(collect))
    try:
        server, thread = start_http_server(port, addr=LOOPBACK, registry=registry)
    except OSError as error:
        raise RuntimeUnavailableError(
            f"port {port} on {LOOPBACK} cannot serve metrics ({error.strerror}); name another "
            "with --metrics-port"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Collector:
    """What prometheus_client asks for figures."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        try:
            found = list(self._collect())
        except (OsteofedError, OSError, ValueError):
            yield from gauge("readable", "Whether the figures could be read.", 0)
            return
        yield from gauge("readable", "Whether the figures could be read.", 1)
        yield from found
