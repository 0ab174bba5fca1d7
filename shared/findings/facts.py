"""The kinds of findings: validated, with their units. A report and a file hold nothing else.

Adding a field is no new schema of ``prediction.json``; changing or dropping one is.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

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
    `not_scored` says why an estimate has neither score nor class though there is a reference:
    the recorded error of its version is too large.
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
    not_scored: str = ""


class Grade(Fact):
    """A graded finding of one structure.

    `probabilities` are those of the grades 0, 1, ... in order and sum to one; `grade` is the
    highest that is, or is exceeded, more likely than not, and `word` names it. `suspicion` is
    the probability of a grade that matters (for a vertebra moderate or severe). `decision` is
    the task's own, which may weigh a missed finding more than a false alarm; None = as `grade`.
    `position_px` is (row, column) in the view's image, 0-based. `reported` is the hospital's.
    """

    task: str
    quantity: str
    region: str
    grade: Annotated[int, Field(ge=0)]
    word: str
    probabilities: tuple[Probability, ...]
    suspicion: Probability
    decision: Annotated[int, Field(ge=0)] | None = None
    position_px: tuple[float, float] | None = None
    reported: int | None = None

    @property
    def chance(self) -> float:
        """Probability of this grade or a higher one; of grade 0, of grade 0 alone."""
        found = sum(self.probabilities[self.grade :]) if self.grade else self.probabilities[0]
        return min(round(found, 4), 1.0)


class Chance(Fact):
    """The probability of a disease, with the point from which it is said.

    `levels` are the vertebrae that it rests on, from the head down. `operating_point` was fixed
    before; `positive` says whether the probability reaches it.
    """

    task: str
    quantity: str
    levels: tuple[str, ...]
    probability: Probability
    operating_point: Probability
    positive: bool


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
