"""Choosing the patient whose report the demo shows, from what the hospital knows."""

from __future__ import annotations

import csv
from pathlib import Path

from shared.errors import InputEmptyError
from shared.settings.files import LabelColumns


def patient_with_worst_fracture(hospital: Path) -> Path:
    """Find the study folder of the patient with the worst reported fracture.

    A report with something to say shows more than a normal one. Of patients with
    the same grade, the one with the lowest lumbar BMD is taken, then the first.

    Parameters
    ----------
    hospital : Path
        What ``osteofed phantom make`` wrote: ``DICOM/`` and ``labels/*.csv``.

    Raises
    ------
    InputEmptyError
        If no study folder belongs to a labelled patient.
    """
    columns = LabelColumns()
    grade: dict[str, int] = {}
    density: dict[str, float] = {}
    for path in sorted((hospital / "labels").glob("*.csv")):
        with path.open(newline="", encoding="utf-8-sig") as file:
            for row in csv.DictReader(file):
                patient = row[columns.patient_id]
                if row.get(columns.genant):
                    grade[patient] = max(grade.get(patient, 0), int(row[columns.genant]))
                if row.get(columns.region) == "L1-L4":
                    density[patient] = float(row[columns.bmd])
    order = sorted(grade, key=lambda p: (-grade[p], density.get(p, 9.0), p))
    for patient in order:
        for folder in sorted((hospital / "DICOM").rglob(patient)):
            if folder.is_dir():
                return folder
    raise InputEmptyError(f"{hospital}: no study of a labelled patient (make it again)")
