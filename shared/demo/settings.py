"""``configs/demo.yaml``: who takes part in a demo, what it trains, and what it promises of that."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from shared.errors import ConfigValueError
from shared.settings.base import Count, Positive, Settings
from shared.settings.files import SitePolicy, load_settings
from shared.settings.patterns import SiteName

#: What `make demo` shows, and what else can be shown.
DXA: Final = "dxa"
CT_ABDOMEN: Final = "ct-abdomen"
XRAY: Final = "xray"
MODALITIES: Final = (DXA, CT_ABDOMEN, XRAY)
#: What the settings of a finished demo are called in its folder.
FILE: Final = "demo.yaml"


class Hospital(Settings):
    """One digital hospital.

    `scanner` is one of `shared.phantom.imaging.scanner.SCANNERS`, `population` a key of
    `shared.phantom.population.POPULATIONS`. `takes_part` is False for the one that only tests.
    """

    name: SiteName
    scanner: str
    population: str
    patients: Count
    seed: int
    takes_part: bool = True


class DigitalExaminations(Settings):
    """How patients are made: the options of ``osteofed phantom make``."""

    anatomy: str = "points"
    ct: bool = False
    film: bool = False


class TrainingMean(Settings):
    """The task whose error is held against always saying the training patients' mean.

    `regression` is one of the task's released regressions, in whose unit the error is.
    """

    task: str
    regression: str


class DemoPromise(Settings):
    """A bound of one metric at the hospital that took no part.

    With `of`, what is bounded is the metric's ratio to that other metric.
    """

    task: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("needs one of at_least and at_most")
        return self


class Smallest(Settings):
    """What is less where a demo only shows that every step can be taken.

    `patients` are those of each hospital, `steps` those of a pretraining and of a round.
    """

    patients: Count
    public_patients: Count
    steps: Count
    policy: SitePolicy


class DemoSettings(Settings):
    """Who takes part, rounds by task in the order of training, the compared task, the promises.

    `policy` is what the hospitals allow other than a new site does, `public_patients` how many
    digital patients public pretraining takes (None: as the tasks' settings say). A task in
    `prepared` is trained and measured on what the public weights of the tasks before it find
    where nobody drew what it needs. `most_lost_by_joining` is how much worse than the public
    weights the compared task may be after private training: noise may cost a little on one test
    hospital; more means that privacy broke the learning (None: not judged).
    """

    hospitals: tuple[Hospital, ...] = Field(min_length=2)
    examinations: DigitalExaminations = DigitalExaminations()
    policy: SitePolicy = SitePolicy()
    public_patients: Count | None = None
    epsilon_per_run: Positive = 4.0
    maximum_seconds: Positive
    prepared: tuple[str, ...] = ()
    rounds: dict[str, Count] = Field(min_length=1)
    compared: str
    training_mean: TrainingMean
    promises: tuple[DemoPromise, ...]
    most_lost_by_joining: float | None = None
    smallest: Smallest | None = None

    @model_validator(mode="after")
    def _one_outsider(self) -> Self:
        if sum(not hospital.takes_part for hospital in self.hospitals) != 1:
            raise ValueError("needs one hospital that takes no part (takes_part: false)")
        return self

    @property
    def members(self) -> list[Hospital]:
        """The hospitals that take part."""
        return [hospital for hospital in self.hospitals if hospital.takes_part]

    @property
    def outsider(self) -> Hospital:
        """The hospital that only tests."""
        return next(hospital for hospital in self.hospitals if not hospital.takes_part)

    def at_smallest_size(self) -> DemoSettings:
        """Give the same at its smallest size, which promises nothing of its models.

        Raises
        ------
        ConfigValueError
            If the settings have no such size.
        """
        if self.smallest is None:
            raise ConfigValueError("--smallest: this demo has one size (leave it out)")
        hospitals = tuple(
            one.model_copy(update={"patients": self.smallest.patients}) for one in self.hospitals
        )
        changes = {
            "hospitals": hospitals,
            "public_patients": self.smallest.public_patients,
            "policy": self.smallest.policy,
            "rounds": dict.fromkeys(self.rounds, 1),
            "promises": (),
            "most_lost_by_joining": None,
        }
        return self.model_copy(update=changes)


def settings_file(configs: Path, modality: str) -> Path:
    """Where a configs folder has the settings of a demo.

    Raises
    ------
    ConfigValueError
        If there is no such demo, naming the known ones.
    """
    if modality not in MODALITIES:
        known = ", ".join(MODALITIES)
        raise ConfigValueError(f"--modality {modality!r}: there is no such demo (known: {known})")
    return configs / (FILE if modality == DXA else f"demo.{modality}.yaml")


def read_demo_settings(folder: Path) -> DemoSettings:
    """Read ``demo.yaml`` of a configs folder or of a demo's own; errors as `load_settings`."""
    return load_settings(folder / FILE, DemoSettings)
