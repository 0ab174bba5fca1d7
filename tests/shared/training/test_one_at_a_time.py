"""A network with any layer is trained privately, one patient at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from shared.networks.resnet import GradingNetwork
from shared.networks.unet import SegmentationNetwork
from shared.training.compute import Compute
from shared.training.layers.formulas import have_formulas
from shared.training.layers.onednn import WORTH, volumes_by_onednn
from shared.training.local_round import train_plain, train_private
from shared.training.per_patient_gradients import (
    one_at_a_time,
    per_patient_gradients,
    take_gradients,
)
from tests.shared.networks.test_networks import EVERY, SMALL, loss_of
from tests.shared.standins import Standins
from tests.shared.training.test_per_patient_gradients import (
    HOOK_WARNING,
    Twice,
    alone,
    distance,
    one_thread,  # noqa: F401
    patients,
    ready,
    tiny_batch,
    together,
)
from tests.shared.training.tiny_training import KEY, TASK, TinyTask, private

PATIENTS = 3


class Alone(nn.Module):
    """Lets a layer, or several, stand for a network."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        result: Tensor = self.layers(image)
        return result + covariates.view(-1, *[1] * (result.dim() - 1))


def volumes(
    units: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, ...]:
    """Image, covariates and weight of three patients; the second patient's first unit is light."""
    generator = torch.Generator().manual_seed(3)
    image = torch.rand((PATIENTS * units, *shape), generator=generator).to(dtype)
    weight = torch.ones(PATIENTS * units, dtype=dtype)
    weight[units] = 0.25
    return image, torch.ones((len(image), 1), dtype=dtype), weight


def of_opacus(network: nn.Module, batch: tuple[Tensor, ...], units: int) -> list[Tensor]:
    hooked = GradSampleModule(network, loss_reduction="sum", strict=True)
    image, covariates, weight = batch
    (weight * loss_of(hooked(image, covariates))).sum().backward()
    of_units: list[Tensor] = [getattr(one, "grad_sample") for one in network.parameters()]  # noqa: B009
    return [one.unflatten(0, (PATIENTS, units)).sum(1) for one in of_units]


VOLUME = (4, 4, 6, 5)
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "convolution": (lambda: nn.Conv3d(4, 6, 3, stride=(1, 2, 1), padding=1), VOLUME),
    "convolution in groups": (lambda: nn.Conv3d(4, 6, (1, 3, 2), groups=2), VOLUME),
    "transposed": (lambda: nn.ConvTranspose3d(4, 6, 3, 2, 1, output_padding=1), VOLUME),
    "group norm": (lambda: nn.Sequential(nn.Conv3d(4, 4, 1), nn.GroupNorm(2, 4)), VOLUME),
    "linear": (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(120, 5), nn.LayerNorm(5)), VOLUME),
    "layer norm": (lambda: nn.LayerNorm(VOLUME), VOLUME),
    "instance norm": (lambda: nn.InstanceNorm3d(4, affine=True), VOLUME),
    "rectifier": (lambda: nn.Sequential(nn.Conv3d(4, 4, 1), nn.PReLU(4)), VOLUME),
}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "unet": (lambda: SegmentationNetwork(1, [[True, True]], "small", 3), (1, 8, 16, 8)),
    "resnet": (lambda: GradingNetwork(1, 1, 2, "small", 3), (1, 8, 8, 8)),
}


@pytest.mark.filterwarnings(HOOK_WARNING)
@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("name", [*LAYERS, *NETWORKS])
def test_gradients_in_three_dimensions_are_those_of_opacus(name: str, units: int) -> None:
    make, shape = (LAYERS | NETWORKS)[name]
    torch.manual_seed(4)
    network = make() if name in NETWORKS else Alone(make())
    network = network.double().train()
    assert not have_formulas(network)
    batch = volumes(units, shape)
    found = together(network, batch, units)
    assert all(len(one) == PATIENTS for one in found)
    assert distance(found, alone(network, batch, units)) < 1e-12
    assert distance(found, of_opacus(network, batch, units)) < 1e-10


@pytest.mark.filterwarnings(HOOK_WARNING)
def test_a_table_of_words_is_trained_like_any_layer() -> None:
    torch.manual_seed(4)
    network = Alone(nn.Embedding(5, 3)).double()
    image = torch.tensor([[0, 1], [1, 4], [2, 2], [0, 0], [3, 1], [4, 4]])
    batch = (image, *volumes(2, VOLUME)[1:])
    found = together(network, batch)
    assert distance(found, alone(network, batch)) < 1e-12
    assert distance(found, of_opacus(network, batch, 2)) < 1e-10
    assert not found[0][0, 3].any()


# --- which way ----------------------------------------------------------------------------


def test_the_networks_of_images_have_formulas_and_those_of_volumes_have_not() -> None:
    assert all(have_formulas(case.make()) for case in EVERY.values())
    assert not any(have_formulas(make()) for make, _ in NETWORKS.values())


