"""The graph of BMD by age: bands of one SD, on the scale of the patient's scanner."""

from __future__ import annotations

import re

import pytest

from shared.inference.pictures.score_graph import GraphPoint, score_graph
from shared.records import Covariates, Vendor
from tests.shared.inference_cases import html, make_subject


def heights(points: str) -> list[float]:
    return [float(pair.split(",")[1]) for pair in points.split()]


def drawn(vendor: Vendor, kind: str, region: str = "L1-L4") -> tuple[list[list[float]], list[str]]:
    point = GraphPoint(region, 1.0, None)
    svg = score_graph(point, vendor, Covariates("F", 36.0), kind, "a site")
    lines = re.findall(r'<polyline points="([^"]*)" class="mean"', svg)
    return [heights(one) for one in re.findall(r'<polygon points="([^"]*)"', svg)], lines


def test_bands_are_of_one_sd_to_either_side_of_the_mean() -> None:
    (outer, inner), [line] = drawn(Vendor.HOLOGIC, "Z")
    mean = heights(line)[0]
    # 0.106 of Hologic's 0.110 is 0.9636 T; a T-score is 102/8 units high
    one = 0.106 / 0.110 * 102 / 8
    assert mean - inner[0] == pytest.approx(one, abs=0.11)
    assert inner[-1] - mean == pytest.approx(one, abs=0.11)
    assert mean - outer[0] == pytest.approx(2 * one, abs=0.11)
    assert outer[-1] - mean == pytest.approx(2 * one, abs=0.11)


def test_the_mean_stands_where_the_scanners_own_axis_has_it() -> None:
    _, [line] = drawn(Vendor.LUNAR, "T")
    # Hologic 1.064 is sBMD 1.14066 and Lunar 1.20024: 0.169 above GE's young mean
    assert heights(line)[0] == pytest.approx(30 + (3 - 0.1687) * 102 / 8, abs=0.06)


def test_no_curve_is_drawn_where_none_is_known_and_each_says_of_whom_it_is() -> None:
    assert drawn(Vendor.HOLOGIC, "Z", "femoral_neck") == ([], [])
    page = " ".join(html(make_subject(covariates=Covariates("F", 36.0))).split())
    assert "mean of the same sex by age, people of the United States (NHANES) and white wo" in page
    assert "within one SD of it" in page
    assert "Korean" not in page
    unknown = html(make_subject(covariates=Covariates(None, 60.0)))
    assert "mean of the same sex by age" not in unknown
