"""Labels from structured reports and workbooks: exact, or a verdict."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedSRStorage

from shared.dicom.labels import workbook as workbook_module
from shared.dicom.labels.structured_report import read_report
from shared.dicom.labels.tables import read_table
from shared.dicom.read import ReadResult, read_study_folder
from shared.dicom.verdicts import SetAsideError
from shared.phantom.writers import write_study
from shared.settings.files import LabelColumns
from tests.shared.ct_samples import save, uid
from tests.shared.dicom.values.test_numbers import write_raw
from tests.shared.rendered_samples import sample_study

openpyxl = pytest.importorskip("openpyxl")


def code(value: str, scheme: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


def item(kind: str, concept: Sequence, *children: Dataset, **values: object) -> Dataset:
    result = Dataset()
    result.RelationshipType, result.ValueType = "CONTAINS", kind
    result.ConceptNameCodeSequence = concept
    for keyword, value in values.items():
        setattr(result, keyword, value)
    if children:
        result.ContentSequence = Sequence(children)
    return result


SITE = code("363698007", "SCT", "Finding Site")
GROUP = code("125007", "DCM", "Measurement Group")
BMD = code("24966-4", "LN", "Lumbar spine DXA BMD")


def number(
    value: float, *children: Dataset, unit: str = "g/cm2", concept: Sequence = BMD
) -> Dataset:
    measured = Dataset()
    measured.NumericValue = f"{value:.3f}"
    measured.MeasurementUnitsCodeSequence = code(unit, "UCUM", unit)
    return item("NUM", concept, *children, MeasuredValueSequence=Sequence([measured]))


def site(value: str, meaning: str, scheme: str = "SCT") -> Dataset:
    return item("CODE", SITE, ConceptCodeSequence=code(value, scheme, meaning))


def report(*groups: Dataset, patient: str = "MRN1", day: str = "20240301") -> Dataset:
    root = item("CONTAINER", code("126000", "DCM", "Imaging Measurement Report"))
    root.ContentSequence = Sequence(
        [item("CONTAINER", code("126010", "DCM", "Imaging Measurements"), *groups)]
    )
    root.SOPClassUID, root.SOPInstanceUID = EnhancedSRStorage, uid(88)
    root.StudyInstanceUID, root.SeriesInstanceUID = uid(1), uid(1, 88)
    root.PatientID, root.StudyDate, root.Modality = patient, day, "SR"
    return root


def group(*children: Dataset) -> Dataset:
    return item("CONTAINER", GROUP, *children)


SPINE = (
    group(site("66794005", "L1 vertebra"), number(0.912)),
    group(number(0.954, site("T-11920", "L2 vertebra", "SRT"))),
    group(site("99", "L1-L4", "99MAKER"), number(0.944)),
    group(
        site("29627003", "Neck of femur"),
        number(0.702, concept=code("1", "99MAKER", "BMD")),
        number(-2.1, unit="1", concept=code("38267-1", "LN", "T-score")),
        number(4.51, unit="g", concept=code("2", "99MAKER", "BMC")),
    ),
)  # fmt: skip


def with_study(folder: Path, *reports: Dataset) -> ReadResult:
    """Read a Lunar study, whose files hold no density, with reports of the same visit."""
    written = write_study(sample_study(1), folder)
    for place, one in enumerate(reports):
        one.PatientID = written.identity.patient_id
        one.StudyDate = f"{written.identity.study_date:%Y%m%d}"
        one.SOPInstanceUID = uid(88, place)
        save(one, folder / f"sr{place}.dcm")
    return read_study_folder(folder)


def test_densities_of_a_report_reach_their_study_exactly(tmp_path: Path) -> None:
    result = with_study(tmp_path, report(*SPINE))
    assert result.studies[0].labels.bmd == {
        "L1": 0.912,
        "L2": 0.954,
        "L1-L4": 0.944,
        "femoral_neck": 0.702,
    }
    assert [v.reason for v in result.files if v.path == "sr0.dcm"] == ["ok"]


def test_reports_that_contradict_each_other_are_not_believed(tmp_path: Path) -> None:
    other = report(group(site("66794005", "L1 vertebra"), number(0.8)))
    result = with_study(tmp_path, report(*SPINE), other)
    assert "L1" not in result.studies[0].labels.bmd
    assert result.studies[0].labels.bmd["L2"] == 0.954
    assert sum(v.reason == "label_conflict" for v in result.files) == 2


RIGHT = item(
    "CODE",
    code("272741003", "SCT", "Laterality"),
    ConceptCodeSequence=code("24028007", "SCT", "Right"),
)
AREA = code("9", "99X", "Area")
NECK = site("29627003", "Neck of femur")


def test_a_density_of_the_right_hip_is_a_label_of_its_own(tmp_path: Path) -> None:
    """Never the left one's, of which the same study has another."""
    made = report(group(NECK, RIGHT, number(0.7)), group(NECK, number(0.8)))
    bmd = with_study(tmp_path, made).studies[0].labels.bmd
    assert (bmd["right_femoral_neck"], bmd["femoral_neck"]) == (0.7, 0.8)


