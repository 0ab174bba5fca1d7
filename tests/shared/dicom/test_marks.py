"""Boxes, points and slices of a table end on the same anatomy, however an image is kept."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom.labels.marks import KeptImage, KeptVolume, slice_index, turned_place
from shared.dicom.labels.tables import read_table
from shared.dicom.pixels.orientation import turn
from shared.dicom.read import ReadResult, read_study_folder
from shared.dicom.verdicts import SetAsideError
from shared.records import VertebraBox, View
from shared.settings.files import LabelColumns
from shared.tasks.pixels import drawn_boxes
from tests.shared.ct_samples import STEP, field, uid, write_ct, write_radiograph

BOX_HEADER = "Patient ID,Scan Date,Image,Vertebra,x0,y0,x1,y1\n"
POINT_HEADER = "Patient ID,Scan Date,Image,Vertebra,x,y\n"
SLICE_HEADER = "Patient ID,Scan Date,Image,Vertebra,Slice Z (mm)\n"
WHO = "MRN0001,2024-03-01"
SHAPE = (60, 48)
#: Rows 10 to 20, columns 4 to 9 of the file.
BLOCK = "4,10,9,20"


def block() -> np.ndarray:
    """A radiograph with a bright column down its middle, and a block that is brightest."""
    pixels = np.full(SHAPE, 800, np.uint16)
    pixels[:, 18:30] = 3000
    pixels[10:20, 4:9] = 4000
    return pixels


def read(folder: Path, table: str, name: str = "marks.csv") -> ReadResult:
    (folder / name).write_text(table)
    return read_study_folder(folder)


def reasons(result: ReadResult) -> dict[str, str]:
    """Reasons of the lines of tables."""
    return {one.path: one.reason for one in result.files if ":" in one.path}


# --- geometry ------------------------------------------------------------------------


@pytest.mark.parametrize("turned", [(False, False), (True, False), (False, True), (True, True)])
def test_a_box_holds_the_same_pixels_after_turning(turned: tuple[bool, bool]) -> None:
    pixels = np.arange(20 * 30).reshape(20, 30)
    x0, y0, x1, y1 = turned_place(KeptImage((20, 30), "", turned), (3, 2, 10, 7))
    kept = turn(pixels, turned)[int(y0) : int(y1), int(x0) : int(x1)]
    assert set(kept.ravel()) == set(pixels[2:7, 3:10].ravel())


SIDES = st.tuples(*[st.floats(0, 100, width=32)] * 2)


@given(SIDES, SIDES, st.booleans(), st.booleans())
def test_turning_twice_gives_the_box_that_was_drawn(
    xs: tuple[float, float], ys: tuple[float, float], rows: bool, columns: bool
) -> None:
    image = KeptImage((100, 100), "", (rows, columns))
    box = (min(xs), min(ys), max(xs), max(ys))
    turned = turned_place(image, box)
    assert turned[0] <= turned[2] and turned[1] <= turned[3]  # noqa: PT018
    assert turned_place(image, turned) == pytest.approx(box, abs=0.002)


def test_a_point_is_mirrored_about_the_middle_of_the_image() -> None:
    assert turned_place(KeptImage((20, 30), "", (True, True)), (1, 5)) == (29, 15)


@pytest.mark.parametrize("box", [(0, 0, 31, 5), (0, 0, 5, 20.5), (-1, 0, 5, 5)])
def test_what_leaves_the_image_is_set_aside(box: tuple[float, ...]) -> None:
    with pytest.raises(SetAsideError, match="mark_outside"):
        turned_place(KeptImage((20, 30), ""), box)


def test_an_image_of_which_nobody_knows_how_it_was_turned_takes_no_mark() -> None:
    with pytest.raises(SetAsideError, match="mark_turn_unknown"):
        turned_place(KeptImage((20, 30), "", None), (0, 0, 5, 5))


@pytest.mark.parametrize(("z", "index"), [(100, 0), (98.8, 0), (104.9, 2), (112.5, 5), (113.7, 5)])
def test_a_position_is_the_nearest_slice(z: float, index: int) -> None:
    assert slice_index(KeptVolume(6, 100.0, 2.5), z) == index


@pytest.mark.parametrize("z", [98.7, 113.8, -104.0])
def test_a_position_beyond_the_series_is_set_aside(z: float) -> None:
    with pytest.raises(SetAsideError, match="mark_outside"):
        slice_index(KeptVolume(6, 100.0, 2.5), z)


def test_boxes_are_drawn_in_the_codes_of_images() -> None:
    boxes = [VertebraBox(name, 0, y, 2, y + 1) for y, name in enumerate(("T12", "L5", ""))]
    assert drawn_boxes(boxes, (4, 3)).tolist() == [[16, 16, 0], [17, 17, 0], [17, 17, 0], [0] * 3]


# --- tables --------------------------------------------------------------------------


def test_lines_that_cannot_be_cost_themselves_and_say_why() -> None:
    lines = ["L3,4,10,9,20", "S1,4,10,9,20", "L3,9,10,4,20", "L3,4,10,9,", "L3,4,-1,9,20",
             "L3,a,b,c,d", "L3,inf,1,inf,2", "L3,,,,", "L3,4,10,9"]  # fmt: skip
    table = BOX_HEADER + "".join(f"{WHO},,{line}\n" for line in lines)
    rows, verdicts = read_table("t.csv", table.encode(), LabelColumns())
    assert [row.path for row in rows] == ["t.csv:2"]
    assert {one.path: one.sentence.rsplit("(")[-1].rstrip(")") for one in verdicts} == {
        "t.csv:3": "vertebra",
        "t.csv:4": "x0 or y0 is not less than x1 or y1",
        "t.csv:5": "value",
        "t.csv:6": "less than 0",
        "t.csv:7": "value",
        "t.csv:8": "value",
        "t.csv:10": "a cell is missing",
    }
    assert {one.reason for one in verdicts} == {"label_invalid"}


def test_a_workbook_a_comma_and_other_headings_are_read() -> None:
    book = openpyxl.Workbook()
    sheet = book.create_sheet(index=0)
    sheet.append(("Patient ID", "Scan Date", "Level", "links", "oben", "rechts", "unten"))
    sheet.append(("A", "2024-03-01", "L3 vertebra", "4,5", 10, 9.25, 20))
    stream = io.BytesIO()
    book.save(stream)
    columns = LabelColumns(vertebra="Level", box=("links", "oben", "rechts", "unten"))
    rows, _ = read_table("t.xlsx", stream.getvalue(), columns)
    assert [row.mark.numbers for row in rows if row.mark] == [(4.5, 10.0, 9.25, 20.0)]


def test_boxes_may_stand_beside_grades() -> None:
    table = "Patient ID,Scan Date,Vertebra,Genant Grade,x0,y0,x1,y1\nA,2024-03-01,L3,1,1,2,3,4\n"
    rows, _ = read_table("t.csv", table.encode(), LabelColumns())
    assert [(row.kind, row.name, row.value) for row in rows] == [
        ("genant", "L3", 1.0), ("box", "L3", 1.0)
    ]  # fmt: skip


# --- studies -------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [["L", "F"], ["R", "F"], ["L", "H"], ["R", "H"]])
@pytest.mark.parametrize("image", ["", "a.dcm", "Lumbar_AP", uid(1, 7, 1)])
def test_a_box_stays_on_its_vertebra_however_the_radiograph_is_turned(
    tmp_path: Path, orientation: list[str], image: str
) -> None:
    write_radiograph(tmp_path / "one" / "a.dcm", block(), PatientOrientation=orientation)
    result = read(tmp_path, f"{BOX_HEADER}{WHO},{image},L3,{BLOCK}\n")
    record = result.studies[0].images[View.LUMBAR_AP]
    (box,) = record.boxes
    marked = drawn_boxes(record.boxes, record.pixels.shape) > 0
    assert box.vertebra == "L3"
    assert np.array_equal(marked, record.pixels > 0.9)
    assert reasons(result) == {}


def test_a_point_stays_on_its_pixel(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", block(), PatientOrientation=["R", "H"])
    result = read(tmp_path, f"{POINT_HEADER}{WHO},,L3,6.5,12.5\n")
    record = result.studies[0].images[View.LUMBAR_AP]
    x, y = record.points["L3"]
    assert (x, y) == (41.5, 47.5)
    assert record.pixels[int(y), int(x)] > 0.9


#: Slices from head to feet, in an order of file names that is neither.
REVERSED = np.array([[-10.0, -20.0, 100.0 - STEP * k] for k in range(6)])
SHUFFLED = [3, 1, 5, 0, 2, 4]


@pytest.mark.parametrize("said", [uid(1, 1, 5), "90", "90,0"])
def test_a_level_is_the_slice_that_was_marked_also_in_reverse_order(
    tmp_path: Path, said: str
) -> None:
    write_ct(tmp_path / "ct", positions=REVERSED, order=SHUFFLED)
    result = read(tmp_path, f'{SLICE_HEADER}{WHO},,L3,"{said}"\n')
    ((_, volume),) = result.studies[0].volumes.items()
    assert volume.record.marked_slices == {"L3": 1}
    assert np.array_equal(volume.record.hu[1], field()[4])
    assert reasons(result) == {}


def test_marks_that_match_no_image_are_accounted_for(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", block())
    write_radiograph(tmp_path / "b.dcm", study=2)
    lines = [
        f"{WHO},,L1,40,10,49,20",  # outside
        f"{WHO},spine_pa,L2,{BLOCK}",  # no such view
        f"{WHO},b.dcm,L3,{BLOCK}",  # another patient's
        f"MRN0001,2024-04-01,,L4,{BLOCK}",  # another day
        f"MRN0009,2024-03-01,,L4,{BLOCK}",  # nobody
        f"{WHO},,T12,{BLOCK}",
        f"{WHO},,T11,{BLOCK}",
        f"{WHO},,T11,3,10,9,20",  # differs
    ]
    result = read(tmp_path, BOX_HEADER + "\n".join(lines) + "\n")
    assert list(reasons(result).values()) == [
        "mark_outside", "mark_without_image", "mark_without_image", "label_without_study",
        "label_without_study", "label_conflict", "label_conflict",
    ]  # fmt: skip
    (first,) = [one for one in result.studies if one.header.patient_id == "MRN0001"]
    assert [box.vertebra for box in first.images[View.LUMBAR_AP].boxes] == ["T12"]
    assert {one.path: one.reason for one in result.files}["marks.csv"] == "ok"


def test_a_slice_that_could_be_of_two_series_or_of_none_is_not_guessed(tmp_path: Path) -> None:
    write_ct(tmp_path / "one")
    write_ct(tmp_path / "two", series=2)
    lines = [
        f"{WHO},,L1,105", f"{WHO},{uid(1, 2)},L2,105", f"{WHO},,L3,{uid(1, 3, 1)}",
        f"{WHO},,L4,{uid(1, 1, 2)}",
    ]  # fmt: skip
    result = read(tmp_path, SLICE_HEADER + "\n".join(lines) + "\n")
    assert list(reasons(result).values()) == ["mark_ambiguous", "mark_without_image"]
    volumes = result.studies[0].volumes
    assert volumes[uid(1, 1)].record.marked_slices == {"L4": 1}
    assert volumes[uid(1, 2)].record.marked_slices == {"L2": 2}


def test_a_sagittal_slice_has_no_level(tmp_path: Path) -> None:
    positions = np.zeros((6, 3))
    positions[:, 0] = np.arange(6) * STEP
    write_ct(tmp_path / "ct", positions=positions, orientation=(0, 1.0, 0, 0, 0, -1.0))
    result = read(tmp_path, f"{SLICE_HEADER}{WHO},,L3,{uid(1, 1, 2)}\n")
    assert list(reasons(result).values()) == ["mark_without_image"]


def test_unnamed_boxes_are_many_and_from_the_top_down(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", block(), PatientOrientation=["L", "H"])
    lines = [f"{WHO},,,4,{y},9,{y + 5}" for y in (10, 30, 20)]
    result = read(tmp_path, BOX_HEADER + "\n".join(lines) + "\n")
    boxes = result.studies[0].images[View.LUMBAR_AP].boxes
    assert [replace(box, y1=0) for box in boxes] == [
        VertebraBox("", 4, y, 9, 0) for y in (25, 35, 45)
    ]
