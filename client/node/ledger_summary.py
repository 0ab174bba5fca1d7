"""The ledger as the site engineer reads it: one line per run and task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.privacy.ledger_db import Entry
from client.store.site_store import SiteStore
from shared.training.accounting import epsilon


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
        ``plain_rounds``, ``unbounded``, ``epsilon_private`` and ``lines``: run, task,
        mode, rounds, steps, noise_multiplier, epsilon_after (everything up to and
        with this line) and state (``reserved`` if any round of it was not committed).

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
    try:
        ledger = store.open_ledger()
    finally:
        store.close()
    entries = ledger.entries()
    spent, plain = ledger.epsilon(), ledger.plain_rounds()
    ledger.close()
    return {
        "site": store.config.site,
        "epsilon_budget": privacy.epsilon_budget,
        "epsilon_spent": None if plain else spent,
        "epsilon_left": None if plain else max(0.0, privacy.epsilon_budget - spent),
        "epsilon_private": spent,
        "delta": privacy.delta,
        "plain_rounds": plain,
        "unbounded": plain > 0,
        "lines": _lines(entries, privacy.delta),
    }


def _lines(entries: list[Entry], delta: float) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault((entry.run, entry.task, entry.mode), []).append(entry)
    lines: list[dict[str, Any]] = []
    spent: list[Entry] = []
    unbounded = False
    for (run, task, mode), group in grouped.items():
        if mode == "private":
            spent += group
        else:
            unbounded = True
        after = None if unbounded else epsilon([entry.mechanism for entry in spent], delta)
        lines.append(
            {
                "run": run,
                "task": task,
                "mode": mode,
                "rounds": len({entry.round for entry in group}),
                "steps": sum(entry.steps for entry in group),
                "noise_multiplier": max(entry.noise_multiplier for entry in group),
                "epsilon_after": after,
                "state": "reserved" if any(e.state == "reserved" for e in group) else "committed",
            }
        )
    return lines