@pytest.mark.parametrize(
    ("reason", "made"),
    [
        ("report_without_labels", report(group(NECK, number(0.7, unit="mg/cm3")))),
        ("report_without_labels", report(group(NECK, number(7.0)))),
        ("report_without_labels", report(group(number(0.7)))),
        ("report_without_labels", report(group(NECK, number(0.7, concept=AREA)))),
        ("label_conflict", report(group(NECK, number(0.7)), group(NECK, number(0.8)))),
        ("patient_id_missing", report(group(NECK, number(0.7)), patient="")),
        ("patient_id_missing", report(group(NECK, number(0.7)), day="")),
    ],
)  # fmt: skip
def test_a_report_without_a_plain_density_is_quarantined(
    tmp_path: Path, reason: str, made: Dataset
) -> None:
    save(made, tmp_path / "sr.dcm")
    (verdict,) = read_study_folder(tmp_path).files
    assert (verdict.reason, verdict.verdict) == (reason, "quarantined")


def in_unit(value: str, unit: str, meaning: str = "", *, attribute: str = "CodeValue") -> Dataset:
    """Density of L1 with its unit in one of the three attributes that a code can stand in."""
    result = number(0)
    measured = result.MeasuredValueSequence[0]
    units = measured.MeasurementUnitsCodeSequence[0]
    del units.CodeValue
    setattr(units, attribute, unit)
    units.CodeMeaning, units.CodingSchemeDesignator = meaning or unit, "UCUM" if unit else "99X"
    write_raw(measured, "NumericValue", "DS", value.encode())
    return report(group(site("66794005", "L1 vertebra"), result))


@pytest.mark.parametrize(
    ("value", "unit", "meaning"),
    [
        ("0.954", "g.cm-2", ""), ("0.954", "g/cm^2", ""), ("0.954", "g/cm2{areal}", ""),
        ("954", "mg/cm2", ""), ("954", "mg.cm-2", ""), ("9.54", "kg/m2", ""),
        ("9.54", "kg.m-2", ""),
        ("0.954", "", "g/cm²"), ("954", "", "milligrams per square centimetre"),
        ("0.954", "", "gram per centimeter squared"), ("0,954", "g/cm2", ""),
        ("1,054", "g/cm2", ""), ("1,054", "mg/cm2", ""),
    ],
)  # fmt: skip
def test_densities_in_other_units_are_converted(value: str, unit: str, meaning: str) -> None:
    rows, verdicts = read_report(in_unit(value, unit, meaning), "sr.dcm")
    (row,) = rows
    assert row.name == "L1"
    assert row.value == pytest.approx(1.054 if value.startswith("1") else 0.954)
    assert verdicts == []


@pytest.mark.parametrize(
    ("attribute", "text"),
    [
        ("LongCodeValue", "g/cm2"), ("URNCodeValue", "urn:ucum:g/cm2"),
        ("URNCodeValue", "http://unitsofmeasure.org/mg/cm2"),
    ],
)  # fmt: skip
def test_a_code_counts_in_whichever_attribute_it_stands(attribute: str, text: str) -> None:
    value = "954" if "mg" in text else "0.954"
    rows, _ = read_report(in_unit(value, text, "unit", attribute=attribute), "sr.dcm")
    assert [row.value for row in rows] == [pytest.approx(0.954)]


