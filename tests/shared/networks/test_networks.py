"""Networks are ready for gradients per patient and for export."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from opacus.validators import ModuleValidator
from torch import Tensor, nn

from shared.networks.bone_sums import BoneSumsNetwork
from shared.networks.densenet import GREY_MIDDLE, GREY_SPREAD, DensityNetwork
from shared.networks.ready import constant_planes, count_place_planes, place_planes
from shared.networks.resnet import GradingNetwork
from shared.networks.unet import SegmentationNetwork, fold_pixels
from shared.networks.whitening import FLOOR, Whitening
from shared.tasks.dxa_segmentation import possible_classes


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    image: tuple[int, ...]
    covariates: int
    trainable: str = "all"


def density(size: str) -> DensityNetwork:
    """One number of the first view, two of the second, two covariates beside each."""
    return DensityNetwork([1, 2], 2, [1.0, 0.9, 0.8], [0.1, 0.2, 0.1], size)


SMALL = {
    "unet": Case(lambda: SegmentationNetwork(1, possible_classes(), "small"), (1, 32, 32), 3),
    "densenet": Case(lambda: density("small"), (2, 32, 48), 4),
    "sums": Case(lambda: BoneSumsNetwork(2, 1.0, 0.1, "small"), (2, 32, 32), 2),
    "resnet": Case(lambda: GradingNetwork(1, 1, 3, "small"), (1, 24, 24), 1),
}
PUBLISHED = {
    "unet": Case(lambda: SegmentationNetwork(1, possible_classes(), "published"), (1, 32, 32), 3),
    "densenet": Case(lambda: density("published"), (2, 64, 64), 4),
    "resnet": Case(lambda: GradingNetwork(1, 1, 3, "published"), (1, 32, 32), 1),
}
#: Of volumes, (1, D, H, W).
VOLUMES = {
    "unet-3d": Case(
        lambda: SegmentationNetwork(1, possible_classes(), "small", 3), (1, 8, 16, 24), 3
    ),
    "resnet-3d": Case(lambda: GradingNetwork(1, 1, 3, "small", 3), (1, 8, 12, 16), 1),
}
ALL_SMALL = SMALL | VOLUMES
EVERY = {f"{name}-small": case for name, case in SMALL.items()} | {
    f"{name}-published": case for name, case in PUBLISHED.items()
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def inputs(case: Case, count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image = torch.rand((count, *case.image), generator=generator)
    return image, torch.rand((count, case.covariates), generator=generator).round()


def loss_of(output: Tensor) -> Tensor:
    """A loss per sample that no output leaves out."""
    places = output[0].numel()
    weights = torch.linspace(0.5, 1.5, places, device=output.device).reshape(output[0].shape)
    return (output * weights).square().flatten(1).mean(1)


@pytest.mark.parametrize("name", [*EVERY, *VOLUMES])
def test_nothing_mixes_samples_or_works_in_place(name: str) -> None:
    network = (EVERY | VOLUMES)[name].make()
    assert ModuleValidator.validate(network, strict=False) == []
    for module in network.modules():
        assert not isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d)
        assert not isinstance(module, nn.BatchNorm3d | nn.InstanceNorm3d)
        assert not getattr(module, "inplace", False), type(module).__name__


@pytest.mark.parametrize("name", ALL_SMALL)
def test_a_sample_does_not_depend_on_the_others(name: str) -> None:
    case = ALL_SMALL[name]
    network = case.make().eval()
    image, covariates = inputs(case, 3)
    together = network(image, covariates)[1]
    alone = network(image[1:2], covariates[1:2])[0]
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", ALL_SMALL)
def test_exported_program_gives_the_same_for_every_batch_size(name: str) -> None:
    case = ALL_SMALL[name]
    network = case.make().eval()
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = {"image": {0: batch}, "covariates": {0: batch}}
    exported = torch.export.export(network, inputs(case, 2), dynamic_shapes=shapes).module()
    for count in (1, 2, 5):
        image, covariates = inputs(case, count)
        with torch.no_grad():
            difference = (exported(image, covariates) - network(image, covariates)).abs().max()
        assert float(difference) < 1e-4


@pytest.mark.parametrize("name", ALL_SMALL)
def test_small_networks_are_small(name: str) -> None:
    weights = sum(weight.numel() for weight in ALL_SMALL[name].make().parameters())
    least = 2_000 if name == "sums" else 30_000  # it sums, and learns only of what
    assert least <= weights <= 150_000


@pytest.mark.parametrize(("name", "millions"), [("unet", 6.5), ("densenet", 7.0), ("resnet", 23.5)])
def test_published_networks_have_their_size(name: str, millions: float) -> None:
    weights = sum(weight.numel() for weight in PUBLISHED[name].make().parameters())
    assert weights / 1e6 == pytest.approx(millions, rel=0.05)


def test_a_view_cannot_show_a_class_that_it_has_not() -> None:
    network = SMALL["unet"].make().eval()
    chances = network(torch.rand(3, 1, 32, 32), torch.eye(3)).softmax(1).detach()
    for view, possible in enumerate(possible_classes()):
        for code, can in enumerate(possible):
            assert (float(chances[view, code].max()) > 1e-4) == can


def test_a_volume_cannot_show_a_class_that_it_has_not() -> None:
    case = VOLUMES["unet-3d"]
    network = case.make().eval()
    chances = network(torch.rand(3, *case.image), torch.eye(3)).softmax(1).detach()
    assert chances.shape[2:] == case.image[1:]
    for view, possible in enumerate(possible_classes()):
        for code, can in enumerate(possible):
            assert (float(chances[view, code].max()) > 1e-4) == can


@pytest.mark.parametrize("name", VOLUMES)
def test_a_published_network_of_volumes_can_be_made_and_used(name: str) -> None:
    kinds = {
        "unet-3d": lambda: SegmentationNetwork(1, possible_classes(), "published", 3),
        "resnet-3d": lambda: GradingNetwork(1, 1, 3, "published", 3),
    }
    with torch.device("meta"):
        network = kinds[name]()
        assert ModuleValidator.validate(network, strict=False) == []
        covariates = torch.rand(2, VOLUMES[name].covariates)
        output = network(torch.rand(2, 1, 16, 32, 48), covariates)
    assert len(output) == 2
    assert output.shape[2:] == ((16, 32, 48) if name == "unet-3d" else ())
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert millions == pytest.approx({"unet-3d": 4.8, "resnet-3d": 46.2}[name], rel=0.05)


def test_planes_say_where_a_voxel_is() -> None:
    volume = torch.zeros(2, 1, 3, 4, 5)
    planes = place_planes(volume)
    assert planes.shape == (2, count_place_planes(3), 3, 4, 5)
    for axis in range(3):
        places = planes[1, axis].movedim(axis, 0).flatten(1)
        assert torch.allclose(places, torch.linspace(-1, 1, 3 + axis)[:, None].expand_as(places))
    assert torch.allclose(planes[0, 3], torch.sin(torch.pi * planes[0, 0]))
    constant = constant_planes(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), volume)
    assert constant.shape == (2, 2, 3, 4, 5)
    assert bool((constant[1, 0] == 3).all())


def test_voxels_are_folded_as_pixels_are() -> None:
    image = torch.rand(2, 3, 4, 6)
    folded = fold_pixels(image, 2)
    assert torch.equal(folded, nn.functional.pixel_unshuffle(image, 2))
    volume = image[:, :, None].repeat_interleave(2, dim=2)  # two slices alike
    of_slices = fold_pixels(volume, 2).unflatten(1, (3, 2, 4))  # channel, slice, place
    assert of_slices.shape == (2, 3, 2, 4, 1, 2, 3)
    for place in range(2):
        assert torch.equal(of_slices[:, :, place, :, 0].flatten(1, 2), folded)


def test_density_follows_the_absolute_grey_level() -> None:
    torch.manual_seed(0)
    network = DensityNetwork([1], 2, [1.0], [0.1], "small").eval()
    with torch.no_grad():
        weight = network.get_parameter("heads.0.linear.weight")
        weight[:, : network.looks] = 1.0  # the mean grey levels
    image = torch.rand(1, 1, 48, 32)
    none = torch.zeros(1, 2)
    with torch.no_grad():
        outputs = [float(network(share * image, none)) for share in (0.5, 1.0)]
    grey = [(output - 1.0) / 0.1 / network.looks * GREY_SPREAD + GREY_MIDDLE for output in outputs]
    assert grey[1] / grey[0] == pytest.approx(2.0, rel=0.1)


def says_something(network: DensityNetwork) -> DensityNetwork:
    """Give every head weights, which begin as nothing."""
    for name, weight in network.named_parameters():
        if name.startswith("heads."):
            nn.init.normal_(weight)
    return network.eval()


@pytest.mark.parametrize("size", ["small", "published"])
def test_noise_in_one_view_changes_nothing_that_is_read_from_another(size: str) -> None:
    torch.manual_seed(0)
    network = says_something(density(size))
    image, covariates = inputs(Case(lambda: network, (2, 64, 48), 4), 3)
    own = {0: [0], 1: [1, 2]}
    with torch.no_grad():
        network.whiten(*network.measure(image), torch.ones(3, 2, dtype=torch.bool))
        before = network(image, covariates)
        for view, outputs in own.items():
            noisy, told = image.clone(), covariates.unflatten(1, (2, 2)).clone()
            noisy[:, view] = torch.rand_like(noisy[:, view])
            told[:, view] += 1.0
            change = network(noisy, told.flatten(1)) - before
            others = [output for output in range(3) if output not in own[view]]
            assert bool((change[:, others] == 0).all())
            assert float(change[:, outputs].abs().min()) > 1e-4


def test_no_gradient_reaches_a_view_from_anothers_density() -> None:
    torch.manual_seed(0)
    network = says_something(density("small"))
    image, covariates = inputs(SMALL["densenet"], 2)
    image.requires_grad_()
    of_hip = network(image, covariates)[:, 1:].sum()
    (gradient,) = torch.autograd.grad(of_hip, image)
    assert bool((gradient[:, 0] == 0).all())
    assert float(gradient[:, 1].abs().max()) > 0


def test_views_are_told_apart() -> None:
    """The same picture in both places gives other features: the body is told which it sees."""
    torch.manual_seed(0)
    network = density("small").eval()
    image = torch.rand(1, 1, 48, 32).expand(-1, 2, -1, -1)
    with torch.no_grad():
        _, features = network.attention(image)
    assert float((features[:, 0] - features[:, 1]).abs().max()) > 0.01


def whitened() -> tuple[DensityNetwork, DensityNetwork, tuple[Tensor, Tensor]]:
    """A density network with a head that says something, and the same one whitened."""
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(says_something(density("small")))
    generator = torch.Generator().manual_seed(4)
    image = torch.rand((60, 2, 48, 32), generator=generator)
    networks[1].whiten(*networks[1].measure(image), torch.ones(60, 2, dtype=torch.bool))
    return networks[0], networks[1], (image, torch.randn((60, 4), generator=generator))


def test_whitening_changes_no_output_and_travels_with_the_weights() -> None:
    before, after, (image, covariates) = whitened()
    with torch.no_grad():
        expected, found = before(image, covariates), after(image, covariates)
        assert torch.allclose(expected, found, atol=1e-4, rtol=1e-4)
        for view in range(2):
            name = f"heads.{view}.linear.weight"
            first, second = before.get_parameter(name), after.get_parameter(name)
            assert not torch.allclose(first, second, atol=0.1)
        before.load_state_dict(after.state_dict())
        assert torch.equal(before(image, covariates), found)
        some = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) < 0.8
        after.whiten(*after.measure(image[:40]), some)  # once more, by others
        assert torch.allclose(after(image, covariates), expected, atol=1e-4, rtol=1e-4)


def test_a_grading_network_is_whitened_without_a_change_of_its_logits() -> None:
    torch.manual_seed(0)
    network = GradingNetwork(1, 1, 3, "small").eval()
    torch.nn.init.normal_(network.head.weight)
    generator = torch.Generator().manual_seed(4)
    image = torch.randn((200, 1, 40, 36), generator=generator)
    level = torch.rand((200, 1), generator=generator)
    with torch.no_grad():
        expected, raw = network(image, level), network.measure(image, level)
        network.whiten(raw)
        found = network.whitened(raw)
        assert torch.allclose(network(image, level), expected, atol=1e-3, rtol=1e-3)
    assert float(found.mean(0).abs().max()) < 1e-2

    def widths(features: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(torch.cov(features.double().T)).clamp(min=0).sqrt()

    wide = widths(raw) >= network.whitened.floor * widths(raw).max()
    assert int((widths(found) > 0.99).sum()) == int(wide.sum()) >= 2


def test_whitened_features_vary_alike_and_around_nothing() -> None:
    _, network, (image, _) = whitened()
    for view in range(2):
        with torch.no_grad():
            measured = network.measure(image)[0][:, view]
            found = network.get_submodule(f"heads.{view}.measured")(measured)
        assert float(found.mean(0).abs().max()) < 1e-3
        widths = torch.linalg.eigvalsh(torch.cov(found.double().T)).clamp(min=0).sqrt()
        assert float(widths.max()) == pytest.approx(1.0, abs=1e-2)
        raw = torch.linalg.eigvalsh(torch.cov(measured.double().T)).clamp(min=0).sqrt()
        wide = raw >= FLOOR * raw.max()  # these all vary alike afterwards
        assert int((widths > 0.99).sum()) == int(wide.sum()) >= 2
        narrow = raw[~wide].max() / (FLOOR * raw.max())
        assert float(widths[widths < 0.99].max()) == pytest.approx(float(narrow), rel=1e-2)


def test_a_view_is_whitened_by_those_who_have_it() -> None:
    torch.manual_seed(0)
    network, other = density("small").eval(), density("small").eval()
    other.load_state_dict(network.state_dict())
    image = torch.rand(9, 2, 48, 32)
    image[4:, 0] = 0.0
    shown = torch.tensor([[True, True]] * 4 + [[False, True]] * 5)
    with torch.no_grad():
        measured, context = network.measure(image)
        network.whiten(measured, context, shown)
        other.whiten(measured[:4], context[:4], shown[:4])
    first, second = (one.get_buffer("heads.0.measured.middle") for one in (network, other))
    assert torch.equal(first, second)


def test_what_hardly_varies_at_all_is_not_stretched() -> None:
    """Weights travel in half precision; what whitens a millionth would stretch that rounding."""
    generator = torch.Generator().manual_seed(2)
    saturated = 1 - 1e-6 * torch.rand(50, 4, generator=generator)
    whitening = Whitening(4, least=0.05)
    whitening.fit(saturated)
    rounded = Whitening(4)
    rounded.load_state_dict({n: v.half().float() for n, v in whitening.state_dict().items()})
    assert float((rounded(saturated) - whitening(saturated)).abs().max()) < 0.05
    assert float(whitening(saturated).abs().max()) < 1e-3
    (head, _) = (density("small").get_submodule(f"heads.{view}.surroundings") for view in (0, 1))
    assert isinstance(head, Whitening)
    assert head.least >= 0.05
