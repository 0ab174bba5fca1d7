"""Lumbar films of a person whose DXA is there, some months before or after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.imaging.dxa.visit import draw_lie
from shared.phantom.person.covariates import POPULATIONS
from shared.phantom.person.generator import GENERATORS
from shared.phantom.person.person import draw_person
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.bones.vertebra import SPINE_LEVELS
from shared.phantom.solids.distance import Floats, floats
from shared.records import VertebraBox
from shared.regions import LUMBAR
from shared.seeds import numpy_generator

from .film import FilmShot, draw_settings, take_film
from .geometry import FilmGeometry, FilmView, set_up
from .makers import FilmMaker, maker_of

#: The longest time between DXA and film, days.
FILM_APART: Final = 365
#: Range of distances of source and film and of the gap under the patient, mm.
DISTANCE: Final = (1000.0, 1150.0)
GAP: Final = (55.0, 90.0)
#: How far a frontal field reaches above the middle of its first vertebra, below that of the
#: lowest, and across, mm.
ABOVE: Final = (10.0, 45.0)
BELOW: Final = (45.0, 120.0)
ACROSS: Final = (190.0, 320.0)
#: ... and a lateral one across, with so much of it behind the bodies, mm.
ACROSS_LATERAL: Final = (170.0, 220.0)
BEHIND: Final = 75.0
#: Side of a pixel on the detector, mm. Archives have 0.1 to 0.2: more is rendered and not learnt.
PIXEL: Final = (0.8, 1.1)
#: Attenuation of the lead of a marker, and its height, mm.
LEAD: Final = 3.0
MARKER_MM: Final = 14


@dataclass(frozen=True)
class FilmExamination:
    """How films are taken.

    Attributes
    ----------
    anatomy : Anatomy
        The person, on the table.
    maker : FilmMaker
        Of the system.
    days_later : int
        After the DXA; negative if it was before.
    seed_of_film : (int, tuple of str or int)
        Key and purpose of the generators of each film.
    """

    anatomy: Anatomy
    maker: FilmMaker
    days_later: int
    seed_of_film: tuple[int, tuple[str | int, ...]]

    def take(self, view: FilmView) -> TakenFilm:
        """Take and process one film."""
        key, purpose = self.seed_of_film
        rng = numpy_generator(key, view, *purpose)
        geometry = draw_field(self.anatomy, view, rng)
        settings = draw_settings(view, rng)
        shot = take_film(self.anatomy, geometry, settings, rng)
        marked = _with_marker(shot.attenuation, geometry, view)
        return TakenFilm(view, self.maker.processing(marked, rng), shot, settings.kvp)


@dataclass(frozen=True)
class TakenFilm:
    """A film as the archive gets it: display values in [0, 1] (H, W), bone bright; kV."""

    view: FilmView
    shown: Floats
    shot: FilmShot
    kvp: int


def draw_films(
    number: int, seed: int, population: str, generator: str, maker: FilmMaker | None = None
) -> FilmExamination:
    """Draw the films of a person.

    Parameters
    ----------
    number, seed, population, generator
        Of the person, as for `shared.phantom.solid_source.solid_patient`.
    maker : FilmMaker, optional
        By default the hospital's own, which follows from its seed.
    """
    purpose = ("film examination", generator, population, number)
    rng = numpy_generator(seed, *purpose)
    settings = GENERATORS[generator]
    person = draw_person(number, seed, POPULATIONS[population], settings)
    anatomy = build_anatomy(person, draw_lie(settings, rng))
    days = int(rng.integers(1, FILM_APART + 1)) * (1 if rng.random() < 0.5 else -1)
    return FilmExamination(anatomy, maker or maker_of(seed), days, (seed, purpose))


def draw_field(anatomy: Anatomy, view: FilmView, rng: np.random.Generator) -> FilmGeometry:
    """Draw a lumbar field: from the lower ribs to the sacrum."""
    spine = anatomy.skeleton.spine
    first = str(rng.choice(["T10", "T11", "T12"]))
    last = spine[list(spine)[-1]]
    top = float(spine[first].centre[2]) - float(rng.uniform(*ABOVE))
    bottom = float(last.centre[2]) + float(rng.uniform(*BELOW))
    lateral = view == "lateral"
    middle = float(np.mean([spine[one].centre[1 if lateral else 0] for one in LUMBAR]))
    middle += float(rng.normal(0, 10))
    width = float(rng.uniform(*(ACROSS_LATERAL if lateral else ACROSS)))
    behind = BEHIND if lateral else width / 2
    field = (top, bottom, middle + behind - width, middle + behind)
    distance, gap = float(rng.uniform(*DISTANCE)), float(rng.uniform(*GAP))
    box = anatomy.tissues[0].box
    return set_up(view, box, field, float(rng.uniform(*PIXEL)), distance, gap)


def boxes_of(levels: NDArray[np.uint8]) -> tuple[VertebraBox, ...]:
    """Upright boxes, as people draw them, around vertebrae that no edge cuts.

    Parameters
    ----------
    levels : ndarray of uint8, shape (H, W)
        As `FilmShot.levels`.

    Returns
    -------
    tuple of VertebraBox
        From the top down.
    """
    from scipy.ndimage import find_objects

    found = []
    for number, place in enumerate(find_objects(levels)):
        if place is None or place[0].start == 0 or place[0].stop == levels.shape[0]:
            continue
        rows, columns = place
        found.append(
            VertebraBox(
                SPINE_LEVELS[number],
                float(columns.start), float(rows.start), float(columns.stop), float(rows.stop),
            )
        )  # fmt: skip
    return tuple(found)


def _with_marker(attenuation: Floats, geometry: FilmGeometry, view: FilmView) -> Floats:
    """Lay the lead letter of the side into a corner: R at the patient's right of a frontal film."""
    from PIL import Image, ImageDraw, ImageFont

    side = geometry.frame.spacing[0]
    height = round(MARKER_MM / side)
    page = Image.new("L", (2 * height, 2 * height))
    font = ImageFont.load_default(size=height)
    ImageDraw.Draw(page).text((2, 2), "R" if view == "ap" else "L", fill=255, font=font)
    lead = np.asarray(page, np.float32) / 255 * LEAD
    rows, columns = attenuation.shape
    top, left = min(height, rows - 2 * height), min(height // 2, columns - 2 * height)
    marked = attenuation.copy()
    marked[top : top + 2 * height, left : left + 2 * height] += lead
    return floats(marked)
