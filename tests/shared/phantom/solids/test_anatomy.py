"""A whole person: soft tissue around the person's own bones, in the amounts that were drawn."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from shared.phantom.person.generator import GENERATORS
from shared.phantom.person.person import Person, draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.bone import blocks_near
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import block_centres, straight
from shared.phantom.solids.skeleton import Lie
from shared.phantom.solids.tissue import SUBSTANCES, Labels, Tissue, by_code
from shared.phantom.solids.tissues.slices import axial_labels, measuring_grid

#: Places of pixels at which slices are measured, mm apart.
PIXEL = 1.5
SOME = tuple(range(8))


@lru_cache(maxsize=64)
def person(number: int, generator: str = "near_to_life") -> Person:
    return draw_person(number, 7, POPULATIONS["generic"], GENERATORS[generator])


@lru_cache(maxsize=16)
def anatomy(number: int, generator: str = "near_to_life") -> Anatomy:
    return build_anatomy(person(number, generator))


def tissue_named(of: Anatomy, name: str) -> Tissue:
    return next(one for one in of.tissues if one.name == name)


@lru_cache(maxsize=16)
def at_l3(number: int) -> Labels:
    """Codes on the slice through the middle of L3; 255 where bone is."""
    found = anatomy(number)
    x, y = measuring_grid(found.tissues, PIXEL)
    labels = axial_labels(found.tissues, x, y, 0.0)
    columns, rows = (values.reshape(-1) for values in np.meshgrid(x, y))
    for bone in found.skeleton.bones:
        if abs(float(bone.centre[2])) < bone.reach:
            distance = bone.looked_up(*bone.frame(columns, rows, np.zeros_like(rows)))[:, 0]
            labels[(distance < 0).reshape(labels.shape)] = 255
    return labels


def area(number: int, *names: str) -> float:
    """Area at L3 of tissues, cm²."""
    codes = [SUBSTANCES[name].code for name in names]
    return float(np.isin(at_l3(number), codes).sum()) * PIXEL**2 / 100


def test_the_same_person_has_the_same_tissues() -> None:
    again = build_anatomy(person(0))
    x, y = floats(np.arange(-160, 160, 4)), floats(np.arange(-160, 110, 4))
    for z in (-60.0, 0.0, 90.0):
        first, second = (axial_labels(one.tissues, x, y, z) for one in (anatomy(0), again))
        assert np.array_equal(first, second)


@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_any_number_of_lumbar_vertebrae_has_a_body_around_it(lumbar: int) -> None:
    number = next(n for n in range(400) if person(n).variants.lumbar == lumbar)
    found = build_anatomy(person(number))
    assert {"skin", "aorta", "psoas_muscle"} <= {one.name for one in found.tissues}


def test_arms_lie_beside_the_trunk_or_above_it() -> None:
    beside = build_anatomy(person(0), Lie(arms="beside"))
    x, y = floats(np.arange(-260, 260, 4)), floats(np.arange(-160, 110, 4))
    arm = SUBSTANCES["arm_muscle"].code
    for level, arms in (("L1", [beside]), ("T2", [beside, anatomy(0)])):
        for one in (beside, anatomy(0)):
            z = float(one.skeleton.spine[level].centre[2])
            expected = any(one is other for other in arms)
            assert (axial_labels(one.tissues, x, y, z) == arm).any() == expected


@pytest.mark.parametrize("generator", GENERATORS)
def test_no_bone_leaves_the_skin(generator: str) -> None:
    """Thirty persons on lattices of 10 mm, each begun elsewhere."""
    for number in range(30):
        found = anatomy(number, generator)
        skin = found.tissues[0]
        low, high = skin.box
        sides = [
            np.arange(low[axis] - 15 + number % 10, high[axis] + 15, 10.0) for axis in (2, 0, 1)
        ]
        lattice = straight(*(floats(side) for side in sides))
        places, *middles = block_centres(lattice)
        for bone in found.skeleton.bones:
            blocks = blocks_near(bone, lattice, places, middles)
            if blocks is None:
                continue
            x, y, z = blocks.points(lattice)
            # Raised arms and thighs are cut where the body ends, and their bones go on.
            inside = (z > low[2] + 20) & (z < high[2] - 20)
            inside &= bone.looked_up(*bone.frame(x, y, z))[:, 0] < 0
            if inside.any():
                assert skin.inside(x[inside], y[inside], z[inside]).all(), (number, bone.name)


def slice_of(one: Tissue, z: float) -> tuple[Floats, Floats]:
    """Points x and y of a tissue at a height, mm."""
    (x0, y0, _), (x1, y1, _) = one.box
    x, y = floats(np.arange(x0, x1, 1.0)), floats(np.arange(y0, y1, 1.0))
    rows, columns = np.nonzero(one.inside(x[None, :], y[:, None], floats(z)))
    return x[columns], y[rows]


@pytest.mark.parametrize("number", SOME)
def test_the_aorta_is_before_the_spine_the_psoas_beside_it_the_cord_in_its_canal(
    number: int,
) -> None:
    found = anatomy(number)
    for level in ("L2", "L3"):
        body = found.skeleton.spine[level]
        centre, z = body.centre, float(body.centre[2])
        half_width, half_depth = body.shape.width / 2, body.shape.depth / 2
        _, y = slice_of(tissue_named(found, "aorta"), z)
        assert y.max() < centre[1] - 0.9 * half_depth
        x, y = slice_of(tissue_named(found, "psoas_muscle"), z)
        away = np.abs(x - centre[0])
        assert 0.8 * half_width < away.mean() < 2.2 * half_width
        assert abs(float(y.mean() - centre[1])) < half_depth + 6
    cord = tissue_named(found, "cord")
    for level in ("T4", "T8", "T12"):
        body = found.skeleton.spine[level]
        x, y = slice_of(cord, float(body.centre[2]))
        at = body.bone.frame(x, y, np.full_like(x, body.centre[2]))
        assert (body.bone.looked_up(*at)[:, 0] < 0).mean() < 0.03


@pytest.mark.parametrize("number", SOME)
def test_the_trunk_is_as_wide_and_deep_as_drawn(number: int) -> None:
    made, body = person(number).composition, at_l3(number) > 0
    assert body.any(axis=1).sum() * PIXEL == pytest.approx(made.trunk_depth, rel=0.04)
    # Where the bones of a thin one ask for more, the skin gives way.
    wide = body.any(axis=0).sum() * PIXEL / made.trunk_width
    assert 0.97 < wide < 1.10


@pytest.mark.parametrize(("bmi", "depth"), [(22.0, 197), (30.0, 257), (38.0, 316)])
def test_the_trunks_depth_follows_the_body_mass_index(bmi: float, depth: float) -> None:
    """Persons' own depths differ by about 10 mm (SD) from that line (design/anatomy.md [U])."""
    off = [
        person(number).composition.trunk_depth - (depth + 7.5 * (person(number).bmi - bmi))
        for number in range(60)
        if abs(person(number).bmi - bmi) < 4
    ]
    assert abs(np.mean(off)) < 8


