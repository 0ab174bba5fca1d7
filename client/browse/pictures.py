"""Pictures of what is stored, as PNG made from the arrays: grey values, regions, CT slices."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.records import PADDING_HU
from shared.regions import CT_LEVELS, REGION_CODES, code_of

Colour = tuple[int, int, int]

#: Index of what was not scanned; grey values take the 255 below.
UNSCANNED: Final = 255
#: A cool dark tone that no grey value has, so that "not scanned" is not mistaken for air.
UNSCANNED_COLOUR: Final[Colour] = (30, 47, 58)
FILL_ALPHA: Final = 62
EDGE_ALPHA: Final = 235
#: Overlay indices: the code for the inside of a region, this much more for its edge.
EDGE: Final = 64
THUMBNAIL_ROWS: Final = 84

#: Told apart by people who are colour-blind (Okabe and Ito); neighbours always differ.
PALETTE: Final[tuple[Colour, ...]] = (
    (86, 180, 233), (230, 159, 0), (0, 190, 140), (240, 228, 66), (204, 121, 167), (255, 122, 80),
)  # fmt: skip
#: CT vertebra levels in a volume's regions (`shared.records.VolumeRecord`).
CT_CODES: Final[Mapping[str, int]] = {name: code_of(name, "volume") for name in CT_LEVELS}

#: Bone window: centre and width in Hounsfield units.
BONE_CENTRE_HU: Final = 400.0
BONE_WIDTH_HU: Final = 1800.0


@dataclass(frozen=True)
class RegionFacts:
    """One region of a mask: its code, area in pixels, and its middle (row, column) in pixels."""

    name: str
    code: int
    pixels: int
    row: float
    column: float


def colour_of(code: int) -> Colour:
    """Colour of a region by its code."""
    return PALETTE[_place(code) % len(PALETTE)]


def swatch(code: int) -> int:
    """Number of a region's colour in `PALETTE`, for style sheets."""
    return _place(code) % len(PALETTE)


def _place(code: int) -> int:
    """Where a region stands in its chain, so that neighbours get different colours."""
    if code >= CT_CODES["L1"]:
        return code - CT_CODES["L1"]
    if code >= REGION_CODES["T4"]:  # T4 to T12 lie above L1
        return code - REGION_CODES["T4"] + 3
    if code >= REGION_CODES["femoral_neck"]:
        return code - REGION_CODES["femoral_neck"]
    return code - 1


def grey_png(pixels: NDArray[Any]) -> bytes:
    """Encode an image.

    Parameters
    ----------
    pixels : ndarray, shape (H, W)
        Display values in [0, 1]; NaN = not scanned.
    """
    return _encode(_grey(pixels), _grey_palette())


def regions_png(regions: NDArray[Any]) -> bytes:
    """Encode a region map, shape (H, W), as a transparent overlay of the same size."""
    codes = np.minimum(np.asarray(regions), EDGE - 1).astype(np.uint8)
    shown = codes + np.where(_edges(codes), EDGE, 0).astype(np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    alpha = np.zeros(256, np.uint8)
    for code in range(1, EDGE):
        palette[[code, code + EDGE]] = colour_of(code)
        alpha[code], alpha[code + EDGE] = FILL_ALPHA, EDGE_ALPHA
    return _encode(shown, palette, alpha.tobytes())


def thumbnail_png(
    pixels: NDArray[Any], regions: NDArray[Any] | None, spacing_mm: tuple[float, float]
) -> bytes:
    """Encode a small picture with its regions drawn in, square in millimetres."""
    grey = Image.fromarray(_grey_palette()[_grey(pixels)])
    if regions is not None:
        over = Image.open(io.BytesIO(regions_png(regions))).convert("RGBA")
        grey.paste(over, mask=over.getchannel("A"))
    height, width = np.shape(pixels)
    wide = max(1, round(THUMBNAIL_ROWS * width * spacing_mm[1] / (height * spacing_mm[0])))
    small = grey.resize((min(wide, 4 * THUMBNAIL_ROWS), THUMBNAIL_ROWS), Image.Resampling.LANCZOS)
    return _saved(small)


def bone_window(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Map Hounsfield units to [0, 1] in the bone window; NaN where nothing was scanned."""
    low = BONE_CENTRE_HU - BONE_WIDTH_HU / 2
    shown = (np.asarray(hu, np.float32) - low) / BONE_WIDTH_HU
    shown[np.asarray(hu) <= PADDING_HU] = np.nan
    return shown


def region_facts(regions: NDArray[Any], names: Mapping[str, int]) -> list[RegionFacts]:
    """Measure each region of a map, in the order of `names`."""
    codes = np.asarray(regions).ravel().astype(np.intp)
    size = max(int(codes.max(initial=0)), *names.values()) + 1
    rows, columns = np.divmod(np.arange(codes.size), regions.shape[1])
    pixels = np.bincount(codes, minlength=size)
    down = np.bincount(codes, weights=rows, minlength=size)
    across = np.bincount(codes, weights=columns, minlength=size)
    return [
        RegionFacts(
            name, code, int(pixels[code]), down[code] / pixels[code], across[code] / pixels[code]
        )
        for name, code in names.items()
        if pixels[code]
    ]


def _grey(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Values 0..254, and `UNSCANNED`."""
    values = np.asarray(pixels, dtype=np.float32)
    scanned = np.isfinite(values)
    shown = np.rint(np.clip(np.where(scanned, values, 0.0), 0.0, 1.0) * (UNSCANNED - 1))
    return np.where(scanned, shown, UNSCANNED).astype(np.uint8)


def _grey_palette() -> NDArray[np.uint8]:
    ramp = np.rint(np.arange(256) * 255 / (UNSCANNED - 1)).clip(0, 255).astype(np.uint8)
    palette = np.stack([ramp] * 3, axis=1)
    palette[UNSCANNED] = UNSCANNED_COLOUR
    return palette


def _edges(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels of a region that touch another region or the background."""
    padded = np.pad(codes, 1)
    middle = padded[1:-1, 1:-1]
    differs = np.zeros(codes.shape, np.bool_)
    for near in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        differs |= near != middle
    return differs & (codes > 0)


def _encode(
    indices: NDArray[np.uint8], palette: NDArray[np.uint8], alpha: bytes | None = None
) -> bytes:
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    return _saved(picture, **({} if alpha is None else {"transparency": alpha}))


def _saved(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", **options)
    return buffer.getvalue()
