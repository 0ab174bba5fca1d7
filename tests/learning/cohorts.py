"""Who trains, who chooses and who tests: hospitals of one task, never mixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from shared.records import PatientSource, StudyRecord
from shared.settings.task import TaskSettings
from tests.learning.digital import (
    FEDERATION,
    UNSEEN,
    DigitalHospital,
    HospitalPatients,
    groups_of,
)
from tests.learning.radiographs import (
    Radiographs,
    look_of,
    names_in,
    read_radiograph,
    split_by_look,
)

#: Radiographs of the ``valid`` part that count as public.
PUBLIC_RADIOGRAPHS: Final = 60
RADIOGRAPH_ROUNDS: Final = 10
RADIOGRAPH_PRIVATE_ROUNDS: Final = 6
CHOICES_FROM: Final = 10_000
HOSPITALS: Final = ("riverside", "hillcrest", "lakeside")


@dataclass(frozen=True)
class Cohort:
    """One task's patients.

    Attributes
    ----------
    settings : TaskSettings
        Network, and how each way of training is done.
    rounds, private_rounds : int
        Of a plain and of a private federated run.
    public : PatientSource
        What pretraining may use.
    hospitals : mapping of str to PatientSource
        Training patients.
    choices : PatientSource
        On which settings were chosen; never reported.
    unseen : PatientSource
        On which every figure is measured.
    groups : callable
        Says of a study which groups its patient belongs to.
    """

    name: str
    settings: TaskSettings
    rounds: int
    private_rounds: int
    public: PatientSource
    hospitals: Mapping[str, PatientSource]
    choices: PatientSource
    unseen: PatientSource
    groups: Callable[[StudyRecord], Mapping[str, str]] = field(default=lambda _: {})


#: Patients of three hospitals of uneven size, as shares of an even one's: as many in all.
UNEVEN: Final = (2.0, 0.8, 0.2)


@dataclass(frozen=True)
class Size:
    """How large a digital cohort is: patients a hospital, of all that test, rounds."""

    patients: int
    hospitals: tuple[DigitalHospital, ...] = FEDERATION
    uneven: bool = False
    tests: int = 150
    unseen: tuple[DigitalHospital, ...] = UNSEEN
    choices: int = 30
    choosers: tuple[DigitalHospital, ...] = FEDERATION
    rounds: int = 15
    private_rounds: int = 5

    @property
    def counts(self) -> list[int]:
        """Patients of each hospital."""
        if not self.uneven:
            return [self.patients] * len(self.hospitals)
        return [round(share * self.patients) for share in UNEVEN]

    @property
    def name(self) -> str:
        """What cohorts of this size are told apart by."""
        many = "" if self.hospitals == FEDERATION else f"{len(self.hospitals)}x"
        return f"{many}{self.patients}" + ("-uneven" if self.uneven else "")


#: What continuous integration can train in minutes.
SMALL: Final = Size(patients=24, tests=40, choices=1, rounds=2, private_rounds=2)


def digital(
    settings: TaskSettings,
    size: Size,
    public: PatientSource,
    cache: Path,
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> Cohort:
    """Digital hospitals of a size; choices on new patients of the first three, tests elsewhere.

    The hospitals that test have populations of their own, and one of them a scanner.
    """
    make = partial(HospitalPatients, cache=cache, workers=workers, progress=progress)
    # Numbers begin anew for choices, far from any training patient.
    some = range(CHOICES_FROM, CHOICES_FROM + size.choices)
    choices = [make(one, some) for one in size.choosers]
    return Cohort(
        name=f"{settings.task}-{size.name}",
        settings=settings,
        rounds=size.rounds,
        private_rounds=size.private_rounds,
        public=public,
        hospitals={
            one.name: make(one, range(count))
            for one, count in zip(size.hospitals, size.counts, strict=True)
        },
        choices=Pooled(choices),
        unseen=Pooled([make(one, range(size.tests // len(size.unseen))) for one in size.unseen]),
        groups=groups_of,
    )


@dataclass(frozen=True)
class Pooled:
    """Patients of several sources as one source."""

    sources: Sequence[PatientSource]

    @property
    def patients(self) -> Sequence[str]:
        """All names, each with the number of its source, sorted."""
        return sorted(
            f"{number}/{name}"
            for number, source in enumerate(self.sources)
            for name in source.patients
        )

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Studies of the patient in its own source."""
        number, _, name = patient.partition("/")
        return self.sources[int(number)].studies(name)


class Later:
    """A source of patients that is made when the first of them is asked for."""

    def __init__(self, make: Callable[[], PatientSource]) -> None:
        self._make = make

    @cached_property
    def _source(self) -> PatientSource:
        return self._make()

    @property
    def patients(self) -> Sequence[str]:
        """Names, sorted."""
        return self._source.patients

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Studies of a patient."""
        return self._source.studies(patient)


def radiographs(root: Path, settings: TaskSettings) -> Cohort:
    """Real radiographs: the ``train`` part as three hospitals by look, ``valid`` in three parts.

    Of ``valid``, every fourth radiograph or so (60, evenly spaced) is public, of the others
    every second is for choices and the rest tests.
    """
    train, valid = root / "train", root / "valid"
    looks = {name: look_of(read_radiograph(train, name)) for name in names_in(train)}
    names = names_in(valid)
    public = [
        names[place * len(names) // PUBLIC_RADIOGRAPHS] for place in range(PUBLIC_RADIOGRAPHS)
    ]
    others = [name for name in names if name not in set(public)]
    return Cohort(
        name="radiographs",
        settings=settings,
        rounds=RADIOGRAPH_ROUNDS,
        private_rounds=RADIOGRAPH_PRIVATE_ROUNDS,
        public=Radiographs(valid, public),
        hospitals={
            hospital: Radiographs(train, part)
            for hospital, part in split_by_look(looks, HOSPITALS).items()
        },
        choices=Radiographs(valid, others[0::2]),
        unseen=Radiographs(valid, others[1::2]),
    )
