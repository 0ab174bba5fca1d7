"""Vertebral shapes, and precision, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clinical.morphometry import genant_grade, spine_shapes, vertebral_shape
from shared.clinical.precision import (
    degrees_of_freedom,
    is_large_enough,
    is_significant_change,
    least_significant_change,
    rms_cv,
    rms_sd,
)
from shared.regions import VERTEBRAE

HEIGHT = st.floats(5, 45)


@pytest.mark.parametrize(
    ("loss", "grade"),
    [(-0.1, 0), (0.0, 0), (0.199, 0), (0.2, 1), (0.249, 1), (0.25, 2), (0.4, 2), (0.401, 3)],
)
def test_grades_begin_where_genant_put_them(loss: float, grade: int) -> None:
    assert genant_grade(loss) == grade


@pytest.mark.parametrize(
    ("heights", "neighbours", "kind", "loss", "grade"),
    [
        ((24.0, 24.0, 25.0), [], "none", 0.04, 0),
        ((17.5, 22.0, 25.0), [], "wedge", 0.30, 2),
        ((24.0, 19.5, 25.0), [], "biconcave", 0.22, 1),
        ((14.0, 14.0, 14.0), [(25.0, 25.0, 25.0)], "crush", 0.44, 3),
        ((14.0, 14.0, 14.0), [], "none", 0.0, 0),  # a crush shows only beside a neighbour
        ((26.0, 26.0, 25.0), [(24.0, 24.0, 24.0)], "none", 0.0, 0),
    ],
)
def test_the_largest_loss_gives_type_and_grade(
    heights: tuple[float, float, float],
    neighbours: list[tuple[float, float, float]],
    kind: str,
    loss: float,
    grade: int,
) -> None:
    shape = vertebral_shape(heights, neighbours)
    assert (shape.kind, shape.grade) == (kind, grade)
    assert shape.loss == pytest.approx(loss)


@settings(deadline=None)
@given(HEIGHT, HEIGHT, HEIGHT, st.floats(0.05, 20))
def test_the_unit_of_heights_does_not_matter(a: float, m: float, p: float, unit: float) -> None:
    assert vertebral_shape((a * unit, m * unit, p * unit)).loss == pytest.approx(
        vertebral_shape((a, m, p)).loss
    )


@settings(deadline=None)
@given(HEIGHT, HEIGHT, HEIGHT, st.floats(0.1, 0.99))
def test_losing_anterior_height_never_lowers_the_grade(
    a: float, m: float, p: float, kept: float
) -> None:
    assert vertebral_shape((a * kept, m, p)).grade >= vertebral_shape((a, m, p)).grade


def test_each_vertebra_is_held_against_the_ones_beside_it() -> None:
    heights = {"T12": (24.0, 24.0, 24.0), "L1": (15.0, 15.0, 15.0), "L2": (26.0, 26.0, 26.0)}
    shapes = spine_shapes(heights, VERTEBRAE)
    assert list(shapes) == ["T12", "L1", "L2"]
    assert shapes["L1"].kind == "crush"
    assert shapes["L1"].loss == pytest.approx(0.4)
    assert shapes["T12"].grade == 0


def test_a_height_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0 mm"):
        vertebral_shape((0.0, 20.0, 20.0))


def test_rms_sd_by_hand() -> None:
    # |d| = 0.02 and 0.04: SD² = 0.0002 and 0.0008, mean 0.0005
    assert rms_sd([[1.00, 1.02], [0.80, 0.84]]) == pytest.approx(0.0005**0.5)
    assert rms_sd([[1.0, 1.0, 1.0]]) == 0.0


def test_lsc_is_2_77_times_the_rms_sd() -> None:
    assert least_significant_change(0.010) == pytest.approx(0.0277)
    assert is_significant_change(1.000, 0.970, 0.0277)
    assert not is_significant_change(1.000, 0.980, 0.0277)


def test_rms_cv_does_not_depend_on_the_scale() -> None:
    repeats = np.array([[1.00, 1.02], [0.80, 0.84]])
    assert rms_cv(repeats * 3.0) == pytest.approx(rms_cv(repeats))


@pytest.mark.parametrize(
    ("patients", "repeats", "enough"), [(30, 2, True), (15, 3, True), (29, 2, False)]
)
def test_a_precision_study_needs_thirty_degrees_of_freedom(
    patients: int, repeats: int, enough: bool
) -> None:
    values = np.ones((patients, repeats))
    assert is_large_enough(values) is enough
    assert degrees_of_freedom(values) == patients * (repeats - 1)


@pytest.mark.parametrize("repeats", [[1.0, 1.1], [[1.0]], np.ones((0, 2))])
def test_what_is_not_repeated_has_no_precision(repeats: object) -> None:
    with pytest.raises(ValueError, match="patients × at least 2"):
        rms_sd(repeats)  # type: ignore[arg-type]
