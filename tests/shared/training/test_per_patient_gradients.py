"""Gradients per patient are those of a patient alone, whatever way they are computed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.nn import functional

from shared.training.layers.formulas import by_formulas
from shared.training.per_patient_gradients import per_patient_gradients, take_gradients
from tests.shared.networks.test_networks import EVERY, SMALL, Case, inputs, loss_of

PATIENTS, UNITS = 3, 2
#: Opacus hooks the first layer too, whose input needs no gradient.
HOOK_WARNING = "ignore:Full backward hook is firing:UserWarning"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ready(case: Case, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Make a network none of whose weights is at a point of no gradient."""
    torch.manual_seed(0)
    network = case.make().to(dtype).train()
    for weight in network.parameters():
        if weight.abs().sum() == 0:
            nn.init.normal_(weight, std=0.05)
    return network


def freeze_body_but_norms(network: nn.Module) -> None:
    for module in network.modules():
        for weight in module.parameters(recurse=False):
            weight.requires_grad_(isinstance(module, nn.GroupNorm | nn.Linear))


def loss(network: nn.Module, image: Tensor, covariates: Tensor, weight: Tensor) -> Tensor:
    """Sum over units, some of which are missing (weight 0)."""
    return (weight * loss_of(network(image, covariates))).sum()


def alone(network: nn.Module, batch: tuple[Tensor, ...], units: int = UNITS) -> list[Tensor]:
    """Gradients of one patient after the other, (N, *weight.shape) for every trained weight."""
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    patients = zip(*(part.split(units) for part in batch), strict=True)
    each = [torch.autograd.grad(loss(network, *patient), trained) for patient in patients]
    return [torch.stack(of_weight) for of_weight in zip(*each, strict=True)]