def test_a_region_counts_by_a_long_code_or_a_urn() -> None:
    for attribute, text in (
        ("LongCodeValue", "14293000"),
        ("URNCodeValue", "http://snomed.info/id/14293000"),
    ):
        where = site("", "a vertebra")
        coded = where.ConceptCodeSequence[0]
        del coded.CodeValue
        setattr(coded, attribute, text)
        rows, _ = read_report(report(group(where, number(0.954))), "sr.dcm")
        assert [row.name for row in rows] == ["L2"]


@pytest.mark.parametrize(
    ("value", "unit", "meaning", "why"),
    [
        ("0.954", "g/cm3", "", "the unit of a density"), ("120", "mg/cm3", "", "the unit"),
        ("0.954", "g/cm2", "mg/cm2", "the unit of a density"),
        ("0.954", "cm2", "g/cm2", "the unit of a density"),
        ("954", "g/cm2", "", "not between 0.1 and 3 g/cm²"), ("0.954", "kg/m2", "", "not between"),
        ("0,954", "mg/cm2", "", "not between"), ("about 1", "g/cm2", "", "holds no number"),
    ],
)  # fmt: skip
def test_a_density_that_is_not_understood_is_named(
    tmp_path: Path, value: str, unit: str, meaning: str, why: str
) -> None:
    made = in_unit(value, unit, meaning)
    save(made, tmp_path / "sr.dcm")
    (verdict,) = read_study_folder(tmp_path).files
    assert verdict.reason == "report_without_labels"
    assert "L1: " in verdict.sentence
    assert why in verdict.sentence
    made.ContentSequence[0].ContentSequence.append(SPINE[1])
    rows, odd = read_report(made, "sr.dcm")
    assert [row.name for row in rows] == ["L2"]
    assert [(one.path, one.reason) for one in odd] == [("sr.dcm:2", "label_invalid")]
    assert why in odd[0].sentence


@pytest.mark.parametrize(
    ("unit", "meaning"),
    [("{T-score}", "BMD T-score"), ("1", "BMD T-score"), ("%", "BMD, young adult"),
     ("g", "Bone mineral content"), ("g/cm2", "BMD young reference"),
     ("g/cm2", "BMD standard deviation")],
)  # fmt: skip
def test_scores_contents_and_references_stay_no_densities(unit: str, meaning: str) -> None:
    other = number(0.7, unit=unit, concept=code("7", "99X", meaning))
    made = report(group(site("66794005", "L1 vertebra"), other), SPINE[1])
    rows, odd = read_report(made, "sr.dcm")
    assert [row.name for row in rows] == ["L2"]
    assert odd == []


def test_a_report_nested_without_end_is_set_aside(tmp_path: Path) -> None:
    deep = group(NECK, number(0.7))
    for _ in range(60):
        deep = group(deep)
    save(report(deep), tmp_path / "sr.dcm")
    (verdict,) = read_study_folder(tmp_path).files
    assert verdict.reason == "header_too_large"


# --- workbooks -----------------------------------------------------------------------


def workbook(*rows: tuple[object, ...], change: Callable[[object], None] | None = None) -> bytes:
    book = openpyxl.Workbook()
    for row in (("Note", "Patient ID", "Scan Date", "Region", "BMD (g/cm2)"), *rows):
        book.active.append(row)
    if change is not None:
        change(book.active)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_a_workbook_gives_the_labels_that_its_cells_show() -> None:
    def pad(sheet: object) -> None:
        sheet["B4"].number_format = "000000"  # type: ignore[index]

    data = workbook(
        ("", "MRN7", datetime(2024, 3, 1), "L1", 0.912),
        ("", 12345, "2024-03-02", "femoral neck", "0,702"),
        ("", 12345, date(2024, 3, 2), "L2", 0.95),
        (None, None, None, None, None),
        ("", "MRN8", date(2024, 3, 3), "L3", None),
        change=pad,
    )
    rows, verdicts = read_table("t.xlsx", data, LabelColumns())
    assert [(r.path, r.patient_id, r.day, r.name, r.value) for r in rows] == [
        ("t.xlsx:2", "MRN7", date(2024, 3, 1), "L1", 0.912),
        ("t.xlsx:3", "12345", date(2024, 3, 2), "femoral_neck", 0.702),
        ("t.xlsx:4", "012345", date(2024, 3, 2), "L2", 0.95),
    ]
    assert verdicts == []


