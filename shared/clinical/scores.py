"""T-scores, Z-scores, and what may be concluded from them by the rules of the ISCD (2023).

Every BMD that comes in is on its own vendor's scale. It is brought to the scale of the reference
that it compares with, if that is another one (`shared.clinical.whose_reference`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from shared.clinical.cross_calibration import converted_bmd, vendor_bmd
from shared.clinical.references import (
    ADULT_AGE,
    AGE_CURVES,
    BELOW_EXPECTED_Z,
    DIAGNOSTIC_REGIONS,
    MINIMUM_VERTEBRAE,
    NEIGHBOUR_LIMIT_T,
    NORMAL_T,
    OSTEOPOROSIS_T,
    T_SCORE_AGE,
    USUAL_AREAS,
    YOUNG_FEMALE,
    Mark,
)
from shared.clinical.whose_reference import (
    HipReference,
    spine_reference,
    why_no_z,
    young_reference,
)
from shared.records import Vendor
from shared.regions import LUMBAR


class BoneClass(StrEnum):
    """What a score means; the first three are the WHO's, the last two go with Z."""

    NORMAL = "normal"
    LOW_BONE_MASS = "low bone mass"
    OSTEOPOROSIS = "osteoporosis"
    EXPECTED_FOR_AGE = "within the expected range for age"
    BELOW_EXPECTED = "below the expected range for age"


class ScoreKind(StrEnum):
    """Which score a patient is judged by."""

    T = "T"
    Z = "Z"
    NEITHER = "neither"


@dataclass(frozen=True)
class ZScore:
    """A Z-score with the reference it compares with."""

    value: float
    source: str
    mark: Mark


def t_score(
    bmd: float,
    region: str,
    vendor: Vendor = Vendor.HOLOGIC,
    hip: HipReference = HipReference.NHANES,
) -> float:
    """T-score against young white women, for either sex and every ethnic group.

    Parameters
    ----------
    bmd : float
        Areal BMD, g/cm², on the scale of `vendor` (`Vendor.GENERIC`: sBMD).
    region : str
        L1-L4, femoral_neck, total_hip; other vertebrae that stand together, and
        L1 to L4 alone to compare neighbours.
    vendor : Vendor
    hip : HipReference
        With whom hips compare.

    Returns
    -------
    float
        (BMD − young mean) / SD on the scale of the reference, in SD; `reported_score` rounds it
        as scanners print it.

    Raises
    ------
    KeyError
        If the region has no reference (the trochanter never has one).

    Notes
    -----
    NHANES III for the hip (Looker 1998), the manufacturer's for the spine.
    """
    reference = young_reference(region, vendor, hip)
    own = converted_bmd(bmd, vendor, reference.scale, region)
    return (own - reference.mean) / reference.sd


def t_score_difference(difference: float, region: str) -> float:
    """Say how many T-scores a difference of sBMD is.

    Parameters
    ----------
    difference : float
        Of standardised BMD, g/cm²: an error, for example.
    region : str
        L1-L4, femoral_neck or total_hip; others have no reference.

    Returns
    -------
    float
        In SD of the young reference, with the sign of `difference`.

    Raises
    ------
    KeyError
        If the region has no reference.
    """
    hologic = vendor_bmd(difference, Vendor.HOLOGIC, region) - vendor_bmd(
        0.0, Vendor.HOLOGIC, region
    )
    return hologic / YOUNG_FEMALE[region].sd


def bmd_at_t_score(
    score: float,
    region: str,
    vendor: Vendor = Vendor.HOLOGIC,
    hip: HipReference = HipReference.NHANES,
) -> float:
    """BMD in g/cm² on the scale of `vendor` that has a T-score; inverse of `t_score`."""
    reference = young_reference(region, vendor, hip)
    return converted_bmd(reference.mean + score * reference.sd, reference.scale, vendor, region)


def z_score(
    bmd: float, region: str, sex: str, age_years: float, vendor: Vendor = Vendor.HOLOGIC
) -> ZScore | None:
    """Z-score against people of the same age and sex, where a table gives what scanners print.

    Parameters
    ----------
    bmd : float
        Areal BMD, g/cm², on the scale of `vendor`.
    region : str
        L1-L4, femoral_neck or total_hip.
    sex : str
        "F" or "M".
    age_years : float
    vendor : Vendor

    Returns
    -------
    ZScore or None
        None where `shared.clinical.whose_reference.why_no_z` says why.
    """
    if why_no_z(region, sex, age_years, vendor):
        return None
    curve = AGE_CURVES[sex, region]
    mean = float(np.interp(age_years, curve.ages, curve.means))
    sd = float(np.interp(age_years, curve.ages, curve.sds))
    value = (converted_bmd(bmd, vendor, curve.scale, region) - mean) / sd
    return ZScore(value, curve.source, curve.mark)


def reported_score(score: float) -> float:
    """Round a score to the one decimal in which scores are reported, halves away from 0."""
    rounded = math.floor(abs(score) * 10 + 0.5 + 1e-9) / 10
    return math.copysign(rounded, score) if rounded else 0.0


def who_class(score: float) -> BoneClass:
    """WHO class of a T-score: normal from −1, osteoporosis from −2.5 down.

    Give the score as reported (`reported_score`), so that a report which prints
    −2.5 never calls it anything but osteoporosis.
    """
    if score <= OSTEOPOROSIS_T:
        return BoneClass.OSTEOPOROSIS
    return BoneClass.NORMAL if score >= NORMAL_T else BoneClass.LOW_BONE_MASS


