"""Which rounds used what a store held, as the site's own audit chain has it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from client.identity.chain import AUDIT
from client.store.site_store import SiteStore
from shared.errors import UnknownTaskError

#: Event of the chain: an answer left the hospital.
RELEASED = '"event": "released"'


@dataclass(frozen=True)
class UsedRound:
    """One round that an answer was given to; `round` is 0 of an evaluation."""

    run: str
    round: int
    task: str

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def stored_since(array: Path) -> str:
    """When an array of the store was written (UTC, ISO 8601); empty if it is gone."""
    with suppress(OSError):
        return datetime.fromtimestamp(array.stat().st_mtime, UTC).isoformat(timespec="seconds")
    return ""


def rounds_with(store: SiteStore, since: str) -> tuple[UsedRound, ...]:
    """Rounds of tasks that read CT series, answered since a time (ISO 8601, UTC)."""
    path = store.folder / AUDIT
    found: dict[UsedRound, None] = {}
    if not since or not path.exists():
        return ()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if RELEASED not in line:
                continue
            with suppress(ValueError, KeyError, TypeError):
                told = json.loads(line)
                facts = told["facts"]
                if told["time"][:19] >= since[:19] and _reads_series(str(facts["task"])):
                    found[UsedRound(str(facts["run"]), int(facts["round"]), facts["task"])] = None
    return tuple(found)


@cache
def _reads_series(task: str) -> bool:
    from shared.tasks import task_class

    with suppress(UnknownTaskError):
        return task_class(task).inputs.series
    return False
