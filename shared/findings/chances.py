"""The chance of a disease that a model gives: a probability with its operating point.

Only a positive finding is stated. One that is not positive says nothing and rules nothing out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.findings.facts import Chance
from shared.phrases import listed

#: Years; no model of the kind is validated on anybody younger.
MINIMUM_AGE: Final = 50
OSTEOPOROSIS: Final = "osteoporosis by DXA, from chest CT"


def osteoporosis_chance(
    task: str, levels: Sequence[str], probability: float, operating_point: float
) -> Chance:
    """Make a finding of a chance of osteoporosis.

    Parameters
    ----------
    task : str
        Who gives it.
    levels : sequence of str
        Vertebrae that it rests on, from the head down.
    probability, operating_point : float
        In [0, 1]; positive from the point on, as both are written down.
    """
    rounded = round(probability, 3)
    return Chance(
        task=task,
        quantity=OSTEOPOROSIS,
        levels=tuple(levels),
        probability=rounded,
        operating_point=operating_point,
        positive=rounded >= operating_point,
    )


def stated_chances(found: Sequence[Chance]) -> str:
    """Say the positive ones and where to go next, or that none is stated; empty without any."""
    if found and not any(one.positive for one in found):
        return "No osteoporosis is stated from the chest CT, which rules nothing out."
    return " ".join(
        f"Suspected {one.quantity}: probability {one.probability:.0%}, at or above the operating "
        f"point of {one.operating_point:.0%}, read at {listed(list(one.levels))}. It is a "
        "screening result, not a diagnosis; refer to DXA."
        for one in found
        if one.positive
    )


def chance_sentence(one: Chance) -> str:
    """Say a chance among the findings, positive or not."""
    beside = "at or above" if one.positive else "below"
    rest = "" if one.positive else ", which says nothing and rules nothing out"
    return (
        f"Estimate: probability of {one.quantity} {one.probability:.0%}, {beside} the operating "
        f"point of {one.operating_point:.0%}{rest} (read at {listed(list(one.levels))})."
    )


#: What holds of every such chance.
LIMIT: Final = (
    f"The probability of osteoporosis is not validated under {MINIMUM_AGE} or before menopause; "
    "it is for sending patients to DXA, never for diagnosis or monitoring."
)
