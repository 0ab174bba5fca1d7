"""Aggregation: the order of arrival does not matter, and nonsense does not get in."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from server.rounds.aggregation.aggregator import Aggregator
from server.rounds.aggregation.flower_strategy import OPTIONS, check_strategy
from server.rounds.aggregation.update_check import LARGEST_CHANGE
from server.rounds.aggregation.update_store import Spool
from shared.errors import AggregationRefusedError, ConfigValueError
from shared.protocol.codec import Arrays
from shared.protocol.half_precision import halved
from shared.settings.files import StrategySettings
from tests.server.jobs import arrays

NAMES = ("layer.bias", "layer.weight")
CHOSEN = [
    StrategySettings(name="FedAvg"),
    StrategySettings(name="FedAvgM", options={"server_momentum": 0.9}),
    StrategySettings(name="FedAdam", options={"eta": 0.01}),
    StrategySettings(name="FedProx", options={"proximal_mu": 0.1}),
    StrategySettings(name="FedTrimmedAvg", options={"beta": 0.34}),
    StrategySettings(name="FedMedian"),
    StrategySettings(name="Krum", options={"num_malicious_nodes": 0}),
    StrategySettings(name="MultiKrum", options={"num_nodes_to_select": 2}),
    StrategySettings(name="FedAvg", clip_to_median_norm=1.0),
]


def update(seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    return {name: generator.normal(size=arrays()[name].shape).astype(np.float32) for name in NAMES}


@dataclass(frozen=True)
class Sent:
    """What a site sent: the change, and a number of patients."""

    update: Arrays
    patients: int = 20


def site(seed: int, patients: int = 20) -> Sent:
    return Sent(update(seed), patients)


def combine(
    aggregator: Aggregator, number: int, current: Arrays, sent: Mapping[str, Sent]
) -> tuple[Arrays, dict[str, int]]:
    """Check, spool and combine, as the round loop does."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        updates = {}
        for name, one in sent.items():
            aggregator.check(name, one.update, current)
            updates[name] = spool.keep(name, one.update, one.patients)
        return aggregator.combine(number, current, updates)


SITES = {"alpha": site(1, 20), "beta": site(2, 50), "gamma": site(3, 90)}


def aggregator(settings: StrategySettings = CHOSEN[0], most: int = 1000) -> Aggregator:
    return Aggregator(settings, NAMES, most)


@pytest.mark.parametrize("settings", CHOSEN, ids=lambda settings: settings.name)
def test_the_order_in_which_answers_come_changes_no_bit(settings: StrategySettings) -> None:
    models = set()
    for order in itertools.permutations(SITES):
        combining = aggregator(settings)
        model = arrays()
        for number in (1, 2):
            model, _ = combine(combining, number, model, {name: SITES[name] for name in order})
        models.add(b"".join(model[name].tobytes() for name in sorted(model)))
    assert len(models) == 1


@pytest.mark.parametrize("settings", CHOSEN, ids=lambda settings: settings.name)
def test_what_is_not_trained_never_changes(settings: StrategySettings) -> None:
    model, _ = combine(aggregator(settings), 1, arrays(), SITES)
    assert model["scale"] == arrays()["scale"]
    assert all(model[name].shape == value.shape for name, value in arrays().items())
    assert all(value.dtype == np.float32 for value in model.values())


def test_fedavg_is_the_mean_weighted_by_patients() -> None:
    model, counted = combine(aggregator(), 1, arrays(), SITES)
    weights = np.array([20, 50, 90]) / 160
    expected = sum(w * update(s)["layer.weight"] for w, s in zip(weights, (1, 2, 3), strict=True))
    assert counted == {"alpha": 20, "beta": 50, "gamma": 90}
    np.testing.assert_allclose(model["layer.weight"], expected, rtol=1e-6)


def test_long_updates_are_drawn_in_to_the_median_norm_and_short_ones_stay() -> None:
    """Norms of 1, 2 and 10 units: the last becomes 2 long, and so does nothing else."""
    settings = StrategySettings(name="FedAvg", clip_to_median_norm=1.0)
    sent, expected = {}, np.zeros(arrays()["layer.weight"].shape)
    for number, (length, drawn_in) in enumerate(((1.0, 1.0), (2.0, 2.0), (10.0, 2.0))):
        change = update(number)
        norm = np.sqrt(
            sum(float((value.astype(np.float64) ** 2).sum()) for value in change.values())
        )
        unit = {name: value / np.float32(norm) for name, value in change.items()}
        sent[f"site-{number}"] = Sent({n: np.float32(length) * v for n, v in unit.items()})
        expected = expected + drawn_in * unit["layer.weight"] / 3
    model, _ = combine(aggregator(settings), 1, arrays(), sent)
    moved = model["layer.weight"] - arrays()["layer.weight"]
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-6)


def test_server_momentum_moves_from_the_models_own_beginning() -> None:
    settings = StrategySettings(name="FedAvgM", options={"server_learning_rate": 0.5})
    start = arrays(4.0)
    model, _ = combine(aggregator(settings), 1, start, {"alpha": site(1)})
    expected = start["layer.bias"] + 0.5 * update(1)["layer.bias"]
    np.testing.assert_allclose(model["layer.bias"], expected, rtol=1e-5)


