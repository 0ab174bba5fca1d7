"""What an attacker who sees everything learns of one patient: never more than the ledger counts.

The worst patient, whose gradient is a hundred times as long as the clip and is the only one
there is, takes part or does not; the attacker sees what each step released and guesses by their
sum. How often it is right gives a lower bound of epsilon (Jagielski, Ullman and Oprea 2020:
the log of the rate of right guesses, less delta, over that of wrong ones, both at the ends of
their Clopper-Pearson intervals). Half of the seeds choose where to cut, the others measure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from scipy.stats import beta

from shared.training.accounting import Mechanism, epsilon
from shared.training.batches import RoundKey, poisson_draw
from shared.training.whole_sum import ClippingGrid, WholeSum
from tests.verify.stored import digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most

SEEDS: Final = range(1, 21)
DELTA: Final = 1e-4
CLIP: Final = 0.8
#: Of each side of an interval; a false alarm in twenty thousand audits.
TAIL: Final = 2.5e-5
#: Where an attacker may cut, in clips of the sum of all steps.
CUTS: Final = tuple(round(-2.0 + 0.25 * n, 2) for n in range(41))


@dataclass(frozen=True)
class Audit:
    """A mechanism, and how often it is run in a seed, with the patient and without.

    `least_share` is what the attack must find of what is accounted: one that finds nothing
    would always be content. Where patients are drawn, most releases hold nothing of the
    patient, and the accountant's bound is looser.
    """

    mechanism: Mechanism
    trials: int
    least_share: float


AUDITS: Final = {
    "everybody, one step": Audit(Mechanism(1.0, 1.0, 1), 3000, 0.3),
    "everybody, four steps": Audit(Mechanism(1.0, 2.0, 4), 1500, 0.3),
    "one in four, four steps": Audit(Mechanism(0.25, 0.7, 4), 1500, 0.1),
}


def plan() -> Iterator[Planned]:
    """A run a seed."""
    told = [[vars(one.mechanism), one.trials] for one in AUDITS.values()]
    for seed in SEEDS:
        digest = digest_of([seed, told, CLIP, CUTS, "whole numbers"])
        yield Planned(f"seed-{seed:02d}", digest, partial(attack, seed))


def attack(seed: int, tell: Tell) -> dict[str, Any]:
    """Count, for every cut, in how many trials the sum lay above it, with and without."""
    found: dict[str, Any] = {}
    for place, (name, audit) in enumerate(AUDITS.items()):
        tell(name, place / len(AUDITS))
        counts = {}
        for present in (True, False):
            sums = [
                released(audit.mechanism, RoundKey(seed, f"{present}-{n}", 1, name), present)
                for n in range(audit.trials)
            ]
            counts["with" if present else "without"] = above(sums)
        found[name] = counts | {"trials": audit.trials}
    return found


def above(sums: Sequence[float]) -> list[int]:
    """Count the sums above every cut."""
    return [int(one) for one in (np.array(sums)[:, None] > np.array(CUTS)[None, :]).sum(axis=0)]


def released(mechanism: Mechanism, key: RoundKey, present: bool) -> float:
    """Sum, in clips, of what the steps of one round release on one weight."""
    grid = ClippingGrid.of(CLIP, mechanism.noise_multiplier)
    canary = torch.full((1,), 100.0 * CLIP, dtype=torch.float64)
    stream = key.stream("noise")
    seen = 0.0
    for step in range(mechanism.steps):
        total = WholeSum(grid, 1)
        if present and poisson_draw(["canary"], mechanism.sample_rate, key, step):
            total.add(canary)
        seen += float(total.release(stream))
    return seen / CLIP


def judge(runs: Runs) -> list[Line]:
    """Hold what the attacker learns against what the accountant says."""
    seeds = [run.figures for run in runs.values()]
    lines = []
    for name, audit in AUDITS.items():
        chosen = max(range(len(CUTS)), key=lambda cut: bound(seeds[0::2], name, cut))
        found = bound(seeds[1::2], name, chosen)
        accounted = epsilon([audit.mechanism], DELTA)
        lines.append(at_most(found, accounted, f"{name}: epsilon that is seen"))
        lines.append(at_least(found, audit.least_share * accounted, f"{name}: the attack works"))
    return lines


def bound(seeds: Sequence[dict[str, Any]], name: str, cut: int) -> float:
    """Lower bound of epsilon that the trials of some seeds give at one cut; at least 0."""
    trials = sum(one[name]["trials"] for one in seeds)
    right = sum(one[name]["with"][cut] for one in seeds)
    wrong = sum(one[name]["without"][cut] for one in seeds)
    if not right:
        return 0.0
    least_right = float(beta.ppf(TAIL, right, trials - right + 1))
    most_wrong = float(beta.ppf(1 - TAIL, wrong + 1, trials - wrong)) if wrong < trials else 1.0
    return max(0.0, math.log(max(least_right - DELTA, 1e-12) / most_wrong))


TOPIC: Final = Topic(
    "auditing", "An attacker who sees every release learns no more than the ledger counts.",
    plan, judge,
)  # fmt: skip
