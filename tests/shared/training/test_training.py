"""What one local round promises, private and plain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from shared.errors import CohortTooSmallError, ConfigValueError, ModelIncompatibleError
from shared.records import StudyRecord
from shared.settings.base import LEAST_MODERATE
from shared.settings.files import SiteCompute
from shared.settings.task import OptimiserSettings, PrivateSettings, TaskSettings
from shared.tasks.base import Headline, Task
from shared.tasks.inputs import TaskInputs
from shared.tasks.sample import Sample, Statistics
from shared.training import batches
from shared.training.arrays import get_arrays, set_arrays, trainable_names
from shared.training.batches import (
    Microbatch,
    Patients,
    batches_of,
    pieces_of,
    poisson_draw,
    shuffled_batches,
    to_batch,
)
from shared.training.compute import Compute
from shared.training.local_round import (
    RoundKey,
    evaluate,
    private_gradients,
    train_plain,
    train_private,
)
from shared.training.optimising import Moment, set_rate
from shared.training.per_patient_gradients import per_patient_gradients
from tests.shared.standins import Standins

KEY = RoundKey(b"secret of a test", "run", 1, "digest")
CPU = Compute(physical_batch_patients=4)
RATE, CLIP, PATIENTS = 0.5, 0.7, 12


class TinyNetwork(nn.Module):
    """A normalisation and a head, so that every choice of weights differs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.norm = nn.GroupNorm(1, 2)
        self.body = nn.Conv2d(2, 3, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        features = self.body(self.norm(image)).tanh().mean((2, 3))
        output: Tensor = self.head(features) + covariates
        return output


class TinyTask(Task):
    """Two units a patient; learns a number from two channels of noise."""

    name: ClassVar[str] = "tiny"
    units: ClassVar[int] = 2
    inputs: ClassVar[TaskInputs] = TaskInputs()
    headline: ClassVar[Headline] = Headline("loss", False, "loss")
    #: Replaces the targets of a patient by this value.
    broken: ClassVar[dict[str, float]] = {}

    def uses(self, study: StudyRecord) -> bool:
        return bool(study.labels.bmd)

    def sample(self, study: StudyRecord) -> Sample:
        number = int(study.patient[1:])
        generator = torch.Generator().manual_seed(number)
        target = torch.rand(2, generator=generator) * 4
        if study.patient in self.broken:
            target = torch.full((2,), self.broken[study.patient])
        return {
            "image": torch.rand((2, 2, 6, 6), generator=generator),
            "covariates": torch.zeros(2, 1),
            "weight": torch.tensor([1.0, float(number % 3 > 0)]),
            "target": target,
        }

    def example(self) -> StudyRecord:
        return replace(super().example(), patient="p1")

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        shade = torch.as_tensor(generator.normal(0, 0.1, sample["image"].shape)).float()
        return {**sample, "image": sample["image"] + shade}

    def network(self) -> nn.Module:
        return TinyNetwork()

    def head_parameters(self) -> tuple[str, ...]:
        return ("head.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        return batch["weight"] * (output[:, 0] - batch["target"]).square()

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        total = float(self.loss(output, batch).sum()) / self.units
        return {"patients": len(output) / self.units, "loss_sum": total}

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        return {"loss": statistics["loss_sum"] / statistics["patients"]}


TASK = TinyTask(TaskSettings(task="tiny"))


def private(**changes: Any) -> PrivateSettings:
    values: dict[str, Any] = {
        "trainable": "all", "learning_rate": RATE, "sample_rate": 1.0,
        "max_grad_norm": CLIP, "steps_per_round": 1, "augment": False,
    }  # fmt: skip
    return PrivateSettings(**(values | changes))


def flat(arrays: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)]).astype(np.float64)


def private_update(
    settings: PrivateSettings,
    noise: float = 0.0,
    key: RoundKey = KEY,
    compute: Compute = CPU,
    patients: int = PATIENTS,
) -> NDArray[np.float64]:
    """Weights after a private round minus the weights before."""
    network = TASK.network()
    before = flat(get_arrays(network, trainable_names(TASK, network, settings.trainable)))
    done = train_private(TASK, network, Standins(patients), settings, noise, key, compute)
    return flat(done.arrays) - before


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


def test_the_contribution_of_a_patient_is_its_clipped_gradient() -> None:
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
    noise, steps = 3.0, 40
    settings = private(learning_rate=1e-6, steps_per_round=steps)  # the weights stay put
    clean = private_update(settings)
    noisy = [
        private_update(settings, noise, RoundKey(number, "run", 1, "d")) for number in range(6)
    ]
    found = np.std(np.stack(noisy) - clean)
    expected = 1e-6 * noise * CLIP / PATIENTS * math.sqrt(steps)
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


# --- sampling and splitting -----------------------------------------------------------


def test_poisson_sampling_draws_each_patient_at_its_rate_and_alone() -> None:
    names = [f"p{number}" for number in range(50)]
    drawn = np.array(
        [
            [name in set(poisson_draw(names, 0.3, KEY, step)) for name in names]
            for step in range(600)
        ]
    )
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    # independent draws: the sizes of the batches vary as a binomial's do
    assert drawn.sum(1).var() == pytest.approx(50 * 0.3 * 0.7, rel=0.2)
    assert np.abs(np.corrcoef(drawn[:, :8].T) - np.eye(8)).max() < 0.2


