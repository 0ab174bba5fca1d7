"""``federation.yaml``: what the consortium requires of a site's data, by task.

And, in ``site.yaml``, what the site says of its scanners.
"""

from __future__ import annotations

import re
from datetime import date
from operator import not_
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, field_validator

from shared.records import DXA_VENDORS, View
from shared.regions import BMD_REGIONS, CT_LEVELS, VERTEBRA_CODES
from shared.settings.base import Count, Positive, Settings, Share
from shared.settings.patterns import CLASS_NAME, ScannerName

#: A *must* that is not met keeps the site from training; a *should* is only shown.
Weight = Literal["must", "should"]

#: What can be counted, or be there or not: the word, and what may stand after its colon.
COUNTED: Final[dict[str, str]] = {
    "patients": "",
    "osteoporosis": "",
    "fracture": "",
    "age_known": "",
    "sex_known": "",
    "sex": "F|M",
    "age": r"\d{1,3}-\d{1,3}",
    "vendor": "|".join(vendor.value for vendor in DXA_VENDORS),
    "label": "bmd|genant|paired_bmd",
    "mask": "|".join([*(view.value for view in View), "ct"]),
    "box": "|".join(view.value for view in View),
    "mask_or_box": "|".join(view.value for view in View),
    "point": "|".join(view.value for view in View),
    "slice": "|".join(VERTEBRA_CODES["volume"]),
    "image": "|".join([*(view.value for view in View), "ct"]),
    "level": "|".join(CT_LEVELS),
    "class": CLASS_NAME,
}


def _known(of: str) -> str:
    """Refuse a rule about something that nothing counts: it would never be met."""
    word, colon, rest = of.partition(":")
    pattern = COUNTED.get(word)
    if pattern is None or bool(pattern) != bool(colon) or not re.fullmatch(pattern, rest):
        known = "; ".join(w + (f":{_such_as(w, p)}" if p else "") for w, p in COUNTED.items())
        raise ValueError(f"nothing of that name is counted (known: {known})")
    return of


def _such_as(word: str, pattern: str) -> str:
    """What may stand behind a word: one of some names, or an example."""
    examples = {"age": "50-70", "class": "NAME"}
    return examples.get(word) or " or ".join(pattern.split("|"))


#: Which patients or studies a rule is about.
Counted = Annotated[str, AfterValidator(_known)]


class CountRule(Settings):
    """At least so many training patients, or of a class or subgroup.

    `of` is ``patients``; a sex (``sex:F``); an age band (``age:50-70``); a vendor
    (``vendor:lunar``); a label (``label:bmd``, ``label:genant``, ``label:paired_bmd``: of
    another visit); a class (``osteoporosis``: lowest T-score at most -2.5; ``fracture``: a
    vertebra of Genant grade 1 or more); a mask (``mask:spine_pa``, ``mask:ct``), a mark of a
    table (``box:lumbar_ap``, ``point:spine_lateral``, ``slice:L3`` of a CT series;
    ``mask_or_box:lumbar_ap`` for what learns from either), a vertebra
    in a mask of a CT series (``level:L1``), a class of the whole study that the hospital's
    table says (``class:scoliosis``) or an image (``image:hip_left``, ``image:ct``). A
    patient counts once, whichever of the patient's studies of the task has it.
    """

    of: Counted = "patients"
    at_least: Count
    weight: Weight = "must"


class RangeRule(Settings):
    """A number of every image lies within bounds, but for a share of the images."""

    low: Positive
    high: Positive
    exceptions: Share = 0.0
    weight: Weight = "must"


class ScannerRule(Settings):
    """Scanners that are taken: vendors, and models by their name (empty: any)."""

    vendors: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    weight: Weight = "must"


class CompletenessRule(Settings):
    """Share of the task's studies that have a label, mask or mark (`of` as in `CountRule`).

    ``age_known`` and ``sex_known`` are the covariates.
    """

    of: Counted
    at_least: Share
    weight: Weight = "must"


class CrossCalibrationRule(Settings):
    """Every scanner has a cross-calibration factor (site.yaml) no older than this."""

    oldest_days: Count = 730
    weight: Weight = "should"


class QualityRule(Settings):
    """At most this share of images has a quality flag (``any``, or one flag's name)."""

    flag: Literal[
        "any", "motion", "cut_off", "rotation", "metal", "unscanned_margin", "wrong_level",
        "saturation",
    ] = "any"  # fmt: skip
    at_most: Share = 0.2
    weight: Weight = "should"


class PhantomQcRule(Settings):
    """Daily phantom measurements have not drifted: CUSUM, in standard deviations.

    `allowance` and `decision` are the k and h of the two-sided tabular CUSUM
    (Montgomery, Introduction to Statistical Quality Control, 9.1).
    """

    allowance: Positive = 0.5
    decision: Positive = 5.0
    fewest_scans: Count = 10
    weight: Weight = "must"


