"""The data contracts that the site was given, and what the last check of each found."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ValidationError

CONTRACTS: Final = "contracts"
#: ``<task>.json`` is a contract, ``<task>.checked.json`` what came of its last check.
CHECKED: Final = ".checked"


class CheckedRow(BaseModel):
    """One requirement: what is required, what was found, what to do."""

    requirement: str
    required: str
    found: str
    verdict: Literal["met", "not met", "cannot tell"]
    weight: Literal["must", "should"]
    advice: str


class _Checked(BaseModel):
    rows: list[CheckedRow]


class Contract(BaseModel):
    """The contract of one task; `rows` is None if no check of it can be read."""

    task: str
    rows: list[CheckedRow] | None

    @property
    def failed(self) -> int:
        """How many requirements keep the site from training."""
        return sum(row.weight == "must" and row.verdict != "met" for row in self.rows or ())


def contracts(folder: Path) -> list[Contract]:
    """Read the contracts of a site, by task; none if it was given none."""
    kept = sorted((folder / CONTRACTS).glob("*.json"))
    return [
        Contract(task=path.stem, rows=_rows(path.with_name(f"{path.stem}{CHECKED}.json")))
        for path in kept
        if not path.stem.endswith(CHECKED)
    ]


def _rows(path: Path) -> list[CheckedRow] | None:
    try:
        return _Checked.model_validate_json(path.read_text(encoding="utf-8")).rows
    except (OSError, UnicodeDecodeError, ValidationError):
        return None
