"""docs/benchmarks.md, made anew from stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.learning.stored import Run, stored_runs
from tests.learning.tables import cohort_table, fairness_table, headline_table, lateral_table

BEGIN: Final = "<!-- tables: made by `python -m tests.benchmarks.learning --tables` -->"
END: Final = "<!-- end of tables -->"


def write_page(runs: Path, page: Path) -> Path:
    """Replace what lies between the two marks of a page by the tables of all stored runs."""
    cohorts: dict[str, list[Run]] = {}
    for run in stored_runs(runs):
        cohorts.setdefault(str(run.facts["cohort"]), []).append(run)
    parts = ["### In one table", headline_table(cohorts)]
    for name, some in cohorts.items():
        parts += [f"### {name}", _told(some), cohort_table(some), lateral_table(some)]
        parts += [fairness_table(some)]
    text = page.read_text(encoding="utf-8") if page.exists() else f"{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = "\n\n".join(part for part in parts if part)
    temporary = page.with_name(page.name + ".part")
    temporary.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{after}", encoding="utf-8")
    temporary.replace(page)
    return page


def _told(runs: list[Run]) -> str:
    facts = runs[0].facts
    sizes = ", ".join(f"{name} {count}" for name, count in facts["hospitals"].items())
    return (
        f"Training patients: {sizes}. Measured on {len(runs[0].values)} patients of hospitals "
        f"that take no part. {facts['steps']} gradient steps in all for every way without "
        f"privacy, of which a hospital takes {facts['steps'] // len(facts['hospitals'])}."
    )
