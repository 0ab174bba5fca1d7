"""The ledger as the site engineer reads it: one line per run and task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from client.privacy.entry_state import EntryState
from client.privacy.ledger import Ledger
from client.privacy.ledger_entries import Entry, EntryMode
from client.privacy.spending import Spending
from client.store.site_store import SiteStore


def ledger_statement(folder: Path) -> dict[str, Any]:
    """Sum up a site's ledger.

    Parameters
    ----------
    folder : Path
        The site folder.

    Returns
    -------
    dict
        ``site``, ``epsilon_budget``, ``epsilon_spent``, ``epsilon_left``, ``delta``,
        ``filter`` (by which rule the ledger decides), ``order`` (of a Rényi one, else 0),
        ``plain_rounds``, ``unbounded``, ``epsilon_private`` and ``lines``: run, task, mode,
        rounds, steps, noise_multiplier, epsilon_after (everything up to and with this line)
        and state (``reserved`` if any round of it was not committed).

        After a round without privacy no epsilon covers the patients: ``unbounded`` is
        true, and ``epsilon_spent``, ``epsilon_left`` and from that line on
        ``epsilon_after`` are None. ``epsilon_private`` is what the private rounds alone
        spent, which is what the budget goes on to limit.

    Raises
    ------
    StoreMissingError
        If the folder is no site, or its ledger is missing or another store's.
    """
    store = SiteStore.open(folder)
    privacy = store.config.privacy
    ledger = _ledger_of(store)
    spending = ledger.spending()
    ledger.close()
    spent, plain = spending.epsilon(), spending.plain_rounds()
    return {
        "site": store.config.site,
        "epsilon_budget": privacy.epsilon_budget,
        "epsilon_spent": None if plain else spent,
        "epsilon_left": None if plain else max(0.0, privacy.epsilon_budget - spent),
        "epsilon_private": spent,
        "delta": privacy.delta,
        "filter": spending.rule.kind,
        "order": spending.rule.order,
        "plain_rounds": plain,
        "unbounded": plain > 0,
        "lines": _lines(spending),
    }


def ledger_entries(folder: Path) -> list[Entry]:
    """List the lines of a site's ledger, oldest first; see `ledger_statement`."""
    ledger = _ledger_of(SiteStore.open(folder))
    try:
        return ledger.entries()
    finally:
        ledger.close()


def _ledger_of(store: SiteStore) -> Ledger:
    try:
        return store.open_ledger()
    finally:
        store.close()


def _lines(spending: Spending) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, str, EntryMode], list[Entry]] = {}
    for entry in spending.entries:
        grouped.setdefault((entry.run, entry.task, entry.mode), []).append(entry)
    lines: list[dict[str, Any]] = []
    spent: list[Entry] = []
    unbounded = False
    for (run, task, mode), group in grouped.items():
        if mode is EntryMode.PRIVATE:
            spent += group
        else:
            unbounded = True
        after = None if unbounded else replace(spending, entries=spent).epsilon()
        lines.append(
            {
                "run": run,
                "task": task,
                "mode": mode,
                "rounds": len({entry.round for entry in group}),
                "steps": sum(entry.steps for entry in group),
                "noise_multiplier": max(entry.noise_multiplier for entry in group),
                "epsilon_after": after,
                "state": _state_of(group),
            }
        )
    return lines


def _state_of(group: Sequence[Entry]) -> EntryState:
    states = {entry.state for entry in group}
    return EntryState.RESERVED if EntryState.RESERVED in states else EntryState.COMMITTED
