"""Labels from a hospital's CSV or XLSX exports, of every kind of `LABEL_KINDS`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from shared.dicom.values.character_sets import plain_text
from shared.dicom.values.dates import parse_day
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.settings.files import LabelColumns

from .kinds import BLANK, Kind, LabelKind, kinds_of
from .marks import MarkedPlace
from .workbook import FORMULA, WORKBOOK, workbook_lines

SEPARATORS: Final = (",", ";", "\t")
LARGEST_TABLE: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class LabelRow:
    """One label of one patient's visit.

    `path` is ``table.csv:12``; `name` a BMD region, a vertebra or a class; `value` in
    g/cm², a grade, or 1 of a class or a mark; `maker` what the table says of the scanner,
    empty if nothing; `mark` what of an image or series is marked, of a mark. Holds identifiers:
    it stays with who reads the folder.
    """

    path: str
    patient_id: str
    day: date
    kind: Kind
    name: str
    value: float
    maker: str = ""
    mark: MarkedPlace | None = None

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
    kinds = kinds_of(set(header), columns)
    if not kinds:
        raise SetAsideError("table_unknown")
    rows: list[LabelRow] = []
    verdicts: list[FileVerdict] = []
    for number, cells in lines:
        where = f"{path}:{number}"
        # Of two columns of one name the first counts, and a short row lacks the last cells.
        pairs = list(zip(header, (cell.strip() for cell in cells), strict=False))
        by_column = dict(reversed(pairs))
        for kind in kinds:
            try:
                row = _row(where, kind, by_column, columns)
            except (KeyError, ValueError) as error:
                detail = "a cell is missing" if isinstance(error, KeyError) else str(error.args[0])
                verdicts.append(judge(where, "label_invalid", detail[:60]))
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


def _row(
    where: str, kind: LabelKind, cells: dict[str, str], columns: LabelColumns
) -> LabelRow | None:
    """Make one label; None if it is blank or of a region nobody needs.

    Raises
    ------
    KeyError
        If a cell is missing.
    ValueError
        Naming the column that cannot be, not its content.
    """
    wanted = (columns.patient_id, columns.scan_date, *kind.columns(columns))
    patient, day, name, *values = (cells[column] for column in wanted)
    maker = cells.get(columns.manufacturer, "")
    image = cells.get(columns.image, "") if kind.mark_of else ""
    if FORMULA in (patient, day, name, *values, maker, image):
        raise ValueError("a formula instead of a value")
    if all(value.lower() in BLANK for value in values):
        return None
    known = kind.name_of(name, columns)
    if known is None:
        return None
    if not patient:
        raise ValueError("patient id")
    number = kind.value_of(values[0])
    maker, image = ("" if text.lower() in BLANK else text for text in (maker, image))
    mark = None if kind.mark_of is None else kind.mark_of(image, *values)
    return LabelRow(
        where, plain_text(patient), parse_day(day), kind.kind, known, number, maker, mark
    )
