"""Ten notations of each kind; two hundred of each are held by ``make verify ONLY=notations``."""

from __future__ import annotations

import pytest

from tests.verify.notations import KINDS, right_of


@pytest.mark.parametrize("kind", KINDS)
def test_notations_are_read_right_or_not_used(kind: str) -> None:
    assert right_of(kind, 10) == 10
