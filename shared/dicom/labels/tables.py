"""Labels from a hospital's CSV or XLSX exports: BMD per region, Genant grade per vertebra."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal

from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.regions import BMD_REGIONS, VERTEBRAE
from shared.settings.files import LabelColumns

from .names import GRADES, is_bmd, region_named
from .workbook import FORMULA, WORKBOOK, workbook_lines

Kind = Literal["bmd", "genant"]
SEPARATORS: Final = (",", ";", "\t")
LARGEST_TABLE: Final = 64 * 1024 * 1024
#: Cells that say "nobody said".
BLANK: Final = frozenset({"", "-", "n/a", "na", "nan", "none", "not assessed", "not evaluable"})


@dataclass(frozen=True)
class LabelRow:
    """One label of one patient's visit.

    `path` is ``table.csv:12``; `name` a BMD region or a vertebra; `value` in g/cm²
    or a grade; `maker` what the table says of the scanner, empty if nothing. Holds
    identifiers: it stays with who reads the folder.
    """

    path: str
    patient_id: str
    day: date
    kind: Kind
    name: str
    value: float
    maker: str = ""

    @property
    def visit(self) -> tuple[str, date]:
        """What a label is joined to studies by."""
        return self.patient_id, self.day


def read_table(
    path: str, data: bytes, columns: LabelColumns
) -> tuple[list[LabelRow], list[FileVerdict]]:
    """Read one export; the kind of table is told by its columns.

    Parameters
    ----------
    path : str
        For the verdicts.
    data : bytes
        Text in UTF-8 or Windows-1252, separated by comma, semicolon or tab; or the first
        sheet of an XLSX workbook, where a formula is never evaluated and never believed.
    columns : LabelColumns
        The hospital's column names.

    Returns
    -------
    rows : list of LabelRow
        Labels, blank ones and those of regions nobody needs left out.
    verdicts : list of FileVerdict
        Of rows that cannot be.

    Raises
    ------
    SetAsideError
        If it is no table of labels.
    """
    if len(data) > LARGEST_TABLE:
        raise SetAsideError("file_too_large")
    lines = workbook_lines(data) if data.startswith(WORKBOOK) else _lines(data)
    header = [cell.strip() for cell in next(lines, (0, []))[1]]
    kind = _kind(header, columns)
    name_column, value_column = (
        (columns.region, columns.bmd) if kind == "bmd" else (columns.vertebra, columns.genant)
    )
    wanted = (columns.patient_id, columns.scan_date, name_column, value_column)
    places = [header.index(column) for column in wanted]
    maker_place = header.index(columns.manufacturer) if columns.manufacturer in header else None
    rows: list[LabelRow] = []
    verdicts: list[FileVerdict] = []
    for number, cells in lines:
        where = f"{path}:{number}"
        try:
            texts = [cells[place].strip() for place in places]
            maker = "" if maker_place is None else "".join(cells[maker_place : maker_place + 1])
            texts.append(maker.strip())
            if FORMULA in texts:
                raise ValueError("a formula instead of a value")
            row = _row(where, kind, *texts)
        except (IndexError, ValueError) as error:
            verdicts.append(judge(where, "label_invalid", str(error.args[0])[:60]))
            continue
        if row is not None:
            rows.append(row)
    return rows, verdicts


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows (from 1, the header) that are not empty."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if "\x00" in text:
        raise SetAsideError("table_unknown")
    first = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error:
        raise SetAsideError("table_unknown") from None


def _kind(header: list[str], columns: LabelColumns) -> Kind:
    """Kind of a table by its header row."""
    who = {columns.patient_id, columns.scan_date}
    bmd = who | {columns.region, columns.bmd} <= set(header)
    genant = who | {columns.vertebra, columns.genant} <= set(header)
    if bmd == genant:
        raise SetAsideError("table_unknown")
    return "bmd" if bmd else "genant"


def _row(
    where: str, kind: Kind, patient: str, day: str, name: str, value: str, maker: str
) -> LabelRow | None:
    """Make one label; None if it is blank or of a region nobody needs.

    Raises
    ------
    ValueError
        Naming the column that cannot be, not its content.
    """
    if value.lower() in BLANK:
        return None
    region = region_named(name)
    if region not in (BMD_REGIONS if kind == "bmd" else VERTEBRAE):
        return None
    if not patient:
        raise ValueError("patient id")
    try:
        number = float(value.replace(",", "."))
    except ValueError:
        raise ValueError("value") from None
    if not (is_bmd(number) if kind == "bmd" else number in GRADES):
        raise ValueError("value")
    maker = "" if maker.lower() in BLANK else maker
    return LabelRow(where, patient, parse_day(day), kind, str(region), number, maker)


def parse_day(text: str) -> date:
    """Read a date: 2024-03-01, 20240301, 01.03.2024, or with slashes where only one reading is.

    Raises
    ------
    ValueError
        If it is none, or if 03/04/2024 leaves open which is the month.
    """
    text = re.split(r"[T ]", text, maxsplit=1)[0]
    for pattern, order in (
        (r"(\d{4})-(\d{1,2})-(\d{1,2})", (0, 1, 2)),
        (r"(\d{4})(\d{2})(\d{2})", (0, 1, 2)),
        (r"(\d{1,2})\.(\d{1,2})\.(\d{4})", (2, 1, 0)),
    ):
        match = re.fullmatch(pattern, text)
        if match:
            return _day(*(int(match[i + 1]) for i in order))
    match = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4})", text)
    if match:
        first, second, year = (int(part) for part in match.groups())
        if first > 12 or first == second:
            return _day(year, second, first)
        if second > 12:
            return _day(year, first, second)
    raise ValueError("scan date")


def _day(year: int, month: int, day: int) -> date:
    """Make a date; say only that it is none, not what it was."""
    try:
        return date(year, month, day)
    except ValueError:
        raise ValueError("scan date") from None
