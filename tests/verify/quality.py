"""Sensitivity and specificity of the quality flags on forty digital patients.

They are of another seed (202) than the thresholds were set on (101). A clean image counts
against a flag if it raises it; a patient who lies turned counts for rotation only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Final

from shared.phantom.anatomy.body import WRONG_ROTATION
from shared.quality import RAISED, strengths_of
from shared.records import Vendor, View
from tests.quality_cases import CLEAN, Case, cases
from tests.verify.stored import ROOT, digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most

#: Flags that count as having found what was planted. A field that lies wrong is one fault
#: with two names: how far it is off decides which.
FOUND_BY = {
    "motion": ("motion",),
    "metal:clip": ("metal",),
    "metal:cage": ("metal",),
    "cut_off": ("cut_off", "wrong_level"),
    "wrong_level": ("cut_off", "wrong_level"),
    "saturation": ("saturation",),
    "rotation": ("rotation",),
}
#: A line of the table: scanner, view, what was planted.
Key = tuple[str, View, str]


def rates(found: Iterable[Case]) -> dict[Key, tuple[int, int, int, int]]:
    """Count by scanner, view and fault: planted and found, clean and accused.

    Returns
    -------
    dict
        To (found, planted, accused, clean).
    """
    counts: dict[Key, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for case in found:
        strengths = strengths_of(case.shown, case.view, Vendor(case.scanner))
        turned = abs(case.rotation) > WRONG_ROTATION["spine_pa"]
        for fault, flags in FOUND_BY.items():
            known = [flag for flag in flags if flag in strengths]
            if not known:
                continue
            raised = any(strengths[flag] >= RAISED for flag in known)
            line = counts[case.scanner, case.view, fault]
            if fault == case.planted or (fault == "rotation" and turned):
                line[0] += raised
                line[1] += 1
            elif case.planted == CLEAN and not turned:
                line[2] += raised
                line[3] += 1
    return {key: (a, b, c, d) for key, (a, b, c, d) in counts.items() if b}


SEED: Final = 202
PATIENTS: Final = 40
#: Rendered in one run.
TOGETHER: Final = 4
#: Over all scanners, views and faults but the one that is known to be weak.
LEAST_FOUND, MOST_ACCUSED = 0.8, 0.05
WEAK: Final = "wrong_level"
#: What a line of the page is called.
FAULTS: Final = {
    "motion": "motion",
    "rotation": "rotation (over 8°)",
    "metal:clip": "metal: clips",
    "metal:cage": "metal: cage",
    "cut_off": "field cut off within L1 or L4",
    "wrong_level": "field one vertebra off",
    "saturation": "saturation",
}
VIEWS: Final = {
    "spine_pa": "PA spine",
    "hip_left": "hip",
    "hip_right": "hip",
    "spine_lateral": "lateral",
}


def plan() -> Iterator[Planned]:
    """A run a few patients."""
    for first in range(0, PATIENTS, TOGETHER):
        numbers = range(first, first + TOGETHER)
        key = f"patients-{first:02d}-{numbers[-1]:02d}"
        yield Planned(key, digest_of([SEED, list(numbers)]), partial(_count, numbers))


def _count(numbers: range, tell: Tell) -> list[list[Any]]:
    tell("rendering", 0.0)
    found = rates(cases(SEED, numbers))
    return [[scanner, view.value, fault, *line] for (scanner, view, fault), line in found.items()]


def _added(runs: Runs) -> dict[tuple[str, str, str], list[int]]:
    """Counts of all runs by scanner, view and fault."""
    total: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for run in runs.values():
        for scanner, view, fault, *line in run.figures:
            known = total[scanner, view, fault]
            total[scanner, view, fault] = [a + b for a, b in zip(known, line, strict=True)]
    return total


def judge(runs: Runs) -> list[Line]:
    """What was planted is found, and good images are left alone."""
    total = _added(runs)
    lines = [line for (_, _, fault), line in total.items() if fault != WEAK]
    found, planted = sum(line[0] for line in lines), sum(line[1] for line in lines)
    accused, clean = sum(line[2] for line in lines), sum(line[3] for line in lines)
    return [
        at_least(found / planted, LEAST_FOUND, f"found of {planted} faults"),
        at_most(accused / clean, MOST_ACCUSED, f"false alarms in {clean} good images"),
    ]


def tables(runs: Runs) -> str:
    """By view and fault, both scanners beside each other."""
    total: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for (scanner, view, fault), line in _added(runs).items():
        known = total[scanner, VIEWS[view], fault]
        total[scanner, VIEWS[view], fault] = [a + b for a, b in zip(known, line, strict=True)]
    scanners = ("lunar", "hologic")
    heads = " | ".join(f"{name.capitalize()}: found / false alarms" for name in scanners)
    rows = [f"| view | fault planted | {heads} |", "| --- | --- | --- | --- |"]
    for view, fault in dict.fromkeys(_in_order(total)):
        cells = []
        for name in scanners:
            found, planted, accused, clean = total[name, view, fault]
            cells.append(f"{found / planted:.0%} / {accused / max(clean, 1):.0%}")
        rows.append(f"| {view} | {FAULTS[fault]} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _in_order(found: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Views and faults as the page lists them."""
    views, faults = list(dict.fromkeys(VIEWS.values())), list(FAULTS)
    known = {(view, fault) for _, view, fault in found}
    return sorted(known, key=lambda pair: (views.index(pair[0]), faults.index(pair[1])))


TOPIC: Final = Topic(
    "quality", "Quality flags find what was planted in images, and leave good ones alone.",
    plan, judge, tables, ROOT / "docs" / "data-contract.md",
)  # fmt: skip
