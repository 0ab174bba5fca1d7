"""Labels of tables and reports, joined to studies by patient id and day of the scan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from shared.dicom.scan import FolderScan
from shared.dicom.verdicts import FileVerdict, judge
from shared.records import StudyLabels

from .mark_images import mark_study
from .tables import LabelRow

if TYPE_CHECKING:
    from shared.dicom.read_study import ReadStudy


def join_labels(
    studies: list[ReadStudy], rows: Iterable[LabelRow]
) -> tuple[list[ReadStudy], list[LabelRow], list[FileVerdict]]:
    """Join labels of tables to studies by patient id and day of the scan.

    Returns
    -------
    studies : list of ReadStudy
        With their labels, in the same order.
    unused : list of LabelRow
        Labels of visits that are not among the studies.
    verdicts : list of FileVerdict
        Of labels that are ambiguous or contradict each other or the files.
    """
    visits: dict[tuple[str, date], list[int]] = defaultdict(list)
    for place, study in enumerate(studies):
        if study.header.patient_id and study.header.study_date is not None:
            visits[study.header.patient_id, study.header.study_date].append(place)
    rows_of: dict[int, list[LabelRow]] = defaultdict(list)
    unused: list[LabelRow] = []
    verdicts: list[FileVerdict] = []
    for row in rows:
        places = visits.get(row.visit, [])
        if row.mark is not None and row.mark.study_uid:
            uid = row.mark.study_uid
            places = [one for one in places if studies[one].header.study_uid == uid]
        if not places:
            unused.append(row)
        elif len(places) > 1:
            verdicts.append(judge(row.path, "label_ambiguous"))
        else:
            rows_of[places[0]].append(row)
    joined = list(studies)
    for place, mine in rows_of.items():
        marks = [(row, row.mark) for row in mine if row.mark is not None]
        said = [row for row in mine if row.mark is None]
        labels, more = merge_labels(joined[place].labels, said)
        marked, others = mark_study(joined[place], marks)
        verdicts += [*more, *others]
        joined[place] = replace(marked, labels=labels)
    return joined, unused, verdicts


def merge_labels(
    labels: StudyLabels, rows: Iterable[LabelRow]
) -> tuple[StudyLabels, list[FileVerdict]]:
    """Add the labels of one study; where two sources differ, neither is used.

    BMD is reported to three decimals, so smaller differences are none.
    """
    known: dict[str, dict[str, float]] = {
        "bmd": {**labels.bmd}, "genant": {**labels.genant}, "class": {**labels.classes},
    }  # fmt: skip
    told: dict[tuple[str, str], list[LabelRow]] = defaultdict(list)
    for row in rows:
        told[row.kind, row.name].append(row)
    verdicts = []
    for (kind, name), mine in told.items():
        values = [row.value for row in mine] + ([known[kind][name]] if name in known[kind] else [])
        if max(values) - min(values) > 0.00051:
            verdicts += [judge(row.path, "label_conflict") for row in mine]
            known[kind].pop(name, None)
        else:
            known[kind].setdefault(name, mine[0].value)
    genant = {name: int(grade) for name, grade in known["genant"].items()}
    joined = StudyLabels(known["bmd"], genant, labels.quality, known["class"])
    return joined, verdicts


def judge_tables(scan: FolderScan, verdicts: list[FileVerdict]) -> list[FileVerdict]:
    """Verdict of each table: taken if at least one of its rows was used."""
    unused = Counter(
        verdict.path.rsplit(":", 1)[0]
        for verdict in verdicts
        if verdict.verdict != "taken" and verdict.reason != "label_invalid"
    )
    total = Counter(row.path.rsplit(":", 1)[0] for row in scan.rows)
    return [
        judge(table, "ok" if total[table] > unused[table] else "table_unused")
        for table in scan.tables
    ]
