"""Which CT series are read: one table of rules, each with the reason it refuses by.

Ingest and prediction hold slices and series against the same rules, in this order; the first
that refuses is the reason that is told (`shared.dicom.verdicts.REASONS` has its sentence). What
refuses by the values of the pixels (`shared.dicom.ct.volume`) is not among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.clinical.ct_gates import GATES
from shared.dicom.attributes import number_of, text_of
from shared.dicom.verdicts import REASONS, FileVerdict, SetAsideError
from shared.phrases import listed

from .geometry import FEWEST_SLICES, MOST_VOXELS, SlicePlace, Stack, nearest_axes
from .slices import DERIVED, LOCALIZERS, MULTI_ENERGY

#: Slices closer than this are at the same place, mm.
SAME_PLACE_MM: Final = 0.01
#: Positions are written with one decimal by some scanners, mm.
ROUNDING_MM: Final = 0.06
#: A grid that is off by less than this at its far end counts as straight, mm.
STRAIGHT_MM: Final = 0.25
#: A gap of so many usual ones means that a slice is missing.
MISSING_GAP: Final = 1.9
#: Cosines of slices of one series differ by less than this.
SAME_ORIENTATION: Final = 1e-3

Subject = TypeVar("Subject")
Places = Sequence[SlicePlace]


@dataclass(frozen=True)
class EligibilityRule(Generic[Subject]):
    """One reason why a slice or a series is not read.

    Attributes
    ----------
    name : str
        Reason code of `shared.dicom.verdicts.REASONS`.
    finds : callable
        Says what is wrong, in words without a patient's values, may be empty; None if nothing is.
    """

    name: str
    finds: Callable[[Subject], str | None]

    @property
    def refuses(self) -> str:
        """What it refuses, in words."""
        return REASONS[self.name][1]


def check(rules: Iterable[EligibilityRule[Subject]], subject: Subject) -> None:
    """Hold a slice or a series against rules.

    Raises
    ------
    SetAsideError
        With the reason of the first rule that refuses it.
    """
    for rule in rules:
        detail = rule.finds(subject)
        if detail is not None:
            raise SetAsideError(rule.name, detail)


# --- one slice, by its header -------------------------------------------------------------


def _has_word(words: frozenset[str]) -> Callable[[Dataset], str | None]:
    """Make the test whether ImageType has one of some words."""

    def finds(dataset: Dataset) -> str | None:
        said = {word.strip().upper() for word in text_of(dataset, "ImageType").split("\\")}
        return "" if said & words else None

    return finds


def _in_colour(dataset: Dataset) -> str | None:
    return "in colour" if int(number_of(dataset, "SamplesPerPixel") or 1) != 1 else None


def _burned_in(dataset: Dataset) -> str | None:
    return "" if text_of(dataset, "BurnedInAnnotation").upper() == "YES" else None


def _without_pixels(dataset: Dataset) -> str | None:
    return None if text_of(dataset, "Rows") else ""


#: Of the header of a file that is stored as a CT image.
SLICE_RULES: Final[tuple[EligibilityRule[Dataset], ...]] = (
    EligibilityRule("localizer", _has_word(LOCALIZERS)),
    EligibilityRule("slices_derived", _has_word(DERIVED)),
    EligibilityRule("multi_energy", _has_word(MULTI_ENERGY)),
    EligibilityRule("report_page", _in_colour),
    EligibilityRule("burned_in_text", _burned_in),
    EligibilityRule("pixels_missing", _without_pixels),
)


# --- a series, by where its slices lie ----------------------------------------------------


@dataclass(frozen=True)
class SlicesInLine:
    """Slices sorted along their normal: indices, positions (n, 3) and offsets (n,), mm."""

    order: NDArray[np.intp]
    positions: NDArray[np.float64]
    offsets: NDArray[np.float64]


def line_of(places: Places) -> SlicesInLine:
    """Sort slices along the normal of the first."""
    across, down = _directions(places[0])
    normal = np.cross(across, down)
    positions = np.array([place.position for place in places])
    order = np.argsort(positions @ normal, kind="stable")
    return SlicesInLine(order, positions[order], positions[order] @ normal)


def _directions(place: SlicePlace) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors of growing column and of growing row index."""
    across, down = (np.array(place.orientation[i : i + 3]) for i in (0, 3))
    return across / np.linalg.norm(across), down / np.linalg.norm(down)


