"""Learning curves of the demo's runs, round by round, and the privacy they spent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.tasks.base import Headline

#: Colour-blind safe (Okabe and Ito), by place.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def draw_curves(
    private: dict[str, Any],
    plain: dict[str, Any],
    headlines: dict[str, Headline],
    path: Path,
) -> None:
    """Draw one panel per task (validation patients of the members) and one of ε.

    Parameters
    ----------
    private, plain : dict
        ``result.json`` of the two federated runs; `plain` may lack a task.
    headlines : dict
        The metric of each task, and what it is called.
    path : Path
        PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = len(headlines) + 1
    figure, axes = plt.subplots(1, panels, figsize=(4.2 * panels, 4.4))
    for axis, (task, headline) in zip(axes, headlines.items(), strict=False):
        metric, label = _shown(private["tasks"][task]["curve"], headline)
        _draw_task(axis, private["tasks"][task]["curve"], metric, private["sites"])
        if task in plain["tasks"]:
            points = [
                (p["after_round"], _value(p["pooled"], metric))
                for p in plain["tasks"][task]["curve"]
            ]
            axis.plot(*_known(points), color="0.5", linestyle="--", label="all, without privacy")
        axis.set_title(f"{task}\n{label}", fontsize=10)
        _finish(axis)
    _draw_epsilon(axes[-1], private)
    figure.suptitle(
        "Validation patients of the three hospitals, and the privacy spent", fontsize=11
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": ""})
    plt.close(figure)


def _finish(axis: Any) -> None:
    """Whole rounds along the axis, and the legend below it, where no curve can be."""
    axis.set_xlabel("round")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(fontsize=8, ncols=2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _shown(curve: list[dict[str, Any]], headline: Headline) -> tuple[str, str]:
    """Choose the metric to draw: the headline, or the loss where it never leaves a hospital."""
    released = any(_value(point["pooled"], headline.metric) is not None for point in curve)
    return (headline.metric, headline.words) if released else ("loss", "loss")


def _value(measured: dict[str, Any], metric: str) -> float | None:
    value = measured["loss"] if metric == "loss" else measured["metrics"].get(metric)
    return None if value is None else float(value)


def _known(points: list[tuple[int, float | None]]) -> tuple[list[int], list[float]]:
    kept = [(x, y) for x, y in points if y is not None]
    return [x for x, _ in kept], [y for _, y in kept]


def _draw_task(axis: Any, curve: list[dict[str, Any]], metric: str, sites: list[str]) -> None:
    for colour, site in zip(COLOURS, sorted(sites), strict=False):
        points = [
            (p["after_round"], _value(p["sites"][site], metric))
            for p in curve
            if site in p["sites"]
        ]
        x, y = _known(points)
        if x:
            axis.plot(x, y, color=colour, linewidth=1, marker=".", alpha=0.8, label=site)
    pooled = [(p["after_round"], _value(p["pooled"], metric)) for p in curve]
    axis.plot(*_known(pooled), color="black", linewidth=2, label="all, private")


def _draw_epsilon(axis: Any, private: dict[str, Any]) -> None:
    """Draw what each task's run has cost after each round, at the site where it cost most."""
    # Tasks that cost the same lie upon each other: the first is the widest.
    widths = range(2 * len(private["tasks"]) - 1, 0, -2)
    tasks = private["tasks"].items()
    for colour, width, (name, task) in zip(COLOURS, widths, tasks, strict=False):
        rounds = [r for r in task["rounds"] if r["epsilon"]]
        axis.plot(
            [0, *(r["round"] for r in rounds)],
            [0.0, *(max(r["epsilon"].values()) for r in rounds)],
            color=colour, linewidth=width, label=name,
        )  # fmt: skip
    deltas = {d for task in private["tasks"].values() for r in task["rounds"]
              for d in r.get("delta", {}).values()}  # fmt: skip
    at = f" at δ {max(deltas):g}" if deltas else ""
    axis.set_title(f"privacy spent by each task's run\nε{at} (largest of the sites)", fontsize=10)
    axis.set_ylim(bottom=0)
    _finish(axis)
