"""What in a DICOM file names a patient: found once at the door, remembered as digests only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SeenIdentifier:
    """An identifier as it stood in a file. Never printed, logged or stored as it is."""

    kind: str
    text: str

    def __repr__(self) -> str:
        """Hide the text, so that no log or traceback shows a patient."""
        return f"SeenIdentifier({self.kind}: ***)"
