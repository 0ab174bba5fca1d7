"""The graph of a DXA report: BMD against age over the WHO's zones, one panel a site."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np

from shared.clinical.cross_calibration import converted_bmd
from shared.clinical.references import (
    AGE_CURVES,
    NORMAL_T,
    OSTEOPOROSIS_T,
)
from shared.clinical.scores import bmd_at_t_score, t_score
from shared.clinical.whose_reference import HipReference
from shared.records import Covariates, Vendor

_WIDTH, _HEIGHT = 200.0, 158.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 28.0, 18.0, 30.0, 26.0
_AGES = (20.0, 90.0)
_T_RANGE = (-5.0, 3.0)
_GREEN, _AMBER, _RED, _PLAIN = "#dcefdc", "#fdf0cd", "#f8d9d5", "#eef1f4"
#: Bands about the mean by age, each of one SD to either side: the outer one first.
_AGE_BANDS = ((2.0, "#dbe9f5"), (1.0, "#b7d3ea"))


@dataclass(frozen=True)
class GraphPoint:
    """One site's BMD: what was measured, what was estimated, in g/cm² on a vendor's scale."""

    region: str
    measured: float | None
    estimate: float | None


def score_graph(
    point: GraphPoint,
    vendor: Vendor,
    covariates: Covariates,
    kind: str,
    title: str,
    hip: HipReference = HipReference.NHANES,
) -> str:
    """Draw one site's panel as inline SVG.

    Parameters
    ----------
    point : GraphPoint
        Of a region with a T-score reference; an estimate that is not scored is None here, for
        the right axis would score it.
    vendor : Vendor
        On whose scale the densities are.
    covariates : Covariates
        An unknown age is drawn as a line across the panel.
    kind : str
        ``T``: WHO zones. ``Z``: bands of one SD about the mean of the same age and
        sex, two to either side. ``neither``: no zones.
    title : str
    hip : HipReference
        With whom the right axis compares a hip.

    Returns
    -------
    str
        ``<svg>``: left axis BMD on the vendor's scale, right axis T-score; a filled circle is
        what the hospital measured, a hollow diamond the estimate.
    """
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" '
        f'aria-label="{escape(title)}" class="graph">',
        f"<title>{escape(title)}</title>",
        f'<text x="3" y="12" class="head">{escape(title)}</text>',
        *_zones(kind),
        *_age_bands(point.region, vendor, covariates, kind, hip),
        *_axes(point.region, vendor, kind != "Z", hip),
        *_patient(point, vendor, covariates, hip),
        "</svg>",
    ]
    return "".join(parts)


def _x(age: float) -> float:
    share = (min(max(age, _AGES[0]), _AGES[1]) - _AGES[0]) / (_AGES[1] - _AGES[0])
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(score: float) -> float:
    share = (_T_RANGE[1] - min(max(score, _T_RANGE[0]), _T_RANGE[1])) / (_T_RANGE[1] - _T_RANGE[0])
    return _TOP + share * (_HEIGHT - _TOP - _BOTTOM)


def _band(high: float, low: float, colour: str) -> str:
    return (
        f'<rect x="{_LEFT:.1f}" y="{_y(high):.1f}" width="{_WIDTH - _LEFT - _RIGHT:.1f}" '
        f'height="{_y(low) - _y(high):.1f}" fill="{colour}"/>'
    )


def _zones(kind: str) -> list[str]:
    top, bottom = _T_RANGE[1], _T_RANGE[0]
    if kind != "T":
        return [_band(top, bottom, _PLAIN)]
    words = ((NORMAL_T, "normal"), (OSTEOPOROSIS_T, "low bone mass"), (bottom, "osteoporosis"))
    return [
        _band(top, NORMAL_T, _GREEN),
        _band(NORMAL_T, OSTEOPOROSIS_T, _AMBER),
        _band(OSTEOPOROSIS_T, bottom, _RED),
        *(
            f'<text x="{_LEFT + 3:.1f}" y="{_y(low) - 3:.1f}" class="zone">{word}</text>'
            for low, word in words
        ),
    ]


def _age_bands(
    region: str, vendor: Vendor, covariates: Covariates, kind: str, hip: HipReference
) -> list[str]:
    """Mean of the same sex by age, dashed; with Z also bands of one SD about it."""
    curve = AGE_CURVES.get((covariates.sex or "", region))
    if curve is None:
        return []
    ages = np.linspace(max(curve.age_from, _AGES[0]), min(curve.age_to, _AGES[1]), 40)
    means = np.interp(ages, curve.ages, curve.means)
    sds = np.interp(ages, curve.ages, curve.sds)

    def places(off: float) -> list[str]:
        """Along the ages, so many SD off the mean, on the patient's scale."""
        values = (
            converted_bmd(float(m + off * s), curve.scale, vendor, region)
            for m, s in zip(means, sds, strict=True)
        )
        return [
            f"{_x(age):.1f},{_y(t_score(value, region, vendor, hip)):.1f}"
            for age, value in zip(ages, values, strict=True)
        ]

    drawn = []
    for off, colour in _AGE_BANDS if kind == "Z" else ():
        points = " ".join([*places(off), *reversed(places(-off))])
        drawn.append(f'<polygon points="{points}" fill="{colour}" fill-opacity="0.8"/>')
    drawn.append(f'<polyline points="{" ".join(places(0.0))}" class="mean"/>')
    return drawn


