"""From a scanner's pixels to a tensor of fixed size and spacing, and back again.

Images of different scanners become comparable by their millimetres: every image is
resampled to one spacing and laid centred into one frame. A `Placement` remembers
how, so that what a network draws can be put back on the original pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.records import ImageRecord, VertebraBox
from shared.regions import UNNAMED_VERTEBRA, VERTEBRA_CODES

#: Share of a resampled pixel that must have been scanned for it to count as scanned.
SCANNED_SHARE = 0.5
#: The U-Net halves its frame four times.
FRAME_MULTIPLE = 16


@dataclass(frozen=True)
class Placement:
    """Where an image lies in its frame.

    Attributes
    ----------
    original : (int, int)
        Height and width of the image as stored, in pixels.
    resampled : (int, int)
        Height and width at the frame's spacing, in pixels.
    frame : (int, int)
        Height and width of the frame, in pixels.
    offset : (int, int)
        Row and column of the frame at which the resampled image begins; negative
        where the image is larger than the frame and is cut.
    spacing_mm : (float, float)
        Millimetres per pixel of the frame, row first, after rounding to whole pixels.
    """

    original: tuple[int, int]
    resampled: tuple[int, int]
    frame: tuple[int, int]
    offset: tuple[int, int]
    spacing_mm: tuple[float, float]


@dataclass(frozen=True)
class Framed:
    """An image in its frame.

    Attributes
    ----------
    pixels : Tensor of float32, shape (H, W)
        Grey levels as stored, in [0, 1]; 0 where nothing was scanned.
    scanned : Tensor of bool, shape (H, W)
        False outside the image and in unscanned margins.
    regions : Tensor of int64, shape (H, W), or None
        Region codes; 0 where nothing was scanned.
    placement : Placement
        How it came here.
    """

    pixels: Tensor
    scanned: Tensor
    regions: Tensor | None
    placement: Placement


def drawn_boxes(boxes: Iterable[VertebraBox], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw boxes as the region map of an image.

    Parameters
    ----------
    boxes : iterable of VertebraBox
        In pixels; a later one lies over those before.
    shape : (int, int)
        Height and width of the image.

    Returns
    -------
    ndarray of uint8, shape (H, W)
        Codes of maps of images, `UNNAMED_VERTEBRA` where a vertebra has none or no name.
    """
    regions = np.zeros(shape, np.uint8)
    for box in boxes:
        code = VERTEBRA_CODES["image"].get(box.vertebra, UNNAMED_VERTEBRA)
        regions[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)] = code
    return regions


