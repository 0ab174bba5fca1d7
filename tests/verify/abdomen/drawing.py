"""Draws what was found: regression and Bland–Altman, of vertebrae and of patients.

``python -m tests.verify.abdomen.drawing`` draws the stored runs into the documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.learning.scores import LEVEL
from tests.verify.abdomen.arms import START
from tests.verify.abdomen.errors import LINE, Patient, by_seed, pairs
from tests.verify.abdomen.topic import TOPIC, UNITS
from tests.verify.stored import ROOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Beside one another, from the left.
DRAWN: Final = {
    LINE: "a line on median HU", START: "public start", "federated": "federated",
    "private": "private, ε = 8", "pooled": "pooled",
}  # fmt: skip
COLOURS: Final = ("tab:blue", "tab:orange", "tab:green")
OUT: Final = ROOT / "docs" / "images" / "abdominal-ct.png"
Floats = NDArray[np.float64]
#: Where a point lies, of an estimate and its label.
Placed = Callable[[Floats, Floats], tuple[Floats, Floats]]


def draw(patients: Sequence[Patient], out: Path) -> None:
    """Draw every way of training: two rows of a vertebra's density and two of a patient's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, len(DRAWN), figsize=(3.4 * len(DRAWN), 13), squeeze=False)
    for half, of in enumerate(UNITS):
        for column, (arm, name) in enumerate(DRAWN.items()):
            above, below = axes[2 * half][column], axes[2 * half + 1][column]
            _draw_regression(above, patients, arm, of)
            _draw_differences(below, patients, arm, of)
            above.set_title(f"{name}, {of}", fontsize=10)
    for row in axes:
        for one in row:
            one.tick_params(labelsize=8)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=4, fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def _draw_regression(axes: Axes, patients: Sequence[Patient], arm: str, of: str) -> None:
    """Estimate by label, with the line through them, its 95 % and that of a new patient."""
    said, label = _scatter(axes, patients, arm, of, lambda s, t: (t, s))
    line = stats.linregress(label, said)
    grid = np.linspace(label.min(), label.max(), 50)
    middle = line.intercept + line.slope * grid
    many = len(label)
    left = float(np.square(said - line.intercept - line.slope * label).sum() / (many - 2))
    far = np.square(grid - label.mean()) / np.square(label - label.mean()).sum()
    often = float(stats.t.ppf((1 + LEVEL) / 2, many - 2))
    for more, alpha, name in ((0.0, 0.35, "95 % of the line"), (1.0, 0.12, "95 % of patients")):
        wide = often * np.sqrt(left * (more + 1 / many + far))
        axes.fill_between(grid, middle - wide, middle + wide, color="k", alpha=alpha, label=name)
    axes.plot(grid, middle, "k", lw=1)
    axes.plot(grid, grid, "k:", lw=1)
    axes.set_xlabel("DXA, sBMD, g/cm²", fontsize=8)
    axes.set_ylabel("estimate, g/cm²", fontsize=8)
    axes.annotate(
        f"r {line.rvalue:.3f}, n {many}", (0.04, 0.92), xycoords="axes fraction", fontsize=9
    )


def _draw_differences(axes: Axes, patients: Sequence[Patient], arm: str, of: str) -> None:
    """Bland–Altman: difference by mean, with bias, limits of agreement and their 95 %."""
    said, label = _scatter(axes, patients, arm, of, lambda s, t: ((s + t) / 2, s - t))
    apart = said - label
    bias, spread, many = float(apart.mean()), float(apart.std(ddof=1)), len(apart)
    often = float(stats.t.ppf((1 + LEVEL) / 2, many - 1))
    for place, error in (
        (bias, spread / np.sqrt(many)),
        (bias - 1.96 * spread, spread * np.sqrt(3 / many)),
        (bias + 1.96 * spread, spread * np.sqrt(3 / many)),
    ):
        axes.axhline(place, color="k", lw=1)
        axes.axhspan(place - often * error, place + often * error, color="k", alpha=0.15)
    axes.set_ylim(-0.45, 0.45)
    axes.set_xlabel("mean of both, g/cm²", fontsize=8)
    axes.set_ylabel("estimate − DXA, g/cm²", fontsize=8)
    axes.annotate(
        f"bias {bias:+.3f}, limits {bias - 1.96 * spread:+.3f} to {bias + 1.96 * spread:+.3f}",
        (0.04, 0.92), xycoords="axes fraction", fontsize=8,
    )  # fmt: skip


def _scatter(
    axes: Axes, patients: Sequence[Patient], arm: str, of: str, placed: Placed
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of each hospital in its colour; gives all estimates and labels."""
    everything = []
    for colour, hospital in zip(
        COLOURS, sorted({one["hospital"] for one in patients}), strict=False
    ):
        some = pairs([one for one in patients if one["hospital"] == hospital], arm, of)
        said, label = (np.concatenate([one[place] for one in some]) for place in (0, 1))
        axes.plot(*placed(said, label), ".", ms=3, alpha=0.6, color=colour, label=hospital)
        everything.append((said, label))
    said, label = (np.concatenate([one[place] for one in everything]) for place in (0, 1))
    return said, label


if __name__ == "__main__":
    first = min(found := by_seed(TOPIC.stored()))
    draw(found[first], OUT)
