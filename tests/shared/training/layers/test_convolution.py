"""Every way of a convolution gives the same gradients per patient, and shapes choose the way."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from shared.training.layers import convolution
from shared.training.layers.convolution import (
    Geometry,
    by_calls,
    by_groups,
    by_pixels,
    by_unfolding,
)
from tests.shared.training.test_per_patient_gradients import one_thread  # noqa: F401

LAYERS: dict[str, nn.Conv2d | nn.ConvTranspose2d] = {
    "plain": nn.Conv2d(3, 5, 3, padding=1),
    "pixels": nn.Conv2d(3, 4, 1),
    "pixels with strides": nn.Conv2d(3, 4, 1, stride=(2, 3)),
    "one pixel, padded": nn.Conv2d(3, 4, 1, padding=1),
    "rest at the edge": nn.Conv2d(2, 3, 3, stride=2),
    "dilated": nn.Conv2d(8, 16, (3, 2), padding=(2, 1), dilation=(2, 1)),
    "in groups": nn.Conv2d(4, 6, 3, groups=2),
    "transposed": nn.ConvTranspose2d(5, 3, 3, padding=1),
    "transposed with strides": nn.ConvTranspose2d(5, 2, 3, 2, 1, output_padding=1),
    "transposed in groups": nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "close"),
    [(torch.float64, 1e-10), (torch.float32, 1e-4)],
    ids=["double", "single"],  # in single precision oneDNN computes, in double PyTorch
)
def test_every_way_gives_the_gradients_of_autograd(
    name: str, units: int, dtype: torch.dtype, close: float
) -> None:
    layer = LAYERS[name].to(dtype)
    torch.manual_seed(2)
    image = torch.randn(4 * units, layer.in_channels, 9, 8, dtype=dtype)
    upstream = torch.randn_like(layer(image))
    each = zip(image.split(units), upstream.split(units), strict=True)
    expected = torch.stack(
        [torch.autograd.grad((layer(one) * back).sum(), layer.weight)[0] for one, back in each]
    )
    large, small = (upstream, image) if layer.transposed else (image, upstream)
    geometry = Geometry.of(layer)
    chosen = convolution.convolution_gradients(image, upstream, layer.weight, geometry, 4)
    ways = [by_calls]
    if layer.groups == 1:
        ways += [by_groups, by_unfolding]
    if name.startswith("pixels"):
        ways.append(by_pixels)
    geometry = geometry._replace(transposed=False, output_padding=(0, 0))
    for found in (chosen, *(way(large, small, layer.weight, geometry, 4) for way in ways)):
        assert found.shape == (4, *layer.weight.shape)
        assert torch.allclose(found, expected, rtol=close, atol=close)


@pytest.mark.parametrize("copied", [1, 2000, 10**9])
def test_unfolding_piece_by_piece_changes_nothing(
    copied: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, image = nn.Conv2d(2, 3, 3).double(), torch.randn(10, 2, 8, 8, dtype=torch.float64)
    back = torch.randn_like(layer(image))
    monkeypatch.setattr(convolution, "COPIED", {"cpu": copied, "cuda": copied})
    found = by_unfolding(image, back, layer.weight, Geometry.of(layer), 5)
    expected = by_calls(image, back, layer.weight, Geometry.of(layer), 5)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_the_way_follows_from_shapes() -> None:
    def way(channels: int, features: int, kernel: int, pixels: int, groups: int = 1) -> str:
        layer = nn.Conv2d(channels, features, kernel, padding=kernel // 2, groups=groups)
        image = torch.empty(16, channels, pixels, pixels)
        geometry = Geometry.of(layer)
        small = torch.empty_like(layer(image))
        return convolution._way(image, small, layer.weight, geometry, 16).__name__

    assert way(8, 8, 1, 9) == "by_pixels"
    assert way(2, 16, 5, 9) == "by_unfolding"
    assert way(16, 24, 3, 9) == way(12, 24, 3, 9) == way(16, 16, 3, 70) == "by_groups"
    assert way(15, 16, 3, 70) == "by_calls"
    assert way(4, 4, 3, 9, groups=2) == "by_calls"


def test_on_a_gpu_the_way_follows_from_shapes_too() -> None:
    def way(channels: int, features: int, kernel: int, pixels: int) -> str:
        layer = nn.Conv2d(channels, features, kernel, padding=kernel // 2, device="meta")
        image = torch.empty(16, channels, pixels, pixels, device="meta")
        small = torch.empty_like(layer(image))
        return convolution._way(image, small, layer.weight, Geometry.of(layer), 16).__name__

    assert way(8, 8, 1, 9) == "by_pixels"
    assert way(32, 32, 3, 224) == way(128, 128, 3, 56) == "by_groups"
    assert way(128, 32, 3, 56) == way(256, 256, 3, 28) == "by_unfolding"
    assert way(32, 64, 3, 448) == "by_calls"


def test_units_are_folded_before_the_product_where_that_is_smaller() -> None:
    """Both ways of a kernel of one pixel: a product a unit, or one of all units."""
    torch.manual_seed(3)
    for pixels in (2, 9):
        layer = nn.Conv2d(16, 12, 1).double()
        image = torch.randn(6, 16, pixels, pixels, dtype=torch.float64)
        back = torch.randn_like(layer(image))
        found = by_pixels(image, back, layer.weight, Geometry.of(layer), 2)
        expected = by_calls(image, back, layer.weight, Geometry.of(layer), 2)
        assert torch.allclose(found, expected, rtol=1e-12)
