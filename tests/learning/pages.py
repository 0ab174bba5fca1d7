"""The tables of docs/benchmarks.md, made of stored runs."""

from __future__ import annotations

from collections.abc import Sequence

from tests.learning.stored import Run
from tests.learning.tables import cohort_table, fairness_table, headline_table, lateral_table


def tables_of(runs: Sequence[Run]) -> str:
    """Make the tables of all stored runs: one of every cohort, then each cohort's own."""
    cohorts: dict[str, list[Run]] = {}
    for run in runs:
        cohorts.setdefault(str(run.facts["cohort"]), []).append(run)
    parts = ["### In one table", headline_table(cohorts)]
    for name, some in cohorts.items():
        parts += [f"### {name}", _told(some), cohort_table(some), lateral_table(some)]
        parts += [fairness_table(some)]
    return "\n\n".join(part for part in parts if part)


def _told(runs: list[Run]) -> str:
    facts = runs[0].facts
    sizes = ", ".join(f"{name} {count}" for name, count in facts["hospitals"].items())
    return (
        f"Training patients: {sizes}. Measured on {len(runs[0].values)} patients of hospitals "
        f"that take no part. {facts['steps']} gradient steps in all for every way without "
        f"privacy, of which a hospital takes {facts['steps'] // len(facts['hospitals'])}."
    )
