"""What was found as measurement groups of TID 1500: a number, its unit, its region, its version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    MeasurementProperties,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from highdicom.sr import Measurement as CodedMeasurement
from pydicom.dataset import Dataset

from shared.findings.attenuation import LevelAttenuation
from shared.findings.facts import Grade, Measurement, RegionArea
from shared.inference.schema import ModelFacts
from shared.records import View
from shared.regions import HIP, LUMBAR, RIGHT_HIP, sideless

from .answer import MAKER, StudyAnswer, model_words
from .codes import (
    AREA,
    CLASSES,
    MEDIAN,
    NO_UNITS,
    UNITS,
    Z_SCORE,
    private,
    region_concept,
    side_of,
)
from .kinds import OutputFile

Group: TypeAlias = (
    "MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations"
)


def groups_of(answer: StudyAnswer, segmentations: Sequence[OutputFile]) -> Iterator[Group]:
    """Make one group for each density, grade, outlined region and level of CT, in that order.

    A measurement in a unit that has no code is left to the words of the report.
    """
    found = answer.prediction
    for measured in found.measurements:
        if measured.unit in UNITS:
            yield _density(answer, measured)
    for grade in found.grades:
        yield _grade(answer, grade)
    by_part = {one.identity.part: one.dataset for one in segmentations}
    for area in found.regions:
        yield _region(answer, area, by_part.get(area.view))
    for number, series in enumerate(found.series, start=1):
        if series.attenuation is not None:
            for level in series.attenuation.levels:
                yield _level(answer, number, level)


def _density(answer: StudyAnswer, found: Measurement) -> Group:
    """Value, its standardised value and scores with one decimal, as in ``prediction.json``."""
    unit = UNITS[found.unit]
    is_bmd = found.unit == "g/cm²"
    numbers = [CodedMeasurement(private("AREAL_BMD" if is_bmd else "QUANTITY"), found.value, unit)]
    if found.standardised is not None:
        numbers.append(CodedMeasurement(private("STANDARD_BMD"), found.standardised, unit))
    if found.t_score is not None:
        numbers.append(CodedMeasurement(private("T_SCORE"), found.t_score.value, NO_UNITS))
    if found.z_score is not None:
        numbers.append(CodedMeasurement(Z_SCORE, found.z_score.value, NO_UNITS))
    said = []
    if found.bone_class is not None and found.bone_class in CLASSES:
        said.append(QualitativeEvaluation(private("BONE_CLASS"), CLASSES[found.bone_class]))
    name = f"{found.quantity}, {found.region}, on the {found.scale} scale"
    return _group(answer, found.task, name, found.region, numbers, said)


def _grade(answer: StudyAnswer, found: Grade) -> Group:
    """Grade of a vertebra with the probability of every grade, and of grade 2 or 3."""
    chances = [
        CodedMeasurement(private(f"PROBABILITY_{grade}"), chance, NO_UNITS)
        for grade, chance in enumerate(found.probabilities)
    ]
    chances.append(CodedMeasurement(private("SUSPICION"), found.suspicion, NO_UNITS))
    said = [QualitativeEvaluation(private("GENANT"), private(f"GENANT_{found.grade}"))]
    return _group(
        answer, found.task, f"{found.quantity}, {found.region}", found.region, chances, said
    )


def _region(answer: StudyAnswer, found: RegionArea, outlines: Dataset | None) -> Group:
    """Area of an outline, with the segment that it is of where the SEG goes along."""
    numbers = []
    if found.area_cm2 is not None:
        numbers = [CodedMeasurement(AREA, found.area_cm2, UNITS["cm²"])]
    name = f"outline, {found.region}, {found.view}"
    right = found.view == View.HIP_RIGHT.value
    common = {
        "tracking_identifier": TrackingIdentifier(answer.uid("group", name), name),
        "algorithm_id": algorithm(_model(answer, found.task)),
        "finding_sites": sites(found.region, right=right),
        "measurements": numbers,
    }
    label = f"right {found.region}" if right else found.region
    segment = next(
        (one.SegmentNumber for one in (outlines.SegmentSequence if outlines else [])
         if one.SegmentLabel == label), None,
    )  # fmt: skip
    if segment is None:
        return MeasurementsAndQualitativeEvaluations(
            **common, source_images=_images(answer, found.view)
        )
    referred = ReferencedSegmentationFrame.from_segmentation(outlines, segment_number=int(segment))
    # Images have one frame, and a segment of one is a frame by itself: frames are counted of
    # neither (PS3.3 10.3: of images with several frames alone, and never beside a segment).
    for item in referred:
        for one in item.get("ReferencedSOPSequence", []):
            one.pop("ReferencedFrameNumber", None)
    return PlanarROIMeasurementsAndQualitativeEvaluations(**common, referenced_segment=referred)


def _level(answer: StudyAnswer, series: int, found: LevelAttenuation) -> Group:
    """Attenuation and mineral of one level, with the ranges that the report gives."""
    hounsfield = UNITS["HU"]
    numbers = [
        CodedMeasurement(
            private("TRABECULAR_HU"), found.core.median_hu, hounsfield, derivation=MEDIAN
        )
    ]
    at_120, mineral = found.at_120, found.density
    if at_120 is not None:
        spread = _between(at_120.hu, at_120.low, at_120.high)
        numbers.append(
            CodedMeasurement(private("HU_AT_120_KV"), at_120.hu, hounsfield, properties=spread)
        )
    if mineral is not None:
        spread = _between(mineral.value, mineral.low, mineral.high)
        numbers.append(
            CodedMeasurement(private("MINERAL"), mineral.value, UNITS["mg/cm³"], properties=spread)
        )
    name = f"trabecular attenuation, {found.level}, series {series}"
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(answer.uid("group", name), name),
        finding_sites=sites(found.level),
        measurements=numbers,
    )


def _between(value: float, low: float, high: float) -> MeasurementProperties:
    """Interval of a value as its distance to either end (TID 310)."""
    return MeasurementProperties(
        upper_measurement_uncertainty=round(high - value, 1),
        lower_measurement_uncertainty=round(value - low, 1),
    )


def _group(
    answer: StudyAnswer,
    task: str,
    name: str,
    region: str,
    numbers: list[CodedMeasurement],
    said: list[QualitativeEvaluation],
) -> Group:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(answer.uid("group", task, name), name),
        algorithm_id=algorithm(_model(answer, task)),
        finding_sites=sites(region),
        measurements=numbers,
        qualitative_evaluations=said,
        source_images=_images(answer, _view_of(region, answer)),
    )


def sites(region: str, *, right: bool = False) -> list[FindingSite] | None:
    """Where something was found; None of what is no region."""
    concept = region_concept(region)
    if concept is None:
        return None
    return [FindingSite(concept, laterality=side_of(region, right=right))]


def algorithm(model: ModelFacts | None) -> AlgorithmIdentification | None:
    """Which version found something, with its digest (TID 4019)."""
    if model is None:
        return None
    return AlgorithmIdentification(
        name=model.task, version=model.version, parameters=[model_words(model)], manufacturer=MAKER
    )


def _model(answer: StudyAnswer, task: str) -> ModelFacts | None:
    return next((one for one in answer.prediction.models if one.task == task), None)


def _view_of(region: str, answer: StudyAnswer) -> str:
    """View on which a region is seen; empty where that cannot be said."""
    if region in RIGHT_HIP:
        return View.HIP_RIGHT.value
    if sideless(region) in (*HIP, "total_hip"):
        return View.HIP_LEFT.value
    if region == "L1-L4" or region in LUMBAR:
        return View.SPINE_PA.value
    return View.SPINE_LATERAL.value


def _images(answer: StudyAnswer, view: str) -> list[SourceImageForMeasurementGroup] | None:
    for source in answer.sources:
        if source.part == view:
            return [
                SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID)
                for one in source.headers
            ]
    return None


def nothing_found(answer: StudyAnswer) -> Group:
    """Group of a study in which nothing was measured: the template wants one."""
    said: list[QualitativeEvaluation] = [
        QualitativeEvaluation(private("NOT_ASSESSED"), private("NOTHING"))
    ]
    name = "nothing measured"
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(answer.uid("group", name), name),
        qualitative_evaluations=said,
    )


__all__ = ["algorithm", "groups_of", "nothing_found", "sites"]
