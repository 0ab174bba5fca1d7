"""Vertebral fractures from heights: loss, type and Genant's grade.

Heights are the anterior, middle and posterior height of one vertebral body in
millimetres (any unit does: only ratios count). What share of a height is lost
is reckoned within the vertebra (wedge, biconcave) or against its neighbours
(crush); which ratio stands for which type is common knowledge of the field and
unverified against Genant 1993.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shared.clinical.references import GENANT_LOSS

Heights = tuple[float, float, float]
Deformity = Literal["none", "wedge", "biconcave", "crush"]

GRADE_WORDS: tuple[str, ...] = ("none", "mild", "moderate", "severe")


@dataclass(frozen=True)
class VertebralShape:
    """What the heights of one vertebra say.

    Attributes
    ----------
    loss : float
        Largest loss of height, as a fraction in [0, 1).
    kind : str
        Where it is lost; ``none`` below 20 %.
    grade : int
        Genant's grade, 0 to 3.
    """

    loss: float
    kind: Deformity
    grade: int


def genant_grade(loss: float) -> int:
    """Grade a loss of height: 20-25 % is 1, 25-40 % is 2, over 40 % is 3.

    Parameters
    ----------
    loss : float
        Fraction of height that is lost; negative counts as none. Exactly 20 %
        is grade 1, exactly 25 % grade 2, exactly 40 % still grade 2.

    Returns
    -------
    int
        0 to 3.
    """
    mild, moderate, severe = GENANT_LOSS
    if loss > severe:
        return 3
    return int(loss >= mild) + int(loss >= moderate)


def vertebral_shape(heights: Heights, neighbours: Sequence[Heights] = ()) -> VertebralShape:
    """Judge one vertebra by its heights.

    Parameters
    ----------
    heights : (float, float, float)
        Anterior, middle and posterior height, mm.
    neighbours : sequence of heights, optional
        The vertebrae next to it; without them a crush cannot be seen.

    Returns
    -------
    VertebralShape
        Wedge by 1 − Ha/Hp, biconcave by 1 − Hm/Hp, crush by 1 − Hp over the
        mean Hp of the neighbours; the largest loss decides.

    Raises
    ------
    ValueError
        If a height is not above zero.
    """
    for height in (*heights, *(h for other in neighbours for h in other)):
        if not height > 0:
            raise ValueError(f"vertebral height {height} (must be above 0 mm)")
    anterior, middle, posterior = heights
    losses: dict[Deformity, float] = {
        "wedge": 1.0 - anterior / posterior,
        "biconcave": 1.0 - middle / posterior,
    }
    if neighbours:
        expected = sum(other[2] for other in neighbours) / len(neighbours)
        losses["crush"] = 1.0 - posterior / expected
    kind = max(losses, key=lambda name: losses[name])
    loss = max(losses[kind], 0.0)
    grade = genant_grade(loss)
    return VertebralShape(loss=loss, kind=kind if grade else "none", grade=grade)


def spine_shapes(heights: Mapping[str, Heights], order: Sequence[str]) -> dict[str, VertebralShape]:
    """Judge a whole column, each vertebra against the one above and below it.

    Parameters
    ----------
    heights : mapping of str to heights
        By vertebra, mm; a vertebra that was not measured is absent.
    order : sequence of str
        Vertebrae from cranial to caudal (`shared.regions.VERTEBRAE`).

    Returns
    -------
    dict of str to VertebralShape
        In `order`. A neighbour that is itself deformed (wedge or biconcave)
        still lends its posterior height, which those leave alone.
    """
    shapes: dict[str, VertebralShape] = {}
    for index, name in enumerate(order):
        if name not in heights:
            continue
        beside = [*order[max(index - 1, 0) : index], *order[index + 1 : index + 2]]
        shapes[name] = vertebral_shape(heights[name], [heights[n] for n in beside if n in heights])
    return shapes
