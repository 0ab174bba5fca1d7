"""Identifiers of files that are not read as part of a study: refused, quarantined, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.dicom.attributes import quietly
from shared.dicom.scan import LARGEST_FILE, TABLE_ENDINGS, parse
from shared.dicom.verdicts import SetAsideError
from shared.settings.files import LabelColumns

from .identifiers import SeenIdentifier, identifiers_of, identifiers_of_name, identifiers_of_table

#: A table beyond this is not read for labels either.
LARGEST_TABLE: Final = 64 * 1024 * 1024


def identifiers_in_file(
    path: Path, name: str, columns: LabelColumns | None = None
) -> frozenset[SeenIdentifier]:
    """Collect what names the patient in a file, whatever became of it at the door.

    Parameters
    ----------
    path : Path
        DICOM, a table, or anything else (then only its name says something).
    name : str
        Relative to the folder that was read, with ``/``.
    columns : LabelColumns or None
        Columns of the hospital's tables; None: they are told by their headings.

    Returns
    -------
    frozenset of SeenIdentifier
        Never an error: a file that cannot be parsed has a name at least.
    """
    named = identifiers_of_name(name)
    table = path.suffix.lower() in TABLE_ENDINGS
    try:
        if path.stat().st_size > (LARGEST_TABLE if table else LARGEST_FILE):
            return named
        data = path.read_bytes()
        if table:
            if columns is None:
                return named | identifiers_of_table(data)
            return named | identifiers_of_table(
                data, columns.patient_id, columns.image, columns.slice
            )
        with quietly():
            return named | identifiers_of(parse(data, pixels=False))
    except (OSError, SetAsideError):
        return named
    except Exception:  # one bad file never stops the batch
        return named
