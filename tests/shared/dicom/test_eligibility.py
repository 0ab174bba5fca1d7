"""The rules by which a CT series is read: each refuses what it names, and all are documented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.dicom.ct.eligibility import (
    SERIES_RULES,
    SLICE_RULES,
    find_stack,
    series_not_taken,
)
from shared.dicom.ct.geometry import SlicePlace
from shared.dicom.verdicts import REASONS, SetAsideError, judge
from tests.shared.ct_samples import AXIAL, uid

PAGE = Path(__file__).resolve().parents[3] / "docs" / "what-is-read.md"
OBLIQUE = (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0, 0.0, -1.0)


def series(
    number: int = 6, step: Sequence[float] = (0.0, 0.0, 2.0), turned: Sequence[float] = AXIAL
) -> list[SlicePlace]:
    """Slices at even steps."""
    return [
        SlicePlace(tuple(k * part for part in step), tuple(turned), (0.7, 0.7), (64, 64))  # type: ignore[arg-type]
        for k in range(number)
    ]


def changed(**more: object) -> list[SlicePlace]:
    """A series whose third slice is another."""
    places = series()
    places[2] = replace(places[2], **more)  # type: ignore[arg-type]
    return places


REFUSED = [
    ("series_too_short", series(2)),
    ("grid_mixed", changed(shape=(64, 32))),
    ("orientation_mixed", changed(orientation=(0.0, 1.0, 0.0, 1.0, 0.0, 0.0))),
    ("slices_twice", changed(position=(0.0, 0.0, 2.0))),
    ("slices_missing", series()[:3] + series(9)[6:]),
    ("slices_scattered", changed(position=(9.0, 0.0, 4.0))),
    ("slices_scattered", series(6, (1.0, -1.0, 0.0), OBLIQUE)),
    ("series_too_large", [replace(one, shape=(4096, 4096)) for one in series(60)]),
]


@pytest.mark.parametrize(("name", "places"), REFUSED)
def test_each_rule_refuses_what_it_names(name: str, places: list[SlicePlace]) -> None:
    with pytest.raises(SetAsideError) as said:
        find_stack(places)
    assert said.value.reason == name


def test_no_rule_refuses_an_even_series_and_every_rule_is_tried_above() -> None:
    assert find_stack(series()).spacing_mm == pytest.approx((2.0, 0.7, 0.7))
    assert [rule.name for rule in SERIES_RULES] == [name for name, _ in REFUSED]


def test_every_rule_has_a_sentence_and_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for rule in (*SLICE_RULES, *SERIES_RULES):
        assert rule.refuses == REASONS[rule.name][1]
        assert f"| `{rule.name}` |" in page, rule.name


def test_series_that_are_not_taken_are_named_with_the_rule() -> None:
    kept = {uid(1, 1): [f"good/{n:03d}.dcm" for n in range(6)]}
    lost = {uid(1, 2): ["bad/1.dcm", "bad/2.dcm"], uid(1, 3): ["short/1.dcm"]}
    verdicts = [judge(path, "ok") for path in kept[uid(1, 1)]]
    verdicts += [judge("bad/1.dcm", "series_incomplete"), judge("bad/2.dcm", "hu_unknown")]
    verdicts += [judge("short/1.dcm", "series_too_short", "1")]
    found = series_not_taken(kept | lost, verdicts)
    assert [(one.path, one.files, one.reason) for one in found] == [
        ("bad/1.dcm", 2, "hu_unknown"),
        ("short/1.dcm", 1, "series_too_short"),
    ]
