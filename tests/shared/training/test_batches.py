"""Which patients are drawn into a step, and how a step is split into batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from shared.settings.task import OptimiserSettings
from shared.tasks.sample import Sample
from shared.training import batches
from shared.training.batches import (
    Microbatch,
    Patients,
    RoundKey,
    batches_of,
    pieces_of,
    poisson_draw,
    shuffled_batches,
)
from shared.training.compute import Compute
from shared.training.local_round import train_plain
from tests.shared.standins import Standins
from tests.shared.training.tiny_training import KEY, TASK, flat, private, private_update


def test_poisson_sampling_draws_each_patient_at_its_rate_and_alone() -> None:
    names = [f"p{number}" for number in range(50)]
    drawn = np.array(
        [
            [name in set(poisson_draw(names, 0.3, KEY, step)) for name in names]
            for step in range(600)
        ]
    )
    assert drawn.mean() == pytest.approx(0.3, abs=0.01)
    # independent draws: the sizes of the batches vary as a binomial's do
    assert drawn.sum(1).var() == pytest.approx(50 * 0.3 * 0.7, rel=0.2)
    assert np.abs(np.corrcoef(drawn[:, :8].T) - np.eye(8)).max() < 0.2


def test_rate_one_draws_everyone() -> None:
    names = [f"p{number}" for number in range(20)]
    assert poisson_draw(names, 1.0, KEY, 3) == names


@pytest.mark.parametrize("size", [1, 5, 100])
def test_pieces_of_a_batch_give_the_step_of_the_whole(size: int) -> None:
    settings = private(steps_per_round=3, sample_rate=0.6, augment=True)
    whole = private_update(settings, 1.5)
    pieces = private_update(settings, 1.5, compute=Compute(physical_batch_patients=size))
    assert pieces == pytest.approx(whole, rel=1e-4, abs=1e-6)


def test_plain_pieces_give_the_step_of_the_whole() -> None:
    settings = OptimiserSettings(optimiser="sgd", learning_rate=0.1, batch_patients=8)
    results = []
    for size in (3, 100):
        network = TASK.network()
        compute = Compute(physical_batch_patients=size)
        results.append(
            flat(train_plain(TASK, network, Standins(9), settings, KEY, compute, steps=4).arrays)
        )
    assert results[0] == pytest.approx(results[1], rel=1e-4, abs=1e-6)


def test_shuffled_batches_go_through_all_patients_before_any_again() -> None:
    names = [f"p{number}" for number in range(10)]
    batches = shuffled_batches(names, 4, KEY)
    first = [name for _ in range(5) for name in next(batches)]
    assert sorted(first[:10]) == names
    assert sorted(first[10:]) == names
    assert first[:10] != first[10:]


def test_one_of_a_patients_studies_is_drawn() -> None:
    patients = Patients(TASK, Standins(1, studies=3))
    drawn = [patients.drawn("p0000", step, KEY, augment=False) for step in range(30)]
    assert len({id(sample) for sample, _ in drawn}) == 3


def test_pieces_of_a_step_are_told_apart() -> None:
    found = list(pieces_of([["a", "b", "c"], [], ["d"]], 2))
    assert [(p.step, list(p.names), p.patients, p.first, p.last) for p in found] == [
        (0, ["a", "b"], 3, True, False),
        (0, ["c"], 3, False, True),
        (1, [], 0, True, True),
        (2, ["d"], 1, True, True),
    ]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_made_ahead_are_the_same(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU is given, whose threads work ahead, is what a CPU makes step by step."""
    monkeypatch.setattr(batches, "_on", lambda batch, _device: batch)  # there may be no GPU
    patients = Patients(TASK, Standins(5))
    steps = [patients.names[:3], (), patients.names, patients.names[2:3]]

    def made(compute: Compute) -> list[tuple[Microbatch, Sample]]:
        return list(batches_of(patients, pieces_of(steps, 2), KEY, compute, augment=True))

    expected = made(Compute("cpu"))
    found = made(Compute("cuda", threads))
    assert [piece for piece, _ in found] == [piece for piece, _ in expected]
    assert expected[2][1] == {}
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_error_while_working_ahead_reaches_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> Sample:
        raise ValueError("this patient cannot be varied")

    patients = Patients(TASK, Standins(5))
    monkeypatch.setattr(TASK, "augment", fail)
    with pytest.raises(ValueError, match="cannot be varied"):
        list(
            batches_of(
                patients, pieces_of([patients.names], 2), KEY, Compute("cuda", 2), augment=True
            )
        )


def test_what_varies_a_patient_follows_from_the_key_that_is_erased() -> None:
    key = RoundKey(b"secret of a test", "run", 1, "digest")
    fresh, other = (replace(key, fresh=bytes([number]) * 32) for number in (1, 2))
    seeds = {one.seed("layers", 0, "p1") for one in (key, fresh, other)}
    drawn = {float(one.generator("patient", "p1", 0).random()) for one in (key, fresh, other)}
    assert len(seeds) == len(drawn) == 3
