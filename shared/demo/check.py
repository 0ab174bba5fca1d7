"""Hold a finished demo against what it promises: ``python -m shared.demo.check runs/demo``.

Exit status 1 where a promise is broken, with every figure printed, so that a
change which makes the models worse does not land unseen.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.command_line import console
from shared.demo.settings import DemoPromise, DemoSettings, read_demo_settings
from shared.demo.summary import DemoSummary
from shared.phrases import at_delta
from shared.tasks import TASKS

MAXIMUM_RSS_MB = 6 * 1024.0
MAXIMUM_EPSILON = 8.0
#: Printed and judged by a person: a busy machine is no fault of the change.
ONLY_PRINTED = frozenset({"seconds"})


def promises(
    summary: DemoSummary, settings: DemoSettings, folder: Path
) -> list[tuple[str, float, str, float]]:
    """List (what, figure found, ``<=`` or ``>=``, bound)."""
    rows = [
        ("seconds", summary.seconds, "<=", settings.maximum_seconds),
        ("peak resident memory, MB", summary.peak_rss_mb, "<=", MAXIMUM_RSS_MB),
        *(_row(summary, promise) for promise in settings.promises),
    ]
    if settings.most_lost_by_joining is not None:
        rows += _joining(summary, -settings.most_lost_by_joining)
    for hospital in settings.hospitals:
        one = summary.hospitals[hospital.name]
        what = f"epsilon spent, {at_delta(one.delta)}, {hospital.name}"
        rows.append((what, one.epsilon_spent, "<=", MAXIMUM_EPSILON))
    for name in ("overview.html", "curves.png", summary.report):
        path = Path(name) if Path(name).is_absolute() else folder / name
        rows.append((f"bytes in {name}", float(path.stat().st_size), ">=", 1000.0))
    return rows


def _joining(summary: DemoSummary, at_least: float) -> Iterator[tuple[str, float, str, float]]:
    """What private training gained over the public weights, and the least that it may."""
    for name, compared in summary.comparison.items():
        headline = TASKS[name].headline
        gained = compared.federated_private - compared.pretrained
        gained = gained if headline.more_is_better else -gained
        yield f"{headline.words}: gained by joining under privacy", gained, ">=", at_least


def _row(summary: DemoSummary, promise: DemoPromise) -> tuple[str, float, str, float]:
    """What a promise is about, the figure found and its bound."""
    metrics = summary.tasks[promise.task].metrics["unseen"]
    found, headline = _figure(metrics, promise.metric), TASKS[promise.task].headline
    what = headline.words if promise.metric == headline.metric else promise.metric
    what = f"{promise.task}: {what}, unseen hospital"
    if promise.of is not None:
        found, what = found / _figure(metrics, promise.of), f"{what}, as a share of {promise.of}"
    if promise.at_most is not None:
        return what, found, "<=", promise.at_most
    return what, found, ">=", promise.at_least or 0.0


def _figure(metrics: Mapping[str, float | None], metric: str) -> float:
    """Give a metric; one that could not be computed is not a number, and breaks every bound."""
    value = metrics.get(metric)
    return math.nan if value is None else value


def check(folder: Path) -> bool:
    """Print every promise and whether it holds; return whether all do."""
    summary = DemoSummary.model_validate_json((folder / "summary.json").read_text(encoding="utf-8"))
    kept = True
    for what, found, relation, bound in promises(summary, read_demo_settings(folder), folder):
        holds = found <= bound if relation == "<=" else found >= bound
        told_only = what in ONLY_PRINTED
        kept &= holds or told_only
        mark = "ok " if holds else "..." if told_only else "NOT"
        why = "" if holds or not told_only else "; of this machine, so it is not judged"
        console().print(f"{mark}  {what}: {found:.4g} ({relation} {bound:g}{why})")
    return kept


if __name__ == "__main__":
    sys.exit(0 if check(Path(sys.argv[1])) else 1)
