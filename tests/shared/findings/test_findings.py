"""From numbers to findings with a unit, and from findings to a conclusion."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clinical.cross_calibration import standardised_bmd
from shared.clinical.whose_reference import HipReference
from shared.findings.facts import NotAssessed
from shared.findings.findings import (
    Findings,
    bmd_measurement,
    found_in_order,
    region_areas,
    vertebra_grade,
)
from shared.findings.quality_flags import image_quality
from shared.inference.conclusions import (
    conclude_estimates,
    conclude_hospital,
    not_assessable,
)
from shared.records import DXA_VENDORS, DXA_VIEWS, Covariates, StudyLabels, Vendor, View
from shared.regions import REGION_CODES
from tests.shared.inference_cases import (
    LOW,
    MODERATE,
    NORMAL,
    OSTEOPOROTIC,
    image,
    make_subject,
    predict,
    region_map,
)

WOMAN = Covariates("F", 70.0)
YOUNG_WOMAN = Covariates("F", 35.0)


@settings(deadline=None)
@given(st.floats(0.3, 1.8), st.sampled_from([Vendor.LUNAR, Vendor.HOLOGIC]))
def test_an_estimate_is_reported_on_the_scale_of_the_hospitals_own_scanner(
    own: float, vendor: Vendor
) -> None:
    labels = StudyLabels(bmd={"total_hip": round(own, 3)})
    estimate = standardised_bmd(own, vendor, "total_hip")
    found = bmd_measurement("t", "total_hip", estimate, vendor, WOMAN, labels)
    assert found.value == pytest.approx(own, abs=6e-4)
    assert found.difference == pytest.approx(0.0, abs=1.1e-3)
    assert found.unit == "g/cm²"


def test_the_same_bone_has_the_same_t_score_on_every_scanner() -> None:
    scores = {
        vendor: bmd_measurement("t", "femoral_neck", 0.75, vendor, WOMAN, StudyLabels()).t_score
        for vendor in DXA_VENDORS
    }
    values = {score.value for score in scores.values() if score is not None}
    assert values == {-1.5}  # Hologic (0.75 − 0.019)/1.087 = 0.6725; (0.6725 − 0.858)/0.120


def test_a_child_gets_no_t_score_and_a_premenopausal_woman_no_who_class() -> None:
    child = bmd_measurement("t", "L1-L4", 0.7, Vendor.LUNAR, Covariates("F", 12.0), StudyLabels())
    assert child.t_score is None
    assert child.bone_class is None
    young = bmd_measurement("t", "total_hip", 0.6, Vendor.HOLOGIC, YOUNG_WOMAN, StudyLabels())
    assert young.bone_class == "below the expected range for age"
    other = bmd_measurement("t", "total_hip", 0.6, Vendor.LUNAR, YOUNG_WOMAN, StudyLabels())
    assert (other.z_score, other.bone_class) == (None, None)  # no table gives what GE prints


@pytest.mark.parametrize(
    ("probabilities", "grade", "suspicion"),
    [
        ((0.9, 0.05, 0.03, 0.02), 0, 0.05),
        ((0.45, 0.15, 0.2, 0.2), 1, 0.4),  # more likely than not at least mild
        ((0.1, 0.1, 0.6, 0.2), 2, 0.8),
        ((0.1, 0.1, 0.2, 0.6), 3, 0.8),
        ((2.0, 0.0, 1.0, 1.0), 0, 0.5),  # need not be normalised
    ],
)
def test_the_grade_is_the_median_and_the_suspicion_that_of_grade_two(
    probabilities: tuple[float, ...], grade: int, suspicion: float
) -> None:
    found = vertebra_grade("t", "L1", probabilities, (3.0, 4.0), StudyLabels(genant={"L1": 2}))
    assert (found.grade, found.reported) == (grade, 2)
    assert found.suspicion == pytest.approx(suspicion)
    assert sum(found.probabilities) == pytest.approx(1.0, abs=1e-3)


def test_areas_are_pixels_times_spacing() -> None:
    picture = replace(image(View.SPINE_PA), spacing_mm=(0.5, 2.0))
    areas = region_areas("t", View.SPINE_PA, region_map(View.SPINE_PA), picture)
    assert [area.region for area in areas] == ["L1", "L2", "L3", "L4"]
    assert areas[0].pixels == 32 * 40
    assert areas[0].area_cm2 == pytest.approx(12.8)
    unknown = region_areas(
        "t", View.SPINE_PA, region_map(View.SPINE_PA), replace(picture, spacing_provenance="none")
    )
    assert unknown[0].area_cm2 is None


def test_a_good_image_raises_no_flag() -> None:
    for view in DXA_VIEWS:
        assert image_quality(view, image(view), region_map(view)) == ()


def test_what_weakens_an_image_is_flagged() -> None:
    regions = region_map(View.SPINE_PA)
    regions[regions == REGION_CODES["L2"]] = 0
    regions[20:52, 6:46] = REGION_CODES["L1"]  # at the unscanned margin
    regions[140:142, 40:80] = REGION_CODES["L4"]
    regions[142:180, 40:80] = 0
    flags = image_quality(View.SPINE_PA, image(View.SPINE_PA, "derived"), regions)
    assert {(flag.code, flag.subject) for flag in flags} == {
        ("spacing", "spine_pa"),
        ("cut_off", "L1"),
        ("not_found", "L2"),
        ("area", "L4"),
    }


@pytest.mark.parametrize(
    ("bmd", "expected"),
    [(NORMAL, "normal"), (LOW, "low bone mass"), (OSTEOPOROTIC, "osteoporosis")],
)
def test_the_class_rests_on_the_lowest_site(bmd: tuple[float, float, float], expected: str) -> None:
    conclusion = predict(make_subject(), bmd).conclusions[0]
    assert conclusion.bone_class == expected
    assert conclusion.basis == "estimate"
    mixed = predict(make_subject(), (NORMAL[0], NORMAL[1], bmd[2])).conclusions[0]
    assert mixed.site == ("total_hip" if expected != "normal" else mixed.site)
    assert mixed.bone_class == ("normal" if expected == "normal" else mixed.bone_class)


def test_where_two_tasks_estimate_one_region_the_lower_score_counts() -> None:
    """Whichever comes first: none hides what another found."""
    low, high = (
        bmd_measurement("t", "total_hip", value, Vendor.HOLOGIC, WOMAN, StudyLabels())
        for value in (0.6, 1.0)
    )
    for order in ((low, high), (high, low)):
        concluded = conclude_estimates(order, WOMAN, {})
        assert low.t_score is not None
        assert concluded.score == low.t_score.value


def test_a_fractured_vertebra_takes_the_estimated_spine_out_of_the_conclusion() -> None:
    low_spine = (0.70, NORMAL[1], NORMAL[2])
    assert predict(make_subject(), low_spine).conclusions[0].site == "L1-L4"
    broken = predict(make_subject(), low_spine, {"L2": MODERATE}).conclusions[0]
    assert broken.site != "L1-L4"
    assert broken.bone_class == "normal"
    assert list(broken.left_out) == ["L2"]


def test_the_hospitals_spine_is_recomputed_without_a_vertebra_that_stands_apart() -> None:
    labels = StudyLabels(bmd={"L1": 0.60, "L2": 0.70, "L3": 0.755, "L4": 1.15, "L1-L4": 0.83})
    conclusion = conclude_hospital(labels, Vendor.HOLOGIC, WOMAN, {})
    assert conclusion is not None
    assert list(conclusion.left_out) == ["L4"]
    # (0.60 − 0.925), (0.70 − 1.028), (0.755 − 1.084): mean −0.3273, over 0.110
    assert conclusion.score == -3.0
    assert conclusion.bone_class == "osteoporosis"


def test_one_vertebra_alone_is_no_diagnosis() -> None:
    labels = StudyLabels(
        bmd={"L1": 0.5, "L2": 0.5, "L3": 0.5, "L4": 0.5, "L1-L4": 0.5},
        quality={"L1": 6, "L2": 6, "L3": 1},
    )
    bad = not_assessable(labels, [])
    assert list(bad) == ["L1", "L2", "L3"]
    conclusion = conclude_hospital(labels, Vendor.HOLOGIC, WOMAN, bad)
    assert conclusion is not None
    assert conclusion.site is None
    assert conclusion.bone_class is None


def test_the_trochanter_is_never_diagnosed_from() -> None:
    labels = StudyLabels(bmd={"trochanter": 0.3})
    conclusion = conclude_hospital(labels, Vendor.LUNAR, WOMAN, {})
    assert conclusion is not None
    assert conclusion.bone_class is None


def test_without_labels_the_hospital_concludes_nothing() -> None:
    assert conclude_hospital(StudyLabels(), Vendor.LUNAR, WOMAN, {}) is None


@settings(deadline=None)
@given(st.floats(0.3, 1.6), st.floats(0.3, 1.6))
def test_less_bone_is_never_a_better_class(a: float, b: float) -> None:
    order = ["osteoporosis", "low bone mass", "normal"]
    low, high = (
        bmd_measurement("t", "total_hip", v, Vendor.LUNAR, WOMAN, StudyLabels()).bone_class
        for v in sorted((a, b))
    )
    assert order.index(str(low)) <= order.index(str(high))


def test_region_maps_survive_into_the_findings_unchanged() -> None:
    from shared.inference.assemble import assemble
    from tests.shared.inference_cases import hand_made, models

    subject = make_subject()
    _, found = assemble(subject, hand_made(subject), models())
    for view in DXA_VIEWS:
        assert np.array_equal(found.region_maps[view], region_map(view))


@pytest.mark.parametrize("graded", [{"L1": 0, "L2": 1}, {}, {"L1": 0}])
@pytest.mark.parametrize("singles", [True, False])
def test_what_a_model_suspects_takes_nothing_off_the_hospitals_own_values(
    graded: dict[str, int], singles: bool
) -> None:
    each = {"L1": 0.8, "L2": 0.85, "L3": 0.9, "L4": 0.9} if singles else {}
    labels = StudyLabels(bmd={**each, "L1-L4": 0.86}, genant=graded)
    suspected = [
        vertebra_grade("vfa-fracture", name, [0.2, 0.1, 0.2, 0.5], (0.0, 0.0), labels, 3)
        for name in ("L1", "L2", "T8")
    ]
    assert list(not_assessable(labels, suspected)) == ["L1", "L2"]
    own = not_assessable(labels)
    assert own == {}
    conclusion = conclude_hospital(labels, Vendor.HOLOGIC, WOMAN, own, suspected)
    assert conclusion is not None
    assert conclusion.left_out == {}
    assert (conclusion.site, conclusion.score) == ("L1-L4", -1.7)  # (0.86 − 1.047)/0.110
    assert conclusion.verified
    assert conclusion.suspected == ("L1", "L2")


def test_what_the_hospital_itself_flags_takes_the_whole_spine_where_it_gives_no_other() -> None:
    labels = StudyLabels(bmd={"L1-L4": 0.86, "total_hip": 0.9}, genant={"L2": 2})
    bad = not_assessable(labels)
    conclusion = conclude_hospital(labels, Vendor.HOLOGIC, WOMAN, bad)
    assert conclusion is not None
    assert conclusion.site == "total_hip"
    assert conclusion.not_judged == {
        "L1-L4": "L2 is fractured according to the hospital, and the hospital gives no density of "
        "the others alone"
    }


def test_the_whole_spine_counts_where_a_vertebra_is_only_not_reported_alone() -> None:
    whole = StudyLabels(bmd={"L1": 0.8, "L1-L4": 0.86})
    conclusion = conclude_hospital(whole, Vendor.HOLOGIC, WOMAN, {})
    assert conclusion is not None
    assert (conclusion.site, conclusion.left_out) == ("L1-L4", {})


def test_a_recomputed_spine_says_that_its_reference_is_not_verified() -> None:
    each = {"L1": 0.60, "L2": 0.70, "L3": 0.755}
    conclusion = conclude_hospital(StudyLabels(bmd=each), Vendor.HOLOGIC, WOMAN, {})
    assert conclusion is not None
    assert (conclusion.site, conclusion.verified) == ("L1-L4", False)
    assert "put together of L1, L2, L3, which is not verified" in conclusion.note


def test_a_recomputed_spine_of_ge_has_the_printed_score_of_just_these_vertebrae() -> None:
    """L4 is 1.3 from L3; GE printed -1.1 of L1-L3 where it printed -1.3 of L1-L4."""
    each = {"L1": 0.890, "L2": 1.056, "L3": 1.140, "L4": 0.984, "L1-L4": 1.022}
    conclusion = conclude_hospital(StudyLabels(bmd=each), Vendor.LUNAR, WOMAN, {})
    assert conclusion is not None
    assert (list(conclusion.left_out), conclusion.score) == (["L4"], -1.1)
    assert conclusion.verified
    assert conclusion.reference.startswith("GE Lunar's own")
    assert "recomputed from L1, L2 and L3 by the usual areas of vertebrae" in conclusion.note


def test_bmd_of_a_scanner_whose_scale_is_not_known_has_no_class_and_says_so() -> None:
    labels = StudyLabels(bmd={"L1-L4": 0.9})
    conclusion = conclude_hospital(labels, Vendor.OTHER, WOMAN, {})
    assert conclusion is not None
    assert conclusion.bone_class is None
    assert conclusion.note == "its scanner's scale is not known"


def test_a_site_may_have_its_hips_compared_as_its_scanner_does() -> None:
    """GE printed -1.6 of a total hip of 0.800; by Looker's values it is -1.65."""
    labels = StudyLabels(bmd={"total_hip": 0.800})
    subject = make_subject(labels=labels)
    for hip, score in ((HipReference.NHANES, -1.7), (HipReference.SCANNER, -1.6)):
        found = predict(replace(subject, hip=hip))
        assert found.conclusions[-1].score == score
        [own] = [one for one in found.measurements if one.region == "total_hip"]
        assert own.reported_t_score is not None
        assert own.reported_t_score.value == score
        names = ("NHANES III" in " ".join(found.narrative.technique), hip is HipReference.NHANES)
        assert names[0] == names[1]