def test_a_frozen_layer_needs_no_formula() -> None:
    network = Alone(nn.LayerNorm(3), nn.Linear(3, 3))
    assert not have_formulas(network)
    network.layers[0].requires_grad_(False)
    assert have_formulas(network)


@pytest.mark.parametrize("name", SMALL)
def test_both_ways_give_the_same(name: str) -> None:
    network, batch = ready(SMALL[name]), patients(SMALL[name])
    image, covariates, weight = batch
    by_formulas = together(network, batch)
    with one_at_a_time(network, 2):
        (weight * loss_of(network(image, covariates))).sum().backward()
    trained = list(network.parameters())
    assert distance(take_gradients(trained, PATIENTS), by_formulas) < 1e-10


# --- in single precision, by oneDNN ---------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(16, 16, 3, padding=1),
        nn.Conv3d(16, 32, (3, 3, 2), stride=(1, 2, 1), bias=False),
        nn.ConvTranspose3d(16, 16, 3, 2, 1, output_padding=1),
        nn.Conv3d(16, 16, 3, padding="same"),
        nn.ConvTranspose3d(16, 16, 3, dilation=2, output_padding=1),
        nn.Conv3d(16, 16, 3, padding=1, padding_mode="circular"),
        nn.Conv3d(16, 16, 3, groups=2),
    ],
    ids=["plain", "strides", "transposed", "same", "rest", "circular", "groups"],
)
def test_a_single_volume_is_convolved_alike_in_every_layout(layer: nn.Module) -> None:
    network = Alone(layer)
    batch = volumes(1, (16, 12, 12, 12), torch.float32)
    assert layer.weight.numel() * batch[0][0, 0].numel() > WORTH  # type: ignore[operator]
    found = together(network, batch, 1)
    network.double()
    exact = alone(network, volumes(1, (16, 12, 12, 12)), 1)
    network.float()
    assert distance([one.double() for one in found], exact) < 1e-5
    assert "forward" not in layer.__dict__


def test_a_single_volume_takes_onednn() -> None:
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of PyTorch has no oneDNN")
    network, image = nn.Sequential(nn.Conv3d(16, 16, 3)), torch.rand(1, 16, 12, 12, 12)
    assert "ToDense" not in type(network(image).grad_fn).__name__
    with volumes_by_onednn(network):
        assert "ToDense" in type(network(image).grad_fn).__name__
        assert "ToDense" not in type(network(image.repeat(2, 1, 1, 1, 1)).grad_fn).__name__
        with torch.autocast("cpu", torch.bfloat16):
            assert network(image).dtype == torch.bfloat16


@pytest.mark.parametrize("units", [1, 2])
def test_in_bfloat16_they_are_as_near_as_autocast_alone(units: int) -> None:
    network = Alone(nn.LayerNorm(VOLUME), nn.Flatten(2), nn.Linear(120, 8))
    batch = volumes(units, VOLUME, torch.float32)
    exact = alone(network, batch, units)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = together(network, batch, units), alone(network, batch, units)
    assert all(one.dtype == torch.float32 for one in found)
    assert 0 < distance(found, exact) < 1.5 * distance(expected, exact)


def test_a_volume_gives_the_same_bits_again_and_leaves_the_others_alone() -> None:
    network = SegmentationNetwork(1, [[True, True]], "small", 3)
    batch = volumes(1, (1, 8, 16, 8), torch.float32)
    expected = together(network, batch, 1)
    assert all(map(torch.equal, together(network, batch, 1), expected))
    batch[0][1] = math.nan
    found = together(network, batch, 1)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert not all(bool(one[1].isfinite().all()) for one in found)


# --- weights used otherwise, and what is refused ----------------------------------------------