def _too_short(places: Places) -> str | None:
    return f"{len(places)}" if len(places) < FEWEST_SLICES else None


def _mixed_grid(places: Places) -> str | None:
    sizes = Counter(f"{place.shape[0]} x {place.shape[1]}" for place in places)
    if len(sizes) > 1:
        return listed([f"{number} of {size}" for size, number in sizes.most_common()])
    rows = [place.spacing[0] for place in places]
    if not _differ([place.spacing for place in places], 1e-3):
        return None
    return f"pixels of {min(rows):g} to {max(rows):g} mm" if min(rows) < max(rows) else ""


def _mixed_orientation(places: Places) -> str | None:
    if not _differ([place.orientation for place in places], SAME_ORIENTATION):
        return None
    first = np.array(places[0].orientation)
    turned = sum(np.abs(first - one.orientation).max() > SAME_ORIENTATION for one in places)
    return f"{turned} of {len(places)} otherwise than the first"


def _twice(places: Places) -> str | None:
    doubled = int((np.diff(line_of(places).offsets) < SAME_PLACE_MM).sum())
    return f"{doubled} too many of {len(places)}" if doubled else None


def _missing(places: Places) -> str | None:
    line = line_of(places)
    steps = np.diff(line.offsets)
    usual = _usual(steps)
    gaps = np.flatnonzero(steps >= MISSING_GAP * usual)
    if not len(gaps):
        return None
    missing = sum(round(steps[gap] / usual) - 1 for gap in gaps)
    ends = line.positions[gaps[0] : gaps[0] + 2]
    axis = int(np.abs(ends[1] - ends[0]).argmax())
    low, high = sorted(ends[:, axis])
    more = f", the first of {len(gaps)}" if len(gaps) > 1 else ""
    return (
        f"{missing} missing beside {len(places)}; a gap of {steps[gaps[0]]:.2f} mm where "
        f"{usual:.2f} are usual, from {'xyz'[axis]} = {low:.1f} to {high:.1f} mm{more}"
    )


def _usual(steps: NDArray[np.float64]) -> float:
    """Distance from slice to slice: the median, or the least if all are multiples of it.

    Where every third slice is missing, the median may be that of the gaps.
    """
    least = float(steps.min())
    off = np.abs(steps - np.rint(steps / least) * least)
    return (
        least if off.max() <= ROUNDING_MM and least > 4 * ROUNDING_MM else float(np.median(steps))
    )


def _scattered(places: Places) -> str | None:
    line = line_of(places)
    first, last = line.positions[0], line.positions[-1]
    shares = (line.offsets - line.offsets[0]) / (line.offsets[-1] - line.offsets[0])
    straight = first + np.outer(shares, last - first)
    return "" if np.abs(line.positions - straight).max() > STRAIGHT_MM else None


def _oblique(places: Places) -> str | None:
    try:
        nearest_axes(_stack_of(places).affine)
    except SetAsideError as aside:
        return aside.detail
    return None


def _too_large(places: Places) -> str | None:
    stack = _stack_of(places)
    most = MOST_VOXELS // (2 if stack.resampled else 1)
    voxels = max(np.prod(stack.shape, dtype=float), np.prod(stack.box[1], dtype=float))
    return " x ".join(str(size) for size in stack.shape) if voxels > most else None


#: Of a series, by its slices; each relies on those before it.
SERIES_RULES: Final[tuple[EligibilityRule[Places], ...]] = (
    EligibilityRule("series_too_short", _too_short),
    EligibilityRule("grid_mixed", _mixed_grid),
    EligibilityRule("orientation_mixed", _mixed_orientation),
    EligibilityRule("slices_twice", _twice),
    EligibilityRule("slices_missing", _missing),
    EligibilityRule("slices_scattered", _scattered),
    EligibilityRule("slices_scattered", _oblique),
    EligibilityRule("series_too_large", _too_large),
)


def find_stack(places: Places) -> Stack:
    """Find the grid that slices make, whatever order they come in.

    Raises
    ------
    SetAsideError
        If a rule of `SERIES_RULES` refuses them.
    """
    check(SERIES_RULES, places)
    return _stack_of(places)


