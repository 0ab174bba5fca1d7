"""Before private training a probe finds what mixes patients between layers, or in the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from shared.settings.files import load_settings
from shared.settings.task import PrivateSettings, TaskSettings
from shared.tasks import LISTED, make_task
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.training import local_round, mixing
from shared.training.arrays import get_arrays
from shared.training.compute import Compute
from shared.training.local_round import train_private
from shared.training.mixing import refuse_what_mixes
from shared.training.optimising import training
from tests.shared.standins import Standins
from tests.shared.training.tiny_training import KEY, TASK, TinyNetwork, TinyTask, private

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "tasks"
CPU = Compute()


@pytest.fixture(autouse=True)
def unknown() -> Iterator[None]:
    """Nothing was found good before, nor is afterwards."""
    before = set(mixing._FOUND_GOOD)
    mixing._FOUND_GOOD.clear()
    yield
    mixing._FOUND_GOOD.clear()
    mixing._FOUND_GOOD.update(before)


class Between(TinyNetwork):
    """Layers that have formulas, and something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], *, zeros: bool = False) -> None:
        super().__init__()
        self.between = between
        if zeros:
            nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        features = self.between(self.body(self.norm(image))).tanh().mean((2, 3))
        output: Tensor = self.head(features) + covariates
        return output


def with_attention(image: Tensor) -> Tensor:
    rows = image.flatten(1)
    return image + ((rows @ rows.T).softmax(1) @ rows).reshape(image.shape)


class Memory:
    """Adds what came in the pass before."""

    last: Tensor | None = None

    def __call__(self, image: Tensor) -> Tensor:
        seen = image if self.last is None else image + self.last.mean()
        self.last = image.detach()
        return seen


