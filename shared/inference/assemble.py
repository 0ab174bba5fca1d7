"""From findings to the whole prediction: conclusions, quality, gaps, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from shared.clinical.ct_gates import why_not_measured
from shared.clinical.whose_reference import HipReference
from shared.dicom.ct.completeness import INCOMPLETE, UNKNOWN, SeriesCompleteness
from shared.dicom.pixels.orientation import Facing
from shared.findings.facts import NotAssessed, QualityFlag
from shared.findings.findings import Findings, RegionMap, join, with_hips_of
from shared.findings.quality_flags import hospital_quality, image_quality
from shared.findings.region_names import VIEW_WORDS
from shared.hips import hip_of
from shared.inference.conclusions import conclude_estimates, conclude_hospital, not_assessable
from shared.inference.fitness import without_the_unfit
from shared.inference.gating import withheld_findings
from shared.inference.schema import ImageFacts, ModelFacts, Prediction, SeriesFacts, StudyFacts
from shared.inference.second_opinion import second_opinion
from shared.inference.wording import narrate
from shared.quality.gates import Withheld
from shared.records import (
    ALL_DXA_VIEWS,
    DXA_VIEWS,
    Covariates,
    ImageRecord,
    ScanChoice,
    StudyLabels,
    Vendor,
    View,
    VolumeRecord,
)
from shared.scan_types import ViewTold

SOFTWARE = "OsteoFed"


@dataclass(frozen=True)
class StudyIdentity:
    """Who and when; `patient_name` goes into the report only."""

    patient_id: str = ""
    patient_name: str = ""
    study_uid: str = ""
    study_date: str = ""
    accession: str = ""


#: Of an image whose file does not say what it shows.
RECOGNISED: Final = QualityFlag(
    source="image",
    code="view",
    subject="",
    words="was recognised from its pixels alone, as its file does not name it",
)


@dataclass(frozen=True)
class Subject:
    """One study as it was read, with the hospital's labels for comparison.

    `volumes`, what was done to them (`ReadVolume.resampled`) and whether all their slices are
    there (`judged`) are by SeriesInstanceUID; `used` is the one that CT tasks read. `drawn`, by
    the series, are vertebrae that the hospital outlined, in the codes of `VolumeRecord.regions`:
    what is measured inside of them depends on no network. `choices` and `set_aside` are those of
    `ReadStudy`. `hip` is with whom the site has its hips compared. `told` is how it was told what
    an image shows; absent = by its attributes. `withheld` says which images are not assessed, and
    why; `facing` which way a lateral image looks in its file.
    """

    identity: StudyIdentity
    vendor: Vendor
    images: Mapping[View, ImageRecord]
    labels: StudyLabels
    covariates: Covariates
    volumes: Mapping[str, VolumeRecord] = field(default_factory=dict)
    resampled: Mapping[str, str] = field(default_factory=dict)
    used: str | None = None
    drawn: Mapping[str, RegionMap] = field(default_factory=dict)
    choices: Mapping[View, ScanChoice] = field(default_factory=dict)
    set_aside: Mapping[View, str] = field(default_factory=dict)
    hip: HipReference = HipReference.NHANES
    told: Mapping[View, ViewTold] = field(default_factory=dict)
    withheld: Mapping[View, Withheld] = field(default_factory=dict)
    facing: Mapping[View, Facing] = field(default_factory=dict)
    judged: Mapping[str, SeriesCompleteness] = field(default_factory=dict)


def assemble(
    subject: Subject, findings: Sequence[Findings], models: Sequence[ModelFacts]
) -> tuple[Prediction, Findings]:
    """Conclude from what the tasks found and put it into words.

    Parameters
    ----------
    subject : Subject
    findings : sequence of Findings
        One per task, in the order of the report; those of `models` first and in their order.
    models : sequence of ModelFacts

    Returns
    -------
    (Prediction, Findings)
        What ``prediction.json`` holds, and all findings joined, region maps
        included. No trained model is needed: the findings may be made by hand. An estimate
        whose version is not good enough has no score, and its grades are gone
        (`shared.inference.fitness`).
    """
    found = _with_quality(subject, without_the_unfit(_compared(subject, join(findings)), models))
    bad = not_assessable(subject.labels, found.grades)
    conclusions = [conclude_estimates(found.measurements, subject.covariates, bad)]
    of_own = not_assessable(subject.labels)
    own = conclude_hospital(
        subject.labels, subject.vendor, subject.covariates, of_own, found.grades, subject.hip
    )
    if own is not None:
        conclusions.append(own)
    series = tuple(
        _series_facts(uid, subject, found, _who_outlined(uid, findings, models))
        for uid in subject.volumes
    )
    images = tuple(_image_facts(view, subject) for view in subject.images)
    narrative = narrate(
        images,
        subject.vendor,
        subject.covariates,
        found,
        conclusions,
        models,
        series,
        subject.hip,
        subject.facing,
    )
    prediction = Prediction(
        software=f"{SOFTWARE} {_version()}",
        study=_study_facts(subject),
        images=images,
        series=series,
        models=tuple(models),
        measurements=found.measurements,
        grades=found.grades,
        chances=found.chances,
        regions=found.regions,
        quality=found.quality,
        not_assessed=found.not_assessed,
        conclusions=tuple(conclusions),
        narrative=narrative,
        masks="masks.npz" if found.region_maps or found.volume_maps else None,
    )
    return prediction, found


def _compared(subject: Subject, found: Findings) -> Findings:
    """Compare hips with whom the site says; tasks know nothing of a site's settings."""
    if subject.hip is HipReference.NHANES:
        return found
    compared = (
        with_hips_of(one, Vendor(one.scale), subject.covariates, subject.hip)
        for one in found.measurements
    )
    return replace(found, measurements=tuple(compared))


