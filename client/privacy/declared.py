"""The numbers of patients that may leave: those that the hospital declared, never today's.

Guarantee: what these functions give follows from ``site.yaml`` alone, so that nothing made of
it differs between two stores under the same settings.
"""

from __future__ import annotations

from typing import Final

from shared.errors import PolicyRefusedError
from shared.settings.declared import Place
from shared.settings.files import SiteConfig

#: What an answer claims where no number was declared: the least that its record can hold.
LEAST_CLAIM: Final = 1


def training_number(config: SiteConfig, task: str) -> int:
    """Give the declared number of patients who train a task.

    Raises
    ------
    PolicyRefusedError
        If the hospital declared none.
    """
    declared = config.declared.get(task)
    if declared is None or declared.train is None:
        raise PolicyRefusedError(
            f"this hospital has not declared how many patients train {task} (site.yaml: "
            "declared); its engineer runs `osteofed site declare`"
        )
    return declared.train


def claimed_number(config: SiteConfig, task: str, place: Place) -> int:
    """Give what an answer claims that needs no declared number: the number, or `LEAST_CLAIM`."""
    declared = config.declared.get(task)
    return LEAST_CLAIM if declared is None else declared.of(place) or LEAST_CLAIM


def largest_number(config: SiteConfig) -> int:
    """Give the largest number of patients declared to train any task; 0 where there is none.

    All tasks share one ledger and one delta, so delta is held against the largest.
    """
    return max((one.train or 0 for one in config.declared.values()), default=0)
