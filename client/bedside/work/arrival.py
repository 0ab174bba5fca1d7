"""One instance as it came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .identities import WhoseObject

#: Kinds of what a model reads; masks and labels come along with it.
READ: Final = ("image", "slice")


@dataclass(frozen=True)
class Arrival:
    """One instance as it came. `kind` is empty where no rule wants it, and `reason` says why."""

    study_uid: str
    series_uid: str
    sop_uid: str
    who: WhoseObject
    patient_name: str
    digest: str
    size: int
    kind: str
    reason: str = ""
    view: str = ""
    acquisition: int | None = None
    said: int | None = None
    maker: str = ""
    model: str = ""
    ours: bool = False

    def __repr__(self) -> str:
        """Hide everything, so that no log or traceback shows a patient."""
        return "Arrival(***)"

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.digest}.dcm"
