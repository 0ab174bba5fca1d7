"""Patients of solid anatomies as a source that tasks can learn from, beside the first generator's.

`solid_patient` is a DXA visit and `solid_radiograph` a frontal film of the same body; nothing in
demo or benchmark uses them yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from shared.records import DXA_VIEWS, ImageRecord, StudyLabels, StudyRecord, Vendor, View
from shared.seeds import numpy_generator

from .imaging.dxa.looks import GENERIC_VENDORS, SOLID_SCANNERS, generic_look, look_of
from .imaging.dxa.visit import draw_lie
from .imaging.film.film import FLATTENED, draw_geometry, draw_settings, take_film
from .imaging.radiograph import displayed, upright_boxes
from .person.calibration import calibration
from .person.covariates import POPULATIONS
from .person.generator import GENERATORS, PLAIN
from .person.person import draw_person
from .rendered import RenderedStudy
from .solid_study import render_solid_study
from .solids.anatomy import build_anatomy
from .source import DigitalPatients, record_of

#: Changes whenever the same seed would give other pictures, so that old caches are not read.
SOLID_VERSION: Final = 1


def render_by_names(
    number: int, seed: int, scanner: str | None, population: str, *, generator: str
) -> RenderedStudy:
    """Render one person's DXA visit; parameters as for `solid_patient`."""
    settings = GENERATORS[generator]
    if scanner is None:
        profile = generic_look(number, seed, settings)
    else:
        profile = look_of(SOLID_SCANNERS[scanner], seed % settings.looks_a_vendor)
    return render_solid_study(number, seed, profile, POPULATIONS[population], settings)


def solid_patient(
    number: int,
    seed: int,
    generator: str = PLAIN.name,
    population: str = "generic",
    scanner: str | None = None,
) -> StudyRecord:
    """Render one person's DXA visit.

    Parameters
    ----------
    number, seed : int
        Of the person.
    generator : str
        A key of `person.generator.GENERATORS`.
    population : str
        A key of `person.covariates.POPULATIONS`.
    scanner : str, optional
        A key of `imaging.dxa.looks.SOLID_SCANNERS`; a made-up one by default.

    Returns
    -------
    StudyRecord
        As `source.generic_patient` gives it.
    """
    return record_of(render_by_names(number, seed, scanner, population, generator=generator))


def solid_radiograph(
    number: int, seed: int, generator: str = PLAIN.name, population: str = "generic"
) -> StudyRecord:
    """Take a frontal film of the body that `solid_patient` scans; parameters as there.

    Returns
    -------
    StudyRecord
        As `imaging.radiograph.generic_radiograph` gives it: every vertebra that is in the field
        as a whole is marked by an upright box.
    """
    settings = GENERATORS[generator]
    rng = numpy_generator(seed, "film", generator, population, number)
    person = draw_person(number, seed, POPULATIONS[population], settings)
    anatomy = build_anatomy(person, draw_lie(settings, rng))
    geometry = draw_geometry(anatomy, "ap", rng)
    shot = take_film(anatomy, geometry, draw_settings("ap", rng), rng)
    shown, regions = (
        displayed(shot.attenuation, rng, FLATTENED["ap"]),
        upright_boxes(shot.levels, rng),
    )
    name = f"solid-radiograph-{generator}-{seed}-{number:06d}"
    image = ImageRecord(shown.astype(np.float16), geometry.frame.spacing, "none", regions)
    return StudyRecord(
        name, name, Vendor.GENERIC, {View.LUMBAR_AP: image}, StudyLabels(), person.covariates
    )


class SolidPatients(DigitalPatients):
    """Patients of solid anatomies; a `shared.records.PatientSource`.

    Parameters
    ----------
    patients, seed, workers, views, cache, progress
        As for `DigitalPatients`.
    generator : str
        A key of `GENERATORS`.
    population : str
        A key of `POPULATIONS`.

    Raises
    ------
    PhantomError
        As for `DigitalPatients`.
    """

    def __init__(
        self,
        patients: int,
        seed: int,
        workers: int = 1,
        views: Iterable[View] = DXA_VIEWS,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
        generator: str = PLAIN.name,
        population: str = "generic",
    ) -> None:
        self._generator, self._population = generator, population
        super().__init__(patients, seed, workers, views, cache, progress)

    def _maker(self, seed: int) -> Callable[[int], StudyRecord]:
        make = solid_radiograph if self._radiographs else solid_patient
        return partial(make, seed=seed, generator=self._generator, population=self._population)

    def _made_by(self) -> tuple[str, str]:
        settings = GENERATORS[self._generator]
        told = (settings.digest, self._population, calibration().digest, GENERIC_VENDORS)
        return f"solid{SOLID_VERSION}", f"solid|{SOLID_VERSION}|" + "|".join(map(str, told))
