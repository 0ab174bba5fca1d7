"""What one local round trains, at which rate, and which wrong use it refuses."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from shared.errors import CohortTooSmallError, ConfigValueError, ModelIncompatibleError
from shared.settings.base import LEAST_MODERATE
from shared.settings.files import SiteCompute
from shared.settings.task import OptimiserSettings
from shared.training.arrays import get_arrays, set_arrays
from shared.training.batches import Patients
from shared.training.compute import Compute
from shared.training.local_round import (
    RoundKey,
    evaluate,
    train_plain,
    train_private,
)
from shared.training.one_patient import gradient_alone
from shared.training.optimising import Moment, optimiser_of, set_rate
from tests.shared.standins import Standins
from tests.shared.training.tiny_training import (
    CLIP,
    CPU,
    KEY,
    RATE,
    TASK,
    TinyNetwork,
    TinyTask,
    flat,
    private,
    private_update,
)

# --- what is trained -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("head", {"head.weight", "head.bias"}),
        ("norms_and_head", {"head.weight", "head.bias", "norm.weight", "norm.bias"}),
        ("all", set(TinyNetwork().state_dict())),
    ],
)
def test_only_the_chosen_weights_change(which: Any, names: set[str]) -> None:
    network = TASK.network()
    before = get_arrays(network)
    done = train_private(TASK, network, Standins(4), private(trainable=which), 1.0, KEY, CPU)
    after = get_arrays(network)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == names == set(done.arrays)
    assert all(np.array_equal(done.arrays[name], after[name]) for name in names)


def test_a_network_is_as_usual_after_a_private_round() -> None:
    network = TASK.network()
    train_private(TASK, network, Standins(4), private(trainable="head"), 1.0, KEY, CPU)
    for weight in network.parameters():
        assert weight.requires_grad
        assert weight.grad is None


def test_proximal_pull_keeps_weights_near_those_received() -> None:
    settings = OptimiserSettings(optimiser="sgd", learning_rate=0.05, batch_patients=12)
    moved = []
    for pull in (0.0, 10.0):
        network = TASK.network()
        before = flat(get_arrays(network))
        done = train_plain(
            TASK, network, Standins(12), settings, KEY, CPU, steps=20, proximal_mu=pull
        )
        moved.append(np.linalg.norm(flat(done.arrays) - before))
    assert moved[1] < 0.5 * moved[0]


def test_proximal_pull_is_part_of_a_private_step() -> None:
    settings = private(steps_per_round=6)
    network = TASK.network()
    before = flat(get_arrays(network))
    done = train_private(TASK, network, Standins(6), settings, 5.0, KEY, CPU, proximal_mu=1.0)
    free = private_update(settings, 5.0, patients=6)
    assert np.linalg.norm(flat(done.arrays) - before) < 0.95 * np.linalg.norm(free)


@pytest.mark.parametrize("mode", ["plain", "private"])
def test_the_rate_falls_over_all_rounds_of_a_run(mode: str) -> None:
    """Half a cosine over three rounds of one step: 1, 3/4 and 1/4 of the rate."""
    moved = []
    for number in (1, 2, 3):
        key = RoundKey(b"secret of a test", "run", number, "digest")
        network = TASK.network()
        common: dict[str, Any] = {"schedule": "cosine", "optimiser": "sgd", "augment": False}
        if mode == "plain":
            settings = OptimiserSettings(**common, batch_patients=12)
            done = train_plain(TASK, network, Standins(12), settings, key, CPU, steps=1, rounds=3)
        else:
            quiet = private(**common, steps_per_round=1, sample_rate=1.0)
            done = train_private(TASK, network, Standins(12), quiet, 0.0, key, CPU, rounds=3)
        start = get_arrays(TASK.network(), done.arrays)
        moved.append(np.linalg.norm(flat(done.arrays) - flat(start)))
    assert moved[1] / moved[0] == pytest.approx(0.75, rel=1e-3)
    assert moved[2] / moved[0] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize(
    ("patients", "noise", "share"), [(12, 1.0, 1.0), (6, 1.0, 0.5), (6, 4.0, 0.125)]
)
def test_the_rate_is_lower_where_noise_is_larger(patients: int, noise: float, share: float) -> None:
    """At σC/N = `full_rate_noise` the whole rate; half the patients or more noise: less."""
    settings = private(full_rate_noise=CLIP / 12)
    slowed = settings.slowed_by_noise(noise, patients, 1)
    assert slowed.learning_rate == pytest.approx(share * RATE)
    assert private().slowed_by_noise(noise, patients, 1) == private()
    longer = settings.model_copy(update={"steps_per_round": 2}).slowed_by_noise(noise, patients, 8)
    assert longer.learning_rate == pytest.approx(share * RATE / 4)  # of sixteen steps
    # And a round is trained with it, not with the rate that was asked for.
    slow = private_update(settings, noise, patients=patients)
    same = private_update(private(learning_rate=share * RATE), noise, patients=patients)
    assert np.array_equal(slow, same)


def test_a_rate_that_follows_the_noise_stays_one_that_float32_can_tell_apart() -> None:
    slowed = private(full_rate_noise=1e-6).slowed_by_noise(1e9, 1, 1)
    assert slowed.learning_rate == LEAST_MODERATE
    with pytest.raises(ValidationError, match="needs optimiser sgd, not adam"):
        private(full_rate_noise=0.01, optimiser="adam")


def test_the_rate_rises_at_the_start_of_every_round() -> None:
    """A third, two thirds and the whole of the rate, which itself falls over the run."""
    settings = OptimiserSettings(learning_rate=0.6, schedule="cosine", warm_up_steps=2)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rates = []
    for number, step in itertools.product((1, 2), range(4)):
        set_rate(optimiser, settings, Moment(step, 4, number, 2))
        rates.append(optimiser.param_groups[0]["lr"])
    falling = [0.3 * (1 + math.cos(math.pi * done / 8)) for done in range(8)]
    shares = [1 / 3, 2 / 3, 1, 1] * 2
    assert rates == pytest.approx([a * b for a, b in zip(falling, shares, strict=True)])


@pytest.mark.parametrize("power", [0.0, 1.0, 2.5])
def test_a_patients_gradient_counts_by_a_power_of_its_loss(power: float) -> None:
    """Worst first: the gradient of loss^(1+q)/(1+q) is loss^q times that of the loss."""
    network = TASK.network()
    patients = Patients(TASK, Standins(3))
    trained = list(network.parameters())

    def gradient(name: str, q: float) -> tuple[torch.Tensor, float]:
        return gradient_alone(TASK, network, patients.newest(name), trained, CPU, q)

    for name in patients.names:
        plain, loss = gradient(name, 0.0)
        raised, told = gradient(name, power)
        assert told == pytest.approx(loss, rel=1e-6)
        assert torch.allclose(raised, plain * loss**power, rtol=1e-4, atol=1e-7)


def test_rounds_count_from_one() -> None:
    """A round 0 would stand before the top of a falling rate, which would rise then."""
    with pytest.raises(ValueError, match="rounds count from 1"):
        RoundKey(b"secret of a test", "run", 0, "digest")


def test_plain_training_learns() -> None:
    network, source = TASK.network(), Standins(16)
    before = TASK.metrics(evaluate(TASK, network, source, CPU))["loss"]
    seen: list[tuple[int, int, float]] = []
    settings = OptimiserSettings(learning_rate=0.05, schedule="cosine", augment=False)
    done = train_plain(
        TASK, network, source, settings, KEY, CPU, steps=30,
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    after = TASK.metrics(evaluate(TASK, network, source, CPU))["loss"]
    assert after < 0.7 * before
    assert [step for step, _, _ in seen] == list(range(1, 31))
    assert done.steps == 30
    assert done.patients == 16


# --- the declared number -------------------------------------------------------------------


def declared_update(patients: int, declared: int | None, noise: float) -> NDArray[np.float64]:
    network = TASK.network()
    before = flat(get_arrays(network))
    train_private(
        TASK, network, Standins(patients), private(steps_per_round=1), noise, KEY, CPU,
        declared=declared,
    )  # fmt: skip
    return flat(get_arrays(network)) - before


def test_the_declared_number_divides_the_sum_and_not_how_many_are_there() -> None:
    counted = declared_update(8, None, 0.0)
    np.testing.assert_allclose(declared_update(8, 8, 0.0), counted, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(declared_update(8, 5, 0.0), counted * 8 / 5, rtol=1e-4, atol=1e-7)


def test_with_a_declared_number_nobody_trains_as_noise_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether anybody is there must not show, not even as an error."""
    monkeypatch.setattr(TinyTask, "uses", lambda self, study: False)
    assert not declared_update(4, 20, 0.0).any()
    assert np.abs(declared_update(4, 20, 1.0)).max() > 0


