"""Where source, patient and film of a radiograph stand, and its rays.

The patient lies on a table whose top is some centimetres above the film: on the back for a
frontal view, on one side for a lateral one. World frame, mm: x to the patient's left, y to the
back, z to the feet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from shared.phantom.imaging.crossing import BONE_STEP, CHEST_RAYS, RayGrid
from shared.phantom.imaging.grids import between, even
from shared.phantom.imaging.projection import Frame
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.lattice import Lattice, diverging
from shared.phantom.solids.tissues.slab import Box
from shared.records import View

#: Distance of rays through soft tissue on the film, mm; steps along them are of `TISSUE_STEP`.
TISSUE_RAYS: Final = 5.0
TISSUE_WAYS: Final = 5.0
FilmView = Literal["ap", "lateral"]


@dataclass(frozen=True)
class FilmGeometry:
    """A radiograph's set-up.

    Attributes
    ----------
    view : str
        ``ap``, or ``lateral`` with the patient on the left side.
    distance : float
        From source to film, mm; 1000 to 1150 for the lumbar spine.
    gap : float
        From the skin that lies on the table to the film, mm.
    source : (float, float)
        Of the source: x of a frontal or y of a lateral view, and z, mm.
    frame : Frame
        Pixels in the film's plane: rows along z, columns along x or y, mm.
    film : float
        Depth of the film's plane: y of a frontal, x of a lateral view, mm.
    """

    view: FilmView
    distance: float
    gap: float
    source: tuple[float, float]
    frame: Frame
    film: float

    @property
    def lateral(self) -> bool:
        """Whether rays go from side to side."""
        return self.view == "lateral"

    def magnified(self, depth: float) -> float:
        """Size on the film over size at a depth (y or x), mm."""
        return self.distance / (self.distance - (self.film - depth))

    def on_film(self, points: Floats) -> Floats:
        """Where world points (N, 3) are seen, rows and columns in pixels, (N, 2)."""
        across, depth = (1, 0) if self.lateral else (0, 1)
        grown = self.distance / (self.distance - (self.film - points[:, depth]))
        x = self.source[0] + (points[:, across] - self.source[0]) * grown
        z = self.source[1] + (points[:, 2] - self.source[1]) * grown
        seen = np.zeros((len(points), 3), np.float32)
        seen[:, across], seen[:, 2] = x, z
        return floats(np.stack(self.frame.pixel(seen), axis=1))


def set_up(
    view: FilmView,
    box: Box,
    field: tuple[float, float, float, float],
    pixel: float,
    distance: float,
    gap: float,
) -> FilmGeometry:
    """Set up a radiograph.

    Parameters
    ----------
    view : str
        ``ap`` or ``lateral``.
    box : Box
        Corners of a box around the patient, mm.
    field : (float, float, float, float)
        First and last z, first and last x (frontal) or y (lateral) that the film is to show at
        the depth of the spine, mm.
    pixel : float
        Side of a pixel on the film, mm.
    distance, gap : float
        See `FilmGeometry`.
    """
    lateral = view == "lateral"
    film = float(box[1][0 if lateral else 1]) + gap
    top, bottom, first, last = field
    grown = distance / (distance - film)
    middle = ((first + last) / 2, (top + bottom) / 2)
    height, width = (bottom - top) * grown, (last - first) * grown
    # the film's middle lies straight under the source
    frame = Frame(
        View.SPINE_LATERAL if lateral else View.LUMBAR_AP,
        middle[1] - height / 2,
        middle[0] - width / 2,
        (round(height / pixel), round(width / pixel)),
        (pixel, pixel),
    )
    return FilmGeometry(view, distance, gap, middle, frame, film)


def rays_of_film(geometry: FilmGeometry, box: Box) -> RayGrid:
    """Rays from the source to the pixels of a film.

    Parameters
    ----------
    geometry : FilmGeometry
        The set-up.
    box : Box
        Corners of a box around the patient, mm.
    """
    frame, depth = geometry.frame, 0 if geometry.lateral else 1
    low, high = float(box[0][depth]) - 2, float(box[1][depth]) + 2
    ways = even(low, high, BONE_STEP)
    pixels = _lattice(geometry, frame.rows, frame.columns, ways)
    rows, columns, places = between(frame, (TISSUE_RAYS, TISSUE_RAYS), 2)
    tissue = _lattice(geometry, rows, columns, even(low, high, TISSUE_WAYS))
    side = max(2 * frame.spacing[0], CHEST_RAYS)
    rows, columns, own = between(frame, (side, side), 0.5)
    chest = (_lattice(geometry, rows, columns, ways), own)
    across = (frame.columns[None, :] - geometry.source[0]) / geometry.distance
    down = (frame.rows[:, None] - geometry.source[1]) / geometry.distance
    longer = np.sqrt(1 + across**2 + down**2)
    return RayGrid(pixels, tissue, *places, floats(longer), chest)


def _lattice(geometry: FilmGeometry, rows: Floats, columns: Floats, ways: Floats) -> Lattice:
    x, z = geometry.source
    found = diverging(rows, columns, ways, (x, geometry.film - geometry.distance, z), geometry.film)
    if not geometry.lateral:
        return found
    return replace(found, x=found.y, y=found.x, lateral=True)