def _stack_of(places: Places) -> Stack:
    """Lay slices that lie on one line on a grid."""
    first, line = places[0], line_of(places)
    across, down = _directions(first)
    count, gaps = _regularity(line.offsets)
    step = (line.positions[-1] - line.positions[0]) / (count - 1)
    affine = np.eye(4)
    affine[:3] = np.stack(
        [step, down * first.spacing[0], across * first.spacing[1], line.positions[0]], axis=1
    )
    order, offsets = tuple(line.order.tolist()), tuple(line.offsets.tolist())
    stack = Stack(order, offsets, affine, (count, *first.shape), gaps, False)
    return replace(stack, tilted=_is_tilted(stack))


def _regularity(offsets: NDArray[np.float64]) -> tuple[int, bool]:
    """Number of slices at regular distances, and whether these must be interpolated."""
    regular = np.linspace(offsets[0], offsets[-1], len(offsets))
    if np.abs(offsets - regular).max() <= ROUNDING_MM:
        return len(offsets), False
    usual = float(np.median(np.diff(offsets)))
    return max(FEWEST_SLICES, round((offsets[-1] - offsets[0]) / usual) + 1), True


def _is_tilted(stack: Stack) -> bool:
    """Say whether some native axis runs off its patient axis by more than rounding."""
    reach = stack.affine[:3, :3] * (np.array(stack.shape) - 1)
    for native, axis in enumerate(stack.axes):
        reach[axis, native] = 0.0
    return bool(np.abs(reach).max() > STRAIGHT_MM)


def _differ(rows: Iterable[Sequence[float]], tolerance: float) -> bool:
    """Say whether numbers that should be the same differ."""
    values = np.array(list(rows), dtype=float)
    return bool((values.max(axis=0) - values.min(axis=0)).max() > tolerance)


# --- which series were not read -----------------------------------------------------------

#: Reasons that only follow from what another slice of the series was refused by.
FOLLOWING: Final = frozenset({"series_incomplete"})


@dataclass(frozen=True)
class SeriesVerdict:
    """One CT series that was not taken, or that is kept and not measured.

    Attributes
    ----------
    path : str
        Of its first file; it may identify a patient and stays with who reads the folder.
    files : int
        Files of the series.
    reason : str
        Key of `shared.dicom.verdicts.REASONS`.
    sentence : str
        For people; free of identifiers.
    """

    path: str
    files: int
    reason: str
    sentence: str


def series_not_taken(
    series: Mapping[str, Sequence[str]], verdicts: Iterable[FileVerdict]
) -> list[SeriesVerdict]:
    """Name the series of which no file was taken, each with the rule that refused it.

    Parameters
    ----------
    series : mapping of str to sequence of str
        Paths of the files of each series.
    verdicts : iterable of FileVerdict
        How each file ended.
    """
    found = []
    for mine in _by_series(series, verdicts):
        if all(verdict.verdict != "taken" for verdict in mine):
            cause = min(mine, key=lambda verdict: (verdict.reason in FOLLOWING, verdict.path))
            found.append(SeriesVerdict(mine[0].path, len(mine), cause.reason, cause.sentence))
    return sorted(found, key=lambda one: one.path)


def series_not_measured(
    series: Mapping[str, Sequence[str]], verdicts: Iterable[FileVerdict]
) -> list[SeriesVerdict]:
    """Name the series that were taken and on which no bone is measured, each with the rule.

    Parameters as for `series_not_taken`.
    """
    gates = {gate.name for gate in GATES}
    found = []
    for mine in _by_series(series, verdicts):
        gated = [verdict for verdict in mine if verdict.reason in gates]
        if gated:
            first = gated[0]
            found.append(SeriesVerdict(mine[0].path, len(mine), first.reason, first.sentence))
    return sorted(found, key=lambda one: one.path)


def _by_series(
    series: Mapping[str, Sequence[str]], verdicts: Iterable[FileVerdict]
) -> Iterator[list[FileVerdict]]:
    """Verdicts of each series' files, sorted by path; of those that have any."""
    by_path = {verdict.path: verdict for verdict in verdicts}
    for paths in series.values():
        mine = [by_path[path] for path in sorted(paths) if path in by_path]
        if mine:
            yield mine
