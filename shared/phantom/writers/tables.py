"""The hospital's CSV exports: a row for each region, graded vertebra, level of a CT and box."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from shared.records import View
from shared.regions import VERTEBRA_CODES
from shared.settings.files import LabelColumns

from .common import WrittenStudy
from .identity import Identity

BMD_FILE = "bmd_export.csv"
GENANT_FILE = "vertebral_assessment.csv"
LEVELS_FILE = "ct_levels.csv"
BOXES_FILE = "film_boxes.csv"


def write_tables(folder: Path, studies: Iterable[WrittenStudy], columns: LabelColumns) -> int:
    """Write the tables that have rows; names and birth dates stand in them, as in real exports.

    Returns
    -------
    int
        Number of tables written.
    """
    studies = list(studies)
    head = (columns.patient_id, "Patient Name", "Birth Date", "Accession", columns.scan_date)
    tables: dict[str, tuple[tuple[str, ...], list[tuple[str, ...]]]] = {
        BMD_FILE: (
            (*head, columns.region, columns.bmd),
            [
                (*_who(s.identity), region, f"{bmd:.3f}")
                for s in studies
                for region, bmd in s.bmd.items()
            ],
        ),
        GENANT_FILE: (
            (*head, columns.vertebra, columns.genant),
            [
                (*_who(s.identity), name, str(grade))
                for s in studies
                for name, grade in s.genant.items()
            ],
        ),
        LEVELS_FILE: (
            (*head, columns.vertebra, columns.slice),
            [
                (*_who(ct.identity), level, f"{z:.3f}")
                for ct in (s.ct for s in studies)
                if ct is not None
                for level, z in ct.levels.items()
            ],
        ),
        BOXES_FILE: (
            (*head, columns.image, columns.vertebra, *columns.box),
            [
                (
                    *_who(film.identity),
                    View.LUMBAR_AP.value,
                    usual_name(box.vertebra),
                    *(f"{edge:.0f}" for edge in (box.x0, box.y0, box.x1, box.y1)),
                )
                for film in (s.film for s in studies)
                if film is not None
                for box in film.boxes
            ],
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, (header, rows) in tables.items():
        if rows:
            with (folder / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\r\n")
                writer.writerow(header)
                writer.writerows(rows)
            written += 1
    return written


def _who(who: Identity) -> tuple[str, str, str, str, str]:
    """Identifying cells of a row."""
    name = who.name.replace("^", ", ")
    scanned = f"{who.study_date:%Y-%m-%d}"
    return who.patient_id, name, f"{who.birth_date:%Y-%m-%d}", who.accession, scanned


def usual_name(vertebra: str) -> str:
    """Name of a vertebra as a table may hold it; of one that most people lack, empty."""
    return vertebra if vertebra in VERTEBRA_CODES["volume"] else ""
