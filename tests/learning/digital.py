"""Digital hospitals: patients of clinical scanners, rendered once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.phantom.imaging.dxa.looks import SOLID_SCANNERS, look_of
from shared.phantom.imaging.scanner import SCANNERS, ScannerProfile
from shared.phantom.person.calibration import calibration
from shared.phantom.person.generator import GENERATORS, NEAR_TO_LIFE
from shared.phantom.population import POPULATIONS
from shared.phantom.rendered import RenderedStudy
from shared.phantom.solid_source import SOLID_VERSION
from shared.phantom.solid_study import render_solid_study
from shared.phantom.source import PHANTOM_VERSION, record_of
from shared.phantom.study import render_study
from shared.phantom.workers import in_order
from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
)

#: A scanner that no hospital of the federation has and no setting was chosen on: finer
#: pixels, more photons and a window of its own, of a family that is known.
NEVER_SEEN: Final[ScannerProfile] = replace(
    SCANNERS["lunar"],
    name="lunar_fine",
    spacing_mm=(0.9, 0.9),
    photons={view: 1.8 * count for view, count in SCANNERS["lunar"].photons.items()},
    blur_mm=0.45,
    calibration=1.009,
    window={
        view: replace(window, low=0.9 * window.low, high=1.06 * window.high, gamma=0.86)
        for view, window in SCANNERS["lunar"].window.items()
    },
)


@dataclass(frozen=True)
class DigitalHospital:
    """Who comes where: a scanner, a population, and a seed of its own.

    `generator` is that of its patients' solid anatomies (`GENERATORS`); without one they are of
    the first generator.
    """

    name: str
    scanner: ScannerProfile
    population: str
    seed: int
    generator: str | None = None


FEDERATION: Final = (
    DigitalHospital("riverside", SCANNERS["lunar"], "urban", 1101),
    DigitalHospital("hillcrest", SCANNERS["lunar_prodigy"], "rural", 1102),
    DigitalHospital("lakeside", SCANNERS["hologic"], "university", 1103),
)
#: Seven more with the same scanners: every one meets every population.
MORE_HOSPITALS: Final = (
    DigitalHospital("parkview", SCANNERS["lunar"], "rural", 1207),
    DigitalHospital("ashford", SCANNERS["lunar"], "university", 1208),
    DigitalHospital("bayside", SCANNERS["lunar_prodigy"], "urban", 1209),
    DigitalHospital("kingsway", SCANNERS["lunar_prodigy"], "university", 1210),
    DigitalHospital("oakridge", SCANNERS["hologic"], "urban", 1211),
    DigitalHospital("fairfield", SCANNERS["hologic"], "rural", 1212),
    DigitalHospital("millbrook", SCANNERS["lunar"], "urban", 1213),
)
#: Two that take no part, with a population of their own: one has a scanner that the
#: federation knows, the other one that it never saw.
UNSEEN: Final = (
    DigitalHospital("northfield", SCANNERS["lunar"], "northern", 1104),
    DigitalHospital("eastgate", NEVER_SEEN, "northern", 1105),
)
#: A third one, with the scanner family that the two lack and a population of its own.
SOUTHPORT: Final = DigitalHospital("southport", SCANNERS["hologic"], "community", 1106)


def near_to_life(
    name: str, scanner: ScannerProfile, population: str, seed: int, look: int
) -> DigitalHospital:
    """A hospital of solid anatomies, whose scanner's pictures have a look of its own."""
    return DigitalHospital(name, look_of(scanner, look), population, seed, NEAR_TO_LIFE.name)


#: The same hospitals with near-to-life patients: three that train, three that test. The looks
#: of those that test are no others' of the same scanner.
LIFE_FEDERATION: Final = (
    near_to_life("riverside", SOLID_SCANNERS["lunar"], "urban", 2101, 1),
    near_to_life("hillcrest", SOLID_SCANNERS["lunar_prodigy"], "rural", 2102, 2),
    near_to_life("lakeside", SOLID_SCANNERS["hologic"], "university", 2103, 3),
)
LIFE_UNSEEN: Final = (
    near_to_life("northfield", SOLID_SCANNERS["lunar"], "northern", 2104, 4),
    near_to_life(
        "eastgate", replace(NEVER_SEEN, spacing_mm=(0.5, 0.9)), "northern", 2105, 0
    ),
)  # fmt: skip
LIFE_SOUTHPORT: Final = near_to_life(
    "southport", SOLID_SCANNERS["hologic"], "community", 2106, 5
)  # fmt: skip
#: Hospitals that neither train nor test: settings are chosen on their patients.
LIFE_CHOICES: Final = (
    near_to_life("parkview", SOLID_SCANNERS["lunar"], "rural", 2207, 5),
    near_to_life("oakridge", SOLID_SCANNERS["hologic"], "urban", 2211, 4),
)


