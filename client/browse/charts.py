"""Charts as numbers: where bars, dots and ticks stand. The templates draw them as SVG.

Coordinates are those of a view box `WIDTH` wide; text is put in by the templates, which
escape it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from shared.phrases import counted

WIDTH: Final = 360.0
HEIGHT: Final = 150.0
LEFT: Final = 34.0
RIGHT: Final = 10.0
TOP: Final = 10.0
BOTTOM: Final = 34.0
MOST_TICKS: Final = 7


@dataclass(frozen=True)
class Bar:
    """One bar, or one part of a stacked bar; `words` say what it stands for."""

    x: float
    y: float
    width: float
    height: float
    series: int
    words: str


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Histogram:
    """A stacked histogram of studies.

    Attributes
    ----------
    title, unit : str
        What is counted by; the unit stands on the axis.
    series : tuple of str
        Names of the stacked parts, in the order of their colours.
    summaries : tuple of Summary
        The numbers behind it, by part.
    first_colour : int
        Colour of the first part, so that scanners and sexes are not mixed up.
    """

    title: str
    unit: str
    series: tuple[str, ...]
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    summaries: tuple[Summary, ...]
    first_colour: int = 0

    @property
    def total(self) -> int:
        """How many values there are."""
        return sum(summary.count for summary in self.summaries)


@dataclass(frozen=True)
class Summary:
    """Numbers of one part of a histogram."""

    name: str
    count: int
    lowest: float
    middle: float
    highest: float


@dataclass(frozen=True)
class Dot:
    """One spacing of a strip: where, how large, which direction, what it stands for."""

    x: float
    radius: float
    words: str


@dataclass(frozen=True)
class Strip:
    """Pixel sizes of one view: dots on an axis of millimetres, rows and columns apart."""

    name: str
    down: tuple[Dot, ...]
    across: tuple[Dot, ...]


@dataclass(frozen=True)
class Strips:
    """Pixel sizes of all views on one axis."""

    strips: tuple[Strip, ...]
    x_ticks: tuple[Tick, ...]


def histogram(
    title: str,
    unit: str,
    values: Mapping[str, Sequence[float]],
    step: float,
    digits: int,
    first_colour: int = 0,
) -> Histogram | None:
    """Lay out a stacked histogram of studies.

    Parameters
    ----------
    title, unit : str
        See `Histogram`.
    values : mapping of str to sequence of float
        Values by part, in the order in which they are stacked.
    step : float
        Width of a bin, in the unit.
    digits : int
        Decimals in words.
    first_colour : int
        See `Histogram`.

    Returns
    -------
    Histogram or None
        None if there is no value.
    """
    every = [value for part in values.values() for value in part]
    if not every:
        return None
    first = math.floor(round(min(every) / step, 6))
    bins = max(math.floor(round(max(every) / step, 6)) - first + 1, 4)
    counts = [[0] * bins for _ in values]
    for row, part in zip(counts, values.values(), strict=True):
        for value in part:
            row[math.floor(round(value / step, 6)) - first] += 1
    tallest = max(sum(column) for column in zip(*counts, strict=True))
    ceiling = max(nice_step(tallest, 4) * math.ceil(tallest / nice_step(tallest, 4)), 1)
    wide = (WIDTH - LEFT - RIGHT) / bins
    bars = []
    for place in range(bins):
        low, high = (first + place) * step, (first + place + 1) * step
        floor = HEIGHT - BOTTOM
        for number, (name, row) in enumerate(zip(values, counts, strict=True)):
            if not row[place]:
                continue
            tall = (HEIGHT - TOP - BOTTOM) * row[place] / ceiling
            floor -= tall
            many = counted(row[place], "study", "studies")
            words = f"{name}: {many}, {low:.{digits}f} to {high:.{digits}f} {unit}"
            bars.append(Bar(LEFT + place * wide + 0.6, floor, wide - 1.2, tall, number, words))
    every_nth = math.ceil((bins + 1) / MOST_TICKS)
    x_ticks = [
        Tick(LEFT + place * wide, f"{(first + place) * step:.{digits}f}")
        for place in range(0, bins + 1, every_nth)
    ]
    return Histogram(
        title, unit, tuple(values), tuple(bars), tuple(x_ticks),
        _count_ticks(ceiling), tuple(_summaries(values)), first_colour,
    )  # fmt: skip


def strips(found: Mapping[str, Sequence[tuple[float, float, int]]]) -> Strips | None:
    """Lay out pixel sizes by view.

    Parameters
    ----------
    found : mapping of str to sequence of (float, float, int)
        By view: row spacing, column spacing in mm, and how many images have it.

    Returns
    -------
    Strips or None
        None if there is no image.
    """
    sizes = [size for rows in found.values() for row, column, _ in rows for size in (row, column)]
    if not sizes:
        return None
    step = nice_step(max(sizes), 5)
    end = step * (math.floor(max(sizes) / step) + 1)
    most = max(count for rows in found.values() for _, _, count in rows)

    def dots(rows: Sequence[tuple[float, float, int]], which: int, words: str) -> tuple[Dot, ...]:
        return tuple(
            Dot(
                LEFT + (WIDTH - LEFT - RIGHT) * row[which] / end,
                3.0 + 4.5 * math.sqrt(row[2] / most),
                f"{counted(row[2], 'image')}, {row[which]:.3f} mm {words}",
            )
            for row in rows
        )

    ticks = [
        Tick(LEFT + (WIDTH - LEFT - RIGHT) * number * step / end, f"{number * step:.4g}")
        for number in range(round(end / step) + 1)
    ]
    return Strips(
        tuple(
            Strip(name, dots(rows, 0, "from row to row"), dots(rows, 1, "from column to column"))
            for name, rows in found.items()
        ),
        tuple(ticks),
    )


def nice_step(largest: float, parts: int) -> float:
    """Step of 1, 2 or 5 times a power of ten, so that `parts` of them reach about `largest`."""
    rough = max(largest, 1e-9) / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= rough * 0.999)


def _count_ticks(ceiling: float) -> tuple[Tick, ...]:
    step = max(round(nice_step(ceiling, 4)), 1)
    tall = HEIGHT - TOP - BOTTOM
    return tuple(
        Tick(HEIGHT - BOTTOM - tall * count / ceiling, str(count))
        for count in range(0, math.floor(ceiling) + 1, step)
    )


def _summaries(values: Mapping[str, Sequence[float]]) -> list[Summary]:
    return [
        Summary(name, len(part), min(part), median(part), max(part))
        for name, part in values.items()
        if part
    ]
