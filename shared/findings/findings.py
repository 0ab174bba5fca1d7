"""How numbers become findings with a unit; every task speaks this language, the report reads it.

`Task.find` returns `Findings` made of the kinds below. The report shows any measurement, any
grade and any region map; it knows no task by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shared.clinical.cross_calibration import vendor_bmd
from shared.clinical.morphometry import GRADE_WORDS
from shared.clinical.references import DIAGNOSTIC_REGIONS, Mark
from shared.clinical.scores import (
    ScoreKind,
    age_class,
    reported_score,
    score_in_use,
    t_score,
    who_class,
    z_score,
)
from shared.clinical.whose_reference import HipReference, has_scale, young_reference
from shared.findings.facts import (
    Chance,
    Grade,
    Measurement,
    NotAssessed,
    QualityFlag,
    RegionArea,
    Score,
)
from shared.quality.regions import EXPECTED_REGIONS
from shared.records import Covariates, ImageRecord, StudyLabels, Vendor, View
from shared.regions import LUMBAR, REGION_CODES, sideless

RegionMap = NDArray[np.uint8]

#: A grade from which a vertebral fracture matters (two readers agree on it).
FRACTURE_GRADE = 2


@dataclass(frozen=True)
class Findings:
    """What one task found, or several together.

    `region_maps` are in the codes of `shared.regions` on the grid of the view's
    original image; `volume_maps`, by the series, in those of `VolumeRecord.regions` on the
    series' grid. `marked_slices`, by the series, are as `VolumeRecord.marked_slices`.
    """

    measurements: tuple[Measurement, ...] = ()
    grades: tuple[Grade, ...] = ()
    chances: tuple[Chance, ...] = ()
    regions: tuple[RegionArea, ...] = ()
    quality: tuple[QualityFlag, ...] = ()
    not_assessed: tuple[NotAssessed, ...] = ()
    region_maps: Mapping[View, RegionMap] = field(default_factory=dict)
    volume_maps: Mapping[str, RegionMap] = field(default_factory=dict)
    marked_slices: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def maps(self) -> dict[str, RegionMap]:
        """All maps by the names that files have: the view's value, or the series."""
        return {view.value: one for view, one in self.region_maps.items()} | dict(self.volume_maps)


def join(parts: Iterable[Findings]) -> Findings:
    """Put the findings of several tasks together, in their order."""
    parts = list(parts)
    maps = {view: regions for part in parts for view, regions in part.region_maps.items()}
    marks: dict[str, dict[str, int]] = {}
    for part in parts:
        for uid, found in part.marked_slices.items():
            # named once: a level that two tasks find is where the first has it
            marks[uid] = {**found, **marks.get(uid, {})}
    return Findings(
        measurements=tuple(m for part in parts for m in part.measurements),
        grades=tuple(g for part in parts for g in part.grades),
        chances=tuple(c for part in parts for c in part.chances),
        regions=tuple(r for part in parts for r in part.regions),
        quality=tuple(q for part in parts for q in part.quality),
        not_assessed=tuple(n for part in parts for n in part.not_assessed),
        region_maps=maps,
        volume_maps={uid: regions for part in parts for uid, regions in part.volume_maps.items()},
        marked_slices=marks,
    )


def found_in_order(
    tasks: Iterable[tuple[str, Sequence[str], Callable[[Findings], Findings]]],
) -> dict[str, Findings]:
    """Let tasks find one after the other, each given what those found that it comes after.

    Parameters
    ----------
    tasks : iterable of (str, sequence of str, callable)
        Name of a task, the names that it comes after (`shared.tasks.base.Task.after`), and what
        finds, given the findings of those of them that are there.

    Returns
    -------
    dict of str to Findings
        By the task's name, in their order.
    """
    found: dict[str, Findings] = {}
    for name, after, find in tasks:
        found[name] = find(join(found[one] for one in after if one in found))
    return found


def bmd_measurement(
    task: str,
    region: str,
    standardised: float,
    vendor: Vendor,
    covariates: Covariates,
    labels: StudyLabels,
) -> Measurement:
    """Make a finding of an estimated BMD.

    Parameters
    ----------
    task : str
        Who estimated it.
    region : str
        A key of `shared.regions.BMD_REGIONS`.
    standardised : float
        sBMD in g/cm².
    vendor : Vendor
        The study's scanner, on whose scale `value` and the hospital's label are.
    covariates, labels
        Of the study; the label of the region, if there is one, is compared.

    Returns
    -------
    Measurement
        With T, and Z where a curve exists; the class by the score that the
        patient is judged by (`shared.clinical.scores.score_in_use`).
    """
    value = vendor_bmd(standardised, vendor, region)
    t, z = scores_of(value, region, vendor, covariates)
    reported = labels.bmd.get(region)
    own_t = own_z = None
    if reported is not None:
        own_t, own_z = scores_of(reported, region, vendor, covariates)
    return Measurement(
        task=task,
        quantity="areal BMD",
        region=region,
        value=round(value, 3),
        unit="g/cm²",
        scale=vendor.value,
        standardised=round(standardised, 3),
        t_score=t,
        z_score=z,
        bone_class=class_of(t, z, region, covariates),
        reported=reported,
        reported_t_score=own_t,
        reported_z_score=own_z,
        difference=None if reported is None else round(value - reported, 3),
    )


