"""The check of abdominal CTs counts what it says: same vertebrae, honest fits, private budgets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from shared.findings.ct_estimates import CT_SPINE
from shared.regions import LUMBAR
from shared.training.accounting import Mechanism, epsilon, noise_multiplier_for
from tests.learning.arms import DELTA
from tests.verify.abdomen.arms import ARMS, private_epsilons
from tests.verify.abdomen.cast import EPSILON, PRIVATE_ROUNDS, TASKS, settings_of
from tests.verify.abdomen.errors import LINE, PERSONS, Errors, agreement, shifts
from tests.verify.abdomen.reading import fitted_lines, said_without
from tests.verify.abdomen.real import dice_of
from tests.verify.abdomen.topic import TOPIC, judge
from tests.verify.stored import Stored


def patient(number: int, off: float, *, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """A patient whose networks are off by `off` at each level, the line by twice that."""
    rng = np.random.default_rng(number)
    labels = dict(zip(LUMBAR, rng.normal(1.0, 0.15, 4).tolist(), strict=True))
    said = {one: value + off for one, value in labels.items() if one not in left_out}
    line = {one: value - 2 * off for one, value in labels.items()}
    arm = {
        "error_mm": 1.0, "dice": 0.9, "off_mm": dict.fromkeys(said, 1.0),
        "bmd": said | {CT_SPINE: float(np.mean(list(said.values())))},
    }  # fmt: skip
    return {
        "patient": number, "hospital": "northfield", "labels": labels, "truth": labels,
        "lumbar": 5, "arms": dict.fromkeys(ARMS, arm), LINE: line, PERSONS: line,
    }  # fmt: skip


def test_errors_are_of_the_vertebrae_that_all_estimated() -> None:
    some = [patient(1, 0.05), patient(2, 0.05, left_out=("L1", "L2"))]
    found = Errors({1: some}, "vertebra", ["federated", LINE])
    assert found.error("federated").value == pytest.approx(0.05)
    gain = found.gain("federated", LINE)
    assert gain.value == pytest.approx(0.05)
    assert gain.low == pytest.approx(0.05)  # every patient says the same
    assert agreement(some, "federated", "vertebra")["n"] == 6
    assert agreement(some, LINE, "vertebra")["n"] == 8


def test_a_patient_is_the_mean_of_what_was_estimated() -> None:
    one = patient(1, 0.0)
    one["arms"] = {"federated": {"bmd": {"L1": one["labels"]["L1"] + 0.1,
                                         "L2": one["labels"]["L2"] - 0.1}}}  # fmt: skip
    assert Errors({1: [one]}, "patient", ["federated"]).error("federated").value < 1e-9
    assert Errors({1: [one]}, "vertebra", ["federated"]).error("federated").value == pytest.approx(
        0.1
    )


def test_named_levels_that_are_off_by_half_a_vertebra_are_shifted() -> None:
    right, wrong, none = patient(1, 0.0), patient(2, 0.0), patient(3, 0.0)
    wrong["arms"] = {"federated": {"off_mm": {"L1": 3.0, "L2": 35.0}}}
    none["arms"] = {"federated": {"off_mm": {}}}
    assert shifts([right, wrong, none], "federated") == (1, 2, 3)


def test_the_lines_are_fitted_on_training_patients_and_said_of_others() -> None:
    def told(number: int) -> Mapping[str, Any]:
        rng = np.random.default_rng(number)
        age, women = rng.uniform(40, 90), bool(rng.random() < 0.5)
        base = 1.4 - 0.006 * age - 0.05 * women
        labels = {level: base + 0.02 * place for place, level in enumerate(LUMBAR)}
        return {
            "labels": labels, "hu": {one: (value - 0.6) / 0.004 for one, value in labels.items()},
            "age": age, "sex": "F" if women else "M",
            "weight_kg": rng.uniform(50, 90), "height_cm": rng.uniform(150, 190),
        }  # fmt: skip

    lines = fitted_lines([told(number) for number in range(40)])
    new = told(99)
    by_hu, by_person = said_without(new, lines)
    for level, label in new["labels"].items():
        assert by_hu[level] == pytest.approx(label)
        assert by_person[level] == pytest.approx(label)
    mean = float(np.mean(list(new["labels"].values())))
    assert by_hu[CT_SPINE] == pytest.approx(mean)


def test_the_three_private_tasks_together_spend_what_is_allowed() -> None:
    each = private_epsilons()
    mechanisms = []
    for task in TASKS:
        private = settings_of(task).private
        steps = PRIVATE_ROUNDS[task] * private.steps_per_round
        noise = noise_multiplier_for(each[task], DELTA, private.sample_rate, steps)
        mechanisms.append(Mechanism(private.sample_rate, noise, steps))
    assert 0.99 * EPSILON < epsilon(mechanisms, DELTA) <= EPSILON


def test_what_is_worse_than_published_does_not_hold() -> None:
    good = Stored({"patients": [patient(n, 0.02) for n in range(9)]}, {"commit": "x"})
    bad = Stored({"patients": [patient(n, 0.20) for n in range(9)]}, {"commit": "x"})
    for run, holds in ((good, True), (bad, False)):
        lines = {line.what: line for line in judge({"seed-1/northfield-000": run})}
        assert lines["federated, MAE of a vertebra, g/cm²"].holds is holds
    assert TOPIC.tables is not None
    assert "| federated |" in TOPIC.tables({"seed-1/northfield-000": good})


def test_what_outlines_nothing_has_no_overlap() -> None:
    nothing, drawn = np.zeros((3, 4, 4), bool), np.ones((3, 4, 4), bool)
    assert dice_of(nothing, drawn) == 0.0
    assert dice_of(drawn, drawn) == 1.0
