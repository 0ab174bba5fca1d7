"""A version's papers: its model card (JSON) and its curves (PNG)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from server.files import write_text_atomically
from server.plan import PlannedTask, RunPlan
from server.result import CurvePoint, RoundFacts


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
    last = rounds[-1]
    card = {
        "task": planned.name,
        "run": plan.run,
        "federation": plan.name,
        "sites": sorted(last.patients),
        "rounds": len(rounds),
        "strategy": planned.strategy.model_dump(),
        "privacy": {
            "mode": plan.privacy.mode,
            "unit": "patient",
            "epsilon_by_site": last.epsilon,
            "delta_agreed": plan.privacy.delta,
            "not_covered": "sums of metrics and rounded counts of patients",
        },
        "validation": curve[-1].pooled.model_dump() if curve else None,
        "settings": planned.settings.model_dump(mode="json"),
        "intended_use": "research on federated learning; not a medical device",
        **facts,
    }
    write_text_atomically(path, json.dumps(card, indent=2) + "\n")


def draw_curves(
    path: Path, headline: str, rounds: list[RoundFacts], curve: list[CurvePoint]
) -> None:
    """Draw the headline metric and the loss over the rounds, and epsilon beside them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    after = [point.after_round for point in curve]
    for site in sorted({site for point in curve for site in point.sites}):
        values = [
            point.sites[site].metrics.get(headline) if site in point.sites else None
            for point in curve
        ]
        left.plot(after, [_number(v) for v in values], lw=1, alpha=0.6, label=site)
    pooled = [_number(point.pooled.metrics.get(headline)) for point in curve]
    left.plot(after, pooled, "k-o", ms=3, label="all sites")
    left.set(xlabel="after round", title=f"{headline} on validation patients")
    left.legend(fontsize=7)
    for site in sorted({site for one in rounds for site in one.epsilon}):
        right.plot(
            [one.round for one in rounds],
            [_number(one.epsilon.get(site)) for one in rounds],
            "-o",
            ms=3,
            label=site,
        )
    private = any(one.epsilon for one in rounds)
    right.set(xlabel="round", title="epsilon of this run" if private else "trained without privacy")
    if private:
        right.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