def test_a_formula_is_neither_evaluated_nor_believed() -> None:
    data = workbook(
        ("=1+1", "MRN7", "2024-03-01", "L1", "=0.5+0.4"), ("", "=B2", "2024-03-01", "L2", 0.9)
    )
    rows, verdicts = read_table("t.xlsx", data, LabelColumns())
    assert rows == []
    assert [v.reason for v in verdicts] == ["label_invalid"] * 2
    assert all("formula" in v.sentence for v in verdicts)


def test_the_hospitals_own_column_names_count() -> None:
    columns = LabelColumns(patient_id="Note", bmd="BMD (g/cm2)")
    rows, _ = read_table("t.xlsx", workbook(("P1", "x", "2024-03-01", "L1", 0.9)), columns)
    assert [row.patient_id for row in rows] == ["P1"]


def bomb() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 3_000_000)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("reason", "make"),
    [
        ("table_unknown", lambda: b"PK\x03\x04 no archive"),
        ("table_unknown", lambda: workbook()[:2000]),
        ("file_too_large", bomb),
    ],
)
def test_a_workbook_that_is_none_is_set_aside(
    reason: str, make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook_module, "MOST_UNPACKED", 2_000_000)
    with pytest.raises(SetAsideError, match=reason):
        read_table("t.xlsx", make(), LabelColumns())


def test_a_workbook_in_the_folder_labels_its_study(tmp_path: Path) -> None:
    written = write_study(sample_study(1), tmp_path)
    row = ("", written.identity.patient_id, written.identity.study_date, "L1", 0.777)
    (tmp_path / "bmd.xlsx").write_bytes(workbook(row))
    (study,) = read_study_folder(tmp_path).studies
    assert study.labels.bmd == {"L1": 0.777}


# --- kinds --------------------------------------------------------------------------------

CLASSES = LabelColumns(classes=("Fracture", "no fracture"))


def test_classes_are_read_beside_bmd_and_in_a_table_of_their_own() -> None:
    both = b"Patient ID,Scan Date,Region,BMD (g/cm2),Class\nA,2024-01-01,L1,0.9,fracture\n"
    rows, _ = read_table("t.csv", both, CLASSES)
    assert [(row.kind, row.name, row.value) for row in rows] == [
        ("bmd", "L1", 0.9), ("class", "Fracture", 1.0),
    ]  # fmt: skip
    alone = b"Patient ID,Scan Date,Class\nA,2024-01-01,\nB,2024-01-01,No Fracture\n"
    rows, verdicts = read_table("t.csv", alone, CLASSES)
    assert [(row.patient_id, row.name) for row in rows] == [("B", "no fracture")]
    assert verdicts == []


def test_a_class_that_the_site_does_not_name_is_not_kept() -> None:
    table = b"Patient ID,Scan Date,Class\nA,2024-01-01,Kellermann\n"
    rows, verdicts = read_table("t.csv", table, CLASSES)
    assert rows == []
    assert [v.reason for v in verdicts] == ["label_invalid"]
    assert "Kellermann" not in verdicts[0].sentence
    with pytest.raises(SetAsideError, match="table_unknown"):
        read_table("t.csv", table, LabelColumns())


def test_of_two_columns_of_one_name_the_first_counts() -> None:
    table = (
        b"Patient ID,Scan Date,Region,BMD (g/cm2),Region\nA,2024-01-01,L1,0.9,L2\nA,2024-01-01\n"
    )
    rows, verdicts = read_table("t.csv", table, LabelColumns())
    assert [row.name for row in rows] == ["L1"]
    assert [v.sentence for v in verdicts] == [
        "a value, date or name that cannot be (a cell is missing)"
    ]


def test_a_table_may_say_whose_scanner_measured() -> None:
    header = b"Patient ID,Scan Date,Region,BMD (g/cm2),Manufacturer\n"
    lines = b"A,2024-01-01,L1,0.9,GE Lunar\nA,2024-01-01,L2,0.9,-\nA,2024-01-01,L3,0.9\n"
    rows, _ = read_table("t.csv", header + lines, LabelColumns())
    assert [row.maker for row in rows] == ["GE Lunar", "", ""]
