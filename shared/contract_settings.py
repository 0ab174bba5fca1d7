"""``federation.yaml``: what the consortium requires of a site's data, by task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.settings import Count, Positive, Settings, Share

#: A *must* that is not met keeps the site from training; a *should* is only shown.
Weight = Literal["must", "should"]


class CountRule(Settings):
    """At least so many training patients, or of a class or subgroup.

    `of` is ``patients``; a sex (``sex:F``); an age band (``age:50-70``); a vendor
    (``vendor:lunar``); a label (``label:bmd``, ``label:genant``); a class
    (``osteoporosis``: lowest T-score at most -2.5; ``fracture``: a vertebra of Genant
    grade 1 or more); or a mask (``mask:spine_pa``).
    """

    of: Annotated[str, Field(pattern=r"^[a-z_]+(:[A-Za-z0-9_.\-]+)?$")] = "patients"
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
    """Share of the task's studies that have a label or mask (`of` as in `CountRule`)."""

    of: str
    at_least: Share
    weight: Weight = "must"


class CrossCalibrationRule(Settings):
    """Every scanner has a cross-calibration factor (site.yaml) no older than this."""

    oldest_days: Count = 730
    weight: Weight = "should"


class QualityRule(Settings):
    """At most this share of images has a quality flag (``any``, or one flag's name)."""

    flag: str = "any"
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
    """The consortium's reference of a view's grey values, for drift: quantiles 5..95 %."""

    quantiles: tuple[float, ...] = Field(min_length=5, max_length=19)
    at_most: Positive = 0.1
    weight: Weight = "should"


class DataContract(Settings):
    """What one task requires of a site's data. A rule left out is not checked."""

    counts: tuple[CountRule, ...] = ()
    spacing_mm: RangeRule | None = None
    scanners: ScannerRule | None = None
    completeness: tuple[CompletenessRule, ...] = ()
    cross_calibration: CrossCalibrationRule | None = None
    quality: tuple[QualityRule, ...] = ()
    phantom_qc: PhantomQcRule | None = None
    pixels: dict[str, PixelReference] = Field(default_factory=dict)