class HospitalPatients:
    """Some patients of a digital hospital, by number; a `shared.records.PatientSource`."""

    def __init__(
        self,
        hospital: DigitalHospital,
        numbers: Sequence[int],
        cache: Path,
        workers: int = 1,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        folder = f"solid{SOLID_VERSION}" if hospital.generator else f"v{PHANTOM_VERSION}"
        self._place = cache / folder / f"{hospital.name}-{_digest(hospital)}"
        self._paths = {f"{hospital.name}-{n:05d}": self._place / f"{n:05d}.npz" for n in numbers}
        self._hospital, self._numbers = hospital, numbers
        self._workers, self._progress = workers, progress
        self._rendered = False

    @property
    def patients(self) -> Sequence[str]:
        """Names, sorted."""
        return sorted(self._paths)

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """The one study of a patient; the first that is asked for has all of them rendered."""
        if not self._rendered:
            self._render_missing()
        return (_load(self._paths[patient], patient),)

    def _render_missing(self) -> None:
        named = zip(self._numbers, self._paths.values(), strict=True)
        missing = [number for number, path in named if not path.exists()]
        self._place.mkdir(parents=True, exist_ok=True)
        for _ in in_order(partial(_render, self._hospital, self._place), missing, self._workers):
            if self._progress is not None:
                self._progress(1)
        self._rendered = True


def _digest(hospital: DigitalHospital) -> str:
    """Digest what a patient's pictures follow from, besides the number."""
    told = repr((hospital.scanner, POPULATIONS[hospital.population], hospital.seed))
    if hospital.generator is not None:
        told += GENERATORS[hospital.generator].digest + calibration().digest
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _study(hospital: DigitalHospital, number: int) -> RenderedStudy:
    population, scanner = POPULATIONS[hospital.population], hospital.scanner
    if hospital.generator is None:
        return render_study(number, hospital.seed, scanner, population)
    settings = GENERATORS[hospital.generator]
    return render_solid_study(number, hospital.seed, scanner, population, settings)


def _render(hospital: DigitalHospital, place: Path, number: int) -> None:
    """Render a patient into a file, whole or not at all."""
    record = record_of(_study(hospital, number))
    facts = {
        "vendor": record.vendor,
        "labels": asdict(record.labels),
        "covariates": asdict(record.covariates),
        "spacing": {view: image.spacing_mm for view, image in record.images.items()},
    }
    arrays: dict[str, Any] = {str(view): image.pixels for view, image in record.images.items()}
    arrays |= {
        f"{view}.regions": np.asarray(image.regions) for view, image in record.images.items()
    }
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    temporary = place / f"{number:05d}.part"
    with temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    temporary.replace(place / f"{number:05d}.npz")


def _load(path: Path, name: str) -> StudyRecord:
    with np.load(path, allow_pickle=False) as held:
        facts = json.loads(bytes(held["facts"]))
        images = {
            View(view): ImageRecord(
                held[view], (spacing[0], spacing[1]), "calibrated", held[f"{view}.regions"]
            )
            for view, spacing in facts["spacing"].items()
        }
    labels, covariates = StudyLabels(**facts["labels"]), Covariates(**facts["covariates"])
    return StudyRecord(name, name, Vendor(facts["vendor"]), images, labels, covariates)


def groups_of(study: StudyRecord) -> dict[str, str]:
    """Groups by which errors are told: hospital (and so scanner), sex, age, build, ancestry."""
    known = study.covariates
    found = {"hospital": study.patient.partition("-")[0]}
    if known.sex is not None:
        found["sex"] = known.sex
    if known.age_years is not None:
        found["age"] = "under 65" if known.age_years < 65 else "65 and over"
    if known.height_cm and known.weight_kg:
        index = known.weight_kg / (known.height_cm / 100) ** 2
        found["BMI"] = "under 25" if index < 25 else "25 to 30" if index < 30 else "30 and over"
    if known.ethnic_group is not None:
        found["ancestry"] = known.ethnic_group
    return found