def scores_of(
    bmd: float,
    region: str,
    vendor: Vendor,
    covariates: Covariates,
    hip: HipReference = HipReference.NHANES,
) -> tuple[Score | None, Score | None]:
    """T- and Z-score of a BMD on the vendor's scale, None where there is no reference.

    `hip` is with whom the site has its hips compared.
    """
    t = z = None
    region = sideless(region)
    if not has_scale(vendor):
        return t, z
    if (region in LUMBAR or region in DIAGNOSTIC_REGIONS) and _is_adult(covariates):
        reference = young_reference(region, vendor, hip)
        t = Score(
            value=reported_score(t_score(bmd, region, vendor, hip)),
            reference=reference.source,
            verified=reference.mark is not Mark.UNVERIFIED,
        )
    if covariates.sex is not None and covariates.age_years is not None:
        found = z_score(bmd, region, covariates.sex, covariates.age_years, vendor)
        if found is not None:
            verified = found.mark is not Mark.UNVERIFIED
            z = Score(value=reported_score(found.value), reference=found.source, verified=verified)
    return t, z


def with_hips_of(
    found: Measurement, vendor: Vendor, covariates: Covariates, hip: HipReference
) -> Measurement:
    """Compare a finding of areal BMD once more, with whom the site has its hips compared."""
    if found.quantity != "areal BMD" or found.t_score is None or not has_scale(vendor):
        return found
    t, z = scores_of(found.value, found.region, vendor, covariates, hip)
    own_t, own_z = found.reported_t_score, found.reported_z_score
    if found.reported is not None:
        own_t, own_z = scores_of(found.reported, found.region, vendor, covariates, hip)
    return found.model_copy(
        update={
            "t_score": t,
            "z_score": z,
            "bone_class": class_of(t, z, found.region, covariates),
            "reported_t_score": own_t,
            "reported_z_score": own_z,
        }
    )


def class_of(t: Score | None, z: Score | None, region: str, covariates: Covariates) -> str | None:
    """Class of a diagnostic region by the score in use; None for every other region."""
    kind = score_in_use(covariates.sex, covariates.age_years)
    if sideless(region) not in DIAGNOSTIC_REGIONS:
        return None
    if kind is ScoreKind.T and t is not None:
        return who_class(t.value).value
    if kind is ScoreKind.Z and z is not None:
        return age_class(z.value).value
    return None


def vertebra_grade(
    task: str,
    vertebra: str,
    probabilities: Sequence[float],
    position_px: tuple[float, float] | None,
    labels: StudyLabels,
    decision: int | None = None,
) -> Grade:
    """Make a finding of one vertebra's grade.

    Parameters
    ----------
    task, vertebra : str
    probabilities : sequence of 4 float
        Of none, mild, moderate, severe.
    position_px : (float, float) or None
        Row and column of its centre in the lateral image.
    labels : StudyLabels
        The hospital's own grade is shown beside.
    decision : int, optional
        The task's own decision, which may weigh a missed fracture more than a
        false alarm. It is kept beside the grade and never stands for it: a grade
        that is less likely than not is not called the finding.

    Returns
    -------
    Grade
        With the highest grade that is, or is exceeded, more likely than not (the median, as
        suits ordered grades); `suspicion` is the probability of grade ≥ 2.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    values = (values / values.sum()).round(4)  # the grade follows from what is written down
    at_least = values[::-1].cumsum()[::-1].round(4)  # of grade 0, 1, 2, 3 or more
    grade = int((at_least[1:] > 0.5).sum())
    return Grade(
        task=task,
        quantity="vertebral fracture (Genant)",
        region=vertebra,
        grade=grade,
        word=GRADE_WORDS[grade],
        probabilities=tuple(map(float, values)),
        suspicion=min(float(at_least[FRACTURE_GRADE]), 1.0),
        decision=decision,
        position_px=None
        if position_px is None
        else (round(float(position_px[0]), 1), round(float(position_px[1]), 1)),
        reported=labels.genant.get(vertebra),
    )


def region_areas(
    task: str, view: View, regions: RegionMap, image: ImageRecord
) -> tuple[RegionArea, ...]:
    """Measure the regions of a map: pixels, and cm² where the spacing is known."""
    row_mm, column_mm = image.spacing_mm
    known = image.spacing_provenance != "none"
    found = []
    for name in EXPECTED_REGIONS[view]:
        pixels = int((regions == REGION_CODES[name]).sum())
        if pixels:
            area = round(pixels * row_mm * column_mm / 100.0, 2) if known else None
            found.append(
                RegionArea(task=task, view=view.value, region=name, area_cm2=area, pixels=pixels)
            )
    return tuple(found)


def _is_adult(covariates: Covariates) -> bool:
    """Say whether adult references may be used; an unknown age is taken as adult."""
    return covariates.age_years is None or score_in_use("F", covariates.age_years) is not (
        ScoreKind.NEITHER
    )
