"""Declared numbers are rungs of a ladder, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import ValidationError

from shared.settings.declared import LADDER, DeclaredNumbers, rung_below


@pytest.mark.parametrize(
    ("patients", "rung"),
    [(0, None), (1, 1), (4, 3), (19, 15), (20, 20), (29, 20), (30, 30), (69, 50), (100, 100),
     (149, 100), (199, 150), (999, 700), (1499, 1000), (5000, 5000), (10**9, 7_000_000)],
)  # fmt: skip
def test_a_count_is_rounded_down_to_a_rung(patients: int, rung: int | None) -> None:
    assert rung_below(patients) == rung


def test_the_ladder_is_the_one_that_the_documentation_says() -> None:
    assert list(LADDER) == sorted(set(LADDER))
    begin = LADDER.index(20)
    assert LADDER[:begin] == (1, 2, 3, 5, 7, 10, 15)
    assert LADDER[begin : begin + 11] == (20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000)
    assert all(one <= 2 * below for below, one in pairwise(LADDER))


@pytest.mark.parametrize("number", [21, 137, 0, -20])
def test_no_other_number_can_be_declared(number: int) -> None:
    with pytest.raises(ValidationError, match=r"rung|greater than or equal"):
        DeclaredNumbers(train=number)
