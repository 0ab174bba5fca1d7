"""Pictures of a study with what was found on it: SVG for the report, PNG for files.

Coordinates inside an SVG are millimetres of the patient, so that pixels that are
not square are shown in their true shape.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from numpy.typing import NDArray

from shared.clinical.morphometry import grade_word
from shared.findings.facts import Grade
from shared.findings.findings import RegionMap
from shared.quality.regions import EXPECTED_REGIONS
from shared.records import ImageRecord, View
from shared.regions import REGION_CODES

Polygon = NDArray[np.float64]

#: Grey in [0, 255] of what the scanner did not look at.
UNSCANNED_GREY = 40

#: Shown in front of and behind the vertebrae of a marked lateral view, mm.
SPINE_MARGIN_MM = 28.0

#: A scale bar is the longest of these that takes no more than half of the width, mm.
SCALE_BARS_MM = (50, 20, 10)
SCALE_COLOUR = "#e8eef2"

#: Colour of a grade, 0 to 3: readable on grey and in print, told apart by the
#: colour-blind through the words beside them.
GRADE_COLOURS = ("#6fd3c1", "#ffd84d", "#ff9f40", "#ff5a52")

REGION_COLOURS: Mapping[str, str] = {
    "L1": "#5cc8ff", "L2": "#8fe388", "L3": "#ffd166", "L4": "#ff9ebb",
    "femoral_neck": "#5cc8ff", "trochanter": "#8fe388", "intertrochanteric": "#ffd166",
}  # fmt: skip

SHORT_NAMES: Mapping[str, str] = {
    "femoral_neck": "Neck",
    "trochanter": "Troch.",
    "intertrochanteric": "Inter.",
}


@dataclass(frozen=True)
class FigureMark:
    """One outlined and labelled structure; polygons are (n, 2) of x, y in pixels."""

    region: str
    label: str
    colour: str
    polygons: Sequence[Polygon]
    loud: bool


def outline(mask: NDArray[np.bool_]) -> list[Polygon]:
    """Trace the borders of a mask.

    Returns
    -------
    list of ndarray, shape (n, 2)
        Closed lines of x, y in pixels, (0, 0) the centre of the first pixel.
    """
    from contourpy import contour_generator

    padded = np.pad(mask.astype(np.float64), 1)
    lines = contour_generator(z=padded).lines(0.5)
    return [np.asarray(line, dtype=np.float64) - 1.0 for line in lines if len(line) > 3]


def as_scanned(
    view: View, image: ImageRecord, regions: RegionMap | None
) -> tuple[ImageRecord, RegionMap | None]:
    """Give an image and its map as a scanner shows them: a right hip is kept mirrored."""
    if view is not View.HIP_RIGHT:
        return image, regions
    return replace(image, pixels=image.pixels[:, ::-1]), None if regions is None else regions[
        :, ::-1
    ]


def marks(view: View, regions: RegionMap | None, grades: Sequence[Grade]) -> list[FigureMark]:
    """Say what to draw on a view: its regions, on the lateral view by grade.

    The hospital's own grade stands in brackets behind the model's word, where either is not 0.
    """
    if regions is None:
        regions = np.zeros((1, 1), dtype=np.uint8)
    by_region = {grade.region: grade for grade in grades}
    found = []
    for name in EXPECTED_REGIONS[view]:
        polygons = outline(regions == REGION_CODES[name])
        grade = by_region.get(name) if view is View.SPINE_LATERAL else None
        if grade is not None:
            own = grade.reported or 0
            label = name if grade.grade == own == 0 else f"{name} {grade_word(grade.grade)}"
            if label != name and grade.reported is not None:
                label += f" ({own})"
            if not polygons and grade.position_px is not None:
                polygons = [_ring(grade.position_px)]
            found.append(
                FigureMark(name, label, GRADE_COLOURS[grade.grade], polygons, label != name)
            )
        elif polygons:
            colour = REGION_COLOURS.get(name, "#9fb4c0")
            if view is View.SPINE_LATERAL:
                colour = "#9fb4c0"  # outlined but not graded
            found.append(
                FigureMark(name, SHORT_NAMES.get(name, name), colour, polygons, loud=False)
            )
    return [mark for mark in found if mark.polygons]


def _ring(position: tuple[float, float], radius: float = 6.0) -> Polygon:
    """Circle around (row, column), as x, y."""
    turn = np.linspace(0, 2 * np.pi, 25)
    row, column = position
    return np.stack([column + radius * np.cos(turn), row + radius * np.sin(turn)], axis=1)


def grey(image: ImageRecord) -> NDArray[np.uint8]:
    """Pixels as 8-bit grey; what was not scanned is a flat dark grey."""
    pixels = np.asarray(image.pixels, dtype=np.float32)
    scanned = np.isfinite(pixels)
    shown = np.clip(np.where(scanned, pixels, 0.0), 0.0, 1.0) * 255.0
    return np.where(scanned, np.rint(shown), UNSCANNED_GREY).astype(np.uint8)


def png_data_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode grey or RGB pixels as a PNG data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def view_svg(view: View, image: ImageRecord, drawn: Sequence[FigureMark], title: str) -> str:
    """Draw a view with its marks as inline SVG.

    Parameters
    ----------
    view : View
    image : ImageRecord
        Pixels, spacing; (H, W).
    drawn : sequence of FigureMark
        May be empty: the plain picture.
    title : str
        For those who cannot see it.

    Returns
    -------
    str
        ``<svg>``, safe to put into HTML; no reference to anything outside.
    """
    height, width = image.pixels.shape
    row_mm, column_mm = image.spacing_mm
    size = (width * column_mm, height * row_mm)
    unit = size[1] / 100.0 if view is not View.SPINE_LATERAL else size[1] / 140.0
    scale = np.array([column_mm, row_mm])
    labels = [_label(view, mark, scale, size[0], unit) for mark in drawn]
    left, right = _window(view, drawn, column_mm, size[0])
    right = max([right, *(label.right for label in labels)])  # labels may need a margin
    parts = [
        f'<svg viewBox="{left:.2f} 0 {right - left:.2f} {size[1]:.2f}" role="img" '
        f'aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f'<image href="{png_data_uri(grey(image))}" x="0" y="0" width="{size[0]:.2f}" '
        f'height="{size[1]:.2f}" preserveAspectRatio="none"/>',
    ]
    for mark in drawn:
        path = " ".join(_path((polygon + 0.5) * scale) for polygon in mark.polygons)
        thick = 0.6 if mark.loud else 0.35
        parts.append(
            f'<path d="{path}" fill="{mark.colour}" fill-opacity="{0.22 if mark.loud else 0.06}" '
            f'stroke="{mark.colour}" stroke-width="{thick * unit:.2f}" stroke-linejoin="round"/>'
        )
    parts += [label.svg for label in labels]
    length = scale_bar_mm(image, min(right, size[0]) - left)
    if length:
        parts.append(_scale_bar(length, scale_words(image, length), left, size[1], unit))
    parts.append("</svg>")
    return "".join(parts)


def scale_bar_mm(image: ImageRecord, shown_mm: float) -> int:
    """Length of the scale bar of a picture of some width, mm; 0 if the size is not known."""
    if image.spacing_provenance == "none":
        return 0
    return next((one for one in SCALE_BARS_MM if 2 * one <= shown_mm), 0)


def scale_words(image: ImageRecord, length: int) -> str:
    """What a scale bar says: only of calibrated pixels is the length more than about right."""
    return f"{length} mm" if image.spacing_provenance == "calibrated" else f"about {length} mm"


def _scale_bar(length: int, words: str, left: float, bottom: float, unit: float) -> str:
    """A bar with ends in the lower left corner, its length above it."""
    x, y, end = left + 2.5 * unit, bottom - 2.5 * unit, 0.8 * unit
    tick = f"v{2 * end:.2f}"
    line = f"M{x:.2f} {y - end:.2f} {tick} M{x:.2f} {y:.2f} h{length} v{-end:.2f} {tick}"
    return (
        f'<path d="{line}" fill="none" stroke="#000" stroke-opacity="0.75" '
        f'stroke-width="{1.1 * unit:.2f}"/>'
        f'<path d="{line}" fill="none" stroke="{SCALE_COLOUR}" '
        f'stroke-width="{0.4 * unit:.2f}"/>'
        f'<text x="{x:.2f}" y="{y - 2.2 * unit:.2f}" font-size="{3 * unit:.2f}" '
        f'fill="{SCALE_COLOUR}" stroke="#000" stroke-opacity="0.75" '
        f'stroke-width="{0.6 * unit:.2f}" paint-order="stroke">{words}</text>'
    )


def _path(polygon: Polygon) -> str:
    """SVG path of a closed polygon."""
    points = " L".join(f"{x:.2f} {y:.2f}" for x, y in polygon)
    return f"M{points} Z"


def _window(
    view: View, drawn: Sequence[FigureMark], column_mm: float, width: float
) -> tuple[float, float]:
    """First and last column shown, mm: all of it, or of a marked lateral view the spine."""
    if view is not View.SPINE_LATERAL or not drawn:
        return 0.0, width
    columns = np.concatenate([p[:, 0] for mark in drawn for p in mark.polygons]) * column_mm
    low, high = float(columns.min()), float(columns.max())
    return max(0.0, low - SPINE_MARGIN_MM), min(width, high + SPINE_MARGIN_MM)


@dataclass(frozen=True)
class _Label:
    """A text and where it ends on the right, in millimetres."""

    svg: str
    right: float


def _label(view: View, mark: FigureMark, scale: Polygon, width: float, unit: float) -> _Label:
    """Text beside a mark: left of a vertebra seen from the front, right of all else."""
    points = (np.concatenate(list(mark.polygons)) + 0.5) * scale
    low, high = points.min(axis=0), points.max(axis=0)
    font = (4.6 if mark.loud else 4.0) * unit
    length = 0.6 * font * len(mark.label)
    x, y = float(high[0] + 1.2 * unit), float((low[1] + high[1]) / 2)
    anchor, right = "start", x + length + unit
    if view is View.SPINE_PA and low[0] > length + 2 * unit:
        x, anchor, right = float(low[0] - 1.2 * unit), "end", width
    elif mark.region == "femoral_neck":  # its right side is the trochanter's
        x, y, right = float(low[0]), float(low[1] - 0.6 * font), float(low[0] + length)
    return _Label(
        f'<text x="{x:.2f}" y="{y:.2f}" font-size="{font:.2f}" text-anchor="{anchor}" '
        f'dominant-baseline="central" fill="{mark.colour}" stroke="#000" '
        f'stroke-opacity="0.75" stroke-width="{0.7 * unit:.2f}" paint-order="stroke" '
        f'font-weight="600">{escape(mark.label)}</text>',
        right,
    )


def overlay_png(image: ImageRecord, drawn: Sequence[FigureMark]) -> bytes:
    """Draw a view with its marks as a PNG file of at least 900 pixels' height.

    Pixels are made square in millimetres; outlines and labels as in the report.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = image.pixels.shape
    row_mm, column_mm = image.spacing_mm
    zoom = max(1.0, 900.0 / height)
    size = (max(round(width * zoom * column_mm / row_mm), 1), max(round(height * zoom), 1))
    scale = np.array([size[0] / width, size[1] / height])
    picture = Image.fromarray(grey(image)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=20)
    for mark in drawn:
        points = [(polygon + 0.5) * scale for polygon in mark.polygons]
        for polygon in points:
            line = [(float(x), float(y)) for x, y in polygon]
            draw.line([*line, line[0]], fill=mark.colour, width=4 if mark.loud else 2)
        every = np.concatenate(points)
        x, y = float(every[:, 0].max()) + 8, float(every[:, 1].mean()) - 12
        if mark.region == "femoral_neck":  # its right side is the trochanter's
            x, y = float(every[:, 0].min()), float(every[:, 1].min()) - 26
        length = draw.textlength(mark.label, font=font)
        x = min(x, max(size[0] - length - 4, 0.0))
        draw.text(
            (x, y), mark.label, fill=mark.colour, font=font, stroke_width=2, stroke_fill="black"
        )
    length = scale_bar_mm(image, width * column_mm)
    if length:
        x, y, across = 16.0, size[1] - 18.0, length / column_mm * scale[0]
        for colour, thick in (("black", 6), (SCALE_COLOUR, 2)):
            draw.line([(x, y), (x + across, y)], fill=colour, width=thick)
            for at in (x, x + across):
                draw.line([(at, y - 6), (at, y + 6)], fill=colour, width=thick)
        draw.text(
            (x, y - 36), scale_words(image, length), fill=SCALE_COLOUR, font=font,
            stroke_width=2, stroke_fill="black",
        )  # fmt: skip
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
