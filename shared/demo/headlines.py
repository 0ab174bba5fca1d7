"""How the figures of trained models stand against those of their start, and in which words."""

from __future__ import annotations

from typing import Any

from shared.demo.summary import Standing
from shared.tasks import TASKS

#: Decimals at which figures are shown, and compared.
DECIMALS = 3


def against_start(
    start: float | None, trained: float | None, *, more_is_better: bool
) -> Standing | None:
    """Tell whether training made a figure better, at the decimals that are shown.

    Parameters
    ----------
    start, trained : float or None
        The metric of the weights that training started from, and of what it gave, on the
        same patients.
    more_is_better : bool
        As the task's headline says.

    Returns
    -------
    str or None
        ``better``, ``equal`` or ``worse``; None if a figure is missing.
    """
    if start is None or trained is None:
        return None
    gained = round(trained, DECIMALS) - round(start, DECIMALS)
    if not more_is_better:
        gained = -gained
    if abs(gained) < 10**-DECIMALS / 2:
        return "equal"
    return "better" if gained > 0 else "worse"


def standing_words(name: str, task: dict[str, Any]) -> str:
    """Say how a task's private model stands against its start, at the unseen hospital."""
    headline = TASKS[name].headline
    label = headline.words
    if task["against_start"] is None:
        return f"{name}: cannot be compared with its start ({label}: no case to compute it on)."
    verdict = {"better": "better than", "equal": "equal to", "worse": "worse than"}
    return (
        f"{name}: the private model is {verdict[task['against_start']]} the public weights that "
        f"it started from ({label}: {task['start']:.{DECIMALS}f} before, "
        f"{task['metrics']['unseen'][headline.metric]:.{DECIMALS}f} after)."
    )
