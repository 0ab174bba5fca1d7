"""The ledger as the site engineer reads it: one line per run and task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from client.ledger import Entry, Ledger
from shared.config import SiteConfig, load_settings, resolve
from shared.errors import StoreMissingError
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
        ``plain_rounds`` and ``lines``: run, task, mode, rounds, steps,
        noise_multiplier, epsilon_after (everything up to and with this line) and
        state (``reserved`` if any round of it was not committed).

    Raises
    ------
    StoreMissingError
        If the folder is no site.
    """
    settings = folder / "site.yaml"
    if not settings.is_file():
        raise StoreMissingError(f"{folder}: is not a site (no site.yaml); see `osteofed site init`")
    config = load_settings(settings, SiteConfig)
    ledger = Ledger(resolve(folder, config.ledger), config.privacy)
    entries = ledger.entries()
    spent = ledger.epsilon()
    facts = {
        "site": config.site,
        "epsilon_budget": config.privacy.epsilon_budget,
        "epsilon_spent": spent,
        "epsilon_left": max(0.0, config.privacy.epsilon_budget - spent),
        "delta": config.privacy.delta,
        "plain_rounds": ledger.plain_rounds(),
        "lines": _lines(entries, config.privacy.delta),
    }
    ledger.close()
    return facts


def _lines(entries: list[Entry], delta: float) -> list[dict[str, Any]]:
    grouped: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault((entry.run, entry.task, entry.mode), []).append(entry)
    lines: list[dict[str, Any]] = []
    spent: list[Entry] = []
    for (run, task, mode), group in grouped.items():
        if mode == "private":
            spent += group
        lines.append(
            {
                "run": run,
                "task": task,
                "mode": mode,
                "rounds": len({entry.round for entry in group}),
                "steps": sum(entry.steps for entry in group),
                "noise_multiplier": max(entry.noise_multiplier for entry in group),
                "epsilon_after": epsilon([entry.mechanism for entry in spent], delta),
                "state": "reserved" if any(e.state == "reserved" for e in group) else "committed",
            }
        )
    return lines
