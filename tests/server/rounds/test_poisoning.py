"""One lying hospital of five: the robust configuration bears it, the plain mean does not.

The full table, every rule on digital patients, is `make verify ONLY=poisoning`
(docs/decisions/0008-one-liar-of-five.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from tests.poisoning import ATTACKS, RULES, WrongLabels, small_trial
from tests.shared.standins import Standins

#: The rule that docs/run-a-consortium.md advises; the others are in the full table.
ROBUST = "multi-Krum"


#: Dice on unseen patients, by rule and attack.
Dice = Callable[[str, str], float]


@pytest.fixture(scope="module")
def dice() -> Dice:
    """Runs of one trial: each is made once, and models that runs share are trained once."""
    trial = replace(small_trial(), kept={})

    @cache
    def of(rule: str, attack: str) -> float:
        metrics, _ = trial.run(RULES[rule], attack)
        return metrics["dice"]

    of("FedAvg", "none")  # what every other run is compared with
    return of


def test_the_clean_run_learns(dice: Dice) -> None:
    assert dice("FedAvg", "none") > 0.6


@pytest.mark.parametrize("attack", [one for one in ATTACKS if one != "none"])
def test_the_robust_rule_keeps_what_the_clean_run_reached(dice: Dice, attack: str) -> None:
    assert dice(ROBUST, attack) >= 0.95 * dice("FedAvg", "none")


@pytest.mark.parametrize("attack", ["sign flipped, x10", "scaled x100"])
def test_the_plain_mean_does_not(dice: Dice, attack: str) -> None:
    """The attacks are attacks: what the robust rules bear is not nothing."""
    assert dice("FedAvg", attack) < 0.8 * dice("FedAvg", "none")


def test_wrong_labels_are_wrong() -> None:
    right = Standins(1, 1)
    [patient] = right.patients
    [study], [wrong] = right.studies(patient), WrongLabels(right).studies(patient)
    for view, image in study.images.items():
        assert image.regions is not None
        other = wrong.images[view].regions
        assert other is not None
        assert ((image.regions == other).mean()) < 0.01
    assert study.labels.bmd != wrong.labels.bmd
