"""Epsilon is never under-counted and agrees with an independent accountant."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BudgetInvalidError
from shared.training.accounting import (
    ORDERS,
    Mechanism,
    _least,
    epsilon,
    noise_multiplier_for,
)

DELTA = 1e-4
ONE = [Mechanism(0.25, 1.3, 40)]
THREE = [Mechanism(1.0, 8.0, 24), Mechanism(0.25, 1.6, 60), Mechanism(0.1, 0.9, 150)]
FULL_BATCH = [Mechanism(1.0, 5.0, 20)]


def independent_epsilon(mechanisms: list[Mechanism], kind: str) -> float:
    import dp_accounting
    from dp_accounting import pld, rdp

    accountant = rdp.RdpAccountant() if kind == "rdp" else pld.PLDAccountant()
    for mechanism in mechanisms:
        gaussian: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(mechanism.noise_multiplier)
        if mechanism.sample_rate < 1:
            gaussian = dp_accounting.PoissonSampledDpEvent(mechanism.sample_rate, gaussian)
        accountant.compose(dp_accounting.SelfComposedDpEvent(gaussian, mechanism.steps))
    return float(accountant.get_epsilon(DELTA))


@pytest.mark.parametrize("history", [ONE, FULL_BATCH, THREE], ids=["one", "full_batch", "three"])
def test_epsilon_agrees_with_dp_accounting_within_two_percent(history: list[Mechanism]) -> None:
    theirs = independent_epsilon(history, "rdp")
    assert epsilon(history, DELTA) == pytest.approx(theirs, rel=0.02)


@pytest.mark.parametrize("history", [ONE, FULL_BATCH, THREE], ids=["one", "full_batch", "three"])
def test_epsilon_is_never_below_the_tight_one(history: list[Mechanism]) -> None:
    tight = independent_epsilon(history, "pld")
    ours = epsilon(history, DELTA)
    assert tight <= ours <= 1.25 * tight


@pytest.mark.parametrize("noise", [0.4, 0.9, 1.9, 2.4, 30.0, 900.0])
@pytest.mark.parametrize("rate", [0.05, 0.5, 1.0])
def test_orders_that_are_left_out_would_not_give_less(rate: float, noise: float) -> None:
    """From an epsilon under 0.1 to one over 100, each side of the order of two."""
    for history in ([Mechanism(rate, noise, 24)], [Mechanism(rate, noise, 24), *THREE]):
        assert epsilon(history, DELTA) == _least(history, DELTA, range(len(ORDERS)))[0]


@pytest.mark.parametrize(("wanted", "rate"), [(0.2, 0.5), (8.0, 0.5), (25.0, 0.2), (60.0, 1.0)])
def test_noise_that_was_searched_for_spends_nearly_what_is_asked(
    wanted: float, rate: float
) -> None:
    noise = noise_multiplier_for(wanted, DELTA, rate, 24)
    spent = [epsilon([Mechanism(rate, value, 24)], DELTA) for value in (noise, noise * (1 - 2e-5))]
    assert spent[0] <= wanted < spent[1]


def test_full_batch_is_the_plain_gaussian_mechanism() -> None:
    many = epsilon([Mechanism(1.0, 5.0, 16)], DELTA)
    one = epsilon([Mechanism(1.0, 5.0 / 4, 1)], DELTA)
    assert many == pytest.approx(one, rel=1e-9)


def test_order_of_the_history_does_not_matter() -> None:
    assert epsilon(THREE, DELTA) == pytest.approx(epsilon(THREE[::-1], DELTA), rel=1e-12)


@settings(max_examples=12, deadline=None)
@given(
    rate=st.sampled_from([0.1, 0.25, 1.0]),
    noise=st.sampled_from([0.8, 2.0, 6.0]),
    steps=st.integers(1, 40),
)
def test_every_further_step_costs_something(rate: float, noise: float, steps: int) -> None:
    before = epsilon([*THREE, Mechanism(rate, noise, steps)], DELTA)
    after = epsilon([*THREE, Mechanism(rate, noise, steps + 1)], DELTA)
    assert epsilon(THREE, DELTA) < before < after


@pytest.mark.parametrize(
    ("target", "rate", "steps"),
    [(8.0, 1.0, 20), (4.0, 1.0, 1), (4.0, 0.25, 50), (0.05, 1.0, 5), (30.0, 1.0, 5)],
)
def test_noise_for_an_epsilon_stays_just_within_it(target: float, rate: float, steps: int) -> None:
    noise = noise_multiplier_for(target, DELTA, rate, steps)
    spent = epsilon([Mechanism(rate, noise, steps)], DELTA)
    assert 0.998 * target <= spent <= target


def test_nothing_done_costs_nothing() -> None:
    assert epsilon([], DELTA) == 0.0
    assert epsilon([Mechanism(1.0, 1.0, 0)], DELTA) == 0.0


def test_no_noise_is_no_privacy() -> None:
    assert epsilon([Mechanism(0.5, 0.0, 1)], DELTA) == math.inf


@pytest.mark.parametrize("arguments", [(0.0, 1.0, 1), (1.1, 1.0, 1), (0.5, -1.0, 1), (0.5, 1, -1)])
def test_impossible_mechanism_is_refused(arguments: tuple[float, float, int]) -> None:
    with pytest.raises(BudgetInvalidError):
        Mechanism(*arguments)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), 1e-9])
def test_impossible_budget_is_refused(wrong: float) -> None:
    with pytest.raises(BudgetInvalidError, match="epsilon"):
        noise_multiplier_for(wrong, DELTA, 1.0, 10)


def test_an_epsilon_that_is_no_number_counts_as_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    from opacus.accountants.analysis import rdp

    monkeypatch.setattr(rdp, "get_privacy_spent", lambda **_: (math.nan, 2.0))
    assert math.isinf(epsilon([Mechanism(0.5, 1.0, 1)], 1e-4))
