"""Contact sheets: many digital patients of one projection side by side, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.errors import PhantomError
from shared.records import View

from .rendered import RenderedStudy

#: Pixels of the sheet per millimetre of the body.
_SCALE = 1.6
_GAP = 6


def contact_sheet(studies: Sequence[RenderedStudy], view: View, path: Path) -> None:
    """Draw one projection of several patients as a PNG, four or six to a row.

    Parameters
    ----------
    studies : sequence of RenderedStudy
        Patients, drawn in this order with number, sex, age and events.
    view : View
        Projection.
    path : Path
        PNG to write. Unscanned margins are white, as the vendors show them.

    Raises
    ------
    PhantomError
        If there are no studies.
    """
    from PIL import Image, ImageDraw

    if not studies:
        raise PhantomError("no digital patients were given for a contact sheet")
    tiles = []
    for study in studies:
        image = study.images[view]
        shown = np.nan_to_num(image.display, nan=1.0)
        tile = Image.fromarray(np.uint8(np.round(255 * shown)))
        rows, cols = image.spacing_mm
        size = (round(tile.width * cols * _SCALE), round(tile.height * rows * _SCALE))
        tile = tile.resize(size, Image.Resampling.BICUBIC)
        person = study.covariates
        words = f"{study.patient_number} {person.sex} {person.age_years:.0f}"
        bmd = study.labels.bmd.get("L1-L4" if view is not View.HIP_LEFT else "total_hip")
        words += "" if bmd is None else f" {bmd:.2f}"
        words += "".join(f" {event}" for event in study.events)
        canvas = Image.new("L", (size[0], size[1] + 14), 0)
        canvas.paste(tile, (0, 14))
        ImageDraw.Draw(canvas).text((2, 1), words[:52], fill=200)
        tiles.append(canvas)
    columns = 6 if view is View.SPINE_LATERAL else 4
    width = max(tile.width for tile in tiles) + _GAP
    height = max(tile.height for tile in tiles) + _GAP
    rows_needed = -(-len(tiles) // columns)
    sheet = Image.new("L", (columns * width, rows_needed * height), 60)
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * width, place // columns * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
