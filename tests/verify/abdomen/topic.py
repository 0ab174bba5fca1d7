"""500 digital patients of unseen scanners, read end to end: how far off, and beside what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from shared.findings.ct_estimates import CT_SPINE
from shared.regions import LUMBAR
from tests.learning.scores import draws, interval
from tests.verify.abdomen.arms import ALONE, ARMS, START
from tests.verify.abdomen.cast import BLOCK, SEEDS, UNSEEN, training_digest
from tests.verify.abdomen.errors import (
    LINE,
    PERSONS,
    Errors,
    Patient,
    agreement,
    by_seed,
    estimates,
    mean_of,
    shifts,
)
from tests.verify.abdomen.reading import read_block
from tests.verify.stored import ROOT, digest_of
from tests.verify.topic import Line, Planned, Runs, Topic, above_zero, at_least, at_most

#: Published end to end (design/clinical.md): error and correlation of a vertebra and a patient.
ERRORS: Final = {"vertebra": 0.079, "patient": 0.066}
CORRELATIONS: Final = {"vertebra": 0.852, "patient": 0.907}
KEPT_OF_POOLED: Final = 0.97
MIDDLE_ERROR_MM: Final = 3.0
SHIFTED_SHARE: Final = 0.01
#: What a figure is of, by what is asked.
UNITS: Final[Mapping[str, tuple[str, ...]]] = {"vertebra": LUMBAR, "patient": (CT_SPINE,)}


def plan() -> Iterator[Planned]:
    """A run a seed and block of test patients, the hospitals in turn."""
    for seed in SEEDS:
        for first in range(0, UNSEEN[0].patients, BLOCK):
            for party in UNSEEN:
                numbers = range(first, min(first + BLOCK, party.patients))
                told = digest_of([training_digest(seed), party.order.told, list(numbers)])
                key = f"seed-{seed}/{party.name}-{first:03d}"
                yield Planned(key, told, partial(read_block, party, seed, numbers))


def judge(runs: Runs) -> list[Line]:
    """Hold everything against what was published, and against what needs no network."""
    seeds = by_seed(runs)
    everyone = [one for some in seeds.values() for one in some]
    lines = []
    for of, limit in ERRORS.items():
        found = Errors(seeds, of, ["federated"]).error("federated")
        lines.append(
            Line(f"federated, MAE of a {of}, g/cm²", str(found), f"at most {limit}",
                 found.value <= limit)
        )  # fmt: skip
        r = float(np.mean([agreement(some, "federated", of)["r"] for some in seeds.values()]))
        lines.append(at_least(r, CORRELATIONS[of], f"federated, r of a {of}"))
        gain = Errors(seeds, of, ["federated", LINE]).gain("federated", LINE)
        lines.append(above_zero(gain, f"federated nearer than a line on HU, a {of}, g/cm²"))
        beside = Errors(seeds, of, ["federated", "pooled", "private", START])
        lines.append(
            at_least(beside.share("federated", "pooled").value, KEPT_OF_POOLED,
                     f"federated of pooled, error of a {of}")
        )  # fmt: skip
        lines.append(
            above_zero(
                beside.gain("private", START), f"private nearer than the start, a {of}, g/cm²"
            )
        )
    lines += _steps_before(everyone)
    return lines


def _steps_before(patients: Sequence[Patient]) -> Iterator[Line]:
    """Localisation and outlines, each alone."""
    errors = {arm: mean_of(patients, arm, "error_mm") for arm in ARMS}
    dices = {arm: mean_of(patients, arm, "dice") for arm in ARMS}
    middle = float(np.median(errors["federated"]))
    yield at_most(middle, MIDDLE_ERROR_MM, "federated, median error of the middles, mm", 2)
    for what, some in _kinds(patients).items():
        off, named, many = shifts(some, "federated")
        yield Line(
            f"federated, named levels shifted, {what}", f"{off} of {named} named, of {many}",
            f"at most {SHIFTED_SHARE:.0%}", off <= SHIFTED_SHARE * max(named, 1),
        )  # fmt: skip
    share = float(np.mean(errors["pooled"]) / np.mean(errors["federated"]))
    yield at_least(share, KEPT_OF_POOLED, "federated of pooled, error of the middles")
    share = float(np.mean(dices["federated"]) / np.mean(dices["pooled"]))
    yield at_least(share, KEPT_OF_POOLED, "federated of pooled, Dice")
    for what, values, sign in (("error of the middles, mm", errors, -1), ("Dice", dices, 1)):
        private, start = (np.array(values[arm]) for arm in ("private", START))
        gain = sign * (private - start)
        found = interval(float(gain.mean()), draws(len(gain)) @ gain / len(gain))
        yield above_zero(found, f"private better than the start, {what}")


def _kinds(patients: Sequence[Patient]) -> dict[str, list[Patient]]:
    kinds = {f"{many} lumbar vertebrae": [one for one in patients if one["lumbar"] == many]
             for many in (4, 5, 6)}  # fmt: skip
    return {what: some for what, some in kinds.items() if some}


def tables(runs: Runs) -> str:
    """What every way of training reaches, beside what needs no network."""
    seeds = by_seed(runs)
    everyone = [one for some in seeds.values() for one in some]
    head = (
        "| way of training | MAE of a vertebra | r | R² | MAE of a patient | r | R² | "
        "assessed | middles off, mm | shifted | Dice |\n|" + " --- |" * 11
    )
    rows = [head]
    for arm in (PERSONS, LINE, *ARMS):
        cells = [_named(arm)]
        for of in UNITS:
            found = agreement(everyone, arm, of)
            cells += [str(Errors(seeds, of, [arm]).error(arm)), f"{found['r']:.3f}",
                      f"{found['r2']:.3f}"]  # fmt: skip
        told = sum(bool(estimates(one, arm)) for one in everyone)
        cells.append(f"{told} of {len(everyone)}")
        if arm in ARMS:
            off, named, _ = shifts(everyone, arm)
            cells += [
                f"{np.median(mean_of(everyone, arm, 'error_mm')):.2f}", f"{off} of {named}",
                f"{np.mean(mean_of(everyone, arm, 'dice')):.3f}",
            ]  # fmt: skip
        else:
            cells += [""] * 3
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _named(arm: str) -> str:
    names = {
        PERSONS: "age, sex, height and weight alone", LINE: "a line on the true level's median HU",
        START: "public start", "private": "private, ε = 8 for the three",
    }  # fmt: skip
    kind, _, which = arm.partition("-")
    return f"{ALONE}, {which}" if kind == ALONE else names.get(arm, arm)


TOPIC: Final = Topic(
    "abdomen", "Bone density from an abdominal CT on 500 digital patients, end to end.",
    plan, judge, tables, ROOT / "docs" / "abdominal-ct.md",
)  # fmt: skip
