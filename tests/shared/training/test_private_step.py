"""What one private step promises of a patient, and that it can be repeated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from shared.training.arrays import get_arrays
from shared.training.local_round import RoundKey, train_private
from tests.shared.standins import Standins
from tests.shared.training.tiny_training import (
    CLIP,
    CPU,
    KEY,
    PATIENTS,
    RATE,
    TASK,
    TinyTask,
    flat,
    private,
    private_update,
)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    values: dict[str, float] = {}
    monkeypatch.setattr(TinyTask, "broken", values)
    return values


# --- the guarantee ---------------------------------------------------------------


@pytest.mark.parametrize("target", [0.0, 3.0, 1e4, -1e18])
def test_one_patient_changes_a_step_by_a_bounded_amount(
    broken: dict[str, float], target: float
) -> None:
    without = private_update(private())
    broken["p0007"] = target
    changed = private_update(private())
    # replaced, so that its old and its new contribution count: twice the clip
    assert np.linalg.norm(changed - without) <= 2 * RATE * CLIP / PATIENTS * (1 + 1e-5)


def test_the_contributions_of_patients_are_their_clipped_gradients() -> None:
    network = TASK.network()
    expected = np.zeros(sum(weight.numel() for weight in network.parameters()))
    source = Standins(PATIENTS)
    for patient in source.patients:
        sample = TASK.sample(source.studies(patient)[0])
        network.zero_grad()
        loss = TASK.loss(network(sample["image"], sample["covariates"]), sample).sum() / TASK.units
        loss.backward()
        gradient = flat(
            {name: w.grad.numpy() for name, w in network.named_parameters() if w.grad is not None}
        )
        expected += gradient * np.minimum(1.0, CLIP / np.linalg.norm(gradient))
    found = private_update(private())
    assert found == pytest.approx(-RATE * expected / PATIENTS, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_patient_without_finite_gradient_contributes_nothing(
    broken: dict[str, float], value: float
) -> None:
    broken["p0007"] = value
    found = private_update(private())
    broken.clear()
    others = private_update(private(), patients=PATIENTS)
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - others) <= RATE * CLIP / PATIENTS * (1 + 1e-5)


def test_noise_has_the_promised_spread_and_is_added_once_per_step() -> None:
    noise, steps, few = 3.0, 40, 2
    settings = private(learning_rate=1e-6, steps_per_round=steps)  # the weights stay put
    clean = private_update(settings, patients=few)
    noisy = [
        private_update(settings, noise, RoundKey(number, "run", 1, "d"), patients=few)
        for number in range(6)
    ]
    found = np.std(np.stack(noisy) - clean)
    expected = 1e-6 * noise * CLIP / few * math.sqrt(steps)
    assert found == pytest.approx(expected, rel=0.12)


def test_an_empty_batch_is_a_step_of_noise() -> None:
    settings = private(sample_rate=1e-6)
    patients = Standins(3)
    network = TASK.network()
    before = flat(get_arrays(network))
    done = train_private(TASK, network, patients, settings, 1.0, KEY, CPU)
    moved = flat(done.arrays) - before
    expected = RATE * CLIP / (1e-6 * 3)  # the mean is taken over the expected batch
    assert np.std(moved) == pytest.approx(expected, rel=0.3)
    assert math.isnan(done.train_loss)


def test_one_patient_alone_is_bounded_and_hidden_like_any_other() -> None:
    found = private_update(private(), patients=1)
    assert np.linalg.norm(found) <= RATE * CLIP * (1 + 1e-5)
    noisy = private_update(private(), 2.0, patients=1)
    assert np.std(noisy - found) == pytest.approx(RATE * CLIP * 2.0, rel=0.3)


def test_patients_of_zero_gradient_leave_the_weights_alone(broken: dict[str, float]) -> None:
    settings = private(trainable="head")
    network = TASK.network()
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
    source = Standins(2)
    broken.update(dict.fromkeys(source.patients, 0.0))
    before = flat(get_arrays(network, ("head.bias", "head.weight")))
    done = train_private(TASK, network, source, settings, 0.0, KEY, CPU)
    assert np.array_equal(flat(done.arrays), before)


# --- repeatability ----------------------------------------------------------------------


def test_the_same_key_gives_the_same_bits() -> None:
    settings = private(steps_per_round=3, sample_rate=0.5, augment=True)
    assert np.array_equal(private_update(settings, 1.0), private_update(settings, 1.0))


@pytest.mark.parametrize(
    "other",
    [
        RoundKey(b"another secret", "run", 1, "digest"),
        RoundKey(b"secret of a test", "other", 1, "digest"),
        RoundKey(b"secret of a test", "run", 2, "digest"),
        RoundKey(b"secret of a test", "run", 1, "another"),
    ],
)
def test_every_part_of_the_key_changes_the_noise(other: RoundKey) -> None:
    assert not np.array_equal(private_update(private(), 1.0), private_update(private(), 1.0, other))


def test_a_key_does_not_show_its_secret() -> None:
    assert "secret of a test" not in repr(KEY)
