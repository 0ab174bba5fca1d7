"""The figure of each task that the demo shows, and in which words."""

from __future__ import annotations

from typing import Any

from shared.demo.summary import Standing

#: The metric of each task that the tables and curves show, and what it is called.
HEADLINES: dict[str, tuple[str, str]] = {
    "dxa-segmentation": ("dice", "mean Dice, frontal views"),
    "dxa-bmd": ("mae_lumbar", "lumbar BMD error (MAE), g/cm²"),
    "vfa-fracture": ("auc_grade2", "AUC, fracture grade ≥ 2"),
}

#: What a headline leaves out, shown below it.
BESIDE: dict[str, tuple[str, str]] = {
    "dxa-segmentation": ("dice_lateral", "Dice, vertebrae, lateral view"),
}

#: Of those, where less is better.
LESS_IS_BETTER = frozenset({"mae_lumbar"})

#: Decimals at which figures are shown, and compared.
DECIMALS = 3


def against_start(metric: str, start: float | None, trained: float | None) -> Standing | None:
    """Tell whether training made a figure better, at the decimals that are shown.

    Parameters
    ----------
    metric : str
        A headline of `HEADLINES`.
    start, trained : float or None
        The metric of the weights that training started from, and of what it gave, on the
        same patients.

    Returns
    -------
    str or None
        ``better``, ``equal`` or ``worse``; None if a figure is missing.
    """
    if start is None or trained is None:
        return None
    gained = round(trained, DECIMALS) - round(start, DECIMALS)
    if metric in LESS_IS_BETTER:
        gained = -gained
    if abs(gained) < 10**-DECIMALS / 2:
        return "equal"
    return "better" if gained > 0 else "worse"


def standing_words(name: str, task: dict[str, Any]) -> str:
    """Say how a task's private model stands against its start, at the unseen hospital."""
    metric, label = HEADLINES[name]
    if task["against_start"] is None:
        return f"{name}: cannot be compared with its start ({label}: no case to compute it on)."
    verdict = {"better": "better than", "equal": "equal to", "worse": "worse than"}
    return (
        f"{name}: the private model is {verdict[task['against_start']]} the public weights that "
        f"it started from ({label}: {task['start']:.{DECIMALS}f} before, "
        f"{task['metrics']['unseen'][metric]:.{DECIMALS}f} after)."
    )
