"""Which sums of metrics may leave a hospital: a closed list, by name.

Only sums over whole patients are on it, each with the count of its patients. What
singles a patient out never is: histograms of scores, tables of grades, errors of
constants (their differences count the patients between two constants), and counts
of vertebrae, of which one patient gives many. A new task's sums leave only after
they were added here. The hospital releases by this list and the coordinator reads
by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.regions import REGION_CODES

#: Sums over all validation patients.
WHOLE: Final[tuple[str, ...]] = ("patients", "loss_sum")
#: Means over patients, kept as ``NAME_sum`` and ``NAME_n``; each patient counts once.
MEANS: Final[tuple[str, ...]] = (
    "dice",
    "dice_lateral",
    "dice_lateral_any",
    "dice_total_hip",
    *(f"dice_{region}" for region in REGION_CODES),
)
#: Regressions, kept as ``NAME:MOMENT``; each patient gives one value.
REGRESSIONS: Final[tuple[str, ...]] = ("lumbar", "femoral_neck", "total_hip")
#: What `shared.metrics.regression` needs for error, bias and agreement.
MOMENTS: Final[tuple[str, ...]] = ("n", "abs", "sq", "x", "y", "xx", "yy", "xy")
#: Sums that are of squares or of sizes, and so never negative.
NEVER_NEGATIVE: Final[tuple[str, ...]] = ("n", "abs", "sq", "xx", "yy")

#: Key of the count of patients -> every key of the cell that it counts.
CELLS: Final[Mapping[str, tuple[str, ...]]] = {
    **{f"{name}_n": (f"{name}_n", f"{name}_sum") for name in MEANS},
    **{f"{name}:n": tuple(f"{name}:{moment}" for moment in MOMENTS) for name in REGRESSIONS},
}


def cells_in(statistics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Pick the cells of the list that are there, even in part.

    Parameters
    ----------
    statistics : mapping of str to float
        Sums of a task (`shared.tasks.base.Statistics`).

    Returns
    -------
    dict of str to dict
        Key of the count -> the cell's sums that are there.
    """
    found = {
        count: {key: statistics[key] for key in keys if key in statistics}
        for count, keys in CELLS.items()
    }
    return {count: cell for count, cell in found.items() if cell}


def is_whole(count: str, cell: Mapping[str, float], patients: float) -> bool:
    """Tell whether a cell has all its sums and counts no more than the patients there are."""
    return set(cell) == set(CELLS[count]) and cell[count] <= patients