class Otherwise(Twice):
    """Uses a weight in its layer, in another layer and in no layer; one only of some images."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        result = self.norm(super().forward(image, covariates)) @ self.first.weight
        return result * self.factor if bool(image[0, 0] > 0.5) else result


def test_a_weight_may_be_used_anywhere_in_the_network() -> None:
    network, batch = Otherwise().double(), tiny_batch()
    network.factor.requires_grad_(False)
    assert distance(together(network, batch), alone(network, batch)) < 1e-12


def test_a_weight_that_a_patients_pass_leaves_out_has_no_gradient_of_that_patient() -> None:
    network, batch = Otherwise().double(), tiny_batch()
    batch[0][::2, 0] = torch.tensor([0.9, 0.1, 0.9])
    factors = together(network, batch)[0]
    assert [bool(one != 0) for one in factors] == [True, False, True]


def test_what_does_not_belong_to_one_patient_is_refused() -> None:
    batch = tiny_batch()
    network = Alone(nn.LayerNorm(3)).double()
    with per_patient_gradients(network, 4), pytest.raises(RuntimeError, match="multiple of 4"):
        network(*batch[:2])
    with per_patient_gradients(network, 2), pytest.raises(RuntimeError, match="of 4 and 6"):
        network(batch[0], batch[1][:4])
    flat = nn.Sequential(nn.LayerNorm(3), nn.Flatten(0)).double()
    with per_patient_gradients(flat, 2), pytest.raises(RuntimeError, match="for 2 units"):
        flat(batch[0])


def test_a_weight_that_is_left_out_or_used_outside_the_network_is_refused() -> None:
    network, batch = Alone(nn.LayerNorm(3)).double(), tiny_batch()
    idle = nn.ModuleList([network, nn.Linear(3, 3)])
    with per_patient_gradients(network, 2):
        network(*batch[:2]).sum().backward()
        with pytest.raises(RuntimeError, match="of patients: 0 "):
            take_gradients(idle.parameters(), PATIENTS)
    with per_patient_gradients(network, 2):
        (network(*batch[:2]).sum() + next(network.parameters()).sum()).backward()
        with pytest.raises(RuntimeError, match="outside its layer"):
            take_gradients(network.parameters(), PATIENTS)


def test_a_network_that_remembers_patients_is_refused() -> None:
    class Remembers(Alone):
        mean: Tensor

        def __init__(self) -> None:
            super().__init__(nn.LayerNorm(3))
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
            self.mean = 0.9 * self.mean + 0.1 * image.detach().mean(0)
            return super().forward(image - self.mean, covariates)

    with pytest.raises(RuntimeError, match=r"^mean: .*keeps statistics"):
        together(Remembers().double(), tiny_batch())


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_a_network_is_as_it_was_afterwards(fails: bool, own: bool) -> None:
    network, batch = Alone(nn.Conv3d(1, 1, 1)), volumes(2, (1, 3, 3, 3), torch.float32)
    if own:
        network.__dict__["forward"] = network.forward
    before = [dict(module.__dict__) for module in network.modules()]
    try:
        with per_patient_gradients(network, 2):
            with torch.no_grad():
                assert len(network(*batch[:2])) == len(batch[0])
            network(*batch[:2]).sum().backward()
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [dict(module.__dict__) for module in network.modules()] == before
    assert not any(hasattr(weight, "grad_sample") for weight in network.parameters())


# --- a whole round ------------------------------------------------------------------------------


class NormalisedNetwork(nn.Module):
    """A network with layers that have no formula, one of which draws at random."""

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


@pytest.fixture
def normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TinyTask, "network", lambda _: NormalisedNetwork())


def trained(size: int = 4, **changes: Any) -> np.ndarray[Any, Any]:
    compute = Compute(physical_batch_patients=size)
    done = train_private(TASK, TASK.network(), Standins(6), private(**changes), 0.0, KEY, compute)
    return np.concatenate([done.arrays[name].ravel() for name in sorted(done.arrays)])


@pytest.mark.usefixtures("normalised")
def test_what_a_layer_draws_at_random_follows_from_the_rounds_key() -> None:
    first = trained(steps_per_round=3)
    torch.rand(7)  # wherever PyTorch's own generator stands
    network, own = TASK.network(), torch.get_rng_state()
    train_private(TASK, network, Standins(6), private(), 0.0, KEY, Compute())
    assert torch.equal(torch.get_rng_state(), own)
    assert np.array_equal(trained(steps_per_round=3), first)
    assert np.allclose(trained(2, steps_per_round=3), first, atol=1e-6)  # whoever is beside whom
    plain = [
        train_plain(TASK, TASK.network(), Standins(6), private(), KEY, Compute(), steps=2).arrays
        for _ in range(2)
    ]
    assert all(np.array_equal(plain[0][name], plain[1][name]) for name in plain[0])


@pytest.mark.usefixtures("normalised")
@pytest.mark.parametrize("worst_first", [0.0, 1.5])
def test_a_patient_contributes_its_clipped_gradient_or_nothing(
    worst_first: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.functional, "dropout", lambda image, *_: image)
    monkeypatch.setattr(TinyTask, "broken", {"p0003": math.nan})
    settings = private(worst_first=worst_first)
    network, source = TASK.network(), Standins(6)
    before = np.concatenate([w.detach().numpy().ravel() for w in _sorted(network)])
    expected = np.zeros(len(before))
    for patient in source.patients:
        sample = TASK.sample(source.studies(patient)[0])
        network.zero_grad()
        loss = TASK.loss(network(sample["image"], sample["covariates"]), sample).mean()
        (loss.pow(1 + worst_first) / (1 + worst_first)).backward()
        gradient = np.concatenate([w.grad.numpy().ravel() for w in _sorted(network)])  # type: ignore[union-attr]
        if np.isfinite(gradient).all():
            expected += gradient * min(1.0, settings.max_grad_norm / np.linalg.norm(gradient))
    found = trained(worst_first=worst_first) - before
    assert found == pytest.approx(-settings.learning_rate * expected / 6, rel=1e-3, abs=1e-6)


def _sorted(network: nn.Module) -> list[nn.Parameter]:
    return [weight for _, weight in sorted(network.named_parameters())]
