"""How a canvas of projections is varied: other bodies, other fields of view, other scanners."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shared.regions import SACRUM
from shared.tasks.ct.landmarks import CANVAS, LANDMARKS
from shared.tasks.sample import Sample

#: Factor on sizes, way up and down in rows and aside in columns, logarithm of gamma and of
#: brightness (SD), noise.
ZOOM: Final = (0.88, 1.14)
SHIFT_ROWS: Final = 12.0
SHIFT_COLUMNS: Final = 5.0
TONE: Final = 0.2
NOISE: Final = 0.03
#: Share of pictures that are cut above and below, each.
CUT: Final = 0.5
#: What is cut above ends at most so many rows above L1; below, so many rows below it at least.
KEPT_ABOVE: Final = -4
KEPT_BELOW: Final = 30
#: Share in which the last vertebra above the sacrum is taken out, and in which it stands twice:
#: one in twenty to ten people has four or six, too few to learn from, and whoever counts up from
#: the sacrum then names every level wrong.
RECOUNTED: Final = (0.15, 0.15)
#: Share in which L1 itself is cut away.
WITHOUT_L1: Final = 0.08


def move_canvas(
    sample: Sample, generator: np.random.Generator, kept_below: int = KEPT_BELOW
) -> Sample:
    """Stretch, move, cut and shade one patient's canvas, with its landmarks.

    Parameters
    ----------
    sample : Sample
        Of `shared.tasks.ct.localisation`; the upper end of L1 is its first landmark.
    generator : Generator
    kept_below : int
        What is cut below ends at least so many rows below it.

    Returns
    -------
    Sample
        New tensors; a landmark outside of what is left has the row −1.
    """
    zoom = float(np.exp(generator.uniform(*np.log(ZOOM))))
    down, aside = (float(generator.uniform(-1, 1)) * most for most in (SHIFT_ROWS, SHIFT_COLUMNS))
    image = _moved(sample["image"], zoom, down, aside)
    middle = (CANVAS[0] - 1) / 2

    def there(row: Tensor) -> Tensor:
        return (row - middle) * zoom + middle + down

    rows = torch.where(sample["row"] >= 0, there(sample["row"]), sample["row"])
    scanned = there(sample["scanned"]).clamp(0, CANVAS[0] - 1)
    first, last = _cut(
        float(scanned[0, 0]), float(scanned[0, 1]), float(rows[0, 0]), generator, kept_below
    )
    places = torch.arange(CANVAS[0])[:, None]
    inside = (places >= first) & (places <= last)
    rows = torch.where((rows >= first) & (rows <= last), rows, torch.full_like(rows, -1.0))
    shaded = _shaded(image, generator) * inside
    return {**sample, "image": shaded, "row": rows, "scanned": torch.tensor([[first, last]])}


def recount(sample: Sample, generator: np.random.Generator) -> Sample:
    """Take the vertebra above the sacrum out of some pictures, and put it in twice in others.

    Only where the sacrum's end plate, L3 and L4 are known; L1 to L4 stay what they are.
    Parameters as for `move_canvas`.
    """
    drawn = generator.random()
    fewer, more = RECOUNTED
    rows = dict(zip(LANDMARKS, sample["row"][0].tolist(), strict=True))
    if drawn >= fewer + more or min(rows[SACRUM], rows["L3"], rows["L4"]) < 0:
        return sample
    end = round(rows[SACRUM])
    step = max(1, round(rows["L4"] - rows["L3"]))
    start = max(end - step, round(rows["L4"]) + 1)
    image = sample["image"]
    above, band, below = image[:, :, :start], image[:, :, start:end], image[:, :, end:]
    removed = drawn < fewer
    parts = [above, below, torch.zeros_like(band)] if removed else [above, band, band, below]
    change = (start - end) if removed else (end - start)
    row, scanned = sample["row"].clone(), sample["scanned"].clone()
    place = LANDMARKS.index(SACRUM)
    row[0, place] = end + change
    scanned[0, 1] = min(float(scanned[0, 1]) + change, CANVAS[0] - 1.0)
    if row[0, place] > scanned[0, 1]:
        row[0, place] = -1.0
    return {
        **sample,
        "image": torch.cat(parts, dim=2)[:, :, : CANVAS[0]],
        "row": row,
        "scanned": scanned,
    }


def _moved(image: Tensor, zoom: float, down: float, aside: float) -> Tensor:
    """Stretch about the middle by `zoom`, then move by rows and columns."""
    height, width = CANVAS
    across, along = (-2 * aside / (width * zoom), -2 * down / (height * zoom))
    matrix = torch.tensor([[[1 / zoom, 0, across], [0, 1 / zoom, along]]])
    grid = functional.affine_grid(matrix, [1, image.shape[1], height, width], align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


def _cut(
    first: float, last: float, top: float, generator: np.random.Generator, kept_below: int
) -> tuple[float, float]:
    """First and last row that are left."""
    above, below, without = generator.random(3)
    share = generator.random(2)
    if top < 0:
        return first, last
    if without < WITHOUT_L1:
        return min(top + 10 + 20 * share[0], last - 10), last
    if above < CUT:
        first = max(first, first + (top + KEPT_ABOVE - first) * share[0])
    if below < CUT:
        last = min(last, last + (top + kept_below - last) * share[1])
    return float(first), float(last)


def _shaded(image: Tensor, generator: np.random.Generator) -> Tensor:
    gamma, bright = np.exp(TONE * np.clip(generator.normal(size=2), -2, 2))
    noise = torch.from_numpy(generator.normal(0, NOISE, image.shape).astype(np.float32))
    return ((image * float(bright)).clamp(0, 1) ** float(gamma) + noise).clamp(0, 1)
