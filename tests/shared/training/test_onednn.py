"""A single volume's convolutions go to oneDNN, and give what PyTorch's own kernel gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from shared.training.onednn import WORTH, volumes_by_onednn


def gradients(layer: nn.Module, image: Tensor) -> list[Tensor]:
    with volumes_by_onednn(nn.Sequential(layer)):
        output = layer(image)
    weights = list(layer.parameters())
    return [output.detach(), *torch.autograd.grad(output.square().sum(), weights)]


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
    image = torch.rand((1, 16, 12, 12, 12), generator=torch.Generator().manual_seed(3))
    assert layer.weight.numel() * image[0, 0].numel() > WORTH  # type: ignore[operator]
    found = gradients(layer, image)
    assert all(map(torch.equal, gradients(layer, image), found))
    exact = gradients(layer.double(), image.double())
    layer.float()
    for one, other in zip(found, exact, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-5
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


@pytest.mark.parametrize("fails", [False, True])
def test_a_network_is_as_it_was_afterwards(fails: bool) -> None:
    network = nn.Sequential(nn.Conv3d(1, 1, 1))
    before = [dict(module.__dict__) for module in network.modules()]
    try:
        with volumes_by_onednn(network):
            network(torch.ones(1, 1, 3, 3, 3))
            if fails:
                raise KeyError
    except KeyError:
        assert fails
    assert [dict(module.__dict__) for module in network.modules()] == before
