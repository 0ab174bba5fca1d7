"""What ``prediction.json`` holds: validated, versioned, documented in docs/report.md.

The models here are also the findings that tasks hand on, so that what a task
found and what the file says cannot differ. Adding a field is no new schema;
changing or dropping one is.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Final = 1
NOTICE: Final = "Research use only; not a medical device."

Probability = Annotated[float, Field(ge=0, le=1)]


class Fact(BaseModel):
    """Frozen; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Score(Fact):
    """A T- or Z-score as reported, one decimal, with whom it compares."""

    value: float
    reference: str
    verified: bool


class Measurement(Fact):
    """A quantity of one region, estimated by a model.

    `value` is in `unit` on `scale`. For BMD `standardised` holds sBMD in g/cm²
    and `value` is on the study's vendor's scale; the scores are those of the
    estimate. `reported` is the hospital's own value on the same scale as `value`.
    """

    task: str
    quantity: str
    region: str
    value: float
    unit: str
    scale: str
    standardised: float | None = None
    t_score: Score | None = None
    z_score: Score | None = None
    bone_class: str | None = None
    reported: float | None = None
    reported_t_score: Score | None = None
    reported_z_score: Score | None = None
    difference: float | None = None


class Grade(Fact):
    """A graded finding of one structure.

    `probabilities` are those of the grades 0, 1, ... in order and sum to one;
    `suspicion` is the probability of a grade that matters (for a vertebra
    moderate or severe). `position_px` is (row, column) in the view's image,
    0-based.
    """

    task: str
    quantity: str
    region: str
    grade: Annotated[int, Field(ge=0)]
    word: str
    probabilities: tuple[Probability, ...]
    suspicion: Probability
    position_px: tuple[float, float] | None = None
    reported: int | None = None


class RegionArea(Fact):
    """A region as segmented: where, and how large (None: spacing unknown)."""

    task: str
    view: str
    region: str
    area_cm2: float | None
    pixels: Annotated[int, Field(ge=0)]


class QualityFlag(Fact):
    """Something about an image that weakens what was found on it.

    `code` is an NHANES quality code where `source` is the hospital, a word of
    ours where it is the image.
    """

    source: Literal["hospital", "image"]
    code: str
    subject: str
    words: str


class NotAssessed(Fact):
    """What could not be assessed, and why."""

    what: str
    why: str


class Conclusion(Fact):
    """What the scores mean together, by the ISCD's rules.

    `basis` says whose BMD it is; `kind` is T, Z or neither. `left_out` gives the
    reason of each lumbar vertebra that was not used.
    """

    basis: Literal["estimate", "hospital"]
    kind: Literal["T", "Z", "neither"]
    site: str | None = None
    score: float | None = None
    bone_class: str | None = None
    left_out: dict[str, str] = Field(default_factory=dict)
    note: str = ""


class ModelFacts(Fact):
    """Which version answered, so that the answer can be repeated."""

    task: str
    version: str
    digest: str
    origin: str
    source: str
    metrics: dict[str, float] = Field(default_factory=dict)


class ImageFacts(Fact):
    """One view as it was read; `spacing_mm` is row, column."""

    view: str
    shape: tuple[int, int]
    spacing_mm: tuple[float, float]
    spacing_provenance: str
    scanned_fraction: Probability
    overlay: str | None = None


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
    models: tuple[ModelFacts, ...]
    measurements: tuple[Measurement, ...]
    grades: tuple[Grade, ...]
    regions: tuple[RegionArea, ...]
    quality: tuple[QualityFlag, ...]
    not_assessed: tuple[NotAssessed, ...]
    conclusions: tuple[Conclusion, ...]
    narrative: Narrative
    masks: str | None = None
    report: str = "report.html"
