"""The first sheet of an XLSX workbook as rows of text, within bounds."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final

from shared.dicom.verdicts import SetAsideError

#: A workbook is a ZIP archive.
WORKBOOK: Final = b"PK\x03\x04"
#: Stands for a cell with a formula; no table can hold this text.
FORMULA: Final = "\x00formula"
#: Bytes that a workbook may unpack to. An archive gives no more than it says.
MOST_UNPACKED: Final = 128 * 1024 * 1024
MOST_ROWS: Final = 1_000_000
MOST_COLUMNS: Final = 256


def workbook_lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    """Numbered rows (from 1, the header) of the first sheet that are not empty.

    Raises
    ------
    SetAsideError
        If it is no workbook, or unpacks to more than a table of labels does.
    """
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise SetAsideError("table_unknown", "XLSX needs openpyxl") from None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > MOST_UNPACKED:
                raise SetAsideError("file_too_large")
        book = load_workbook(io.BytesIO(data), read_only=True, keep_links=False)
        sheet = book.worksheets[0]
        rows = sheet.iter_rows(max_row=MOST_ROWS, max_col=MOST_COLUMNS)
        for number, row in enumerate(rows, start=1):
            cells = [_text(cell) for cell in row]
            if any(cells):
                yield number, cells
    except SetAsideError:
        raise
    except Exception as error:  # the library has many kinds for broken workbooks
        raise SetAsideError("table_unknown", type(error).__name__) from None


def _text(cell: Any) -> str:
    """Text of a cell as the sheet shows it."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "f":
        return FORMULA
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    shown = str(value).strip()
    pattern = cell.number_format
    # A patient id kept as a number is shown with the zeros that its format asks for.
    if isinstance(value, int) and pattern and not pattern.strip("0"):
        return shown.zfill(len(pattern))
    return shown
