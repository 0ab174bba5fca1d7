"""The cast of the demo: who takes part, with which scanner, population and size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hospital:
    """One digital hospital.

    `population` is a key of `shared.phantom.population.POPULATIONS`, `scanner`
    one of `shared.phantom.imaging.scanner.SCANNERS`. `takes_part` is False for the one
    that only tests.
    """

    name: str
    scanner: str
    population: str
    patients: int
    seed: int
    takes_part: bool = True


HOSPITALS: tuple[Hospital, ...] = (
    Hospital("riverside", "lunar", "urban", 150, 11),
    Hospital("hillcrest", "lunar_prodigy", "rural", 120, 12),
    Hospital("lakeside", "hologic", "university", 120, 13),
    Hospital("northfield", "lunar", "northern", 90, 14, takes_part=False),
)


def start_label(task: str) -> str:
    """What the demo's tests call the public weights that a task started from."""
    return f"start-{task}"