def halvable(size: tuple[int, int]) -> tuple[int, int]:
    """Round height and width in pixels up to what the U-Net can halve four times."""
    rows, columns = (-(-side // FRAME_MULTIPLE) * FRAME_MULTIPLE for side in size)
    return rows, columns


def frame_image(
    image: ImageRecord, spacing_mm: tuple[float, float], frame: tuple[int, int]
) -> Framed:
    """Resample an image to a spacing and lay it centred into a frame.

    Parameters
    ----------
    image : ImageRecord
        Pixels with NaN where the scanner did not look.
    spacing_mm : (float, float)
        Millimetres per pixel of the frame, row first.
    frame : (int, int)
        Height and width in pixels.

    Returns
    -------
    Framed
        Grey levels are means over the scanned part of each new pixel, so a
        density survives; regions are taken from the nearest old pixel.
    """
    stored = np.array(image.pixels, dtype=np.float32)  # a copy: stores are read-only
    values = torch.from_numpy(stored)
    height, width = values.shape
    new = (
        max(1, round(height * image.spacing_mm[0] / spacing_mm[0])),
        max(1, round(width * image.spacing_mm[1] / spacing_mm[1])),
    )
    placement = Placement(
        original=(height, width),
        resampled=new,
        frame=frame,
        offset=((frame[0] - new[0]) // 2, (frame[1] - new[1]) // 2),
        spacing_mm=(height * image.spacing_mm[0] / new[0], width * image.spacing_mm[1] / new[1]),
    )
    seen = torch.isfinite(values)
    both = torch.stack([torch.where(seen, values, 0.0), seen.float()])[None]  # (1, 2, h, w)
    small = functional.interpolate(both, size=new, mode="bilinear", antialias=True)[0]
    share = small[1]
    grey = torch.where(share > SCANNED_SHARE, small[0] / share.clamp(min=SCANNED_SHARE), 0.0)
    regions = None
    if image.regions is not None:
        codes = torch.from_numpy(np.array(image.regions, dtype=np.float32))
        codes = torch.where(seen, codes, 0.0)
        nearest = functional.interpolate(codes[None, None], size=new, mode="nearest-exact")
        regions = _lay(nearest[0, 0].round().long(), placement)
    scanned = _lay((share > SCANNED_SHARE).float(), placement) > 0
    return Framed(_lay(grey, placement), scanned, regions, placement)


def _lay(small: Tensor, placement: Placement) -> Tensor:
    """Lay (h, w) into a frame of zeros, cutting what does not fit."""
    height, width = placement.resampled
    top, left = placement.offset
    rows, columns = placement.frame
    framed = torch.zeros(rows, columns, dtype=small.dtype)
    first_row, first_column = max(0, top), max(0, left)
    last_row, last_column = min(rows, top + height), min(columns, left + width)
    framed[first_row:last_row, first_column:last_column] = small[
        first_row - top : last_row - top, first_column - left : last_column - left
    ]
    return framed


def put_back(maps: Tensor, placement: Placement) -> Tensor:
    """Put maps that were drawn in the frame back on the original pixels.

    Parameters
    ----------
    maps : Tensor of float, shape (C, H, W)
        Maps in the frame, for example class probabilities.
    placement : Placement
        As `frame_image` gave it.

    Returns
    -------
    Tensor of float, shape (C, h, w)
        Bilinear in between; where the frame had cut the image, the value of the
        frame's edge.
    """
    height, width = placement.resampled
    top, left = placement.offset
    rows = torch.arange(height).add(top).clamp(0, placement.frame[0] - 1)
    columns = torch.arange(width).add(left).clamp(0, placement.frame[1] - 1)
    cut = maps[:, rows][:, :, columns]
    return functional.interpolate(
        cut[None], size=placement.original, mode="bilinear", align_corners=False
    )[0]


def to_zero_mean(pixels: Tensor, scanned: Tensor) -> Tensor:
    """Shift and scale grey levels to mean 0 and variance 1 over the scanned pixels."""
    if not bool(scanned.any()):
        return torch.zeros_like(pixels)
    inside = pixels[scanned]
    spread = inside.std(correction=0).clamp(min=1e-3)
    return torch.where(scanned, (pixels - inside.mean()) / spread, 0.0)


def frame_to_original_mm(row: float, column: float, placement: Placement) -> tuple[float, float]:
    """Convert a point of the frame (pixel index) to mm from the original's first corner."""
    return (
        (row + 0.5 - placement.offset[0]) * placement.spacing_mm[0],
        (column + 0.5 - placement.offset[1]) * placement.spacing_mm[1],
    )


def crop_around(
    image: ImageRecord,
    centre_mm: tuple[float, float],
    angle: float,
    spacing_mm: float,
    size: tuple[int, int],
) -> Tensor:
    """Cut a rotated crop out of an image by bilinear sampling.

    Parameters
    ----------
    image : ImageRecord
        The whole image.
    centre_mm : (float, float)
        Row and column of the crop's centre, mm from the image's first corner.
    angle : float
        Radians by which the crop's row axis leans towards greater columns.
    spacing_mm : float
        Millimetres per pixel of the crop.
    size : (int, int)
        Height and width of the crop in pixels.

    Returns
    -------
    Tensor of float32, shape `size`
        Grey levels as stored; 0 outside the image and where nothing was scanned.
    """
    stored = np.array(image.pixels, dtype=np.float32)
    values = torch.from_numpy(np.nan_to_num(stored, nan=0.0))
    height, width = values.shape
    down = (torch.arange(size[0]) - (size[0] - 1) / 2) * spacing_mm
    across = (torch.arange(size[1]) - (size[1] - 1) / 2) * spacing_mm
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    rows = centre_mm[0] + down[:, None] * cosine - across[None, :] * sine
    columns = centre_mm[1] + down[:, None] * sine + across[None, :] * cosine
    # millimetres to grid_sample's [-1, 1], corners of the image at the ends
    y = rows / (height * image.spacing_mm[0]) * 2 - 1
    x = columns / (width * image.spacing_mm[1]) * 2 - 1
    grid = torch.stack([x, y], dim=-1)[None]  # (1, h, w, 2)
    return functional.grid_sample(values[None, None], grid, align_corners=False)[0, 0]


def region_centres_mm(
    regions: NDArray[np.uint8], spacing_mm: tuple[float, float], codes: dict[str, int]
) -> dict[str, tuple[float, float, float]]:
    """Find centre and height of named regions, mm from the image's first corner.

    Returns
    -------
    dict of str to (float, float, float)
        Row, column and height in mm, for the regions that are present.
    """
    found = {}
    for name, code in codes.items():
        rows, columns = np.nonzero(regions == code)
        if len(rows):
            found[name] = (
                float((rows.mean() + 0.5) * spacing_mm[0]),
                float((columns.mean() + 0.5) * spacing_mm[1]),
                float((rows.max() - rows.min() + 1) * spacing_mm[0]),
            )
    return found
