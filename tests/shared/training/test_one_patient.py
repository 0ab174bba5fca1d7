"""What a patient contributes is the same to the last bit whoever else is there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks import LISTED, make_task
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training.batches import Patients, RoundKey
from shared.training.compute import Compute
from shared.training.local_round import train_private
from shared.training.one_patient import gradient_alone, refuse_statistics
from shared.training.onednn import volumes_by_onednn
from shared.training.whole_sum import WholeSum
from tests.shared.networks.test_networks import loss_of
from tests.shared.standins import Standins
from tests.shared.training.tiny_training import CPU, KEY, TASK, TinyNetwork, TinyTask, private

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def threads_again() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def like(sample: Sample, generator: np.random.Generator) -> Sample:
    """Another patient: the same targets, another image."""
    image = sample["image"]
    noise = torch.from_numpy(generator.normal(0, 0.2, tuple(image.shape))).to(image.dtype)
    return {**sample, "image": image + noise}


def hostile(network: nn.Module, task: Task) -> None:
    """Weights of a head that was chosen to enlarge last bits (2**19 was shown to do it)."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith(task.head_parameters()):
                weight.add_(torch.randn_like(weight)).mul_(2.0**19)


def contributions(task: Task, network: nn.Module, order: list[Sample]) -> list[Tensor]:
    """Gradients of patients, one after the other, with other memory in between."""
    trained = list(network.parameters())
    found, rubbish = [], []
    with volumes_by_onednn(network):
        for place, sample in enumerate(order):
            rubbish.append(torch.empty(1 + 997 * (place + 1)))
            own = {name: value.clone() for name, value in sample.items()}
            found.append(gradient_alone(task, network, own, trained, CPU)[0])
            if place % 2:
                rubbish.clear()
                gc.collect()
    return found


@pytest.mark.parametrize("name", sorted(LISTED))
def test_a_patients_bits_hang_on_nobody_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(load_settings(ROOT / f"configs/tasks/{name}.yaml", TaskSettings))
    # The example has no labels, so that its own loss would be 0.
    monkeypatch.setattr(type(task), "loss", lambda _, output, batch: loss_of(output + 1))
    generator = np.random.default_rng(1)
    first = task.sample(task.example())
    other = like(first, generator)
    torch.manual_seed(1)
    network = task.network().train()
    for threads, worse in ((1, False), (3, True)):
        torch.set_num_threads(threads)
        if worse:
            hostile(network, task)
        alone = contributions(task, network, [first])[0]
        among = contributions(task, network, [other, first, first])
        assert torch.equal(among[1], alone)
        assert torch.equal(among[2], alone)
        assert alone.isfinite().all()
        assert alone.abs().sum() > 0


@pytest.mark.parametrize(("threads", "scale"), [(1, 1.0), (1, 2.0**19), (4, 2.0**19)])
def test_in_fifty_batches_a_patient_contributes_the_same(
    threads: int, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a whole private step: who is there, in which place, how many, changes no bit."""
    seen: list[Tensor] = []
    own = WholeSum.add

    def add(self: WholeSum, gradient: Tensor) -> None:
        seen.append(self.grid.contribution(gradient))
        own(self, gradient)

    monkeypatch.setattr(WholeSum, "add", add)
    generator = np.random.default_rng(threads)
    compute = Compute(threads=threads)
    expected: dict[str, Tensor] = {}
    for _ in range(50):
        source = Standins(int(generator.integers(2, 6)))
        patients = Patients(TASK, source)
        patients.names = tuple(generator.permutation(patients.names))
        network = TinyNetwork()
        with torch.no_grad():
            network.head.weight.mul_(scale)
        seen.clear()
        train_private(TASK, network, patients, private(augment=True), 0.0, KEY, compute)
        assert len(seen) == len(patients.names)
        for name, whole in zip(patients.names, seen, strict=True):
            assert torch.equal(expected.setdefault(name, whole), whole)


class RandomNetwork(nn.Module):
    """A network with a layer that draws at random."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm((2, 6, 6))
        self.head = nn.Linear(72, 1)
        generator = torch.Generator().manual_seed(5)
        nn.init.normal_(self.head.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        kept = nn.functional.dropout(self.norm(image), 0.5, self.training)
        output: Tensor = self.head(kept.flatten(1)) + covariates
        return output


def trained(patients: int = 6, steps: int = 3, key: RoundKey = KEY) -> NDArray[np.float32]:
    network, state = TASK.network(), torch.get_rng_state()
    settings = private(steps_per_round=steps)
    done = train_private(TASK, network, Standins(patients), settings, 0.0, key, Compute())
    assert torch.equal(torch.get_rng_state(), state)
    return np.concatenate([done.arrays[name].ravel() for name in sorted(done.arrays)])


def test_what_a_layer_draws_for_a_patient_follows_from_key_and_patient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TinyTask, "network", lambda _: RandomNetwork())
    seen: dict[int, list[Tensor]] = {}
    own = WholeSum.add
    for patients in (2, 5):
        parts = seen.setdefault(patients, [])
        monkeypatch.setattr(
            WholeSum, "add",
            lambda self, gradient, parts=parts: (parts.append(gradient), own(self, gradient))[1],
        )  # fmt: skip
        torch.rand(patients)  # wherever PyTorch's own generator stands
        trained(patients, steps=1)
    assert all(map(torch.equal, seen[2], seen[5][:2]))
    assert not torch.equal(seen[5][0], seen[5][1])
    monkeypatch.setattr(WholeSum, "add", own)
    assert np.array_equal(trained(), trained())
    assert not np.array_equal(trained(), trained(key=RoundKey(b"another", "run", 1, "digest")))


def test_a_weight_that_takes_no_part_has_zeros() -> None:
    class Idle(TinyNetwork):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Parameter(torch.ones(3))

    network = Idle()
    sample = TASK.sample(TASK.example())
    weights = dict(network.named_parameters())
    flat, loss = gradient_alone(TASK, network, sample, list(weights.values()), CPU)
    parts = dict(zip(weights, flat.split([one.numel() for one in weights.values()]), strict=True))
    assert not parts["idle"].any()
    assert parts["head.weight"].any()
    assert loss > 0


@pytest.mark.parametrize("units", [1, 4])
def test_a_patient_with_more_or_fewer_units_than_the_task_has_is_refused(units: int) -> None:
    """Else it would weigh as several patients, or two as one."""
    sample = TASK.sample(TASK.example())
    wrong = {
        name: value[:1].repeat(units, *[1] * (value.dim() - 1)) for name, value in sample.items()
    }
    with pytest.raises(RuntimeError, match="must be 2, the units of a patient"):
        gradient_alone(TASK, TASK.network(), wrong, list(TASK.network().parameters()), CPU)


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (nn.BatchNorm2d(2), "BatchNorm2d keeps statistics"),
        (nn.InstanceNorm2d(2, track_running_stats=True), "set track_running_stats to False"),
    ],
)
def test_a_layer_that_keeps_statistics_is_refused_before_any_step(
    layer: nn.Module, cause: str
) -> None:
    with pytest.raises(NotImplementedError, match=cause):
        refuse_statistics(nn.Sequential(layer))


def test_a_network_that_remembers_patients_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Remembers(TinyNetwork):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
            self.mean = 0.9 * self.mean + 0.1 * image.detach().mean()
            return super().forward(image - self.mean, covariates)

    monkeypatch.setattr(TinyTask, "network", lambda _: Remembers())
    with pytest.raises(RuntimeError, match=r"^mean: .*keeps statistics"):
        trained()
