"""Which view a DXA image shows, told by its pixels alone; as a rule, it cannot be told.

For Lunar scans whose names say nothing. A view is told only if all of a few measured features
are what they are in that view and in no other: how large the image is, where its bones stand,
how wide they are, and whether vertebrae repeat along them. Of 120 images of 40 digital patients
on six scanners 111 are told, all of them rightly; of what is turned, inverted, halved, of half
or twice the size, noise, drawn knees and forearms, and real radiographs, none is told wrongly.
The bounds were not held against real DXA scans (*unverified*).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.scan_types import ScanType

#: Images are measured in pixels of so many mm.
PIXEL_MM: Final = 2.0
#: Smaller and larger images show none of the three views (mm, height and width).
SMALLEST_MM, LARGEST_MM = 90.0, 560.0
Image = NDArray[np.float64]


@dataclass(frozen=True)
class ViewFeatures:
    """What is measured in an image.

    Attributes
    ----------
    height_mm, width_mm : float
        Of the part that was scanned.
    contrast : float
        Grey values between soft tissue and bone, 0 to 1.
    column : float
        Where the brightest line from top to bottom stands, 0 (left) to 1.
    straightness : float
        Root mean square of how far that line is from a straight one, as a share of the width.
    coverage : float
        Share of the rows in which that line is brighter than both sides.
    column_mm : float
        Median width of what is bright along that line.
    symmetry : float
        Correlation of the image with its mirror image about that line.
    repeats : float
        Correlation of the grey values along that line with themselves, one vertebra further.
    shaft_mm : float
        Width of the bone in the lowest quarter.
    lean : float
        How far the bones of the upper half stand to the left of the lowest quarter's, as a
        share of the width; negative: to the right.
    beside_shaft : float
        Share of pixels that are bone beside the shaft, on the side away from the upper bones.
    widening : float
        Width of all bone at its widest, over the shaft's.
    even_mm : float
        How far up from the lowest row the shaft keeps its width, within a quarter.
    bend_mm : float
        Root mean square of how far the middle of that part is from a straight line.
    spread : float
        Standard deviation of its width over its mean.
    """

    height_mm: float
    width_mm: float
    contrast: float
    column: float
    straightness: float
    coverage: float
    column_mm: float
    symmetry: float
    repeats: float
    shaft_mm: float
    lean: float
    beside_shaft: float
    widening: float
    even_mm: float
    bend_mm: float
    spread: float


def view_features(
    unit: NDArray[np.float32], spacing_mm: tuple[float, float]
) -> ViewFeatures | None:
    """Measure an image; None if it has not the size or the contrast of a view.

    Parameters
    ----------
    unit : ndarray of float32, shape (H, W)
        Display values in [0, 1], the head up; NaN = not scanned.
    spacing_mm : (float, float)
        Row, column.
    """
    image = _reduced(unit, spacing_mm)
    if image is None:
        return None
    low, high = np.percentile(image, (20, 97))
    noise = _noise(image)
    if high - low < 0.15 or noise > 0.25 * (high - low):
        return None
    scaled = np.clip((ndimage.gaussian_filter(image, 1.0) - low) / (high - low), 0, 1.2)
    line, coverage = _column(scaled)
    rows, columns = scaled.shape
    place = np.arange(rows)
    straight = np.polyval(np.polyfit(place, line, 1), place)
    bone = scaled > _threshold(scaled)
    return ViewFeatures(
        height_mm=rows * PIXEL_MM,
        width_mm=columns * PIXEL_MM,
        contrast=float(high - low),
        column=float(np.median(line) / columns),
        straightness=float(np.sqrt(np.mean((line - straight) ** 2)) / columns),
        coverage=coverage,
        column_mm=_column_width(bone, line) * PIXEL_MM,
        symmetry=_symmetry(scaled, line),
        repeats=_repeats(image, line),
        **_shaft(bone),
    )


def recognised(features: ViewFeatures | None) -> ScanType | None:
    """Scan type that measured features are those of, None if it cannot be told.

    A hip is told with its side if the image is as the patient stands before it
    (`shared.records.ImageRecord`): the bones of the pelvis lie towards the middle.
    """
    if features is None:
        return None
    told = [
        scan
        for scan, is_so in (
            (ScanType.SPINE_PA, _is_frontal_spine(features)),
            (ScanType.SPINE_LATERAL, _is_lateral_spine(features)),
            (ScanType.HIP_LEFT, _is_hip(features) and features.lean > 0),
            (ScanType.HIP_RIGHT, _is_hip(features) and features.lean < 0),
        )
        if is_so
    ]
    return told[0] if len(told) == 1 else None


def _is_frontal_spine(seen: ViewFeatures) -> bool:
    """A straight column of vertebrae in the middle, alike on both sides."""
    return (
        130 <= seen.height_mm <= 290
        and 100 <= seen.width_mm <= 260
        and 0.8 <= seen.height_mm / seen.width_mm <= 1.8
        and 0.38 <= seen.column <= 0.62
        and seen.straightness <= 0.05
        and seen.coverage >= 0.85
        and 22 <= seen.column_mm <= 80
        and seen.symmetry >= 0.6
        and seen.repeats >= 0.25
    )


def _is_lateral_spine(seen: ViewFeatures) -> bool:
    """A long curved column of vertebrae to one side, and not alike on both sides."""
    return (
        300 <= seen.height_mm <= 560
        and 110 <= seen.width_mm <= 280
        and seen.height_mm / seen.width_mm >= 1.5
        and abs(seen.column - 0.5) >= 0.08
        and seen.coverage >= 0.8
        and seen.symmetry <= 0.6
        and seen.repeats >= 0.15
    )


def _is_hip(seen: ViewFeatures) -> bool:
    """One shaft at the bottom, nothing beside it outwards, and wider bones above it inwards."""
    return (
        110 <= seen.height_mm <= 240
        and 90 <= seen.width_mm <= 220
        and 0.75 <= seen.height_mm / seen.width_mm <= 1.6
        and 16 <= seen.shaft_mm <= 52
        and abs(seen.lean) >= 0.08
        and seen.beside_shaft <= 0.04
        and seen.widening >= 2.0
        and seen.even_mm >= 44
        and seen.bend_mm <= 1.6
        and seen.spread <= 0.12
        and seen.symmetry <= 0.75
        and seen.repeats <= 0.3
    )


def _reduced(unit: NDArray[np.float32], spacing_mm: tuple[float, float]) -> Image | None:
    """Image in pixels of `PIXEL_MM`, without margins; None if it has not the size of a view."""
    known = ~np.isnan(unit)
    rows = np.flatnonzero(known.mean(axis=1) > 0.5)
    columns = np.flatnonzero(known.mean(axis=0) > 0.5)
    if not len(rows) or not len(columns):
        return None
    part = unit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float64)
    size = [length * step for length, step in zip(part.shape, spacing_mm, strict=True)]
    if min(size) < SMALLEST_MM or max(size) > LARGEST_MM:
        return None
    known = ~np.isnan(part)
    part = np.where(known, part, float(np.percentile(part[known], 20)))
    steps = [step / PIXEL_MM for step in spacing_mm]
    sigma = [max(0.0, 0.5 / step - 0.5) for step in steps]
    return np.asarray(ndimage.zoom(ndimage.gaussian_filter(part, sigma), steps, order=1))


def _noise(image: Image) -> float:
    """Spread of what changes from pixel to pixel."""
    rough = image - ndimage.median_filter(image, 3)
    return float(1.4826 * np.median(np.abs(rough - np.median(rough))))


def _threshold(scaled: Image) -> float:
    """Grey value between soft tissue and bone that parts both best (Otsu)."""
    counts, edges = np.histogram(scaled, bins=64)
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)
    rest = weight[-1] - weight
    total = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * rest * (total / weight - (total[-1] - total) / rest) ** 2
    return float(centres[int(np.nanargmax(between[:-1]))])


def _column(scaled: Image) -> tuple[Image, float]:
    """Brightest line from top to bottom, and the share of rows in which both sides are darker."""
    wide = ndimage.uniform_filter1d(scaled, max(3, round(28 / PIXEL_MM)), axis=1)
    wide = ndimage.uniform_filter1d(wide, max(3, round(20 / PIXEL_MM)), axis=0)
    rows, columns = wide.shape
    best = np.empty((rows, columns))
    came = np.zeros((rows, columns), int)
    best[0] = wide[0]
    for row in range(1, rows):  # the brightest path that moves by a pixel a row at most
        before = np.full((3, columns), -np.inf)
        last = best[row - 1]
        before[0, 1:], before[1], before[2, :-1] = last[:-1], last, last[1:]
        step = np.argmax(before, axis=0)
        came[row] = np.arange(columns) + step - 1
        best[row] = before[step, np.arange(columns)] + wide[row]
    line = np.empty(rows, int)
    line[-1] = int(np.argmax(best[-1]))
    for row in range(rows - 1, 0, -1):
        line[row - 1] = came[row, line[row]]
    apart = round(44 / PIXEL_MM)
    place = np.arange(rows)
    here = wide[place, line]
    sides = [wide[place, np.clip(line + step, 0, columns - 1)] for step in (-apart, apart)]
    coverage = np.mean((here > sides[0] + 0.1) & (here > sides[1] + 0.1))
    return ndimage.uniform_filter1d(line.astype(float), 15), float(coverage)


def _column_width(bone: NDArray[np.bool_], line: Image) -> float:
    """Median width of the bone at a line, pixels."""
    closed = ndimage.binary_closing(bone, np.ones((1, 5)))
    widths = []
    for row, middle in zip(closed, line, strict=True):
        labels, _ = ndimage.label(row)
        here = labels[max(0, round(middle) - 4) : round(middle) + 5]
        found = here[here > 0]
        widths.append(0 if not len(found) else int((labels == np.bincount(found).argmax()).sum()))
    return float(np.median(widths))


def _symmetry(scaled: Image, line: Image) -> float:
    """Correlation with the mirror image about a line's median."""
    columns = scaled.shape[1]
    middle = round(float(np.median(line)))
    reach = min(middle, columns - 1 - middle)
    if reach < 10:
        return 0.0
    left = scaled[:, middle - reach : middle][:, ::-1]
    right = scaled[:, middle + 1 : middle + 1 + reach]
    if left.std() == 0 or right.std() == 0:
        return 0.0
    return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])


