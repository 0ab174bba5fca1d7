"""Digital patients with a lumbar film and the DXA values of a visit, for tasks to learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.imaging.radiograph import displayed
from shared.phantom.person.generator import PLAIN
from shared.phantom.solid_source import SolidPatients, render_by_names
from shared.phantom.solids.distance import Floats
from shared.records import ImageRecord, StudyLabels, StudyRecord, Vendor, VertebraBox, View
from shared.regions import LUMBAR, REGION_CODES, UNNAMED_VERTEBRA
from shared.seeds import numpy_generator

from .examination import FilmExamination, boxes_of, draw_field, draw_films
from .film import FLATTENED, FilmShot, draw_settings, take_film
from .makers import FILM_MAKERS

#: Changes whenever the same seed would give other films, so that old caches are not read.
FILM_VERSION: Final = 1


def film_patient(
    number: int,
    seed: int,
    generator: str = PLAIN.name,
    population: str = "generic",
    makers: Sequence[str] = (),
) -> StudyRecord:
    """Take a frontal lumbar film of a person, with the values of a DXA visit.

    Parameters
    ----------
    number, seed, generator, population
        Of the person, as for `shared.phantom.solid_source.solid_patient`.
    makers : sequence of str
        Keys of `FILM_MAKERS` that the persons are dealt to; by default the film is processed as
        no maker does.

    Returns
    -------
    StudyRecord
        One image, `View.LUMBAR_AP`, on which L1 to L4 are marked by boxes with their names and
        other vertebrae by boxes without one. The BMD of the same person's DXA visit stands as
        the study's own, on the scale of a made-up scanner.
    """
    one = draw_films(number, seed, population, generator)
    if makers:
        name = makers[number % len(makers)]
        taken = replace(one, maker=FILM_MAKERS[name]).take("ap")
        shown, shot = taken.shown, taken.shot
    else:
        shown, shot = _shown_as_nobody(one)
    regions = drawn(boxes_of(shot.levels), shown)
    side = shot.geometry.frame.spacing[0] / shot.geometry.magnified(0.0)
    visit = render_by_names(number, seed, None, population, generator=generator)
    name = f"solid-film-{generator}-{seed}-{number:06d}"
    return StudyRecord(
        name,
        name,
        Vendor.GENERIC,
        {View.LUMBAR_AP: ImageRecord(shown.astype(np.float16), (side, side), "derived", regions)},
        StudyLabels(bmd=visit.labels.bmd, genant=visit.labels.genant),
        one.anatomy.person.covariates,
    )


def _shown_as_nobody(one: FilmExamination) -> tuple[Floats, FilmShot]:
    """Take a film and make it readable in a way of its own."""
    key, purpose = one.seed_of_film
    rng = numpy_generator(key, "generic film", *purpose)
    geometry = draw_field(one.anatomy, "ap", rng)
    shot = take_film(one.anatomy, geometry, draw_settings("ap", rng), rng)
    return displayed(shot.attenuation, rng, FLATTENED["ap"]), shot


def drawn(boxes: tuple[VertebraBox, ...], image: Floats) -> NDArray[np.uint8]:
    """Draw boxes on the grid of an image, in the codes of `shared.regions`, (H, W)."""
    regions = np.zeros(image.shape, np.uint8)
    for box in boxes:
        code = REGION_CODES[box.vertebra] if box.vertebra in LUMBAR else UNNAMED_VERTEBRA
        regions[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = code
    return regions


class FilmPatients(SolidPatients):
    """Patients with a film and a BMD; a `shared.records.PatientSource`.

    Parameters
    ----------
    patients, seed, workers, cache, progress, generator, population
        As for `SolidPatients`.
    makers : sequence of str
        As for `film_patient`.
    """

    def __init__(
        self,
        patients: int,
        seed: int,
        workers: int = 1,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
        generator: str = PLAIN.name,
        population: str = "generic",
        makers: Sequence[str] = (),
    ) -> None:
        views, self._makers = (View.LUMBAR_AP,), tuple(makers)
        super().__init__(patients, seed, workers, views, cache, progress, generator, population)

    def _maker(self, seed: int) -> Callable[[int], StudyRecord]:
        return partial(
            film_patient,
            seed=seed,
            generator=self._generator,
            population=self._population,
            makers=self._makers,
        )

    def _made_by(self) -> tuple[str, str]:
        folder, told = super()._made_by()
        return folder, "|".join(["film", str(FILM_VERSION), *self._makers, told])
