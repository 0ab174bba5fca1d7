"""The ledger held against the site's audit chain, offline: what was signed stands in the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from client.privacy.ledger_entries import Entry, EntryMode
from shared.audit.chain import ChainLine
from shared.errors import ChainBrokenError


def check_ledger(path: Path, lines: Iterable[ChainLine], entries: Sequence[Entry]) -> int:
    """Hold every private release of a chain against the ledger's lines.

    Parameters
    ----------
    path : Path
        The chain, for the sentence.
    lines : iterable of ChainLine
        All of it, checked (`shared.protocol.chain_cross_check.verify_site_chain`).
    entries : sequence of Entry
        All lines of the ledger.

    Returns
    -------
    int
        How many releases were held against it; those of an older version, whose chain names no
        line of the ledger, are not.

    Raises
    ------
    ChainBrokenError
        If a line of the chain names a reservation that is not there, or a release was signed
        with another privacy mechanism than any that was reserved for it.
    """
    by_number = {entry.id: entry for entry in entries}
    reserved: dict[tuple[str, int, str], set[tuple[float, float, int]]] = {}
    held = 0
    for line in lines:
        facts = line.facts
        key = (str(facts.get("run")), int(facts.get("round", 0)), str(facts.get("task")))
        if line.event == "reserved" and "entry" in facts:
            entry = by_number.get(facts["entry"])
            if entry is None or (entry.run, entry.round, entry.task) != key:
                raise ChainBrokenError(
                    f"{path}: line {line.line} names a reservation that the ledger does not have; "
                    "restore the newest backup of both"
                )
            if entry.mode is EntryMode.PRIVATE:
                numbers = (entry.sample_rate, entry.noise_multiplier, entry.steps)
                reserved.setdefault(key, set()).add(numbers)
        if line.event == "released" and facts.get("mode") == "private" and key in reserved:
            said = (facts["sample_rate"], facts["noise_multiplier"], facts["steps"])
            if said not in reserved[key]:
                raise ChainBrokenError(
                    f"{path}: line {line.line} was signed with another privacy mechanism than the "
                    f"ledger holds for round {key[1]} of run {key[0]} ({key[2]})"
                )
            held += 1
    return held
