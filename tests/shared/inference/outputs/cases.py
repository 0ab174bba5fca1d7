"""Answers of digital patients: their true outlines, and findings made by hand."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from shared.dicom.read import read_study_folder
from shared.dicom.read_study import ReadStudy
from shared.findings.findings import Findings, bmd_measurement, region_areas, vertebra_grade
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.outputs.answer import StudyAnswer
from shared.inference.schema import Prediction
from shared.regions import VERTEBRAE
from tests.shared.inference_cases import LOW, MODERATE, SOUND, TASKS, models

MADE_AT = datetime(2026, 3, 4, 15, 16, 17, tzinfo=UTC)


def read_one(folder: Path) -> ReadStudy:
    """Read the one study of a folder with its headers."""
    (study,) = read_study_folder(folder, headers=True).studies
    return study


def with_header(study: ReadStudy, **values: object) -> ReadStudy:
    """Give a study whose headers say something else."""
    headers = {digest: deepcopy(one) for digest, one in study.headers.items()}
    for one in headers.values():
        for keyword, value in values.items():
            setattr(one, keyword, value)
    return replace(study, headers=headers)


def found_in(study: ReadStudy) -> tuple[Prediction, Findings]:
    """Outlines as they were drawn; where there are images, densities and grades."""
    maps = {view: one.regions for view, one in study.images.items() if one.regions is not None}
    areas = [a for view, one in maps.items()
             for a in region_areas(TASKS[0], view, one, study.images[view])]  # fmt: skip
    volumes = {uid: one.record for uid, one in study.volumes.items()}
    drawn = {uid: one.regions for uid, one in volumes.items() if one.regions is not None}
    found = [Findings(regions=tuple(areas), region_maps=maps, volume_maps=drawn)]
    if study.images:
        sites = zip(("L1-L4", "femoral_neck", "total_hip"), LOW, strict=True)
        found.append(Findings(measurements=tuple(
            bmd_measurement(TASKS[1], site, value, study.vendor, study.covariates, study.labels)
            for site, value in sites
        )))  # fmt: skip
        found.append(Findings(grades=tuple(
            vertebra_grade(TASKS[2], n, MODERATE if n == "T8" else SOUND, None, study.labels)
            for n in VERTEBRAE
        )))  # fmt: skip
    header = study.header
    subject = Subject(
        StudyIdentity(
            header.patient_id, header.patient_name, header.study_uid,
            str(header.study_date or ""), header.accession,
        ),
        study.vendor, study.images, study.labels, study.covariates, volumes,
        used=next(iter(volumes), None),
    )  # fmt: skip
    return assemble(subject, found, models())


def answer_to(study: ReadStudy) -> StudyAnswer:
    """All of it as the makers of objects take it."""
    return StudyAnswer(study, *found_in(study), MADE_AT)
