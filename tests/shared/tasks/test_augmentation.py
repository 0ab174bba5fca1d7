"""Images and volumes are varied alike, and regions move with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.tasks.augmentation import Variation, vary

MOVES = Variation(rotation=0.25, shift=2.0, zoom=0.1)
SHADES = Variation(rotation=0.0, shift=0.0, zoom=0.0, noise=0.1, gamma=0.3, blur=0.8)


def block(*size: int) -> torch.Tensor:
    """Two channels with a block in the middle that has another length along each axis."""
    image = torch.zeros(2, *size)
    image[(slice(None), *(slice(side // 4, side - side // 4) for side in size))] = 1.0
    return image


@pytest.mark.parametrize("size", [(24, 32), (16, 24, 32)])
def test_regions_move_with_the_image(size: tuple[int, ...]) -> None:
    image = block(*size)
    moved = 0
    for seed in range(6):
        varied, regions = vary(image, image.long(), MOVES, np.random.default_rng(seed))
        assert regions is not None
        assert varied.shape == regions.shape == image.shape
        assert (varied.dtype, regions.dtype) == (torch.float32, torch.int64)
        sure = (varied < 0.01) | (varied > 0.99)  # no edge
        assert torch.equal(varied[sure].round().long(), regions[sure])
        assert torch.equal(varied[0], varied[1])
        moved += not torch.equal(varied, image)
    assert moved >= 4
    assert torch.equal(image, block(*size))  # what was given is left alone


def test_a_volume_is_moved_along_every_axis() -> None:
    image = block(16, 24, 32)
    for axis in (1, 2, 3):
        others = [other for other in (1, 2, 3) if other != axis]
        seen = set()
        for seed in range(6):
            varied, _ = vary(image, None, MOVES, np.random.default_rng(seed))
            profile = varied[0].sum([other - 1 for other in others])
            places = torch.arange(len(profile), dtype=torch.float32)
            seen.add(round(float((profile * places).sum() / profile.sum()), 2))
        assert len(seen) >= 4


@pytest.mark.parametrize("size", [(24, 32), (16, 24, 32)])
def test_grey_levels_change_and_only_by_the_generator(size: tuple[int, ...]) -> None:
    image = 0.25 + 0.5 * block(*size)
    results = [vary(image, None, SHADES, np.random.default_rng(seed))[0] for seed in (1, 1, 2, 3)]
    assert torch.equal(results[0], results[1])
    assert sum(not torch.equal(one, image) for one in results) >= 2
    assert all(type(one) is torch.Tensor and one.shape == image.shape for one in results)


def test_what_is_neither_image_nor_volume_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(3, 4\) .*must be \(C, H, W\)"):
        vary(torch.rand(3, 4), None, MOVES, np.random.default_rng(1))
