"""Where the vertebrae are on a lateral image, from what a segmentation believes.

A segmentation may call one body by two names. The order of the spine is known, so
the best *chain* of thirteen places is sought, by dynamic programming over the rows
of the image: every body must lie below the one before it, at a distance that
bodies have, and where the segmentation believes in it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from shared.regions import REGION_CODES, VERTEBRAE

#: Distance from each body's centre to the next one's along the spine, mm: half of
#: both bodies and the disc between, mean of men and women, from T4-T5 to L3-L4.
#: Linear between the tabled levels (design: figures for the digital patients, [U]).
STEP_MM: Final[tuple[float, ...]] = (
    20.4, 21.0, 21.6, 22.2, 22.8, 23.6, 24.6, 25.8, 28.3, 30.7, 32.2, 33.1,
)  # fmt: skip
#: Statures that are tried: people are larger or smaller as a whole.
STATURES: Final[tuple[float, ...]] = (0.76, 0.81, 0.86, 0.91, 0.96, 1.01, 1.06, 1.11, 1.17, 1.23)
#: Relative spread of a step within one person; fractures and curves shorten single ones.
STEP_SPREAD: Final = 0.10
#: Shortest and longest step that is considered, relative to a person's own.
STEP_RANGE: Final = (0.55, 1.4)
#: What a step that is one spread too short or too long costs, in units of belief.
STEP_COST: Final = 0.1
#: A level whose body collects less belief than this share of a whole body was not seen.
LEAST_BELIEF: Final = 0.15
#: Weight of "some vertebra is here" beside "this very vertebra is here".
ANY_BODY: Final = 0.35


def vertebra_positions(
    probabilities: Tensor, spacing_mm: tuple[float, float]
) -> dict[str, tuple[float, float, float]]:
    """Find the vertebral bodies of a lateral image.

    Parameters
    ----------
    probabilities : Tensor of float, shape (17, H, W)
        Class probabilities in the frame, in the order of the region codes.
    spacing_mm : (float, float)
        Millimetres per pixel, row first.

    Returns
    -------
    dict of str to (float, float, float)
        By level: row and column of the centre in mm from the first corner of the
        frame, and height of the body in mm. Rows rise from T4 to L4. Levels of
        which nothing is seen are absent; none are there if no body is.
    """
    chances = probabilities.detach().float().cpu().numpy().astype(np.float64)
    levels = np.stack([chances[REGION_CODES[name]] for name in VERTEBRAE])  # (13, H, W)
    by_row = levels.sum(axis=2) * spacing_mm[1]  # mm of body in each row, (13, H)
    if by_row.sum() <= 0:
        return {}
    rows = _best_chain(_belief(by_row, spacing_mm[0]), spacing_mm[0])
    found = {}
    for level, name in enumerate(VERTEBRAE):
        place = _refine(levels, by_row, rows, level, spacing_mm)
        if place is not None:
            found[name] = place
    return found


def _belief(by_row: NDArray[np.float64], spacing: float) -> NDArray[np.float64]:
    """Say how good each row is as the centre of each level, (13, H)."""
    kernel_rows = max(1, round(12.0 / spacing))  # most of a body's height
    kernel = np.hanning(kernel_rows + 2)[1:-1]
    kernel /= kernel.sum()

    def smooth(profile: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.convolve(profile, kernel, mode="same")

    width = 30.0  # mm, a body's depth: what a fully believed row collects
    own = np.stack([smooth(profile) for profile in by_row]) / width
    every = smooth(by_row.sum(axis=0)) / width
    return np.minimum(own, 1.0) + ANY_BODY * np.minimum(every, 1.0)[None, :]


def _best_chain(belief: NDArray[np.float64], spacing: float) -> list[int]:
    """Find the rising rows that collect the most belief, over all statures."""
    chains = [_chain(belief, np.asarray(STEP_MM) * stature / spacing) for stature in STATURES]
    return max(chains, key=lambda chain: chain[0])[1]


def _chain(belief: NDArray[np.float64], steps: NDArray[np.float64]) -> tuple[float, list[int]]:
    """Find the best rows for expected steps in pixels (Viterbi): its belief, its rows."""
    levels, height = belief.shape
    best = belief[0].copy()
    came_from = np.zeros((levels, height), dtype=np.int64)
    for level in range(1, levels):
        step = steps[level - 1]
        gaps = np.arange(max(1, int(step * STEP_RANGE[0])), int(np.ceil(step * STEP_RANGE[1])) + 1)
        reached = np.full((len(gaps), height), -np.inf)
        for number, gap in enumerate(gaps):
            if gap < height:
                cost = STEP_COST * ((gap - step) / (STEP_SPREAD * step)) ** 2
                reached[number, gap:] = best[: height - gap] - cost
        chosen = reached.argmax(axis=0)
        came_from[level] = np.arange(height) - gaps[chosen]
        best = reached.max(axis=0) + belief[level]
    rows = [int(best.argmax())]
    for level in range(levels - 1, 0, -1):
        rows.append(int(came_from[level, rows[-1]]))
    return float(best.max()), rows[::-1]


def _refine(
    levels: NDArray[np.float64],
    by_row: NDArray[np.float64],
    rows: list[int],
    level: int,
    spacing_mm: tuple[float, float],
) -> tuple[float, float, float] | None:
    """Find centre and height around a level's row; None if too little is seen there."""
    height = by_row.shape[1]
    above = rows[level - 1] if level > 0 else rows[0] - (rows[1] - rows[0])
    below = rows[level + 1] if level + 1 < len(rows) else rows[-1] + (rows[-1] - rows[-2])
    first = max(0, (above + rows[level] + 1) // 2)
    last = min(height, (rows[level] + below + 1) // 2 + 1)
    # whatever the segmentation calls what lies here, it is this body
    here = levels[:, first:last].sum(axis=0)  # (rows, W)
    window_mm = (last - first) * spacing_mm[0]
    if here.sum() * spacing_mm[0] * spacing_mm[1] < LEAST_BELIEF * 0.6 * window_mm * 30.0:
        return None
    row = (here.sum(axis=1) * np.arange(first, last)).sum() / here.sum()
    column = (here.sum(axis=0) * np.arange(here.shape[1])).sum() / here.sum()
    dense = here.sum(axis=1) / max(here.sum(axis=1).max(), 1e-9)
    tall = float(dense.sum()) * spacing_mm[0]
    return float((row + 0.5) * spacing_mm[0]), float((column + 0.5) * spacing_mm[1]), tall