def together(network: nn.Module, batch: tuple[Tensor, ...], units: int = UNITS) -> list[Tensor]:
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    with per_patient_gradients(network, units):
        loss(network, *batch).backward()
        return take_gradients(trained, len(batch[0]) // units)


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest distance of a patient's whole gradient, relative to its norm."""
    difference = torch.cat([(a - b).flatten(1) for a, b in zip(found, expected, strict=True)], 1)
    norm = torch.cat([one.flatten(1) for one in expected], 1).norm(dim=1)
    return float((difference.norm(dim=1) / norm).max())


def patients(case: Case, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Three patients of two units; the second patient lacks one."""
    weight = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    return tuple(part.to(dtype) for part in (*inputs(case, PATIENTS * UNITS), weight))


# --- equal to a patient alone -----------------------------------------------------------


@pytest.mark.parametrize("trainable", ["all", "norms"])
@pytest.mark.parametrize("name", EVERY)
def test_gradients_are_those_of_a_patient_alone(name: str, trainable: str) -> None:
    """In double precision: in single, a batch rounds otherwise than a patient alone."""
    case = EVERY[name]
    network = ready(case)
    if trainable == "norms":
        freeze_body_but_norms(network)
    batch = patients(case)
    found, expected = together(network, batch), alone(network, batch)
    largest = max(float(one.abs().max()) for one in expected)
    assert largest > 0
    for one, other in zip(found, expected, strict=True):
        error = float((one - other).abs().max())
        assert error <= 1e-8 * float(other.abs().max()) + 1e-12 * largest


@pytest.mark.parametrize("name", SMALL)
def test_in_single_precision_they_differ_by_rounding(name: str) -> None:
    case = SMALL[name]
    network, batch = ready(case, torch.float32), patients(case, torch.float32)
    assert distance(together(network, batch), alone(network, batch)) < 1e-5


@pytest.mark.filterwarnings(HOOK_WARNING)
@pytest.mark.parametrize("name", SMALL)
def test_they_are_those_of_opacus(name: str) -> None:
    case = SMALL[name]
    network, batch = ready(case), patients(case)
    found = together(network, batch)
    hooked = GradSampleModule(network, loss_reduction="sum", strict=True)
    loss(hooked, *batch).backward()
    of_units: list[Tensor] = [getattr(weight, "grad_sample") for weight in network.parameters()]  # noqa: B009
    expected = [one.unflatten(0, (PATIENTS, UNITS)).sum(1) for one in of_units]
    assert distance(found, expected) < 1e-10


@pytest.mark.parametrize("name", SMALL)
def test_results_are_the_same_bits_with_and_without(name: str) -> None:
    case = SMALL[name]
    network = ready(case, torch.float32)
    image, covariates, _ = patients(case, torch.float32)
    plain = network(image, covariates)
    with per_patient_gradients(network, UNITS):
        assert torch.equal(network(image, covariates), plain)


def test_the_same_batch_gives_the_same_bits() -> None:
    network, batch = ready(SMALL["unet"], torch.float32), patients(SMALL["unet"], torch.float32)
    for one, other in zip(together(network, batch), together(network, batch), strict=True):
        assert torch.equal(one, other)


def test_a_patient_that_is_not_finite_leaves_the_others_alone() -> None:
    case = SMALL["unet"]
    network, batch = ready(case, torch.float32), patients(case, torch.float32)
    expected = together(network, batch)
    batch[0][2] = math.nan  # a unit of the second patient
    found = together(network, batch)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert not all(bool(one[1].isfinite().all()) for one in found)


# --- in bfloat16 -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_in_bfloat16_they_are_as_near_as_autocast_alone(name: str) -> None:
    """The error is that of autocast itself, and what is kept is in single precision."""
    case = SMALL[name]
    network, batch = ready(case, torch.float32), patients(case, torch.float32)
    exact = alone(network, batch)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = together(network, batch), alone(network, batch)
    assert all(one.dtype == torch.float32 for one in found)
    assert 0 < distance(found, exact) < 1.5 * distance(expected, exact)


# --- on a GPU ----------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", EVERY)
def test_on_a_gpu_gradients_are_those_of_a_patient_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    case = EVERY[name]
    network = ready(case).cuda()
    batch = tuple(part.cuda() for part in patients(case))
    assert distance(together(network, batch), alone(network, batch)) < 1e-8
    network.float()
    batch = tuple(part.float() for part in batch)
    assert distance(together(network, batch), alone(network, batch)) < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", EVERY)
def test_on_a_gpu_a_patient_that_is_not_finite_leaves_the_others_alone(name: str) -> None:
    """Patients are groups of channels of one call there: none may reach another's."""
    network = ready(EVERY[name], torch.float32).cuda()
    batch = tuple(part.cuda() for part in patients(EVERY[name], torch.float32))
    batch[0][2] = math.nan
    for one in together(network, batch):
        assert one[[0, 2]].isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu_matrices_round_as_convolutions_only_where_they_stand_for_them() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    case = SMALL["unet"]
    network = ready(case, torch.float32).cuda()
    batch = tuple(part.cuda() for part in patients(case, torch.float32))
    assert distance(together(network, batch), alone(network, batch)) < 1e-2
    assert torch.backends.cuda.matmul.allow_tf32 == before


# --- weights used otherwise ------------------------------------------------------------------


class Twice(nn.Module):
    """One layer used twice, and its weight in a second layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        result: Tensor = self.second(torch.tanh(self.first(torch.tanh(self.first(image)))))
        return result + covariates


def tiny_batch() -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    shapes = ((PATIENTS * UNITS, 3), (PATIENTS * UNITS, 1), (PATIENTS * UNITS,))
    return tuple(torch.rand(shape, dtype=torch.float64) for shape in shapes)


def test_gradients_of_a_weight_that_is_used_more_than_once_add_up() -> None:
    network, batch = Twice().double(), tiny_batch()
    assert distance(together(network, batch), alone(network, batch)) < 1e-12


def test_a_weight_used_outside_its_layer_is_refused() -> None:
    class Outside(Twice):
        def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
            return functional.linear(super().forward(image, covariates), self.first.weight)

    with pytest.raises(RuntimeError, match="outside its layer"):
        together(Outside().double(), tiny_batch())


def test_a_weight_that_takes_no_part_is_refused() -> None:
    class Idle(Twice):
        def __init__(self) -> None:
            super().__init__()
            self.idle = nn.Linear(3, 3)

    with pytest.raises(RuntimeError, match="of patients: 0 "):
        together(Idle().double(), tiny_batch())


def test_a_layer_that_folds_patients_is_refused() -> None:
    class Folds(Twice):
        def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
            doubled = super().forward(image.repeat(2, 1), covariates.repeat(2, 1))
            return doubled[: len(image)]

    with pytest.raises(RuntimeError, match="of patients: 6 "):
        together(Folds().double(), tiny_batch())


class OwnConvolution(nn.Conv2d):
    """May do anything with its weight."""


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))


def with_a_forward_of_its_own() -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.__dict__["forward"] = layer.forward
    return layer


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (nn.Embedding(3, 2), "a Embedding cannot be trained"),
        (nn.LayerNorm(3), "LayerNorm"),
        (Scale(), "Scale"),
        (OwnConvolution(1, 1, 1), "OwnConvolution"),
        (nn.Conv2d(1, 1, 3, padding="same"), "in pixels"),
        (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "zeros as padding"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "ParametrizedLinear"),
        (with_a_forward_of_its_own(), "forward of its own"),
    ],
)
def test_what_is_not_known_has_no_formula(layer: nn.Module, cause: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), layer)
    with pytest.raises(NotImplementedError, match=cause), by_formulas(network, 1):
        pass  # pragma: no cover
    assert "forward" not in network[0].__dict__


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (nn.BatchNorm2d(3), "mixes samples"),
        (nn.BatchNorm2d(3, affine=False), "mixes samples"),
        (nn.BatchNorm3d(3), "mixes samples"),
        (nn.InstanceNorm3d(3, track_running_stats=True), "keeps statistics"),
    ],
)
def test_what_mixes_patients_is_refused_before_any_step(layer: nn.Module, cause: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), layer)
    with pytest.raises(NotImplementedError, match=cause), per_patient_gradients(network, 1):
        pass  # pragma: no cover
    assert "forward" not in network[0].__dict__


def test_what_is_not_known_may_be_there_frozen() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)).double()
    network[1].requires_grad_(False)
    image = torch.rand(4, 3, dtype=torch.float64)
    with per_patient_gradients(network, 2):
        network(image).square().sum().backward()
        found = take_gradients(network[0].parameters(), 2)
    assert network[1].weight.grad is None
    assert [tuple(one.shape) for one in found] == [(2, 3, 3), (2, 3)]


# --- afterwards ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_is_as_it_was_afterwards(fails: bool) -> None:
    case = SMALL["resnet"]
    network = ready(case)
    names = list(network.state_dict())
    own = [set(module.__dict__) for module in network.modules()]
    try:
        with per_patient_gradients(network, UNITS):
            assert list(network.state_dict()) == names
            loss(network, *patients(case)).backward()
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [set(module.__dict__) for module in network.modules()] == own
    assert list(network.state_dict()) == names
    for weight in network.parameters():
        assert weight.grad is None
        assert not hasattr(weight, "grad_sample")
    loss(network, *patients(case)).backward()
    assert all(weight.grad is not None for weight in network.parameters())