class PixelReference(Settings):
    """The consortium's reference of a view's grey values, for drift.

    `quantiles` are of the scanned pixels in [0, 1], as many as are given at evenly
    spaced shares from 5 % to 95 %; none may lie further off than `at_most`.
    """

    quantiles: tuple[Share, ...] = Field(min_length=5, max_length=19)
    at_most: Positive = 0.1
    weight: Weight = "should"

    @field_validator("quantiles")
    @classmethod
    def _rise(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        if list(quantiles) != sorted(quantiles):
            raise ValueError("quantiles never fall from one to the next")
        return quantiles


class KernelRule(Settings):
    """Kernels of every CT study, but for a share: as the maker names them, upper or lower case."""

    names: tuple[str, ...] = Field(min_length=1)
    exceptions: Share = 0.0
    weight: Weight = "must"


class ContrastRule(Settings):
    """Whether a contrast agent was given for every CT study, but for a share."""

    given: bool = False
    exceptions: Share = 0.0
    weight: Weight = "must"


class CompleteSeriesRule(Settings):
    """CT series whose completeness keeps a study from counting, but for a share of the studies.

    ``incomplete`` are series of which slices are known to be missing, ``unknown`` those that are
    kept as they were received; an empty list refuses none.
    """

    refuses: tuple[Literal["incomplete", "unknown"], ...] = ("incomplete",)
    exceptions: Share = 0.0
    weight: Weight = "must"


class AtMostRule(Settings):
    """A number of every CT study is at most this, but for a share; 0 or more."""

    at_most: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    exceptions: Share = 0.0
    weight: Weight = "must"


class CtRules(Settings):
    """What a task requires of CT series; a contract that has them is about CT studies too.

    Of a study with several series the one that meets most of these rules counts.

    Attributes
    ----------
    kvp : RangeRule
        Tube voltage, kV.
    thickness_mm : RangeRule
        Nominal thickness of a slice.
    gap_mm : AtMostRule
        What lies between two slices: their distance less their thickness.
    field_of_view_mm : RangeRule
        Shorter side of a slice.
    kernels : KernelRule
        Reconstruction kernels.
    contrast : ContrastRule
        With or without a contrast agent.
    completeness : CompleteSeriesRule
        Whether all slices are there; left out, it refuses incomplete series.
    months : AtMostRule
        Between a study and the visit that its paired BMD is of, whichever was first; a
        study without one does not count here (`CountRule`, ``label:paired_bmd``).
    """

    kvp: RangeRule | None = None
    thickness_mm: RangeRule | None = None
    gap_mm: AtMostRule | None = None
    field_of_view_mm: RangeRule | None = None
    kernels: KernelRule | None = None
    contrast: ContrastRule | None = None
    months: AtMostRule | None = None
    completeness: CompleteSeriesRule | None = Field(default=None, exclude_if=not_)


class DataContract(Settings):
    """What one task requires of a site's data. A rule left out is not checked."""

    counts: tuple[CountRule, ...] = ()
    spacing_mm: RangeRule | None = None
    scanners: ScannerRule | None = None
    completeness: tuple[CompletenessRule, ...] = ()
    cross_calibration: CrossCalibrationRule | None = None
    quality: tuple[QualityRule, ...] = ()
    phantom_qc: PhantomQcRule | None = None
    pixels: dict[View, PixelReference] = Field(default_factory=dict)
    ct: CtRules | None = Field(default=None, exclude_if=not_)


# --- site.yaml -------------------------------------------------------------------------


class SiteScanner(Settings):
    """One scanner of the site, as its physicist knows it.

    Attributes
    ----------
    name : str
        What the site calls it; the phantom's measurements name it so.
    vendor, model : str
        As the catalogue has them; an empty model stands for every model of the vendor.
    factors : dict of str to float
        Cross-calibration: BMD of the consortium's reference over BMD of this scanner, by
        region. It is held against the contract, and not applied to any label.
    calibrated_on : date or None
        Day of the cross-calibration. Phantom measurements before it are of another
        state of the scanner and are left out of the drift.
    """

    name: ScannerName
    vendor: str
    model: str = ""
    factors: dict[str, Annotated[float, Field(gt=0.5, lt=2.0)]] = Field(default_factory=dict)
    calibrated_on: date | None = None

    @field_validator("vendor")
    @classmethod
    def _makes_dxa(cls, vendor: str) -> str:
        known = [one.value for one in DXA_VENDORS]
        if vendor not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return vendor

    @field_validator("factors")
    @classmethod
    def _of_regions(cls, factors: dict[str, float]) -> dict[str, float]:
        strange = sorted(set(factors) - set(BMD_REGIONS))
        if strange:
            raise ValueError(f"{strange[0]} is no region (known: {', '.join(BMD_REGIONS)})")
        return factors
