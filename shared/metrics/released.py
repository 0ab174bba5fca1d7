"""Which sums of metrics may leave a hospital: a closed list of kinds; a task names its own.

Only sums over whole patients are kinds of it, each with the count of its patients. What
singles a patient out never is: histograms of scores, tables of grades, errors of
constants (their differences count the patients between two constants), and counts
of vertebrae, of which one patient gives many. A task says by name which means and which
regressions of its own may leave (`shared.tasks.base.Task.released`); a test holds the names of
all tasks. The hospital releases by them and the coordinator reads by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

#: Sums over all validation patients, which every task may release.
WHOLE: Final[tuple[str, ...]] = ("patients", "loss_sum")
#: What `shared.metrics.regression` needs for error, bias and agreement.
MOMENTS: Final[tuple[str, ...]] = ("n", "abs", "sq", "x", "y", "xx", "yy", "xy")
#: Sums that are of squares or of sizes, and so never negative.
NEVER_NEGATIVE: Final[tuple[str, ...]] = ("n", "abs", "sq", "xx", "yy")


@dataclass(frozen=True)
class ReleasedSums:
    """The sums that one task may release besides `WHOLE`.

    Parameters
    ----------
    means : tuple of str
        Means over patients, kept as ``NAME_sum`` and ``NAME_n``; each patient counts once.
    regressions : tuple of str
        Regressions, kept as ``NAME:MOMENT``; each patient gives one value.
    """

    means: tuple[str, ...] = ()
    regressions: tuple[str, ...] = ()

    @cached_property
    def cells(self) -> Mapping[str, tuple[str, ...]]:
        """Key of the count of patients -> every key of the cell that it counts."""
        means = {f"{name}_n": (f"{name}_n", f"{name}_sum") for name in self.means}
        moments = {
            f"{name}:n": tuple(f"{name}:{moment}" for moment in MOMENTS)
            for name in self.regressions
        }
        return means | moments

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every sum that may leave."""
        return frozenset({*WHOLE, *(key for keys in self.cells.values() for key in keys)})

    def cells_in(self, statistics: Mapping[str, float]) -> dict[str, dict[str, float]]:
        """Pick the cells that are there, even in part.

        Parameters
        ----------
        statistics : mapping of str to float
            Sums of the task (`shared.tasks.base.Statistics`).

        Returns
        -------
        dict of str to dict
            Key of the count -> the cell's sums that are there.
        """
        found = {
            count: {key: statistics[key] for key in keys if key in statistics}
            for count, keys in self.cells.items()
        }
        return {count: cell for count, cell in found.items() if cell}

    def is_whole(self, count: str, cell: Mapping[str, float], patients: float) -> bool:
        """Tell whether a cell has all its sums and counts no more than the patients there are."""
        return set(cell) == set(self.cells[count]) and cell[count] <= patients