def test_evaluation_adds_up_over_physical_batches() -> None:
    network = TASK.network()
    one = evaluate(TASK, network, Standins(7), Compute(physical_batch_patients=1))
    all_at_once = evaluate(TASK, network, Standins(7), Compute(physical_batch_patients=7))
    assert one["patients"] == all_at_once["patients"] == 7
    assert one["loss_sum"] == pytest.approx(all_at_once["loss_sum"], rel=1e-5)


# --- wrong use -------------------------------------------------------------------------------


def test_training_without_usable_patients_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "uses", lambda self, study: False)
    with pytest.raises(CohortTooSmallError, match="no patient, of 4 in all"):
        train_private(TASK, TASK.network(), Standins(4), private(), 1.0, KEY, CPU)


def test_weights_that_do_not_fit_are_refused_whole() -> None:
    network = TASK.network()
    before = get_arrays(network)
    good = {"head.bias": np.array([7.0], dtype=np.float32)}
    wrong = [
        good | {"head.weight": np.zeros((2, 2), dtype=np.float32)},
        good | {"unknown": np.zeros(1, dtype=np.float32)},
        good | {"head.weight": np.full((1, 3), np.nan, dtype=np.float32)},
    ]
    for arrays in wrong:
        with pytest.raises(ModelIncompatibleError):
            set_arrays(network, arrays)
    with pytest.raises(ModelIncompatibleError, match="missing"):
        set_arrays(network, good, strict=True)
    after = get_arrays(network)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_weights_go_out_and_in_unchanged() -> None:
    one, other = TASK.network(), TASK.network()
    arrays = {name: value + 1 for name, value in get_arrays(one).items()}
    set_arrays(other, arrays, strict=True)
    assert all(np.array_equal(arrays[name], value) for name, value in get_arrays(other).items())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigValueError, match=r"compute\.device: 'cuda'"):
        Compute.from_settings(SiteCompute(device="cuda"))
    assert Compute.from_settings(SiteCompute(device="auto")).device == "cpu"


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_an_optimiser_steps_as_torchs_own_bit_by_bit(name: str) -> None:
    """Made without what torch adds to compile it (`optimising.optimiser_of`)."""
    settings = OptimiserSettings(optimiser=name, momentum=0.9, learning_rate=0.3)
    ours, theirs = (torch.nn.Parameter(torch.linspace(-1.0, 1.0, 7)) for _ in range(2))
    made = optimiser_of(settings, [ours])
    own = {
        "sgd": lambda: torch.optim.SGD([theirs], lr=0.3, momentum=0.9),
        "adam": lambda: torch.optim.Adam([theirs], lr=0.3),
    }[name]()
    for step in range(3):
        for weight in (ours, theirs):
            weight.grad = torch.cos(weight.detach() * (step + 1))
        made.step()
        own.step()
        assert torch.equal(ours, theirs)
        assert not ours.grad_fn
    for optimiser in (made, own):
        optimiser.zero_grad()
    assert ours.grad is theirs.grad is None
    assert str(made.state_dict()) == str(own.state_dict())
    assert isinstance(made, type(own))
