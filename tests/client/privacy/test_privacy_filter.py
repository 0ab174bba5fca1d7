"""What the ledger grants stays within the budget, whatever is asked after whatever was seen."""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from client.privacy.ledger import Ledger
from client.privacy.ledger_db import make_ledger
from client.privacy.privacy_filter import FilterKind, PrivacyFilter, order_for
from client.store.site_store import init_site
from shared.errors import BudgetExceededError, ConfigValueError, PolicyRefusedError
from shared.settings.files import SiteConfig, SitePrivacy, load_settings
from shared.training.accounting import Mechanism, gaussian_epsilon

DELTA = 1e-4
FULL = Mechanism(1.0, 4.0, 2)
SAMPLED = Mechanism(0.1, 1.5, 5)


def budget(kind: Any, epsilon: float = 4.0) -> SitePrivacy:
    return SitePrivacy(epsilon_budget=epsilon, delta=DELTA, filter=kind)


def ledger(folder: Path, privacy: SitePrivacy) -> Ledger:
    path, known = folder / "ledger.sqlite", folder / "identity"
    if not known.exists():
        known.write_text(make_ledger(path))
    return Ledger(path, privacy, known.read_text())


def reserve(book: Ledger, number: int, mechanism: Mechanism) -> None:
    book.reserve("run", number, "task", "store", f"digest{number}", mechanism)


# --- the exact curve -------------------------------------------------------------------


def exact_delta(epsilon: float, total: float) -> Any:
    """Balle and Wang's curve with 40 digits."""
    mu, at = mpmath.sqrt(total), mpmath.mpf(epsilon)
    return mpmath.ncdf(mu / 2 - at / mu) - mpmath.exp(at) * mpmath.ncdf(-mu / 2 - at / mu)


def test_epsilon_of_300_histories_without_subsampling_is_the_exact_one_and_never_below() -> None:
    draw, rule = random.Random(1), PrivacyFilter(FilterKind.GAUSSIAN)
    with mpmath.workdps(40):
        for _ in range(300):
            delta = 10 ** draw.uniform(-9, -2.1)
            history = [
                Mechanism(1.0, 10 ** draw.uniform(-0.3, 2), draw.randint(1, 20))
                for _ in range(draw.randint(1, 6))
            ]
            true = sum(one.steps / mpmath.mpf(one.noise_multiplier) ** 2 for one in history)
            spent = rule.epsilon(rule.total(history), delta)
            assert exact_delta(spent, true) <= delta
            assert spent == 0 or exact_delta(0.99 * spent, true) > delta


@pytest.mark.parametrize(("epsilon", "delta"), [(0.01, 1e-6), (1.0, 1e-5), (8.0, 1e-4), (64, 1e-9)])
def test_a_budget_is_used_up_and_not_passed(epsilon: float, delta: float) -> None:
    rule = PrivacyFilter(FilterKind.GAUSSIAN)
    most = rule.capacity(SitePrivacy(epsilon_budget=epsilon, delta=delta))
    assert epsilon * (1 - 1e-6) <= gaussian_epsilon(most, delta) <= epsilon


def test_the_price_of_a_sampled_step_is_the_divergence_of_the_order() -> None:
    """Mironov, Talwar and Zhang 2019, equation 6, with 40 digits."""
    for order in (2, 4, 37):
        rule = PrivacyFilter(FilterKind.RENYI, order)
        for rate, noise in ((0.001, 0.6), (0.1, 1.5), (0.7, 40.0), (0.999, 1000.0)):
            with mpmath.workdps(40):
                q, sigma = mpmath.mpf(rate), mpmath.mpf(noise)
                terms = (
                    mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k
                    * mpmath.exp((k * k - k) / (2 * sigma**2))
                    for k in range(order + 1)
                )  # fmt: skip
                exact = mpmath.log(mpmath.fsum(terms)) / (order - 1)
            assert exact <= rule.price(Mechanism(rate, noise, 1)) <= exact * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize(
    ("epsilon", "delta", "order"),
    [(8.0, 1e-4, 4), (1.0, 1e-5, 25), (60.0, 1e-4, 2), (1e-4, 1e-4, 1024)],
)
def test_the_order_follows_from_the_budget_by_its_formula(
    epsilon: float, delta: float, order: int
) -> None:
    assert order_for(epsilon, delta) == order


# --- an adversary who adapts -----------------------------------------------------------


def loss_distribution(mechanism: Mechanism) -> Any:
    from dp_accounting.pld import privacy_loss_distribution as pld

    one = pld.from_gaussian_mechanism(
        mechanism.noise_multiplier, sampling_prob=mechanism.sample_rate,
        value_discretization_interval=4e-3,
    )  # fmt: skip
    return one.self_compose(mechanism.steps)


def least_noise(rate: float, steps: int, fits: Any) -> Mechanism:
    """The mechanism with the least noise that still fits, to a thousandth."""
    low, high = 0.3, 8.0
    while high > low * 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(Mechanism(rate, middle, steps)) else (middle, high)
    return Mechanism(rate, high, steps)


def adversarys_delta(
    first: Mechanism, branches: Sequence[Mechanism], epsilon: float
) -> tuple[float, list[float]]:
    """What an adversary gets who sees one Gaussian release and then chooses a branch.

    Returns delta at an epsilon for the best choice at every value seen, and for each branch
    chosen whatever is seen.
    """
    mu = math.sqrt(first.steps) / first.noise_multiplier
    offsets = np.linspace(-8, 8, 641)
    weights = np.exp(-(offsets**2) / 2) / math.sqrt(2 * math.pi) * (offsets[1] - offsets[0])
    losses = mu * (offsets + mu) - mu**2 / 2  # of the patient's being there
    deltas = [
        np.array([of._pmf_remove.get_delta_for_epsilon(float(epsilon - one)) for one in losses])
        for of in map(loss_distribution, branches)
    ]
    return float(weights @ np.max(deltas, axis=0)), [float(weights @ one) for one in deltas]


