"""The rule by which a ledger decides: its kind is chosen with the budget, and stays.

The coordinator chooses every mechanism after it has seen all earlier releases. So only a rule
that is proven for fully adaptive choices may decide, and nothing about it may be chosen after
the fact: neither the better kind nor the best order.

========  ====================================================  ===========================
kind      what adds up, step by step                            proven by
========  ====================================================  ===========================
gaussian  1/σ²; no subsampling; the exact Gaussian curve        Smith and Thakurta 2022
                                                                (arXiv 2210.17520)
renyi     the Rényi divergence of one order, which follows      Feldman and Zrnic 2021
          from the budget (`order_for`); subsampling allowed    (arXiv 2008.11193)
========  ====================================================  ===========================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, Self

from shared.errors import PolicyRefusedError
from shared.settings.files import SitePrivacy
from shared.training.accounting import Mechanism, gaussian_epsilon, largest_gaussian_total

LEAST_ORDER: Final = 2
#: A price of this order takes some hundredths of a second; larger ones serve epsilons under 0.02.
LARGEST_ORDER: Final = 1024
#: What rounding may have taken of a step's price.
RELATIVE_ROUNDING: Final = 1e-9
ABSOLUTE_ROUNDING: Final = 1e-13


class FilterKind(StrEnum):
    """What adds up."""

    GAUSSIAN = "gaussian"
    RENYI = "renyi"


#: Prices of one step, by sample rate and noise multiplier.
Prices = Mapping[tuple[float, float], float]


@dataclass(frozen=True)
class PrivacyFilter:
    """How a ledger prices a step, and how much all of them may cost.

    Attributes
    ----------
    kind : FilterKind
        What adds up.
    order : int
        Of the Rényi divergence; 0 where none is used.
    known : mapping
        Prices that need not be computed again; they change nothing.
    """

    kind: FilterKind
    order: int = 0
    known: Prices = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def chosen(cls, budget: SitePrivacy, history: Iterable[Mechanism]) -> Self:
        """Choose the rule of a ledger that has none: as `site.yaml` says, else by its history.

        A history without subsampling becomes ``gaussian``, any other ``renyi``.
        """
        kind = budget.filter
        if kind is None:
            kind = "renyi" if any(one.sample_rate < 1 for one in history) else "gaussian"
        if kind == "gaussian":
            return cls(FilterKind.GAUSSIAN)
        return cls(FilterKind.RENYI, order_for(budget.epsilon_budget, budget.delta))

    def knowing(self, prices: Prices) -> Self:
        """Give the same rule with these prices known."""
        return replace(self, known=prices)

    def check_kind(self, mechanism: Mechanism) -> None:
        """Refuse a mechanism that this rule has no price for.

        Raises
        ------
        PolicyRefusedError
            If it draws patients at random and the rule is ``gaussian``.
        """
        if self.kind is FilterKind.GAUSSIAN and mechanism.sample_rate < 1:
            raise PolicyRefusedError(
                f"a sample rate of {mechanism.sample_rate:g} was asked, and this hospital's "
                "ledger counts by the Gaussian curve, which knows no sampling (site.yaml: "
                "privacy.filter: gaussian, chosen with the budget and kept); ask with a rate of 1"
            )

    def price(self, mechanism: Mechanism) -> float:
        """Price one step of a mechanism, rounded up; infinity without noise."""
        rate, noise = mechanism.sample_rate, mechanism.noise_multiplier
        if noise == 0:
            return math.inf
        if (rate, noise) in self.known:
            return self.known[rate, noise]
        if self.kind is FilterKind.RENYI:
            return _divergence(rate, noise, self.order)
        # A line that was there before the rule and is sampled costs what the same without
        # sampling does, which is more.
        return 1.0 / noise**2 * (1 + RELATIVE_ROUNDING / 1e3)

    def total(self, mechanisms: Iterable[Mechanism]) -> float:
        """Add up what mechanisms cost."""
        return math.fsum(one.steps * self.price(one) for one in mechanisms if one.steps > 0)

    def epsilon(self, total: float, delta: float) -> float:
        """Tell the epsilon of all that costs `total` together."""
        if self.kind is FilterKind.GAUSSIAN:
            return gaussian_epsilon(total, delta)
        return max(0.0, total + _conversion(self.order, delta)) if total > 0 else 0.0

    def capacity(self, budget: SitePrivacy) -> float:
        """Tell how much all mechanisms together may cost under a budget, rounded down."""
        if self.kind is FilterKind.GAUSSIAN:
            return largest_gaussian_total(budget.epsilon_budget, budget.delta)
        whole = budget.epsilon_budget - _conversion(self.order, budget.delta)
        return max(0.0, whole * (1 - RELATIVE_ROUNDING))


def order_for(epsilon: float, delta: float) -> int:
    """Choose the Rényi order of a budget, before anything is spent.

    With L = log(1/δ), a mechanism of divergence ρα at every order α has ε = ρα + L/(α-1)
    (Mironov 2017, proposition 3), which allows the largest ρ at
    α = 1 + (L + √(L·(L + ε)))/ε; rounded to a whole order from 2 to 1024, for which the
    divergence is a finite sum.
    """
    least = math.log(1 / delta)
    best = 1 + (least + math.sqrt(least * (least + epsilon))) / epsilon
    return round(min(max(best, LEAST_ORDER), LARGEST_ORDER))


def _conversion(order: int, delta: float) -> float:
    """What comes on top of the divergence of an order: epsilon = divergence + this.

    Balle et al. 2020 (arXiv 1905.09982), theorem 21.
    """
    return math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1)


def _divergence(rate: float, noise: float, order: int) -> float:
    """Rényi divergence of one step of the subsampled Gaussian, rounded up (dp_accounting).

    The larger of adding and of removing a patient: Mironov, Talwar and Zhang 2019
    (arXiv 1908.10530), as a finite sum for a whole order.
    """
    if rate == 1:
        return order / (2 * noise**2) * (1 + RELATIVE_ROUNDING)
    # Not before it is needed: loading it takes longer than all that a ledger does besides.
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, rdp

    accountant = rdp.RdpAccountant(orders=[order])
    accountant.compose(PoissonSampledDpEvent(rate, GaussianDpEvent(noise)))
    [found] = accountant._rdp  # what it is asked for otherwise is an epsilon
    if not (math.isfinite(found) and found >= 0):
        return math.inf
    return float(found) * (1 + RELATIVE_ROUNDING) + ABSOLUTE_ROUNDING
