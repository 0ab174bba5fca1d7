"""A version's papers: its model card (JSON) and its curves (PNG)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.rounds.plan import PlannedTask, RunPlan
from server.state.result import CurvePoint, Measured, RoundFacts, last_said
from shared.phrases import DELTA_NOT_KEPT, at_delta
from shared.protocol.preparation import digests_of
from shared.runtime.files import write_text_atomically


def write_card(
    path: Path,
    plan: RunPlan,
    planned: PlannedTask,
    rounds: list[RoundFacts],
    curve: list[CurvePoint],
    facts: dict[str, Any],
) -> None:
    """Write where a version came from, and how it was trained.

    Parameters
    ----------
    path : Path
        The JSON file.
    plan, planned
        What was agreed.
    rounds, curve
        What happened.
    facts : dict
        Whatever else is known (digest, noise multiplier).
    """
    plain = {site: n for site, n in last_said(rounds, "plain_rounds").items() if n > 0}
    card = {
        "task": planned.name,
        "run": plan.run,
        "federation": plan.name,
        "sites": sorted({site for one in rounds for site in one.patients}),
        "rounds": len(rounds),
        "strategy": planned.strategy.model_dump(),
        "privacy": {
            "mode": plan.privacy.mode,
            "unit": "patient",
            "spent_by_site": _spent(rounds),
            "plain_rounds_by_site": plain,
            "delta_agreed": plan.privacy.delta,
            "not_covered": _not_covered(plain),
        },
        "validation": curve[-1].pooled.model_dump() if curve else None,
        "settings": planned.settings.model_dump(mode="json"),
        "intended_use": "research on federated learning; not a medical device",
        **_prepared(planned),
        **facts,
    }
    write_text_atomically(path, json.dumps(card, indent=2) + "\n")


def _spent(rounds: list[RoundFacts]) -> dict[str, dict[str, float | None]]:
    """What each site spent, as it last said: its epsilon, and beside it its own delta.

    The delta is None where an older build kept none.
    """
    return {
        site: {"epsilon": epsilon, "delta": one.delta.get(site)}
        for one in rounds
        for site, epsilon in one.epsilon.items()
    }


def _prepared(planned: PlannedTask) -> dict[str, Any]:
    """Name the versions that prepared the input, by task; nothing where there are none."""
    digests = digests_of(planned.prepared_with)
    return {"prepared_with": digests} if digests else {}


def _not_covered(plain: dict[str, int]) -> str:
    """Say what no epsilon covers; `plain` are rounds without privacy by site."""
    always = "sums of metrics and counts of patients"
    if not plain:
        return always
    named = ", ".join(f"{site} ({rounds})" for site, rounds in sorted(plain.items()))
    return f"{always}; no epsilon covers the sites that trained without privacy, rounds: {named}"


def draw_curves(
    path: Path, headline: str, rounds: list[RoundFacts], curve: list[CurvePoint]
) -> None:
    """Draw the headline metric over the rounds, and epsilon beside it.

    The loss stands in for a headline metric that hospitals do not release.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    after = [point.after_round for point in curve]
    if not any(headline in point.pooled.metrics for point in curve):
        headline = "loss"
    for site in sorted({site for point in curve for site in point.sites}):
        values = [
            _value(point.sites[site], headline) if site in point.sites else None for point in curve
        ]
        left.plot(after, [_number(v) for v in values], lw=1, alpha=0.6, label=site)
    pooled = [_number(_value(point.pooled, headline)) for point in curve]
    left.plot(after, pooled, "k-o", ms=3, label="all sites")
    left.set(xlabel="after round", title=f"{headline} on validation patients")
    left.legend(fontsize=7)
    for site in sorted({site for one in rounds for site in one.epsilon}):
        right.plot(
            [one.round for one in rounds],
            [_number(one.epsilon.get(site)) for one in rounds],
            "-o",
            ms=3,
            label=f"{site}, {_at(rounds, site)}",
        )
    private = any(one.epsilon for one in rounds)
    right.set(
        xlabel="round",
        title="epsilon of this run, by site" if private else "trained without privacy",
    )
    if private:
        right.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _at(rounds: list[RoundFacts], site: str) -> str:
    """Say at which delta the last epsilon of a site holds."""
    delta = _spent(rounds)[site]["delta"]
    return DELTA_NOT_KEPT if delta is None else at_delta(delta)


def _value(measured: Measured, metric: str) -> float | None:
    return measured.loss if metric == "loss" else measured.metrics.get(metric)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
