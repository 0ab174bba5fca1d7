"""DXA of a solid anatomy measures the mineral that projection gives, where the regions say."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from shared.phantom.imaging.acquisition import expose
from shared.phantom.imaging.crossing import mineral_like
from shared.phantom.imaging.dxa.fields import field_of, rays_of, seen_from
from shared.phantom.imaging.dxa.looks import SOLID_SCANNERS
from shared.phantom.imaging.dxa.placed import (
    OperatorHand,
    end_plates,
    heights_of,
    landmarks_of,
    regions_in,
    six_points,
)
from shared.phantom.imaging.dxa.scan import ViewRays, cross_view, take_view
from shared.phantom.imaging.outlines import lateral_regions, spine_regions
from shared.phantom.imaging.physics import Crossed
from shared.phantom.solids.distance import floats
from shared.records import View
from shared.regions import HIP, LUMBAR, REGION_CODES, VERTEBRAE, codes_of
from tests.shared.phantom.imaging.bodies import CAREFUL, anatomy, operated, share_in

LUNAR = SOLID_SCANNERS["lunar"]


@lru_cache(maxsize=8)
def rays(view: View, number: int = 0) -> ViewRays:
    return cross_view(anatomy(number), view, LUNAR.spacing_mm, CAREFUL)


def regions(view: View, number: int = 0) -> np.ndarray:
    one = rays(view, number)
    femur = anatomy(number).skeleton.femora["left"]
    return regions_in(one.frame, one.bodies, femur, one.own)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_decomposition_over_uniform_fat_gives_the_projected_mineral(
    scanner: str, number: int
) -> None:
    profile = replace(SOLID_SCANNERS[scanner], spacing_mm=LUNAR.spacing_mm)
    for view, names in (
        (View.SPINE_PA, (*LUMBAR, "L1-L4")),
        (View.HIP_LEFT, ("femoral_neck", "trochanter", "total_hip")),
    ):
        one = rays(view, number)
        whole = one.crossed.lean + one.crossed.fat
        alike = Crossed(one.crossed.bone, whole * np.float32(0.7), whole * np.float32(0.3))
        measured = expose(alike, profile, view, None).density
        codes = regions(view, number)
        bone = one.own if view is View.HIP_LEFT else one.mineral
        for name in names:
            inside = np.isin(codes, codes_of(name))
            assert measured[inside].mean() == pytest.approx(bone[inside].mean(), rel=0.02), name


def test_a_persons_own_fat_makes_an_error_of_some_percent() -> None:
    one = rays(View.SPINE_PA)
    inside = np.isin(regions(View.SPINE_PA), codes_of("L1-L4"))
    measured = expose(one.crossed, LUNAR, View.SPINE_PA, None).density[inside].mean()
    assert 0.78 < measured / one.mineral[inside].mean() < 0.97


@pytest.mark.parametrize("view", [View.SPINE_PA, View.SPINE_LATERAL])
def test_areas_do_not_depend_on_the_pixels(view: View) -> None:
    areas = []
    for spacing in (LUNAR.spacing_mm, (0.25, 0.25)):
        bodies = seen_from(anatomy(0).skeleton.spine, 0.0)
        frame = field_of(anatomy(0).skeleton, bodies, view, spacing)
        codes = (
            spine_regions(bodies, frame)
            if view is View.SPINE_PA
            else lateral_regions(bodies, frame, end_plates)
        )
        counts = np.bincount(codes.ravel(), minlength=17)
        areas.append([counts[REGION_CODES[level]] * spacing[0] * spacing[1] for level in LUMBAR])
    assert areas[0] == pytest.approx(areas[1], rel=0.02)


def test_lumbar_regions_are_of_human_size_and_hold_what_is_bright() -> None:
    codes, image = regions(View.SPINE_PA), rays(View.SPINE_PA).mineral
    pixel = LUNAR.spacing_mm[0] * LUNAR.spacing_mm[1] / 100
    areas = [(codes == REGION_CODES[level]).sum() * pixel for level in LUMBAR]
    assert 38 < sum(areas) < 66
    assert areas[0] < areas[1] < areas[3]
    assert image[codes > 0].mean() > 5 * np.median(image[codes == 0])


@pytest.mark.parametrize("level", ["T9", "L2"])
def test_heights_are_those_of_the_solid(level: str) -> None:
    """The outline that a side view shows: the highest and the lowest bone over the depth."""
    body = anatomy(1).skeleton.spine[level]
    columns = floats([-0.75, 0.0, 0.4])
    outline = share_in(body, body.bone, columns).max(axis=0).sum(axis=1) * 0.25
    assert outline == pytest.approx(body.shape.height_at(columns), abs=0.5)
    assert heights_of(seen_from(anatomy(1).skeleton.spine, 0.0))[level] == (
        body.shape.anterior, body.shape.middle, body.shape.posterior,
    )  # fmt: skip


def test_six_points_are_as_far_apart_as_the_heights() -> None:
    one = rays(View.SPINE_LATERAL)
    points, heights = six_points(one.bodies, one.frame), heights_of(one.bodies)
    assert set(points) == set(VERTEBRAE)
    for level in ("T8", "L1", "L3"):
        apart = (points[level][3:] - points[level][:3]) * one.frame.spacing
        assert np.hypot(*apart.T) == pytest.approx(heights[level], abs=0.5)


def test_a_turned_view_sees_turned_bodies_where_the_rays_find_them() -> None:
    visit = replace(CAREFUL, lateral_roll=12.0)
    one = cross_view(anatomy(0), View.SPINE_LATERAL, (1.2, 1.05), visit)
    codes = regions_in(one.frame, one.bodies, anatomy(0).skeleton.femora["left"])
    lumbar = np.isin(codes, codes_of("L1-L4"))
    beside = np.roll(lumbar, round(45 / 1.05), axis=1) & (codes == 0)
    before = np.roll(lumbar, -round(45 / 1.05), axis=1) & (codes == 0)
    assert one.mineral[lumbar].mean() > 2 * one.mineral[before].mean()
    assert one.mineral[lumbar].mean() > one.mineral[beside].mean()


def test_the_right_hip_is_the_left_ones_mirror_image() -> None:
    left = rays(View.HIP_LEFT)
    right = cross_view(anatomy(0), View.HIP_LEFT, LUNAR.spacing_mm, CAREFUL, left=False)
    femur = anatomy(0).skeleton.femora["right"]
    codes = regions_in(right.frame, right.bodies, femur, right.own)
    for name in HIP:
        own = (regions(View.HIP_LEFT) == REGION_CODES[name]).sum()
        assert (codes == REGION_CODES[name]).sum() == pytest.approx(own, rel=0.05), name
    assert right.own[:, ::-1].sum() == pytest.approx(left.own.sum(), rel=0.05)
    side = np.arange(codes.shape[1])
    neck, rest = (np.isin(codes, codes_of(n)).any(axis=0) for n in ("femoral_neck", "trochanter"))
    assert side[rest].mean() < side[neck].mean()  # the lateral side comes first


def test_the_necks_box_is_across_the_neck() -> None:
    marks = landmarks_of(anatomy(0).skeleton.femora["left"])
    assert 18 < marks.neck_box[0] < marks.neck_box[1] < 50
    codes = regions(View.HIP_LEFT)
    spacing = LUNAR.spacing_mm
    neck = (codes == REGION_CODES["femoral_neck"]).sum() * spacing[0] * spacing[1] / 100
    total = np.isin(codes, codes_of("total_hip")).sum() * spacing[0] * spacing[1] / 100
    assert 3.5 < neck < 7.5
    assert 26 < total < 52


def test_an_operator_moves_lines_and_box_and_nothing_else() -> None:
    one, femur = rays(View.SPINE_PA), anatomy(0).skeleton.femora["left"]
    hand = OperatorHand(lines=(0.0, 2.0, 0.0, 0.0, 0.0))
    codes = regions_in(one.frame, one.bodies, femur, None, hand)
    before = np.bincount(regions(View.SPINE_PA).ravel(), minlength=5)[1:5]
    after = np.bincount(codes.ravel(), minlength=5)[1:5]
    moved = 2.0 * anatomy(0).skeleton.spine["L1"].shape.width / np.prod(LUNAR.spacing_mm)
    assert (after - before)[[0, 1]] == pytest.approx([moved, -moved], rel=0.2)
    assert (after - before)[[2, 3]] == pytest.approx([0, 0])
    hip = rays(View.HIP_LEFT)
    further = regions_in(hip.frame, hip.bodies, femur, hip.own, OperatorHand(box=2.0))
    assert (further != regions(View.HIP_LEFT)).any()


def test_metal_is_white_and_no_bone_is_under_it() -> None:
    one = cross_view(operated(), View.SPINE_PA, (1.2, 1.05), CAREFUL)
    screw = one.metal > 1.0
    assert screw.any()
    assert one.crossed.bone[screw].mean() > 2.0
    assert one.crossed.bone.max() <= 4.0 + 1e-6
    whole = cross_view(anatomy(0), View.SPINE_PA, (1.2, 1.05), CAREFUL)
    assert one.mineral[screw].sum() < whole.mineral[screw].sum()
    assert mineral_like("titanium") > 1.5
    assert mineral_like("cobalt_chrome") > mineral_like("titanium") > mineral_like("cement")


def test_pictures_have_the_promised_form() -> None:
    rng = np.random.default_rng(1)
    for view in (View.SPINE_PA, View.HIP_LEFT, View.SPINE_LATERAL):
        taken = take_view(anatomy(0), rays(view), CAREFUL, LUNAR, rng)
        image = taken.image
        assert image.display.shape == image.regions.shape == taken.by_hand.shape
        shown = image.display[np.isfinite(image.display)]
        assert shown.min() >= 0
        assert shown.max() <= 1
        assert shown.std() > 0.1
        assert image.regions.any()
    assert not np.isnan(image.display).any()  # steps belong to the spine


def test_rays_go_through_the_whole_patient() -> None:
    one = rays(View.SPINE_PA)
    grid = rays_of(one.frame, anatomy(0).tissues[0].box)
    assert grid.pixels is not None
    assert (len(grid.pixels[0]), len(grid.pixels[1])) == one.frame.shape
    middle = one.crossed.lean + one.crossed.fat
    depth = anatomy(0).person.composition.trunk_depth / 10
    assert np.median(middle) == pytest.approx(depth, rel=0.25)  # about 1 g/cm³
