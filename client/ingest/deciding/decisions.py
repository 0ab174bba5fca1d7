"""What persons decided of scans that were set aside.

<site>/decisions.json    {"decisions": [{"scope": "kind", "digest": "…", "scan": "spine_pa"}]}, 0600

A decision is about one scan, by the keyed digest of its content, or about all scans of one kind
on one scanner, by a keyed digest of what names them. A list that cannot be read stops ingest:
guessing that it was empty would take in what somebody left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from client.store.exclusions import alone_in
from shared.errors import InputUnreadableError
from shared.runtime.files import OWNER_ONLY, write_text_atomically
from shared.scan_types import ScanType
from shared.settings.base import Settings

DECISIONS: Final = "decisions.json"
Scope = Literal["scan", "kind"]
#: Reasons for which a scan is set aside and that a person can settle.
UNDECIDED: Final = frozenset(
    {"scan_type_unknown", "hip_side_unknown", "polarity_unsure", "view_twice"}
)
#: Digits of a digest by which a scan or a kind is called.
SHOWN_DIGITS: Final = 8


class Decision(Settings):
    """One decision.

    `scan` is what it shows (None: it stays out); `inverted` whether bone is dark as the file is
    read (None: that was no question).
    """

    scope: Scope
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    scan: ScanType | None
    inverted: bool | None = None


class DecisionList(Settings):
    """What the file holds."""

    decisions: tuple[Decision, ...] = ()


def read_decisions(folder: Path) -> tuple[Decision, ...]:
    """Read what was decided at a site; nothing if nobody ever decided.

    Raises
    ------
    InputUnreadableError
        If the list is there and cannot be understood.
    """
    path = folder / DECISIONS
    try:
        return DecisionList.model_validate_json(path.read_bytes()).decisions
    except FileNotFoundError:
        return ()
    except (OSError, ValidationError) as error:
        raise InputUnreadableError(
            f"{path}: the list of decisions cannot be read ({type(error).__name__}); restore it "
            "from your backup, or remove it to decide anew"
        ) from None


def keep_decision(folder: Path, decision: Decision) -> None:
    """Keep a decision, in the place of an earlier one about the same."""
    with alone_in(folder):
        _write(folder, [*_others(folder, decision.digest), decision])


def forget_decision(folder: Path, digest: str) -> None:
    """Forget what was decided."""
    with alone_in(folder):
        _write(folder, _others(folder, digest))


def _others(folder: Path, digest: str) -> list[Decision]:
    return [one for one in read_decisions(folder) if one.digest != digest]


def _write(folder: Path, decisions: list[Decision]) -> None:
    ordered = tuple(sorted(decisions, key=lambda one: one.digest))
    text = DecisionList(decisions=ordered).model_dump_json(indent=2)
    write_text_atomically(folder / DECISIONS, text + "\n", mode=OWNER_ONLY)