def age_class(score: float) -> BoneClass:
    """Class of a Z-score as reported: −2.0 and lower is below the expected range (unverified)."""
    below = score <= BELOW_EXPECTED_Z
    return BoneClass.BELOW_EXPECTED if below else BoneClass.EXPECTED_FOR_AGE


def score_in_use(
    sex: str | None, age_years: float | None, postmenopausal: bool | None = None
) -> ScoreKind:
    """Which score a patient is judged by (ISCD 2023; the ages are unverified).

    Parameters
    ----------
    sex : str or None
        "F", "M" or unknown.
    age_years : float or None
    postmenopausal : bool or None
        Where nobody said so, a woman of 50 or more is taken as post-menopausal.

    Returns
    -------
    ScoreKind
        T for post-menopausal women and men of 50 or more, Z for younger adults,
        neither for children and where sex or age is not known.
    """
    if sex not in ("F", "M") or age_years is None or age_years < ADULT_AGE:
        return ScoreKind.NEITHER
    if sex == "F" and postmenopausal is not None:
        return ScoreKind.T if postmenopausal else ScoreKind.Z
    return ScoreKind.T if age_years >= T_SCORE_AGE else ScoreKind.Z


def lowest_diagnostic(scores: Mapping[str, float]) -> tuple[str, float] | None:
    """Site and score on which a diagnosis rests: the lowest of L1-L4, total hip and neck.

    Parameters
    ----------
    scores : mapping of str to float
        Scores by region; regions that are not diagnostic are ignored. A spine
        score stands under "L1-L4" even where vertebrae were left out.

    Returns
    -------
    (str, float) or None
        None if no diagnostic site was assessed.
    """
    known = [(scores[region], region) for region in DIAGNOSTIC_REGIONS if region in scores]
    if not known:
        return None
    score, region = min(known, key=lambda pair: pair[0])
    return region, score


def excluded_vertebrae(
    scores: Mapping[str, float], not_assessable: Collection[str] = ()
) -> dict[str, str]:
    """Lumbar vertebrae that must be left out, each with its reason.

    Parameters
    ----------
    scores : mapping of str to float
        T-scores of L1 to L4; an absent vertebra was not measured.
    not_assessable : collection of str
        Fractured, fused, covered by metal, cut off ...

    Returns
    -------
    dict of str to str
        Reason by vertebra, cranial first. One that differs by more than 1.0 from
        every nearest remaining neighbour goes (unverified limit); if several do,
        the one farthest from the rest goes first and the others are looked at
        again, so that one bad vertebra does not take its good neighbour with it.
    """
    reasons = {name: "could not be assessed" for name in LUMBAR if name in not_assessable}
    for name in LUMBAR:
        if name not in scores and name not in reasons:
            reasons[name] = "not measured"
    left = [name for name in LUMBAR if name not in reasons]
    while len(left) >= MINIMUM_VERTEBRAE:
        outliers = [name for name in left if _stands_apart(name, left, scores)]
        if not outliers:
            break
        # Of two that are as far off the denser goes: artefacts add density.
        worst = max(
            outliers, key=lambda name: (_distance_to_rest(name, left, scores), scores[name])
        )
        reasons[worst] = "differs by more than 1.0 T-score from its neighbours"
        left.remove(worst)
    return {name: reasons[name] for name in LUMBAR if name in reasons}


def combined_spine_bmd(bmd: Mapping[str, float], areas: Mapping[str, float]) -> float | None:
    """BMD of several vertebrae together: their mineral over their area.

    Parameters
    ----------
    bmd : mapping of str to float
        g/cm² of the vertebrae that count, all on one scale.
    areas : mapping of str to float
        Projected area of each, cm² (any unit does: only ratios count).

    Returns
    -------
    float or None
        None with fewer than two vertebrae: never a diagnosis from one.
    """
    if len(bmd) < MINIMUM_VERTEBRAE:
        return None
    total = sum(areas[name] for name in bmd)
    return sum(bmd[name] * areas[name] for name in bmd) / total


def combined_spine_t_score(
    bmd: Mapping[str, float],
    vendor: Vendor = Vendor.HOLOGIC,
    areas: Mapping[str, float] = USUAL_AREAS,
) -> float | None:
    """T-score of the vertebrae that were not left out.

    Parameters
    ----------
    bmd : mapping of str to float
        g/cm² on the scale of `vendor`, by vertebra.
    vendor : Vendor
    areas : mapping of str to float
        Projected areas; usual ones where they are not known (within 0.1 of what was printed).

    Returns
    -------
    float or None
        None with fewer than two vertebrae. Against the reference of just these
        (`shared.clinical.whose_reference.spine_reference`).
    """
    measured = combined_spine_bmd(bmd, areas)
    if measured is None:
        return None
    reference = spine_reference(bmd, vendor, areas)
    together = converted_bmd(measured, vendor, reference.scale, "L1-L4")
    return (together - reference.mean) / reference.sd


def _stands_apart(name: str, left: list[str], scores: Mapping[str, float]) -> bool:
    """Say whether a vertebra differs too much from each nearest remaining neighbour."""
    place = left.index(name)
    beside = [*left[max(place - 1, 0) : place], *left[place + 1 : place + 2]]
    return all(abs(scores[name] - scores[other]) > NEIGHBOUR_LIMIT_T + 1e-9 for other in beside)


def _distance_to_rest(name: str, left: list[str], scores: Mapping[str, float]) -> float:
    """Mean distance in T-score to all the other remaining vertebrae."""
    return float(np.mean([abs(scores[name] - scores[other]) for other in left if other != name]))
