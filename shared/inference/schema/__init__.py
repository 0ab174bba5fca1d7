"""What ``prediction.json`` holds: validated, versioned, documented in docs/report.md.

Findings stand in it as tasks made them (`shared.findings.facts`), so that what a task found
and what the file says cannot differ. Adding a field is no new schema; changing or dropping
one is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, field_serializer

from shared.dicom.ct.completeness import UNKNOWN
from shared.findings.attenuation import SeriesAttenuation
from shared.findings.facts import (
    Chance,
    Fact,
    Grade,
    Measurement,
    NotAssessed,
    Probability,
    QualityFlag,
    RegionArea,
)
from shared.scan_types import ViewTold

SCHEMA: Final = 1
NOTICE: Final = "Research use only; not a medical device."


class Conclusion(Fact):
    """What the scores mean together, by the ISCD's rules.

    `basis` says whose BMD it is; `kind` is T, Z or neither. `left_out` gives the
    reason of each lumbar vertebra that was not used. `diagnoses` are what the hospital says of
    the study as a whole, in its own words, and `grades` its own Genant grades by vertebra,
    those of vertebrae that no model graded, too. `verified` says whether the references of the
    score are, and `reference` which they are; None and empty without a score. `not_judged` gives
    the reason of each site with a BMD that the conclusion does not count. `suspected` are lumbar
    vertebrae that count here, as the hospital measured them, though a model suspects a fracture.
    """

    basis: Literal["estimate", "hospital"]
    kind: Literal["T", "Z", "neither"]
    site: str | None = None
    score: float | None = None
    bone_class: str | None = None
    left_out: dict[str, str] = Field(default_factory=dict)
    note: str = ""
    diagnoses: tuple[str, ...] = ()
    grades: dict[str, int] = Field(default_factory=dict)
    verified: bool | None = None
    reference: str = ""
    not_judged: dict[str, str] = Field(default_factory=dict)
    suspected: tuple[str, ...] = ()


class ModelFacts(Fact):
    """Which version answered, so that the answer can be repeated.

    `metrics` were recorded on validation patients, of sBMD in g/cm²; `metric_names` gives the
    name that each region has in them (``mae_NAME``), and `grade_metrics`, of a task that grades,
    each metric that has to be above what saying the same of everybody gives: its words and that
    value. `outline_metrics`, of a task that outlines or finds levels, are the words of those that
    tell how well. A metric that is no number counts against the version, and is not written: a
    reader finds no null among numbers. `record_trouble` says why there is a record that cannot be
    used; empty where it can be, or where there is none. `verified_with` is the coordinator's public
    key that its passport and its weights were held against; empty where no key was known, and then
    nothing shows that `origin` is true.
    """

    task: str
    version: str
    digest: str
    origin: str
    source: str
    metrics: dict[str, float] = Field(default_factory=dict)
    metric_names: dict[str, str] = Field(default_factory=dict)
    grade_metrics: dict[str, tuple[str, float]] = Field(default_factory=dict)
    outline_metrics: dict[str, str] = Field(default_factory=dict)
    record_trouble: str = ""
    verified_with: str = ""

    @field_serializer("metrics")
    def _numbers(self, metrics: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if math.isfinite(value)}


class ImageFacts(Fact):
    """One view as it was read, and how it was told which; `spacing_mm` is row, column.

    `scans` is how many of this view the study has; of several this is the one `chosen`, which says
    by what, and `instance_uid` is its own. `facing` is where the front of the patient of a lateral
    image is in its file, ``left`` or ``right``, and `facing_told_by` what says so, ``header`` or
    ``anatomy``; both are empty where neither does, and for other views. `withheld` is why the
    image is not assessed, a code of `shared.quality.gates`; empty where it is.
    """

    view: str
    view_told: ViewTold = "named"
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    spacing_provenance: str
    scanned_fraction: Probability
    overlay: str | None = None
    scans: Annotated[int, Field(ge=1)] = 1
    chosen: str = ""
    instance_uid: str = ""
    facing: str = ""
    facing_told_by: str = ""
    withheld: str = ""


class SeriesFacts(Fact):
    """One CT series as it was read; `shape` and `spacing_mm` are slice, row, column.

    `levels` are the slices through the middles of the vertebrae that a model found, from 0 at
    the feet. `resampled` says what was done to the slices: empty, ``tilt``, ``gaps`` or
    ``gaps+tilt``. Of a study's series one is `used`; `not_measured` says why no bone is measured
    on a series, empty where it could be. `attenuation` is what its Hounsfield units say without
    a network's estimate. `completeness` says whether all slices are there
    (`shared.dicom.ct.completeness`), `missing` what shows that some are not.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    kvp: float | None = None
    kernel: str = ""
    thickness_mm: float | None = None
    contrast: bool | None = None
    levels: Mapping[str, int] = Field(default_factory=dict)
    resampled: str = ""
    used: bool = False
    not_measured: str = ""
    completeness: str = UNKNOWN
    missing: str = ""
    attenuation: SeriesAttenuation | None = None


class StudyFacts(Fact):
    """Whose study it is. The name stands in the report only, never here."""

    patient_id: str
    study_uid: str
    study_date: str
    accession: str
    vendor: str
    sex: str | None
    age_years: float | None
    height_cm: float | None
    weight_kg: float | None


class Narrative(Fact):
    """The report in words, in a radiologist's order; one sentence or two per entry."""

    technique: tuple[str, ...]
    findings: tuple[str, ...]
    impression: tuple[str, ...]
    limits: tuple[str, ...]


class Prediction(Fact):
    """``prediction.json``: everything found in one study."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    software: str
    notice: Literal["Research use only; not a medical device."] = NOTICE
    study: StudyFacts
    images: tuple[ImageFacts, ...]
    series: tuple[SeriesFacts, ...] = ()
    models: tuple[ModelFacts, ...]
    measurements: tuple[Measurement, ...]
    grades: tuple[Grade, ...]
    chances: tuple[Chance, ...] = ()
    regions: tuple[RegionArea, ...]
    quality: tuple[QualityFlag, ...]
    not_assessed: tuple[NotAssessed, ...]
    conclusions: tuple[Conclusion, ...]
    narrative: Narrative
    masks: str | None = None
    report: str = "report.html"
