"""The check of both generators: what persons say alone, who trains and tests, what is held."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.clinical.cross_calibration import vendor_bmd
from shared.metrics.statistics import Statistics
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.records import Covariates, StudyRecord
from shared.regions import VERTEBRAE
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.training.batches import Patients
from tests.learning.persons import by_persons_alone, facts_of
from tests.learning.stored import Run, run_of
from tests.shared.standins import Standins
from tests.verify.generators import KEPT_OF_POOLED, PRIVATE, SEEDS, TASKS, cohort_of, judge, plan
from tests.verify.stored import Stored


class Known(Standins):
    """Stand-ins of known persons, whose labels follow from sex, age and build."""

    def studies(self, patient: str) -> list[StudyRecord]:
        (study,) = super().studies(patient)
        rng = np.random.default_rng(int(patient[1:]) + 100)
        age, man = float(rng.uniform(45, 90)), bool(rng.random() < 0.4)
        weight = float(rng.uniform(50, 90))
        one = replace(
            study,
            covariates=Covariates("M" if man else "F", age, 165.0, weight, None),
        )
        _, sex, old, both, build = facts_of(one)
        value = 0.9 + 0.1 * sex - 0.05 * old + 0.03 * both + 0.02 * build
        bmd = {
            region: vendor_bmd(share * value, study.vendor, region)
            for region, share in (("L1-L4", 1.0), ("femoral_neck", 0.8), ("total_hip", 0.9))
        }
        genant = {name: 2 if age > 75 and name in ("T7", "T12", "L1") else 0 for name in VERTEBRAE}
        return [replace(one, labels=replace(study.labels, bmd=bmd, genant=genant))]


def measured(name: str) -> dict[str, float]:
    task = make_task(TaskSettings(task=name))
    train, tests = (Patients(task, Known(count, seed)) for count, seed in ((60, 1), (40, 2)))
    total: Statistics = {}
    for one, groups in by_persons_alone(task, train, tests, lambda _: {"hospital": "a"}):
        assert groups == {"hospital": "a"}
        for key, value in one.items():
            total[key] = total.get(key, 0.0) + value
    return task.metrics(total)


def test_densities_that_follow_from_the_person_are_found() -> None:
    found = measured("dxa-bmd")
    assert found["mae_lumbar"] < 1e-3
    assert found["baseline_mae_lumbar"] > 0.03


def test_fractures_that_follow_from_age_and_level_are_ranked() -> None:
    assert measured("vfa-fracture")["auc_grade2"] > 0.97


def test_a_persons_facts_draw_no_regions() -> None:
    task = make_task(TaskSettings(task="dxa-segmentation"))
    some = Patients(task, Known(2, 1))
    with pytest.raises(LookupError, match="dxa-segmentation"):
        by_persons_alone(task, some, some, lambda _: {})


@pytest.mark.parametrize("name", TASKS)
def test_hospitals_that_test_or_choose_do_not_train(name: str) -> None:
    """By names of hospitals and patients; nothing is rendered for it."""
    cohort = cohort_of(name)
    trained = {patient for one in cohort.hospitals.values() for patient in one.patients}
    tested = {name.partition("/")[2] for name in cohort.unseen.patients}
    chosen = {name.partition("/")[2] for name in cohort.choices.patients}
    assert len(trained) == 450
    assert len(tested) >= (600 if name == "vfa-fracture" else 300)
    hospitals = [{one.partition("-")[0] for one in some} for some in (trained, tested, chosen)]
    assert not hospitals[0] & hospitals[1]
    assert not hospitals[1] & hospitals[2]
    assert not hospitals[0] & hospitals[2]


def test_every_task_has_every_way_with_every_seed() -> None:
    keys = [one.key for one in plan()]
    assert len(keys) == len(set(keys)) == 3 * len(SEEDS) * 7 + 2
    assert sum("persons" in key for key in keys) == 2
    assert NEAR_TO_LIFE.name != "plain"


def run(arm: str, values: list[float]) -> Stored:
    common = {"dice_n": 1.0, "patients": 1.0, "loss_sum": 1.0}
    facts = {"cohort": "c", "task": "dxa-segmentation", "arm": arm, "seed": 1}
    one: Run = run_of(facts, [({"dice_sum": value, **common}, {}) for value in values])
    return Stored(one, facts)


def verdicts(**scores: float) -> list[bool]:
    noise = np.linspace(-0.01, 0.01, 20)
    runs = {arm: run(arm.replace("_", "-"), list(score + noise)) for arm, score in scores.items()}
    return [line.holds for line in judge(runs)]


def test_federated_is_held_against_pooled_and_the_best_alone_and_privacy_against_the_start() -> (
    None
):
    good = {"pretrained": 0.7, "alone_a": 0.75, "alone_b": 0.78, "federated": 0.8, "pooled": 0.8}
    assert PRIVATE == "private-8"
    assert verdicts(**good, private_8=0.76) == [True, True, True]
    assert verdicts(**good, private_8=0.7) == [True, True, False]
    low = good | {"pooled": 0.8 / KEPT_OF_POOLED + 0.01}
    assert verdicts(**low, private_8=0.76) == [False, True, True]
    assert verdicts(**(good | {"alone_b": 0.81}), private_8=0.76) == [True, False, True]
