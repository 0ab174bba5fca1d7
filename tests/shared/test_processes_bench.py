"""The profile of a run's processes: who is who, and what is left without the steps."""

from __future__ import annotations

import pytest

from tests.benchmarks.peers.hospitals import MEMBERS
from tests.benchmarks.peers.measuring import Cost
from tests.benchmarks.processes import ROUNDS, besides_steps, by_name, name_of


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("/v/bin/python -m shared.cli server run federation.yaml", "shared.cli server run"),
        ("/v/bin/python -m server.runtime.simulated /w/plan.json 3", "server.runtime.simulated"),
        ("/v/bin/python /v/bin/flower-superlink --insecure --port 1", "flower-superlink"),
        ("/v/bin/python -u /r/log_monitor.py --logs-dir=/tmp", "log_monitor.py"),
        ("ray::ClientAppActor", "ray::ClientAppActor"),
        ("/r/raylet/raylet --socket=1", "raylet"),
        ("", "(ended before it was seen)"),
    ],
)
def test_a_process_is_told_by_its_program(words: str, name: str) -> None:
    assert name_of(words) == name


def test_processes_of_one_name_are_one_row() -> None:
    found = by_name([("python -m a", 1.0), ("b", 2.0), ("python -m a", 3.0)])
    assert found == {"a": [1.0, 3.0], "b": [2.0]}


def test_what_is_not_steps_follows_from_two_numbers_of_steps() -> None:
    def cost(steps: int) -> Cost:
        return Cost(0.0, 12.0 + 0.25 * steps * ROUNDS * len(MEMBERS), 0.0)

    assert besides_steps({8: cost(8), 1: cost(1)}) == pytest.approx((0.25, 12.0))
