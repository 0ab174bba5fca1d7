"""The core of a vertebral body: in made-up vertebrae, and in digital patients of known mineral."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from shared.clinical.trabecular_core import MARGIN_MM, NoCoreError, core_of, read_core
from shared.phantom.imaging.ct.of_anatomy import scene_of
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtProtocol
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import acquire
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.anatomy import build_anatomy

SPACING = (1.5, 0.8, 0.8)
Volume = NDArray[np.int16]
Mask = NDArray[np.bool_]


def made_up(core_hu: float = 140.0, vein_hu: float | None = None) -> tuple[Volume, Mask]:
    """A body of 45 by 32 by 27 mm with a shell of 2 mm, pedicles and a spinous process."""
    z, y, x = (
        (np.arange(size) - (size - 1) / 2) * step
        for size, step in zip((32, 120, 90), SPACING, strict=True)
    )
    height, depth, width = z[:, None, None], y[None, :, None] + 15, x[None, None, :]
    within = lambda less: (  # noqa: E731 - said once
        (np.abs(height) < 13.5 - less)
        & ((width / (22.5 - less)) ** 2 + (depth / (16 - less)) ** 2 < 1)
    )
    body, core = within(0), within(2)
    behind = (np.abs(height) < 6) & (np.abs(np.abs(width) - 12) < 4) & (depth > 10) & (depth < 40)
    behind |= (np.abs(height) < 8) & (np.abs(width) < 4) & (depth > 36) & (depth < 58)
    hu = np.full(np.broadcast_shapes(body.shape, behind.shape), 45, np.int16)
    hu[body | behind] = 600
    hu[core] = core_hu
    if vein_hu is not None:
        hu[(np.abs(height) < 4) & (np.abs(width) < 5) & (depth > 4) & body] = vein_hu
    return hu, body | behind


def test_the_core_is_inside_the_body_and_in_front_of_the_vein() -> None:
    hu, level = made_up()
    found = core_of(level, SPACING)
    z, y, _ = np.nonzero(found)
    assert (hu[found] == 140).all()
    depth = (y - 59.5) * SPACING[1] + 15
    assert depth.max() < 16 - 0.38 * 32
    assert np.abs((z - 15.5) * SPACING[0]).max() <= 13.5 - MARGIN_MM + SPACING[0]
    assert found.sum() * np.prod(SPACING) > 3_000


def test_the_vein_moves_nothing() -> None:
    hu, level = made_up(vein_hu=10)
    assert read_core(hu, level, SPACING).median_hu == 140


@pytest.mark.parametrize("spacing", [(1.0, 0.7, 0.7), (3.0, 0.9, 0.9), (5.0, 0.8, 0.8)])
def test_every_grid_has_a_core(spacing: tuple[float, float, float]) -> None:
    hu, level = made_up()
    steps = [
        np.arange(0, size * old, new) / old
        for size, old, new in zip(hu.shape, SPACING, spacing, strict=True)
    ]
    picked = np.ix_(*(np.clip(np.rint(one), 0, None).astype(int) for one in steps))
    picked = tuple(np.minimum(one, size - 1) for one, size in zip(picked, hu.shape, strict=True))
    found = read_core(hu[picked], level[picked], spacing)
    assert (found.median_hu, found.sd_hu) == (140, 0)


def test_what_cannot_be_measured_says_why() -> None:
    hu, level = made_up()
    with pytest.raises(NoCoreError, match="is not outlined"):
        read_core(hu, np.zeros_like(level), SPACING)
    with pytest.raises(NoCoreError, match="cut off by the end"):
        read_core(hu[:18], level[:18], SPACING)
    screw = hu.copy()
    screw[16, 40:60, 44:47] = 2500
    with pytest.raises(NoCoreError, match="metal or cement"):
        read_core(screw, level, SPACING)
    with pytest.raises(NoCoreError, match="below -130 or above 500 HU"):
        read_core(made_up(core_hu=900)[0], level, SPACING)
    thin = level & (np.abs(np.arange(len(level)) - 15.5) < 3)[:, None, None]
    with pytest.raises(NoCoreError, match="no part of 500 mm³"):
        read_core(hu, thin, SPACING)


@pytest.mark.parametrize("slices", [1, 4, 8])
def test_slices_through_the_middle_are_read_as_a_part_of_a_whole(slices: int) -> None:
    hu, level = made_up()
    some = np.s_[16 - slices // 2 : 16 - slices // 2 + slices]
    with pytest.raises(NoCoreError):
        read_core(hu[some], level[some], SPACING)
    found = read_core(hu[some], level[some], SPACING, slab=True)
    whole = core_of(level, SPACING)[some]
    assert found.median_hu == 140
    assert found.volume_mm3 == pytest.approx(whole.sum() * np.prod(SPACING), rel=0.15)


@lru_cache(maxsize=1)
def patients() -> list[tuple[float, float]]:
    """True mineral of L1 in g/cm³ and the median of its core, of some digital patients."""
    scanner = CT_SCANNERS["boreas"]
    protocol = CtProtocol(matrix=256, field_mm=380.0, thickness_mm=2.5, increment_mm=2.5)
    found = []
    for number in range(14):
        person = draw_person(number, 41, POPULATIONS["urban"], NEAR_TO_LIFE)
        if person.findings.screws or person.findings.cement:
            continue
        anatomy = build_anatomy(person)
        low, high = anatomy.tissues[0].box
        centre = anatomy.skeleton.spine["L1"].centre
        stack = SliceStack(protocol, float(centre[2]) - 28, 24, (0.0, (low[1] + high[1]) / 2))
        scene = scene_of(anatomy)
        slices = list(acquire(scene, scanner, stack, np.random.default_rng(number)))[::-1]
        code = 1 + [bone.name for bone in scene.bones].index("L1")
        level = np.stack([one.bones == code for one in slices])
        hu = np.stack([one.hu for one in slices]).astype(np.int16)
        pixel = protocol.field_mm / protocol.matrix
        try:
            core = read_core(hu, level, (protocol.increment_mm, pixel, pixel))
        except NoCoreError:
            continue
        found.append((person.levels["L1"].core, core.median_hu))
    return found


def test_the_median_goes_with_the_mineral_that_is_there() -> None:
    true, median = np.transpose(patients())
    assert len(true) >= 10
    assert np.corrcoef(true, median)[0, 1] > 0.95