def test_a_huge_claim_counts_as_the_most_that_is_allowed() -> None:
    boastful = {**SITES, "gamma": site(3, 10**9)}
    model, counted = combine(aggregator(most=100), 1, arrays(), boastful)
    honest, _ = combine(aggregator(most=100), 1, arrays(), {**SITES, "gamma": site(3, 100)})
    assert counted["gamma"] == 100
    assert (model["layer.weight"] == honest["layer.weight"]).all()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"layer.bias": np.array([0, np.nan, 0], np.float32)}, "alpha.*NaN or infinity"),
        ({"layer.bias": np.array([0, -3e38, 0], np.float32)}, "alpha.*changes a weight by more"),
        ({"layer.bias": np.zeros(4, np.float32)}, "must be float32"),
        ({"layer.bias": np.zeros(3, np.float64)}, "must be float32"),
        ({"layer.bias": np.zeros(3, np.int64)}, "must be float32"),
        ({"extra": np.zeros(3, np.float32)}, "differ.*extra"),
    ],
)
def test_an_update_that_is_not_what_it_must_be_is_refused(
    wrong: dict[str, np.ndarray], reason: str
) -> None:
    bad = Sent({**update(1), **wrong})
    with pytest.raises(AggregationRefusedError, match=reason):
        combine(aggregator(), 1, arrays(), {**SITES, "alpha": bad})


def test_no_answer_and_no_patients_are_refused() -> None:
    with pytest.raises(AggregationRefusedError, match="no update"):
        combine(aggregator(), 1, arrays(), {})
    with pytest.raises(AggregationRefusedError, match="claims 0 patients"):
        combine(aggregator(), 1, arrays(), {"alpha": site(1, 0)})


def test_an_update_at_the_largest_norm_is_not_refused_for_its_rounding() -> None:
    settings = StrategySettings(maximum_update_norm=1.0)
    edge = {n: np.zeros_like(v) for n, v in update(1).items()}
    for length, allowed in ((1.0 + 2.0**-11, True), (1.0 + 2.0**-9, False)):
        edge["layer.bias"] = np.array([length, 0, 0], np.float32)
        if allowed:
            aggregator(settings).check("alpha", edge, arrays())
            continue
        with pytest.raises(AggregationRefusedError, match="maximum_update_norm: 1"):
            aggregator(settings).check("alpha", edge, arrays())


def test_what_rounding_took_from_the_model_comes_back() -> None:
    """The model grows by a hundredth of what half precision can show, and arrives."""
    settings = CHOSEN[0]
    model, rounds = arrays(1.0), 1000
    change = {n: np.full_like(v, 2.0**-11 / 100) for n, v in update(1).items()}
    for number in range(1, rounds + 1):
        model, _ = combine(aggregator(settings), number, model, {"alpha": Sent(change)})
    grown = halved(model)["layer.weight"] - 1.0
    np.testing.assert_allclose(grown, rounds * 2.0**-11 / 100, rtol=0.02)


def test_arithmetic_that_overflows_is_refused() -> None:
    big = {name: np.full_like(value, 1e4) for name, value in update(1).items()}
    wild = StrategySettings(name="FedAvgM", options={"server_learning_rate": 1e38})
    answers = {"alpha": Sent(big)}
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(AggregationRefusedError, match="NaN or infinity"),
    ):
        combine(aggregator(wild), 1, arrays(), answers)


def test_a_value_that_the_strategy_refuses_is_said_before_anything_runs() -> None:
    settings = StrategySettings(name="FedTrimmedAvg", options={"beta": 0.5})
    with pytest.raises(ConfigValueError, match="FedTrimmedAvg: `beta` must be"):
        check_strategy(settings, "federation.yaml")


def test_an_outlier_moves_the_median_and_krum_no_further_than_honest_sites_are() -> None:
    attack = Sent({n: v + 5e3 for n, v in update(1).items()})
    answers = {**SITES, "evil": attack}
    for name in ("FedMedian", "Krum"):
        model, _ = combine(aggregator(StrategySettings(name=name)), 1, arrays(), answers)
        assert np.abs(model["layer.weight"]).max() < 10
    model, _ = combine(aggregator(), 1, arrays(), answers)
    assert np.abs(model["layer.weight"]).max() > 100


def test_the_largest_change_is_let_in_and_no_larger_one() -> None:
    edge = update(1)
    edge["layer.bias"] = np.array([0, -LARGEST_CHANGE, 0], np.float32)
    aggregator().check("alpha", edge, arrays())
    edge["layer.bias"] = np.nextafter(edge["layer.bias"], np.float32(-np.inf))
    with pytest.raises(AggregationRefusedError, match="changes a weight by more than 10000"):
        aggregator().check("alpha", edge, arrays())


def test_an_option_that_a_strategy_does_not_have_is_named() -> None:
    for name in OPTIONS:
        settings = StrategySettings(name=name, options={"fraction_train": 0.5})
        with pytest.raises(ConfigValueError, match="fraction_train"):
            check_strategy(settings, "federation.yaml")


def test_the_state_between_rounds_can_be_written_down() -> None:
    adam = aggregator(CHOSEN[2])
    combine(adam, 1, arrays(), SITES)
    assert sorted(adam.state()) == sorted(
        f"{moment}/{name}" for moment in ("m_t", "v_t") for name in NAMES
    )
    assert aggregator().state() == {}
