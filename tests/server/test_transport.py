"""What travels is half of what it was or less, and nothing is lost by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.poisoning import RULES, small_trial
from tests.server.real_sites import NAMES, node_of, plan_of, real_sites, start_of, train
from tests.server.tiny_sites import TINY_TASK


def float32_bytes() -> int:
    """The small U-Net, 135 thousand numbers, as it travelled before."""
    return sum(value.nbytes for value in start_of(TINY_TASK, "plain").arrays.values())


def test_plain_rounds_take_half_of_float32_each_way(tmp_path: Path) -> None:
    sites = real_sites(tmp_path)
    trained, _ = train(tmp_path, [node_of(s) for s in sites], plan_of(tmp_path, sites, "plain", 2))
    for facts in trained.rounds:
        assert sorted(facts.patients) == list(NAMES)
        for moved in (facts.bytes_down, facts.bytes_up):
            assert 0.5 < moved / len(sites) / float32_bytes() <= 0.55


def test_metrics_are_those_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rounds of five hospitals, with and without rounding anything."""
    trial = small_trial()
    halves, _ = trial.run(RULES["FedAvg"], "none")
    monkeypatch.setattr("tests.poisoning.halved", dict)
    whole, _ = trial.run(RULES["FedAvg"], "none")
    assert whole["dice"] > 0.6
    assert halves["dice"] == pytest.approx(whole["dice"], abs=0.01)
    assert halves != whole