class Counting(nn.Module):
    """Counts its passes, which changes nothing that comes out."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        self.seen += 1
        return image


MIXED: dict[str, Callable[[Tensor], Tensor]] = {
    "a mean": lambda x: x - x.mean(0),
    "a little of a mean": lambda x: x + 1e-3 * x.mean(0),
    "a spread": lambda x: x / (x.std(0) + 1),
    "the batch in another order": lambda x: x.flip(0),
    "neighbours": lambda x: x.roll(1, 0),
    "those before": lambda x: x.cumsum(0),
    "those after": lambda x: x.flip(0).cumsum(0).flip(0),
    "the largest": lambda x: x + x.max(),
    "attention": with_attention,
    "the pass before": Memory(),
}


def probe(network: nn.Module, task: Task = TASK, trainable: Any = "all") -> None:
    settings = task.settings.private.model_copy(update={"trainable": trainable})
    with training(task, network, settings, CPU):
        refuse_what_mixes(task, network, CPU)


@pytest.mark.parametrize("what", MIXED)
@pytest.mark.parametrize("zeros", [False, True])
def test_what_mixes_patients_between_layers_is_refused(what: str, zeros: bool) -> None:
    """Also under a head of zeros, which lets nothing through that is there to be seen."""
    with pytest.raises(NotImplementedError, match="tiny: the output of a patient changes with"):
        probe(Between(MIXED[what], zeros=zeros))


def test_a_loss_that_mixes_patients_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real = TinyTask.loss

    def shared_out(self: TinyTask, output: Tensor, batch: Sample) -> Tensor:
        return real(self, output, batch) / batch["weight"].sum()

    monkeypatch.setattr(TinyTask, "loss", shared_out)
    with pytest.raises(NotImplementedError, match="the loss of a patient changes with who else"):
        probe(TASK.network())


class Whitened(nn.Module):
    """A fixed matrix before the rest, as a coordinator sent it, behind what mixes."""

    matrix: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)

    def forward(self, image: Tensor) -> Tensor:
        return (image - image.mean(0)) * self.matrix.mean()


@pytest.mark.parametrize("entry", [0.0, 1.0])
def test_buffers_that_were_sent_hide_nothing(entry: float) -> None:
    network = Between(lambda image: image)
    del network.between
    network.between = Whitened(entry * torch.eye(4))
    with pytest.raises(NotImplementedError, match="the output of a patient changes with"):
        probe(network)
    assert set() == mixing._FOUND_GOOD


def test_a_loss_by_the_counts_of_classes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    real_sample, real_loss = TinyTask.sample, TinyTask.loss

    def with_class(self: TinyTask, study: Any) -> Sample:
        sample = real_sample(self, study)
        return sample | {"grade": torch.zeros_like(sample["weight"], dtype=torch.int64)}

    def balanced(self: TinyTask, output: Tensor, batch: Sample) -> Tensor:
        ones = (batch["grade"] == 1).sum()
        return real_loss(self, output, batch) / (1 + ones)

    monkeypatch.setattr(TinyTask, "sample", with_class)
    monkeypatch.setattr(TinyTask, "loss", balanced)
    with pytest.raises(NotImplementedError, match="the loss of a patient changes with who else"):
        probe(TASK.network())


def test_of_what_is_no_number_nothing_can_be_seen() -> None:
    with pytest.raises(NotImplementedError, match="no finite number"):
        probe(Between(lambda image: image * float("nan") - image.mean(0)))
    assert set() == mixing._FOUND_GOOD


def test_the_answer_is_of_this_network_and_this_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(network: nn.Module | None = None, compute: Compute = CPU) -> str:
        return mixing._digest(TASK, network or TASK.network(), compute)

    frozen = TASK.network()
    next(frozen.parameters()).requires_grad_(False)
    digests = [
        digest(), digest(frozen), digest(Between(lambda image: image)),
        digest(compute=Compute(mixed_precision=True)),
    ]  # fmt: skip
    package = tmp_path / "hospitalnets"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.setattr(mixing, "BUNDLE", tmp_path)
    for text in ("def helper(): ...", "def helper(): return 1"):
        (package / "helpers.py").write_text(text)  # no class of the network is in it
        digests.append(digest())
    monkeypatch.setattr(mixing, "versions_of", lambda *_: ("monai=0",))
    digests.append(digest())
    assert len(set(digests)) == len(digests)
    assert digest() == digests[-1]


def test_statistics_in_a_buffer_are_refused() -> None:
    network = Between(lambda image: image)
    del network.between
    network.between = Counting()
    with pytest.raises(NotImplementedError, match=r"between\.seen: the network keeps statistics"):
        probe(network)


def test_layers_that_draw_at_random_mix_nothing() -> None:
    probe(Between(lambda image: nn.functional.dropout(image, 0.5)))


def test_what_runs_one_patient_at_a_time_is_not_probed() -> None:
    network = Between(MIXED["a mean"])
    network.body = nn.Conv2d(2, 3, 3, padding_mode="circular")
    probe(network)


def test_private_training_refuses_before_any_step_and_draws_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = Between(MIXED["a mean"])
    before, state = get_arrays(network), torch.get_rng_state()

    def step(*_: object) -> float:
        raise AssertionError("a step was done")

    monkeypatch.setattr(local_round, "private_gradients", step)
    with pytest.raises(NotImplementedError, match="compute nothing along the first axis"):
        train_private(TASK, network, Standins(4), private(), 1.0, KEY, CPU)
    assert all((get_arrays(network)[name] == value).all() for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.requires_grad for weight in network.parameters())


def test_the_probe_changes_no_bit_of_training_and_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drop(image: Tensor) -> Tensor:
        return nn.functional.dropout(image, 0.5)

    def bits() -> dict[str, Any]:
        done = train_private(TASK, Between(drop), Standins(6), private(), 1.0, KEY, CPU)
        return done.arrays

    passes: list[int] = []
    real = mixing._probe

    def counted(*arguments: Any) -> None:
        passes.append(1)
        real(*arguments)

    monkeypatch.setattr(mixing, "_probe", counted)
    first, again = bits(), bits()
    monkeypatch.setattr(local_round, "refuse_what_mixes", lambda *_: None)
    without = bits()
    assert passes == [1]
    for name, value in without.items():
        assert (first[name] == value).all()
        assert (again[name] == value).all()


@pytest.mark.parametrize("name", sorted(LISTED))
@pytest.mark.parametrize("trainable", ["all", "head"])
def test_no_listed_task_mixes_patients(name: str, trainable: str) -> None:
    task = make_task(load_settings(CONFIGS / f"{name}.yaml", TaskSettings))
    probe(task.network(), task, trainable)
    assert len(mixing._FOUND_GOOD) == 1


class FromVolume(nn.Module):
    """A frozen body in three dimensions, and a head that trains by a formula."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        self.mixes = mixes
        self.body = nn.Sequential(nn.Conv3d(1, 4, 3), nn.GroupNorm(2, 4))
        self.head = nn.Linear(4, 1)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        features = self.body(image).mean((2, 3, 4))
        scored: Tensor = self.head(features - features.mean(0) if self.mixes else features)
        return scored + covariates


class VolumeTask(TinyTask):
    """Reads a volume of 6 x 6 x 6 voxels."""

    def sample(self, study: Any) -> Sample:
        made = super().sample(study)
        volume = torch.zeros(len(made["weight"]), 1, 6, 6, 6)
        return {**made, "image": volume}


def test_a_volume_whose_head_alone_trains_is_probed() -> None:
    task = VolumeTask(TaskSettings(task="tiny", private=PrivateSettings(trainable="head")))
    probe(FromVolume(mixes=False), task, "head")
    mixing._FOUND_GOOD.clear()
    with pytest.raises(NotImplementedError, match="changes with who else"):
        probe(FromVolume(mixes=True), task, "head")
    probe(FromVolume(mixes=True), task)  # all of it: one patient at a time