def _with_quality(subject: Subject, found: Findings) -> Findings:
    """Add the flags of hospital and images, and the views that are not there."""
    withheld = withheld_findings(subject.withheld)
    flags = [*withheld.quality, *found.quality, *hospital_quality(subject.labels)]
    for view, image in subject.images.items():
        if view in subject.withheld:
            continue  # that it is not assessed says more than what may be wrong with it
        flags += image_quality(view, image, found.region_maps.get(view), subject.vendor)
        if subject.told.get(view) == "recognised":
            flags.append(RECOGNISED.model_copy(update={"subject": view.value}))
    gaps = [*withheld.not_assessed, *_missing_views(subject), *found.not_assessed]
    once = {(flag.source, flag.code, flag.subject): flag for flag in reversed(flags)}
    return replace(
        found,
        quality=tuple(reversed(once.values())),
        not_assessed=tuple(dict.fromkeys(gaps)),
    )


def _missing_views(subject: Subject) -> list[NotAssessed]:
    """Name what a DXA study lacks, and why; of a study of another kind nothing is missing."""
    if not set(subject.images) & set(ALL_DXA_VIEWS):
        return []
    lacking = [view for view in DXA_VIEWS if view not in subject.images]
    if hip_of(subject.images) and View.HIP_LEFT not in subject.set_aside:
        lacking = [view for view in lacking if view is not View.HIP_LEFT]  # either hip will do
    lacking += [view for view in subject.set_aside if view not in (*DXA_VIEWS, *subject.images)]
    return [
        NotAssessed(
            what=f"the {VIEW_WORDS[view]}",
            why=subject.set_aside.get(view, "the study has no such image"),
        )
        for view in lacking
    ]


def _study_facts(subject: Subject) -> StudyFacts:
    identity, covariates = subject.identity, subject.covariates
    return StudyFacts(
        patient_id=identity.patient_id,
        study_uid=identity.study_uid,
        study_date=identity.study_date,
        accession=identity.accession,
        vendor=subject.vendor.value,
        sex=covariates.sex,
        age_years=covariates.age_years,
        height_cm=covariates.height_cm,
        weight_kg=covariates.weight_kg,
    )


def _image_facts(view: View, subject: Subject) -> ImageFacts:
    image = subject.images[view]
    choice = subject.choices.get(view, ScanChoice(1, "", ""))
    faces, why = subject.facing.get(view), subject.withheld.get(view)
    height, width = image.pixels.shape
    scanned = float(np.isfinite(np.asarray(image.pixels, dtype=np.float32)).mean())
    row_mm, column_mm = image.spacing_mm
    return ImageFacts(
        view=view.value,
        view_told=subject.told.get(view, "named"),
        shape=(height, width),
        spacing_mm=(float(row_mm), float(column_mm)),
        spacing_provenance=image.spacing_provenance,
        scanned_fraction=round(scanned, 4),
        overlay=f"overlay_{view.value}.png",
        scans=choice.scans,
        chosen=choice.why,
        instance_uid=choice.instance_uid,
        facing="" if faces is None else faces.side,
        facing_told_by="" if faces is None else faces.told_by,
        withheld="" if why is None else why.code,
    )


def _who_outlined(uid: str, findings: Sequence[Findings], models: Sequence[ModelFacts]) -> str:
    """Name the version whose outlines of a series count; empty without any."""
    names = [
        f"{model.task} version {model.version}"
        for model, one in zip(models, findings, strict=False)
        if uid in one.volume_maps
    ]
    return names[-1] if names else ""


def _series_facts(uid: str, subject: Subject, found: Findings, outliner: str) -> SeriesFacts:
    volume = subject.volumes[uid]
    depth, height, width = volume.hu.shape
    judged = subject.judged.get(uid, SeriesCompleteness(UNKNOWN))
    opinion = second_opinion(
        replace(volume, regions=subject.drawn.get(uid)),
        found.volume_maps.get(uid),
        outliner,
        subject.covariates.age_years,
        subject.labels.genant,
    )
    return SeriesFacts(
        shape=(depth, height, width),
        spacing_mm=volume.spacing_mm,
        kvp=volume.kvp,
        kernel=volume.kernel,
        thickness_mm=volume.slice_thickness_mm,
        contrast=volume.contrast,
        levels=dict(found.marked_slices.get(uid, {})),
        resampled=subject.resampled.get(uid, ""),
        used=uid == subject.used,
        not_measured=why_not_measured(volume),
        completeness=judged.completeness,
        missing=judged.why if judged.completeness == INCOMPLETE else "",
        attenuation=opinion,
    )


def _version() -> str:
    """Version of the installed package, or ``(not installed)``."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("osteofed")
    except PackageNotFoundError:
        return "(not installed)"