def test_two_branches_get_more_than_each_where_the_history_must_be_fixed() -> None:
    """Why loss distributions only price what is planned: each branch is 4.0 by them."""
    first = Mechanism(1.0, 2.0, 1)
    seen = loss_distribution(first)

    def fits(mechanism: Mechanism) -> bool:
        return bool(seen.compose(loss_distribution(mechanism)).get_epsilon_for_delta(DELTA) <= 4.0)

    branches = [least_noise(1.0, 1, fits), least_noise(0.01, 20, fits)]
    adaptive, fixed = adversarys_delta(first, branches, 4.0)
    assert max(fixed) <= 1.01 * DELTA
    assert adaptive > 1.2 * DELTA


@pytest.mark.parametrize(
    ("kind", "forms"),
    [("gaussian", [(1.0, 1), (1.0, 9)]), ("renyi", [(1.0, 1), (0.01, 20), (0.1, 40)])],
)
def test_two_branches_stay_below_the_budget_of_a_filter(
    kind: str, forms: list[tuple[float, int]]
) -> None:
    """Each branch uses up what the ledger leaves after the first release."""
    privacy = budget(kind)
    rule = PrivacyFilter.chosen(privacy, [])
    first = Mechanism(1.0, 2.0, 1)

    def fits(mechanism: Mechanism) -> bool:
        return rule.total([first, mechanism]) <= rule.capacity(privacy)

    branches = [least_noise(rate, steps, fits) for rate, steps in forms]
    adaptive, _ = adversarys_delta(first, branches, 4.0)
    assert 0 < adaptive <= 1.002 * DELTA  # loss distributions round up


# --- the kind stays --------------------------------------------------------------------


def test_a_sampled_mechanism_does_not_fit_the_gaussian_kind(tmp_path: Path) -> None:
    book = ledger(tmp_path, budget("gaussian"))
    with pytest.raises(PolicyRefusedError, match=r"rate of 0\.1 was asked.*privacy\.filter"):
        reserve(book, 1, SAMPLED)
    assert book.entries() == []
    reserve(book, 1, FULL)


def test_raising_a_budget_keeps_kind_and_order(tmp_path: Path) -> None:
    reserve(ledger(tmp_path, budget("renyi")), 1, SAMPLED)
    for raised in (budget("renyi", 30.0), budget(None, 30.0)):
        rule = ledger(tmp_path, raised).spending().rule
        assert (rule.kind, rule.order) == (FilterKind.RENYI, order_for(4.0, DELTA))
    with pytest.raises(ConfigValueError, match=r"privacy\.filter: gaussian \(must be renyi"):
        reserve(ledger(tmp_path, budget("gaussian")), 2, FULL)


def older(tmp_path: Path, history: Sequence[Mechanism], epsilon: float = 4.0) -> Ledger:
    """A ledger as an older version left it: lines, and no rule."""
    for number, mechanism in enumerate(history):
        reserve(ledger(tmp_path, budget("renyi", 60.0)), number, mechanism)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.execute("DELETE FROM properties WHERE key IN ('filter', 'order')")
        connection.execute("DROP TABLE prices")
        connection.commit()
    return ledger(tmp_path, budget(None, epsilon))


def test_an_old_ledger_without_subsampling_becomes_gaussian(tmp_path: Path) -> None:
    book = older(tmp_path, [FULL])
    reserve(book, 9, FULL)
    assert book.spending().rule == PrivacyFilter(FilterKind.GAUSSIAN)
    assert book.epsilon() == pytest.approx(gaussian_epsilon(4 / 16, DELTA), rel=1e-9)


def test_an_old_ledger_with_subsampling_takes_the_order_and_may_be_spent(tmp_path: Path) -> None:
    book = older(tmp_path, [FULL, Mechanism(0.5, 0.9, 30)])
    assert book.spending().rule == PrivacyFilter(FilterKind.RENYI, order_for(4.0, DELTA))
    assert book.epsilon() > 4.0
    with pytest.raises(BudgetExceededError):
        reserve(book, 9, Mechanism(1.0, 1000.0, 1))


def test_a_new_site_has_its_kind_in_its_settings(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="alpha"))
    assert load_settings(tmp_path / "site" / "site.yaml", SiteConfig).privacy.filter == "gaussian"


def test_no_reservation_holds_the_ledger_longer_than_a_second(tmp_path: Path) -> None:
    """2,000 different mechanisms, of which the two odd ones took 49 s, and 60 mixed 22 s."""
    privacy = budget("renyi", 60.0)
    book = ledger(tmp_path, privacy)
    reserve(book, 0, SAMPLED)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        for number in range(1, 2001):
            rate, noise = 0.001 + number / 2500, 500.0 + number / 7
            connection.execute(
                "INSERT INTO mechanisms SELECT ?, run, ?, task, cohort, model_digest, attempt, "
                "mode, state, repeatable, ?, ?, 1, reserved_at, committed_at FROM mechanisms "
                "WHERE id = 1", (1 + number, number, rate, noise),
            )  # fmt: skip
            connection.execute("INSERT INTO prices VALUES (?, ?, 1e-6)", (rate, noise))
        connection.commit()
    PrivacyFilter.chosen(privacy, []).price(Mechanism(0.5, 1.0, 1))  # libraries are loaded
    for number, odd in enumerate([Mechanism(1e-3, 0.31, 1), Mechanism(0.0317, 8190.7, 3)]):
        began = time.process_time()
        reserve(book, 3000 + number, odd)
        assert time.process_time() - began < 1.0
