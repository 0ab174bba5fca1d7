"""Studies made of plain shapes, with findings made by hand: no trained model is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from shared.findings.findings import (
    Findings,
    RegionMap,
    bmd_measurement,
    region_areas,
    vertebra_grade,
)
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.report import ReportInput, render_report
from shared.inference.schema import ModelFacts, Prediction
from shared.records import DXA_VIEWS, Covariates, ImageRecord, StudyLabels, Vendor, View
from shared.regions import LUMBAR, REGION_CODES, VERTEBRAE

TASKS = ("dxa-segmentation", "dxa-bmd", "vfa-fracture")
#: sBMD of L1-L4, femoral neck, total hip, g/cm², that give the WHO's three classes.
NORMAL, LOW, OSTEOPOROTIC = (1.10, 0.95, 1.05), (0.95, 0.75, 0.85), (0.80, 0.60, 0.70)
#: What grades of fractures depend on (`VfaFracture.grade_metrics`; a test holds it).
GRADE_METRICS = {
    "auc_grade2": ("AUC, fracture grade ≥ 2, by vertebra", 0.5),
    "kappa": ("agreement of grades, by vertebra (kappa)", 0.0),
}
SOUND = (0.94, 0.04, 0.015, 0.005)
MODERATE = (0.05, 0.08, 0.70, 0.17)
MILD = (0.30, 0.55, 0.10, 0.05)


def region_map(view: View) -> RegionMap:
    """Rectangles for regions, at 1 mm a pixel; areas are those of adults."""
    if view is View.SPINE_PA:
        regions = np.zeros((200, 120), dtype=np.uint8)
        for level, name in enumerate(LUMBAR):
            regions[20 + 40 * level : 52 + 40 * level, 40:80] = REGION_CODES[name]
    elif view is View.HIP_LEFT:
        regions = np.zeros((140, 120), dtype=np.uint8)
        regions[40:60, 40:60] = REGION_CODES["femoral_neck"]
        regions[40:80, 60:85] = REGION_CODES["trochanter"]
        regions[80:140, 55:85] = REGION_CODES["intertrochanteric"]
    else:
        regions = np.zeros((420, 120), dtype=np.uint8)
        for level, name in enumerate(VERTEBRAE):
            regions[10 + 31 * level : 32 + 31 * level, 50:80] = REGION_CODES[name]
    return regions


def image(view: View, provenance: str = "calibrated") -> ImageRecord:
    """Bright rectangles on dark, with an unscanned margin at the left."""
    regions = region_map(view)
    pixels = np.where(regions > 0, 0.7, 0.15).astype(np.float32)
    pixels[:, :6] = np.nan
    return ImageRecord(pixels, (1.0, 1.0), provenance)  # type: ignore[arg-type]


def make_subject(
    views: Sequence[View] = DXA_VIEWS,
    covariates: Covariates | None = None,
    labels: StudyLabels | None = None,
    vendor: Vendor = Vendor.LUNAR,
    name: str = "Doe^Jane",
) -> Subject:
    """Make a study of a woman of 70, if nothing else is asked for."""
    return Subject(
        identity=StudyIdentity("P1", name, "1.2.3", "2026-01-31", "A1"),
        vendor=vendor,
        images={view: image(view) for view in views},
        labels=labels or StudyLabels(),
        covariates=covariates or Covariates("F", 70.0, 160.0, 60.0),
    )


def hand_made(
    subject: Subject,
    bmd: Sequence[float] | None = NORMAL,
    grades: Mapping[str, Sequence[float]] | None = None,
) -> list[Findings]:
    """Findings of the three tasks: sBMD by site, grade probabilities by vertebra."""
    maps = {view: region_map(view) for view in subject.images}
    areas = [
        area
        for view, picture in subject.images.items()
        for area in region_areas(TASKS[0], view, maps[view], picture)
    ]
    found = [Findings(regions=tuple(areas), region_maps=maps)]
    if bmd is not None:
        found.append(
            Findings(
                measurements=tuple(
                    bmd_measurement(
                        TASKS[1], region, value, subject.vendor, subject.covariates, subject.labels
                    )
                    for region, value in zip(
                        ("L1-L4", "femoral_neck", "total_hip"), bmd, strict=True
                    )
                )
            )
        )
    if View.SPINE_LATERAL in subject.images:
        given = grades or {}
        found.append(
            Findings(
                grades=tuple(
                    vertebra_grade(TASKS[2], n, given.get(n, SOUND), None, subject.labels)
                    for n in VERTEBRAE
                )
            )
        )
    return found


def models(**metrics: float) -> list[ModelFacts]:
    """Three versions."""
    return [
        ModelFacts(
            task=task, version="3", digest="ab" * 32, origin="by hand", source="-", metrics=metrics
        )
        for task in TASKS
    ]


def recorded(**metrics: float) -> list[ModelFacts]:
    """Three versions, of which the one of density has recorded metrics."""
    names = {"L1-L4": "lumbar", "femoral_neck": "femoral_neck", "total_hip": "total_hip"}
    return [
        one.model_copy(update={"metrics": metrics, "metric_names": names})
        if one.task == TASKS[1]
        else one
        for one in models()
    ]


def predict(
    subject: Subject,
    bmd: Sequence[float] | None = NORMAL,
    grades: Mapping[str, Sequence[float]] | None = None,
) -> Prediction:
    """Conclude from hand-made findings."""
    return assemble(subject, hand_made(subject, bmd, grades), models())[0]


def html(
    subject: Subject,
    bmd: Sequence[float] | None = NORMAL,
    grades: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Report of hand-made findings."""
    prediction, found = assemble(subject, hand_made(subject, bmd, grades), models())
    given = ReportInput(
        patient_name=subject.identity.patient_name,
        vendor=subject.vendor,
        covariates=subject.covariates,
        labels=subject.labels,
        images=subject.images,
        region_maps=found.region_maps,
    )
    return render_report(prediction, given)
