"""Scores and diagnostic rules against values worked out by hand from the references."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clinical.references import DIAGNOSTIC_REGIONS
from shared.clinical.scores import (
    BoneClass,
    ScoreKind,
    age_class,
    bmd_at_t_score,
    combined_spine_bmd,
    combined_spine_t_score,
    excluded_vertebrae,
    lowest_diagnostic,
    reported_score,
    score_in_use,
    t_score,
    who_class,
)
from shared.records import DXA_VENDORS, Vendor

T = st.floats(-6, 6)


@pytest.mark.parametrize(
    ("bmd", "region", "vendor", "expected"),
    [
        (1.047, "L1-L4", Vendor.HOLOGIC, 0.0),
        (0.772, "L1-L4", Vendor.HOLOGIC, -2.5),  # 1.047 − 2.5 · 0.110
        (0.558, "femoral_neck", Vendor.HOLOGIC, -2.5),  # 0.858 − 2.5 · 0.120
        (0.820, "total_hip", Vendor.HOLOGIC, -1.0),  # 0.942 − 0.122
        # Lunar neck 0.8: sBMD 0.7282, Hologic (0.7282 − 0.019)/1.087 = 0.652438
        (0.8, "femoral_neck", Vendor.LUNAR, -1.713017),
        (1.100, "L1-L4", Vendor.LUNAR, -0.666667),  # GE's own: (1.100 − 1.18)/0.12
        # sBMD 1.0436 is Hologic 0.972: (0.972 − 1.047)/0.110; as Norland's 0.969 is
        (1.0436, "L1-L4", Vendor.GENERIC, -0.681818),
        (0.969, "L1-L4", Vendor.NORLAND, -0.681818),
    ],
)
def test_t_score_is_the_distance_from_young_women_on_the_hologic_scale(
    bmd: float, region: str, vendor: Vendor, expected: float
) -> None:
    assert t_score(bmd, region, vendor) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None)
@given(T, st.sampled_from(DIAGNOSTIC_REGIONS), st.sampled_from(DXA_VENDORS))
def test_bmd_at_a_t_score_has_that_t_score(score: float, region: str, vendor: Vendor) -> None:
    bmd = bmd_at_t_score(score, region, vendor)
    assert t_score(bmd, region, vendor) == pytest.approx(score, abs=1e-9)


def test_the_trochanter_has_no_t_score() -> None:
    with pytest.raises(KeyError, match="no young reference"):
        t_score(0.7, "trochanter")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (0.3, BoneClass.NORMAL),
        (-1.0, BoneClass.NORMAL),
        (-1.1, BoneClass.LOW_BONE_MASS),
        (-2.4, BoneClass.LOW_BONE_MASS),
        (-2.5, BoneClass.OSTEOPOROSIS),
        (-4.0, BoneClass.OSTEOPOROSIS),
    ],
)
def test_who_class_has_its_bounds_where_the_who_put_them(score: float, expected: BoneClass) -> None:
    assert who_class(score) is expected


@settings(deadline=None)
@given(T, T)
def test_a_lower_score_is_never_a_better_class(a: float, b: float) -> None:
    order = [BoneClass.OSTEOPOROSIS, BoneClass.LOW_BONE_MASS, BoneClass.NORMAL]
    low, high = sorted((a, b))
    assert order.index(who_class(low)) <= order.index(who_class(high))


def test_below_the_expected_range_begins_at_minus_two() -> None:
    assert age_class(-2.0) is BoneClass.BELOW_EXPECTED
    assert age_class(-1.9) is BoneClass.EXPECTED_FOR_AGE


@pytest.mark.parametrize(
    ("score", "expected"), [(-2.45, -2.5), (-2.449, -2.4), (0.04, 0.0), (-0.04, 0.0), (1.25, 1.3)]
)
def test_scores_are_reported_with_one_decimal_halves_away_from_zero(
    score: float, expected: float
) -> None:
    assert reported_score(score) == expected
    assert str(reported_score(-0.01)) == "0.0"


@pytest.mark.parametrize(
    ("sex", "age", "postmenopausal", "expected"),
    [
        ("F", 62.0, None, ScoreKind.T),
        ("F", 50.0, None, ScoreKind.T),
        ("F", 49.0, None, ScoreKind.Z),
        ("F", 44.0, True, ScoreKind.T),
        ("F", 52.0, False, ScoreKind.Z),
        ("M", 50.0, None, ScoreKind.T),
        ("M", 49.9, None, ScoreKind.Z),
        ("M", 15.0, None, ScoreKind.NEITHER),
        (None, 60.0, None, ScoreKind.NEITHER),
        ("F", None, None, ScoreKind.NEITHER),
    ],
)
def test_who_is_judged_by_which_score(
    sex: str | None, age: float | None, postmenopausal: bool | None, expected: ScoreKind
) -> None:
    assert score_in_use(sex, age, postmenopausal) is expected


def test_diagnosis_rests_on_the_lowest_site_and_never_on_another() -> None:
    scores = {"L1-L4": -1.2, "total_hip": -2.6, "femoral_neck": -2.1, "trochanter": -4.0}
    assert lowest_diagnostic(scores) == ("total_hip", -2.6)
    assert lowest_diagnostic({"L3": -3.0, "trochanter": -4.0}) is None


@pytest.mark.parametrize(
    ("scores", "bad", "expected"),
    [
        ({"L1": -2.0, "L2": -2.1, "L3": -2.0, "L4": -1.8}, (), []),
        ({"L1": -2.0, "L2": -2.0, "L3": -2.0, "L4": 1.0}, (), ["L4"]),
        ({"L1": -2.0, "L2": -0.5, "L3": -2.0, "L4": -2.0}, (), ["L2"]),
        ({"L1": -2.0, "L2": -2.0, "L3": -1.0, "L4": 0.0}, (), []),  # a slope, not an outlier
        ({"L1": -2.0, "L2": -2.0, "L3": -2.0, "L4": -2.0}, ("L1",), ["L1"]),
        ({"L1": -2.0, "L3": -2.0, "L4": -2.0}, (), ["L2"]),
        ({"L1": -3.5, "L2": -2.0, "L3": -2.0, "L4": 0.0}, (), ["L1", "L4"]),
    ],
)
def test_a_vertebra_that_stands_apart_is_left_out_and_its_good_neighbour_stays(
    scores: dict[str, float], bad: tuple[str, ...], expected: list[str]
) -> None:
    assert list(excluded_vertebrae(scores, bad)) == expected


def test_exclusions_say_why() -> None:
    reasons = excluded_vertebrae({"L1": -2.0, "L2": -2.0, "L4": 1.0}, ("L2",))
    assert reasons["L2"] == "could not be assessed"
    assert reasons["L3"] == "not measured"
    assert "1.0 T-score" in reasons["L4"]  # the denser of two that disagree


def test_never_from_one_vertebra() -> None:
    assert combined_spine_t_score({"L2": 0.7}) is None
    assert combined_spine_bmd({"L2": 0.7}, {"L2": 13.0}) is None


def test_vertebrae_combine_by_mineral_over_area() -> None:
    # (0.8·10 + 1.0·30) / 40
    assert combined_spine_bmd({"L1": 0.8, "L2": 1.0}, {"L1": 10.0, "L2": 30.0}) == pytest.approx(
        0.95
    )
    # L2, L4 each 0.110 under its own mean: −1.0 whatever the areas; not contiguous is fine
    low = {"L2": 0.918, "L4": 1.005}
    assert combined_spine_t_score(low) == pytest.approx(-1.0)
    assert combined_spine_t_score(low, areas={"L2": 12.0, "L4": 17.0}) == pytest.approx(-1.0)