def _axes(region: str, vendor: Vendor, with_t: bool, hip: HipReference) -> list[str]:
    right = _WIDTH - _RIGHT
    parts = [
        f'<rect x="{_LEFT:.1f}" y="{_TOP:.1f}" width="{right - _LEFT:.1f}" '
        f'height="{_HEIGHT - _TOP - _BOTTOM:.1f}" class="frame"/>'
    ]
    for age in range(20, 91, 10):
        parts.append(
            f'<text x="{_x(age):.1f}" y="{_HEIGHT - _BOTTOM + 10:.1f}" class="tick" '
            f'text-anchor="middle">{age}</text>'
        )
    parts.append(
        f'<text x="{(_LEFT + right) / 2:.1f}" y="{_HEIGHT - 6:.1f}" class="tick" '
        f'text-anchor="middle">age, years</text>'
    )
    for score in range(int(_T_RANGE[0]), int(_T_RANGE[1]) + 1):
        y = _y(score)
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        if with_t:
            label = f"{score:+d}".replace("-", "−") if score else "0"
            parts.append(f'<text x="{right + 3:.1f}" y="{y + 2.5:.1f}" class="tick">{label}</text>')
        if score % 2:
            bmd = bmd_at_t_score(score, region, vendor, hip)
            parts.append(
                f'<text x="{_LEFT - 3:.1f}" y="{y + 2.5:.1f}" class="tick" '
                f'text-anchor="end">{bmd:.2f}</text>'
            )
    parts.append(f'<text x="3" y="{_TOP - 7:.1f}" class="tick">g/cm²</text>')
    if with_t:
        parts.append(f'<text x="{right + 4:.1f}" y="{_TOP - 7:.1f}" class="tick">T</text>')
    return parts


def _patient(
    point: GraphPoint, vendor: Vendor, covariates: Covariates, hip: HipReference
) -> list[str]:
    """What was measured as a filled circle, the estimate as a hollow diamond around it."""
    parts = []
    for value, kind in ((point.estimate, "estimate"), (point.measured, "own")):
        if value is None:
            continue
        y = _y(t_score(value, point.region, vendor, hip))
        if covariates.age_years is None:
            line = f'x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
            parts.append(f'<line {line} class="at {kind}"/>')
            continue
        x = _x(covariates.age_years)
        if kind == "own":
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6" class="own"/>')
        else:
            path = f"M{x:.1f} {y - 5.5:.1f} l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 Z"
            parts.append(f'<path d="{path}" class="estimate"/>')
    return parts