def _repeats(image: Image, line: Image) -> float:
    """Best correlation along a line with itself, 22 to 46 mm further, of what changes quickly."""
    reach = round(10 / PIXEL_MM)
    place = np.round(line).astype(int)
    spans = [(max(0, at - reach), at + reach + 1) for at in place]
    strip = np.array([row[a:b].mean() for row, (a, b) in zip(image, spans, strict=True)])
    quick = strip - ndimage.gaussian_filter1d(strip, 20 / PIXEL_MM)
    best = -1.0
    for lag in range(round(22 / PIXEL_MM), round(46 / PIXEL_MM) + 1):
        one, other = quick[:-lag], quick[lag:]
        if len(one) > 2 * lag and one.std() > 0 and other.std() > 0:
            best = max(best, float(np.corrcoef(one, other)[0, 1]))
    return best


def _shaft(bone: NDArray[np.bool_]) -> dict[str, float]:
    """Features of a shaft at the bottom and of the bones above it."""
    nothing = {
        "shaft_mm": 0.0, "lean": 0.0, "beside_shaft": 1.0, "widening": 0.0, "even_mm": 0.0,
        "bend_mm": 0.0, "spread": 0.0,
    }  # fmt: skip
    rows, columns = bone.shape
    padded = ndimage.binary_closing(np.pad(bone, 4, mode="edge"), np.ones((3, 5)))
    solid = ndimage.binary_opening(padded, np.ones((3, 3)))[4:-4, 4:-4]
    low = solid[rows - rows // 4 :]
    upper = solid[: rows // 2]
    if not low.any() or not upper.any():
        return nothing
    # The shaft is the piece that reaches through the lowest quarter and is the largest there.
    labels, count = ndimage.label(low)
    through = [n for n in range(1, count + 1) if (labels == n).any(axis=1).mean() > 0.95]
    if not through:
        return nothing
    shaft = labels == max(through, key=lambda n: int((labels == n).sum()))
    width = float(np.median(shaft.sum(axis=1)[shaft.any(axis=1)]))
    at = float(np.mean(np.nonzero(shaft)[1]))
    lean = (at - float(np.mean(np.nonzero(upper)[1]))) / columns
    outer = np.arange(columns) > at if lean > 0 else np.arange(columns) < at
    beside = (low & ~shaft)[:, outer]
    widest = float(np.percentile(solid.sum(axis=1), 95))
    return {
        "shaft_mm": width * PIXEL_MM,
        "lean": lean,
        "beside_shaft": float(beside.mean()) if beside.size else 1.0,
        "widening": widest / max(width, 1.0),
        **_even_part(solid, at, width),
    }


def _even_part(solid: NDArray[np.bool_], at: float, width: float) -> dict[str, float]:
    """How far up a bone keeps its width, and how straight and even it is so far."""
    middles, widths = [], []
    for row in solid[::-1]:
        labels, _ = ndimage.label(row)
        piece = labels[min(len(row) - 1, max(0, round(at)))]
        if piece == 0:
            break
        here = np.flatnonzero(labels == piece)
        if abs(len(here) - width) > 0.25 * width:
            break
        at = float(here.mean())
        middles.append(at)
        widths.append(len(here))
    if len(middles) < 3:
        return {"even_mm": 0.0, "bend_mm": 0.0, "spread": 0.0}
    place = np.arange(len(middles))
    off = np.array(middles) - np.polyval(np.polyfit(place, middles, 1), place)
    return {
        "even_mm": len(middles) * PIXEL_MM,
        "bend_mm": float(np.sqrt(np.mean(off**2))) * PIXEL_MM,
        "spread": float(np.std(widths) / np.mean(widths)),
    }