def test_rate_one_draws_everyone() -> None:
    names = [f"p{number}" for number in range(20)]
    assert poisson_draw(names, 1.0, KEY, 3) == names


@pytest.mark.parametrize("size", [1, 5, 100])
def test_pieces_of_a_batch_give_the_step_of_the_whole(size: int) -> None:
    settings = private(steps_per_round=3, sample_rate=0.6, augment=True)
    whole = private_update(settings, 1.5)
    pieces = private_update(settings, 1.5, compute=Compute(physical_batch_patients=size))
    assert pieces == pytest.approx(whole, rel=1e-4, abs=1e-6)


def test_plain_pieces_give_the_step_of_the_whole() -> None:
    settings = OptimiserSettings(optimiser="sgd", learning_rate=0.1, batch_patients=8)
    results = []
    for size in (3, 100):
        network = TASK.network()
        compute = Compute(physical_batch_patients=size)
        results.append(
            flat(train_plain(TASK, network, Standins(9), settings, KEY, compute, steps=4).arrays)
        )
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-6)


def test_shuffled_batches_go_through_all_patients_before_any_again() -> None:
    names = [f"p{number}" for number in range(10)]
    batches = shuffled_batches(names, 4, KEY)
    first = [name for _ in range(5) for name in next(batches)]
    assert sorted(first[:10]) == names
    assert sorted(first[10:]) == names
    assert first[:10] != first[10:]


def test_one_of_a_patients_studies_is_drawn() -> None:
    patients = Patients(TASK, Standins(1, studies=3))
    drawn = [patients.drawn("p0000", step, KEY, augment=False) for step in range(30)]
    assert len({id(sample) for sample, _ in drawn}) == 3


def test_pieces_of_a_step_are_told_apart() -> None:
    found = list(pieces_of([["a", "b", "c"], [], ["d"]], 2))
    assert [(p.step, list(p.names), p.patients, p.first, p.last) for p in found] == [
        (0, ["a", "b"], 3, True, False),
        (0, ["c"], 3, False, True),
        (1, [], 0, True, True),
        (2, ["d"], 1, True, True),
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_made_ahead_are_the_same(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU is given, whose threads work ahead, is what a CPU makes step by step."""
    monkeypatch.setattr(batches, "_on", lambda batch, _device: batch)  # there may be no GPU
    patients = Patients(TASK, Standins(5))
    steps = [patients.names[:3], (), patients.names, patients.names[2:3]]

    def made(compute: Compute) -> list[tuple[Microbatch, Sample]]:
        return list(batches_of(patients, pieces_of(steps, 2), KEY, compute, augment=True))

    expected = made(Compute("cpu"))
    found = made(Compute("cuda", threads))
    assert [piece for piece, _ in found] == [piece for piece, _ in expected]
    assert expected[2][1] == {}
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_error_while_working_ahead_reaches_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Sample:
        raise ValueError("this patient cannot be varied")

    patients = Patients(TASK, Standins(5))
    monkeypatch.setattr(TASK, "augment", fail)
    with pytest.raises(ValueError, match="cannot be varied"):
        list(
            batches_of(
                patients, pieces_of([patients.names], 2), KEY, Compute("cuda", 2), augment=True
            )
        )


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
        assert not hasattr(weight, "grad_sample")
    train_private(TASK, network, Standins(4), private(), 1.0, KEY, CPU)  # hooks go on again


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
        with per_patient_gradients(network, TASK.units):
            batch = to_batch([patients.newest(name)], "cpu")
            loss = private_gradients(TASK, network, batch, 1, trained, CPU, q)
            found = torch.cat([one.grad_sample.flatten() for one in trained])  # type: ignore[attr-defined]
            network.zero_grad(set_to_none=True)
        return found, loss

    for name in patients.names:
        plain, loss = gradient(name, 0.0)
        raised, told = gradient(name, power)
        assert told == pytest.approx(loss, rel=1e-6)
        assert torch.allclose(raised, plain * loss**power, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("units", [1, 4])
def test_a_patient_with_more_or_fewer_units_than_the_task_has_is_refused(units: int) -> None:
    """Else it would be clipped as several patients, or two as one."""
    network, patients = TASK.network(), Patients(TASK, Standins(2))
    trained = list(network.parameters())
    samples = [patients.newest(name) for name in patients.names]
    assert TASK.units == 2
    wrong = [
        {key: value[:1].repeat(units, *[1] * (value.dim() - 1)) for key, value in one.items()}
        for one in samples
    ]
    with (
        per_patient_gradients(network, TASK.units),
        pytest.raises(RuntimeError, match=r"must be 2: freeze|units of a patient"),
    ):
        private_gradients(TASK, network, to_batch(wrong, "cpu"), 2, trained, CPU)


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


def test_evaluation_adds_up_over_physical_batches() -> None:
    network = TASK.network()
    one = evaluate(TASK, network, Standins(7), Compute(physical_batch_patients=1))
    all_at_once = evaluate(TASK, network, Standins(7), Compute(physical_batch_patients=7))
    assert one["patients"] == all_at_once["patients"] == 7
    assert one["loss_sum"] == pytest.approx(all_at_once["loss_sum"], rel=1e-5)


# --- wrong use -------------------------------------------------------------------------------


def test_training_without_usable_patients_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "uses", lambda self, study: False)
    with pytest.raises(CohortTooSmallError, match="none of 4 patients"):
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