def test_a_site_without_a_reference_is_said_not_to_be_judged() -> None:
    labels = StudyLabels(bmd={"femoral_neck": 0.5, "total_hip": 0.9})
    own = conclude_hospital(labels, Vendor.HOLOGIC, YOUNG_WOMAN, {})
    assert own is not None
    assert own.site == "total_hip"
    why = "no published table by age is known to reproduce the Z-scores that such a scanner prints"
    assert list(own.not_judged) == ["femoral_neck"]
    assert own.note.startswith(f"the femoral neck is not judged because {why}")
    found = [
        bmd_measurement("t", region, 0.7, Vendor.HOLOGIC, YOUNG_WOMAN, StudyLabels())
        for region in ("femoral_neck", "total_hip")
    ]
    assert list(conclude_estimates(found, YOUNG_WOMAN, {}).not_judged) == ["femoral_neck"]
    none = conclude_hospital(labels, Vendor.LUNAR, YOUNG_WOMAN, {})
    assert none is not None
    assert none.bone_class is None
    assert none.note.startswith(f"the total hip and femoral neck are not judged because {why}")


def test_tasks_find_in_order_each_given_what_it_comes_after() -> None:
    told: dict[str, set[str]] = {}

    def finding(name: str) -> Callable[[Findings], Findings]:
        def find(before: Findings) -> Findings:
            told[name] = {gap.what for gap in before.not_assessed}
            return Findings(not_assessed=(NotAssessed(what=name, why="it is asked here"),))

        return find

    tasks: tuple[tuple[str, tuple[str, ...]], ...]
    tasks = (("levels", ()), ("bone", ("levels",)), ("density", ("levels", "bone", "absent")))
    found = found_in_order((name, after, finding(name)) for name, after in tasks)
    assert list(found) == ["levels", "bone", "density"]
    assert told == {"levels": set(), "bone": {"levels"}, "density": {"levels", "bone"}}
