"""The parts of the reader, each against a hand-made case or another library."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import ExplicitVRLittleEndian

from shared.dicom.attributes import covariates_of
from shared.dicom.labels.names import region_named
from shared.dicom.labels.tables import LabelRow, read_table
from shared.dicom.phi.deidentify import capped_age, pseudonym, replaced_uid, shifted_day
from shared.dicom.pixels.grey_values import stored_values, unit_values
from shared.dicom.pixels.margins import unscanned_margin
from shared.dicom.pixels.spacing import find_spacing
from shared.dicom.read import merge_labels
from shared.dicom.values.dates import parse_day
from shared.dicom.vendors import hologic, lunar
from shared.dicom.verdicts import REASONS, SetAsideError, judge
from shared.records import StudyLabels, Vendor, View
from shared.settings.files import LabelColumns
from tests.shared.dicom.headers import check_hologic_view, header

SECRET = bytes(range(32))


def image(pixels: np.ndarray, **attributes: object) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = pixels.shape
    bits = pixels.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels.tobytes()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


# --- attributes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("White", "white"),
        (" CAUCASIAN  ", "white"),
        ("African American", "black"),
        ("Maria Muster", None),
        ("asian (Muster)", None),
        ("", None),
    ],
)
def test_of_the_ethnic_group_only_known_words_are_kept(typed: str, kept: str | None) -> None:
    dataset = Dataset()
    dataset.EthnicGroup = typed
    assert covariates_of(dataset).ethnic_group == kept


# --- pixels ---------------------------------------------------------------------


def test_pixels_follow_the_bits_and_never_the_images_own_range() -> None:
    dark = np.full((4, 4), 51, np.uint8)
    dataset = image(dark)
    assert unit_values(dataset, stored_values(dataset)) == pytest.approx(51 / 255)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
def test_windows_agree_with_pydicom(function: str) -> None:
    pixels = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
    dataset = image(
        pixels,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=1500,
        WindowWidth=2500,
        VOILUTFunction=function,
    )
    theirs = apply_windowing(apply_modality_lut(pixels, dataset), dataset)
    low, high = -100, 2 * 65535 - 100  # the range that pydicom maps the window to
    want = (theirs - low) / (high - low)
    assert unit_values(dataset, stored_values(dataset)) == pytest.approx(want, abs=1e-6)


def test_monochrome1_is_inverted_last_and_padding_is_not_scanned() -> None:
    pixels = np.array([[0, 255], [51, 7]], np.uint8)
    dataset = image(pixels, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=7)
    unit = unit_values(dataset, stored_values(dataset))
    assert unit[0] == pytest.approx([1.0, 0.0])
    assert unit[1, 0] == pytest.approx(0.8)
    assert np.isnan(unit[1, 1])


def test_lookup_tables_are_set_aside_instead_of_ignored() -> None:
    dataset = image(np.zeros((2, 2), np.uint8), VOILUTSequence=[Dataset()])
    with pytest.raises(SetAsideError, match="lut_unsupported"):
        unit_values(dataset, stored_values(dataset))


# --- margins --------------------------------------------------------------------


def test_margins_are_the_steps_and_not_what_is_bright_inside() -> None:
    saturated = np.zeros((80, 60), bool)
    margin = np.zeros_like(saturated)
    margin[10:40, :5] = margin[40:, :12] = margin[50:, -8:] = True
    saturated |= margin
    saturated[20:30, 30:40] = True  # metal, away from the edges
    saturated[60:62, 12:30] = True  # a bright streak that touches a step
    saturated[5, :20] = True  # one bright line at the edge
    assert np.array_equal(unscanned_margin(saturated), margin)


def test_an_image_without_margin_keeps_all_its_pixels() -> None:
    assert not unscanned_margin(np.zeros((30, 30), bool)).any()
    speck = np.zeros((30, 30), bool)
    speck[:4, :4] = True
    assert not unscanned_margin(speck).any()


# --- spacing --------------------------------------------------------------------


def test_spacing_comes_from_the_best_source_and_says_which() -> None:
    dataset = image(np.zeros((780, 716), np.uint8), ExposedArea=[179, 195])
    spacing, provenance = find_spacing(dataset, Vendor.LUNAR)
    assert spacing == pytest.approx((0.25, 0.25))
    assert provenance == "derived"
    dataset.ImagerPixelSpacing = [0.3, 0.2]
    dataset.EstimatedRadiographicMagnificationFactor = 2
    assert find_spacing(dataset, Vendor.LUNAR) == ((0.15, 0.1), "detector")
    dataset.PixelSpacing = [0.5, 0.4]
    assert find_spacing(dataset, Vendor.LUNAR) == ((0.5, 0.4), "calibrated")


@pytest.mark.parametrize("wrong", [[0.0, 0.0], [-1, 1], [1, 0], [40, 40], [0.1, 4.0]])
def test_impossible_spacing_is_refused(wrong: list[float]) -> None:
    with pytest.raises(SetAsideError, match="spacing_unknown"):
        find_spacing(image(np.zeros((4, 4), np.uint8), PixelSpacing=wrong), Vendor.HOLOGIC)


def test_exposed_area_is_believed_of_lunar_only() -> None:
    dataset = image(np.zeros((10, 10), np.uint8), ExposedArea=[10, 10])
    with pytest.raises(SetAsideError, match="spacing_unknown"):
        find_spacing(dataset, Vendor.HOLOGIC)


# --- vendors --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("maker", "model", "protocol", "is_lunar"),
    [
        ("GE Healthcare", "Lunar iDXA", "AP Spine", True),
        ("GE MEDICAL SYSTEMS", "iDXA", "Left Femur", True),
        ("GE Healthcare", "", "LVA", True),
        ("LUNAR", "", "", True),
        ("GE MEDICAL SYSTEMS", "RHAPSODE", "AP Spine", False),
        ("GE Healthcare", "", "Chest", False),
        ("Siemens", "Prodigy", "AP Spine", False),
    ],
)
def test_lunar_is_told_by_maker_model_and_protocol(
    maker: str, model: str, protocol: str, is_lunar: bool
) -> None:
    dataset = header(
        Modality="CR", Manufacturer=maker, ManufacturerModelName=model, ProtocolName=protocol
    )
    assert lunar.matches(dataset) is is_lunar


@pytest.mark.parametrize(
    ("protocol", "outcome"),
    [
        ("AP Spine", View.SPINE_PA),
        (" left  FEMUR", View.HIP_LEFT),
        ("LVA", View.SPINE_LATERAL),
        ("Right Femur", View.HIP_RIGHT),
        ("Total Body", "view_not_used"),
        ("", "scan_type_unknown"),
        ("Hand study 7", "scan_type_unknown"),
    ],
)
def test_lunar_views_are_told_by_the_protocol(protocol: str, outcome: View | str) -> None:
    dataset = header(ProtocolName=protocol)
    if isinstance(outcome, View):
        assert lunar.view_of(dataset) is outcome
    else:
        with pytest.raises(SetAsideError, match=outcome):
            lunar.view_of(dataset)


def hologic_spine(block: str | bytes) -> Dataset:
    dataset = header(
        Manufacturer="HOLOGIC",
        BitsAllocated=16,
        SamplesPerPixel=1,
        BodyPartExamined="LSPINE",
        ViewPosition="AP",
    )
    dataset.add_new((0x0019, 0x1000), "OB" if isinstance(block, bytes) else "UT", block)
    return dataset


def cells(rows: list[list[str]]) -> str:
    return "\n".join(
        f'ResultsTable1[ {r}][ {c}] = "{cell}";'
        for r, row in enumerate(rows)
        for c, cell in enumerate(row)
    )


HEADER = ["Region", "Area<br>(cm&sup2;)", "BMC<br>(g)", "BMD<br>(g/cm&sup2;)", "T -<br>score"]
TOTAL = ["Total", "60", "60", "1.012", "-0.2"]
ROWS = [[f"L{n}", "15", "15", f"1.00{n}", "0"] for n in range(1, 5)]


@pytest.mark.parametrize("as_bytes", [False, True])
def test_results_are_found_by_the_header_row_in_any_order(as_bytes: bool) -> None:
    for order in ([0, 1, 2, 3, 4], [4, 3, 0, 2, 1]):
        text = cells([[row[i] for i in order] for row in [HEADER, *ROWS, TOTAL]])
        dataset = hologic_spine(text.encode() if as_bytes else text)
        want = {"L1": 1.001, "L2": 1.002, "L3": 1.003, "L4": 1.004, "L1-L4": 1.012}
        assert hologic.labels_of(dataset).bmd == want


def test_the_total_of_a_spine_with_a_vertebra_left_out_is_not_l1_to_l4() -> None:
    bmd = hologic.labels_of(hologic_spine(cells([HEADER, *ROWS[:3], TOTAL]))).bmd
    assert sorted(bmd) == ["L1", "L2", "L3"]


@pytest.mark.parametrize(
    "text",
    [
        cells([["Region", "Area", "BMC"], ["L1", "1", "1"]]),
        cells([HEADER, ["L1", "15", "15", "process.exit()", "0"]]),
        cells([HEADER, ["L1", "15", "15", "nan", "0"]]),
        cells([HEADER, ["L1", "15", "15", "-1.0", "0"]]),
        cells([HEADER, ROWS[0], ROWS[0]]),
        cells([HEADER, ROWS[0]]) + cells([HEADER]),
        cells([HEADER]) + 'ResultsTable1[999][0] = "L1";',
    ],
)
def test_a_table_that_cannot_be_is_an_error_and_not_a_label(text: str) -> None:
    with pytest.raises(ValueError):
        hologic.labels_of(hologic_spine(text))


@given(st.text(max_size=300))
def test_any_text_in_the_block_is_survived(text: str) -> None:
    dataset = hologic_spine("")
    dataset[0x0019, 0x1000].value = 'ResultsTable1[ 0][ 0] = "Region"' + text
    try:
        labels = hologic.labels_of(dataset)
    except ValueError:
        return
    assert labels.bmd == {}


def test_identifiers_of_the_block_are_never_picked() -> None:
    block = 'var PatientName = "Doe, Jane"; var DOB = "1 May 1950"; var Height = "65.0 in";'
    dataset = hologic_spine(block)
    assert hologic.scalars_of(dataset) == {"Height": "65.0 in"}
    assert hologic.covariates_of(dataset).height_cm == 165.1


@pytest.mark.parametrize(
    ("attributes", "outcome"),
    [
        ({"BodyPartExamined": "HIP", "Laterality": "L"}, View.HIP_LEFT),
        ({"BodyPartExamined": "HIP", "Laterality": "R"}, View.HIP_RIGHT),
        ({"BodyPartExamined": "HIP"}, "scan_type_unknown"),
        ({"BodyPartExamined": "LSPINE", "ViewPosition": "LL"}, View.SPINE_LATERAL),
        ({"BodyPartExamined": "LSPINE", "SeriesDescription": "IVA Lateral"}, View.SPINE_LATERAL),
        ({"BodyPartExamined": "LSPINE"}, "scan_type_unknown"),
        (
            {"BodyPartExamined": "LSPINE", "ViewPosition": "AP", "SeriesDescription": "Lateral"},
            "scan_type_unknown",
        ),
        ({"BodyPartExamined": "FOREARM"}, "view_not_used"),
        ({"BodyPartExamined": "LSPINE", "ViewPosition": "AP", "BitsAllocated": 8}, "report_page"),
    ],
)
def test_hologic_views_are_told_or_set_aside(
    attributes: dict[str, object], outcome: View | str
) -> None:
    check_hologic_view(attributes, outcome)


# --- tables ---------------------------------------------------------------------

BMD_HEADER = "Patient ID;Scan Date;Region;BMD (g/cm2)\r\n"


def test_a_table_with_semicolons_commas_and_an_old_encoding_is_read() -> None:
    text = BMD_HEADER + "Ä1;01.03.2024;Neck;0,812\r\n\r\nÄ1;01.03.2024;Ward's;0,5\r\n"
    rows, verdicts = read_table("t.csv", text.encode("cp1252"), LabelColumns())
    assert verdicts == []
    day = date(2024, 3, 1)
    assert rows == [LabelRow("t.csv:2", "Ä1", day, "bmd", "femoral_neck", 0.812)]


@pytest.mark.parametrize(
    "line",
    ["A;2024-13-01;L1;0.9", "A;03/04/2024;L1;0.9", "A;2024-01-01;L1;900", ";2024-01-01;L1;0.9",
     "A;2024-01-01;L1;high", "A;2024-01-01", "A;2024-01-01;L1;inf"],
)  # fmt: skip
def test_a_row_that_cannot_be_costs_the_row(line: str) -> None:
    good = "B;2024-01-01;L1;0.9\r\n"
    rows, verdicts = read_table("t.csv", (BMD_HEADER + line + "\r\n" + good).encode(), COLUMNS)
    assert [row.patient_id for row in rows] == ["B"]
    assert [(v.path, v.reason) for v in verdicts] == [("t.csv:2", "label_invalid")]
    assert "900" not in verdicts[0].sentence


COLUMNS = LabelColumns()


@pytest.mark.parametrize("data", [b"a,b\n1,2\n", b"\x00\x01", b"Patient ID,Scan Date\n", b"\n"])
def test_other_tables_are_quarantined(data: bytes) -> None:
    with pytest.raises(SetAsideError, match="table_unknown"):
        read_table("t.csv", data, COLUMNS)


def test_blank_grades_are_nobody_said() -> None:
    text = "Patient ID,Scan Date,Vertebra,Genant Grade\nA,2024-01-01,T8,\nA,2024-01-01,L1,2\n"
    rows, verdicts = read_table("t.csv", text.encode(), COLUMNS)
    assert [(row.name, row.value) for row in rows] == [("L1", 2.0)]
    assert verdicts == []


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-03-01", date(2024, 3, 1)),
        ("20240301", date(2024, 3, 1)),
        ("1.3.2024", date(2024, 3, 1)),
        ("31/12/2024", date(2024, 12, 31)),
        ("12/31/2024", date(2024, 12, 31)),
        ("5/5/2024", date(2024, 5, 5)),
        ("2024-03-01T10:30:00", date(2024, 3, 1)),
    ],
)
def test_dates_with_one_reading_are_read(text: str, day: date) -> None:
    assert parse_day(text) == day


def test_an_ambiguous_date_is_not_guessed() -> None:
    with pytest.raises(ValueError):
        parse_day("03/04/2024")


def test_labels_that_differ_are_both_dropped_and_equal_ones_kept() -> None:
    day = date(2024, 1, 1)

    def row(line: int, name: str, value: float) -> LabelRow:
        return LabelRow(f"t.csv:{line}", "A", day, "bmd", name, value)

    labels, verdicts = merge_labels(
        StudyLabels(bmd={"L1": 0.9, "L2": 0.8}),
        [
            row(2, "L1", 0.9),
            row(3, "L2", 0.85),
            row(4, "L3", 0.7),
            row(5, "L4", 1),
            row(6, "L4", 2),
        ],
    )
    assert dict(labels.bmd) == {"L1": 0.9, "L3": 0.7}
    assert [(v.path, v.reason) for v in verdicts] == [
        ("t.csv:3", "label_conflict"),
        ("t.csv:5", "label_conflict"),
        ("t.csv:6", "label_conflict"),
    ]


@pytest.mark.parametrize(
    ("text", "name"),
    [("l1", "L1"), ("L1 - L4", "L1-L4"), ("Femoral Neck", "femoral_neck"),
     ("Left Total Hip", "total_hip"), ("Troch", "trochanter"), ("T12 vertebra", "T12"),
     ("Total", None), ("L5", None), ("Ward's", None)],
)  # fmt: skip
def test_hospitals_words_for_regions(text: str, name: str | None) -> None:
    assert region_named(text) == name


# --- pseudonyms -----------------------------------------------------------------


def test_pseudonyms_are_stable_in_a_site_and_unlinkable_across_sites() -> None:
    assert pseudonym(SECRET, "MRN1") == pseudonym(SECRET, " MRN1 ")
    assert pseudonym(SECRET, "MRN1") != pseudonym(SECRET[::-1], "MRN1")
    assert len(pseudonym(SECRET, "MRN1")) == 32


@given(st.from_regex(r"1(\.[1-9][0-9]{0,8}){1,6}", fullmatch=True))
def test_replaced_uids_are_valid_and_keyed(uid: str) -> None:
    new = replaced_uid(SECRET, uid)
    assert new.startswith("2.25.")
    assert len(new) <= 64
    assert new != replaced_uid(SECRET[::-1], uid)


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 4000))
def test_shifted_days_keep_intervals_of_a_patient_only(day: date, later: int) -> None:
    first = shifted_day(SECRET, "A", day)
    assert shifted_day(SECRET, "A", day + timedelta(days=later)) - first == later
    assert first - day.toordinal() != shifted_day(SECRET, "B", day) - day.toordinal()


def test_ages_are_capped() -> None:
    assert [capped_age(a) for a in (None, 50.0, 89.0, 90.0, 104.0)] == [None, 50, 89, 89, 89]


def test_every_reason_makes_a_sentence() -> None:
    for code, (verdict, sentence) in REASONS.items():
        judged = judge("x", code, "more")
        assert judged.verdict == verdict
        assert judged.sentence == f"{sentence} (more)"