@pytest.mark.parametrize("number", SOME)
def test_muscles_have_the_areas_and_the_attenuation_that_were_drawn(number: int) -> None:
    made = person(number).composition.muscles
    for names, drawn, tolerance in (
        (("psoas_muscle",), "psoas", 0.04),
        (("paraspinal_muscle", "quadratus_muscle"), "paraspinal", 0.09),
        (("oblique_muscle", "rectus_muscle"), "abdominal_wall", 0.13),
    ):
        assert area(number, *names) == pytest.approx(made[drawn].amount, rel=tolerance)
        hounsfield = by_code(anatomy(number).tissues, "hounsfield")[SUBSTANCES[names[0]].code]
        assert hounsfield == pytest.approx(made[drawn].mean_hu, abs=5)


def test_fat_in_the_belly_follows_what_was_drawn() -> None:
    """As far as the trunk has room for it: the drawn areas do not know the drawn girth."""
    fat = SUBSTANCES["visceral_fat"].code
    found = []
    for share in (0.4, 1.0, 1.6):
        made = replace(person(3).composition, visceral=share * person(3).composition.visceral)
        tissues = build_anatomy(replace(person(3), composition=made)).tissues
        x, y = measuring_grid(tissues, PIXEL)
        slices = [axial_labels(tissues, x, y, float(z)) for z in (-15, 0, 15)]
        found.append(float(np.mean([(labels == fat).sum() for labels in slices])))
    assert found[0] < 0.9 * found[1]
    assert found[1] < 0.95 * found[2]


@pytest.mark.parametrize("number", SOME)
def test_plaques_have_the_persons_calcium(number: int) -> None:
    drawn = sum(mass for mass in person(number).wear.aorta_g.values() if mass >= 0.002)
    plaques = [one for one in anatomy(number).tissues if one.name == "plaque"]
    grams = sum(one.volume * one.substance.mineral for one in plaques)
    assert grams == pytest.approx(drawn, rel=0.01)
