"""The pages of the benchmark, made of stored runs alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tests.learning.scores import Figure, Scored, score
from tests.learning.stored import Run

#: Groups of fewer patients are not shown: their figure would be noise.
SMALLEST_GROUP: Final = 10
TITLES: Final = {
    "dxa-segmentation": "Dice",
    "xray-vertebrae": "Dice",
    "dxa-bmd": "1 − MAE/σ, mean of three regions",
    "vfa-fracture": "2·AUC − 1, grade 2 and more, per vertebra",
}
#: Metrics of the lateral view in DXA segmentation.
LATERAL: Final = {
    "dice_lateral": "lateral: vertebral bodies with their right names",
    "dice_lateral_any": "whatever their names",
}
ORDER: Final = (
    "persons",
    "pretrained",
    "alone",
    "long",
    "without",
    "pooled",
    "federated",
    "private",
)
#: One hospital by itself: left out where ways are compared by group.
SINGLE: Final = ("alone", "long")
#: The private run of the table of headlines.
PRIVATE: Final = "private-8"


def by_arm(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs of one cohort by way of training, in the order of a table."""
    found: dict[str, list[Run]] = {}
    for run in sorted(
        runs, key=lambda run: (_place(run), str(run.facts["arm"]), run.facts["seed"])
    ):
        found.setdefault(str(run.facts["arm"]), []).append(run)
    return found


def _place(run: Run) -> int:
    return ORDER.index(_kind(str(run.facts["arm"])))


def _kind(arm: str) -> str:
    return arm.partition("-")[0]


def cohort_table(runs: Sequence[Run]) -> str:
    """Table of one cohort: every way of training against pooled, federated and the start."""
    scored = {arm: Scored(some) for arm, some in by_arm(runs).items()}
    some = next(iter(scored.values()))
    lines = [
        f"| way of training | seeds | {TITLES[some.task.name]} | by seed "
        "| of pooled | of federated | above the start |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm, one in scored.items():
        against = [
            str(one.over(scored[other])) if other in scored and other != arm else ""
            for other in ("pooled", "federated")
        ]
        start = scored.get("pretrained")
        above = str(one.above(start)) if start is not None and arm != "pretrained" else ""
        seeds = ", ".join(f"{value:.3f}" for value in one.of_seed)
        cells = [arm, str(len(one.runs)), str(one.figure), seeds, *against, above]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def headline_table(cohorts: Mapping[str, Sequence[Run]]) -> str:
    """Table of every cohort: what decides whether a hospital joins, in one row."""
    lines = [
        "| cohort | seeds | federated | of pooled | above the best hospital alone "
        "| private, ε = 8 | of federated | above the start |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in cohorts.items():
        scored = {arm: Scored(some) for arm, some in by_arm(runs).items()}
        if "federated" not in scored:
            continue
        federated, private = scored["federated"], scored.get(PRIVATE)
        alone = [one for arm, one in scored.items() if _kind(arm) == "alone"]
        best = max(alone, key=lambda one: one.value, default=None)
        cells = [
            name,
            str(len(federated.runs)),
            str(federated.figure),
            _against(federated.over, scored.get("pooled")),
            _against(federated.above, best),
            "" if private is None else str(private.figure),
            "" if private is None else str(private.over(federated)),
            "" if private is None else _against(private.above, scored.get("pretrained")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def lateral_table(runs: Sequence[Run]) -> str:
    """Table of the lateral view, which the Dice of DXA segmentation leaves out; else empty."""
    if runs[0].facts["task"] != "dxa-segmentation":
        return ""
    heads, columns = [], []
    for metric, title in LATERAL.items():
        heads += [title, "of federated", "above the start"]
        columns.append({arm: Scored(some, metric) for arm, some in by_arm(runs).items()})
    lines = [
        f"| way of training | seeds | {' | '.join(heads)} |",
        "| --- |" + " --- |" * (len(heads) + 1),
    ]
    for arm, some in columns[0].items():
        cells = [arm, str(len(some.runs))]
        for scored in columns:
            one, federated, start = scored[arm], scored.get("federated"), scored.get("pretrained")
            cells.append(str(one.figure))
            cells.append("" if arm == "federated" else _against(one.over, federated))
            cells.append("" if arm == "pretrained" else _against(one.above, start))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _against(compare: Callable[[Scored], Figure], other: Scored | None) -> str:
    return "" if other is None else str(compare(other))


def fairness_table(runs: Sequence[Run]) -> str:
    """Table of the score by group of patients, and the worst group; empty without groups."""
    arms = {arm: some for arm, some in by_arm(runs).items() if _kind(arm) not in SINGLE}
    groups = _groups(runs[0])
    if not groups:
        return ""
    task = Scored(runs[:1]).task
    names = [f"{kind} {group}" for kind, group in groups]
    counts = [sum(one.get(kind) == group for one in runs[0].groups) for kind, group in groups]
    heads = " | ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True))
    lines = [f"| way of training | {heads} | worst |", "| --- |" + " --- |" * (len(names) + 1)]
    for arm, some in arms.items():
        values = [
            float(np.mean([score(task, run.sums(_members(run, kind, group))) for run in some]))
            for kind, group in groups
        ]
        worst = int(np.nanargmin(values))
        shown = " | ".join("" if np.isnan(value) else f"{value:.3f}" for value in values)
        lines.append(f"| {arm} | {shown} | {names[worst]} |")
    return "\n".join(lines)


def _groups(run: Run) -> list[tuple[str, str]]:
    """Kinds and groups with patients enough, sorted."""
    pairs = sorted({pair for one in run.groups for pair in one.items()})
    return [
        (kind, group)
        for kind, group in pairs
        if sum(one.get(kind) == group for one in run.groups) >= SMALLEST_GROUP
    ]


def _members(run: Run, kind: str, group: str) -> NDArray[np.float64]:
    return np.array([float(one.get(kind) == group) for one in run.groups])
