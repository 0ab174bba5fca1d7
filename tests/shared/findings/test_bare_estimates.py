"""Estimates from what is no DXA: no score, no class, an error where one is recorded."""

from __future__ import annotations

from shared.findings.bare_estimates import (
    film_measurements,
    film_sentence,
    is_bare,
    is_from_film,
    only_bare,
    origin_of,
)
from shared.findings.ct_estimates import ct_bmd_measurements

FILM = film_measurements("a-task", {"L1-L4": 0.8512, "femoral_neck": 0.7004})
CT = ct_bmd_measurements("another", {"L1": 0.9})


def test_an_estimate_from_a_film_is_a_number_alone() -> None:
    for one in FILM:
        assert (one.t_score, one.z_score, one.bone_class, one.reported) == (None,) * 4
        assert one.scale == "generic"
    assert [one.value for one in FILM] == [0.851, 0.7]


def test_both_kinds_are_bare_and_told_apart() -> None:
    assert only_bare((*FILM, *CT))
    assert not only_bare(())
    assert [is_from_film(one) for one in (*FILM, *CT)] == [True, True, False]
    assert (origin_of(FILM[0]), origin_of(CT[0])) == ("the radiograph", "CT")
    assert not is_bare(FILM[0].model_copy(update={"quantity": "areal BMD"}))


def test_a_sentence_has_each_error_and_sends_to_dxa() -> None:
    said = film_sentence(FILM, {"L1-L4": 0.0761, "femoral_neck": None})
    assert "lumbar spine L1-L4 0.851 g/cm² (this version is off by 0.076 g/cm² on average" in said
    assert "femoral neck 0.700 g/cm² (how far this version is off is not recorded)" in said
    assert said.endswith("not a DXA measurement; refer to DXA.")
    assert film_sentence(CT, {}) == ""
