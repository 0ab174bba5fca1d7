"""Verdicts of a data contract: reached when a person checks, and standing until the next check.

So a refusal follows from the person's last `osteofed site check` and from settings, never from
who came or went since.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from client.contract.facts import TaskFacts, read_facts, scanner_facts
from client.contract.phantom_qc import kept_measurements
from client.contract.rows import ContractRow
from client.contract.rules import Evidence, equipment_rows, rows_of
from client.store.site_store import OWNERS_FILE, OWNERS_FOLDER, SiteStore
from shared.errors import ContractNotMetError
from shared.runtime.files import write_text_atomically
from shared.settings.contract import DataContract
from shared.settings.declared import DeclaredNumbers

FOLDER: Final = "contracts"


def judge(store: SiteStore, task: str, contract: DataContract, digest: str) -> list[ContractRow]:
    """Hold a contract against the data of today, and keep the verdicts with its digest."""
    facts = read_facts(store, task, series=contract.ct is not None)
    rows = rows_of(contract, _evidence(store, facts))
    found = {
        "contract": digest,
        "scanners": sorted({(study.vendor, study.model or "") for study in facts.studies}),
        "rows": [asdict(row) for row in rows],
    }
    write_kept(_path(store.folder, task), json.dumps(found, indent=2) + "\n")
    return rows


def standing_rows(
    store: SiteStore, task: str, contract: DataContract, digest: str
) -> Sequence[ContractRow]:
    """Give the verdicts of the last check; those of equipment by what is known of it today.

    A contract that requires nothing needs none.

    Raises
    ------
    ContractNotMetError
        If there are none of this contract.
    """
    if contract == DataContract():
        return []
    try:
        found = json.loads(_path(store.folder, task).read_text(encoding="utf-8"))
        rows = [ContractRow(**row) for row in found["rows"]]
        # An earlier version named neither: its verdicts stand as they are.
        judged, scanners = found.get("contract", digest), found.get("scanners", [])
        used = [scanner_facts(vendor, model) for vendor, model in scanners]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        judged, used, rows = "", [], []
    if judged != digest:
        raise ContractNotMetError(
            f"the hospital has no verdicts on the contract that it keeps for task {task}; its "
            "engineer checks it with `osteofed site check`"
        )
    if not used:
        return rows
    evidence = _evidence(store, TaskFacts(task, used, store))
    now = {row.requirement: row for row in equipment_rows(contract, evidence)}
    return [now.get(row.requirement, row) for row in rows]


def write_kept(path: Path, text: str) -> None:
    """Write a file of the folder of contracts, whole or not at all, for its owner alone."""
    path.parent.mkdir(mode=OWNERS_FOLDER, exist_ok=True)
    write_text_atomically(path, text, mode=OWNERS_FILE)


def _evidence(store: SiteStore, facts: TaskFacts) -> Evidence:
    declared = store.config.declared.get(facts.task, DeclaredNumbers()).train
    measurements = kept_measurements(store.folder)
    today = datetime.now(UTC).date()
    return Evidence(facts, store.config.scanners, measurements, today, declared)


def _path(folder: Path, task: str) -> Path:
    return folder / FOLDER / f"{task}.checked.json"
