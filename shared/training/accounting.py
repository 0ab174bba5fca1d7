"""What private training costs: Rényi accounting of planned runs, and the exact Gaussian curve.

A mechanism is a number of steps of the Poisson-subsampled Gaussian mechanism. `epsilon` prices
a run that is planned beforehand: Rényi divergences add up order by order, and the best order
is taken at the end. That is not proven where each mechanism is chosen after earlier releases
were seen, so it never decides what a hospital releases: `client.privacy.privacy_filter` does,
for which `gaussian_epsilon` is the curve.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import BudgetInvalidError
from shared.phrases import counted

#: Rényi orders. Any set of orders gives a valid (upper) bound; a fine one gives a
#: tight bound. The optimum lies near 1 + sqrt(2·log(1/delta)/rho) with rho the
#: slope of the divergence, so small orders serve epsilons over 10 and large ones
#: epsilons under 0.1.
ORDERS: Final[tuple[float, ...]] = (
    *(round(1.0 + step / 40, 6) for step in range(1, 40)),
    *(round(2.0 + step / 10, 6) for step in range(90)),
    *(float(order) for order in range(11, 64)),
    *(float(order) for order in (72, 80, 96, 112, 128, 160, 192, 256, 384, 512, 768, 1024)),
)
#: Where the whole orders begin. Those below take Opacus ten times as long as all others
#: together, and are the best ones only for an epsilon over about 10.
TWO: Final = ORDERS.index(2.0)
BELOW_TWO: Final = range(0, TWO)
FROM_TWO: Final = range(TWO, len(ORDERS))
#: Orders on either side of the last best one that a search tries first.
NEIGHBOURS: Final = 3
#: Widest noise that `noise_multiplier_for` will consider.
LARGEST_NOISE_MULTIPLIER: Final = 1e6
#: Relative width at which the search for the noise ends (always on the safe side).
NOISE_TOLERANCE: Final = 1e-5


@dataclass(frozen=True)
class Mechanism:
    """Some steps of DP-SGD with the same settings.

    Attributes
    ----------
    sample_rate : float
        Probability in (0, 1] with which each patient is drawn into a step.
    noise_multiplier : float
        Standard deviation of the noise over the clipping norm; 0 = no privacy.
    steps : int
        Number of steps, at least 0.
    """

    sample_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse numbers that are no mechanism, so that nothing is under-counted."""
        if not 0 < self.sample_rate <= 1:
            raise BudgetInvalidError(f"sample_rate: {self.sample_rate} (must be in (0, 1])")
        if not (self.noise_multiplier >= 0 and math.isfinite(self.noise_multiplier)):
            raise BudgetInvalidError(
                f"noise_multiplier: {self.noise_multiplier} (must be finite and at least 0)"
            )
        if self.steps < 0:
            raise BudgetInvalidError(f"steps: {self.steps} (must be at least 0)")


@lru_cache(maxsize=4096)
def _divergence_of_a_step(
    sample_rate: float, noise_multiplier: float, orders: range
) -> NDArray[np.float64]:
    """Rényi divergence of one step at each of some of `ORDERS` (Opacus).

    With a sample rate of 1 this is the plain Gaussian mechanism, order/(2·noise²).
    """
    from shared.training.opacus_parts import rdp

    chosen = [ORDERS[place] for place in orders]
    divergence = np.asarray(
        rdp.compute_rdp(q=sample_rate, noise_multiplier=noise_multiplier, steps=1, orders=chosen),
        dtype=np.float64,
    )
    # An order that lost its precision (NaN, or less than nothing) must not count
    # as cheap: it is taken out by making it infinitely dear.
    usable = np.isfinite(divergence) & (divergence >= 0) & (np.asarray(chosen) > 1)
    return np.where(usable, divergence, np.inf)


def _least(history: Sequence[Mechanism], delta: float, orders: range) -> tuple[float, int]:
    """Least epsilon that some of `ORDERS` give, and the place of the order that gives it."""
    from shared.training.opacus_parts import rdp

    chosen = [ORDERS[place] for place in orders]
    divergence = np.zeros(len(chosen))
    for mechanism in history:
        one = _divergence_of_a_step(mechanism.sample_rate, mechanism.noise_multiplier, orders)
        divergence = divergence + mechanism.steps * one
    with warnings.catch_warnings():
        # "Optimal order is the smallest/largest": the bound is looser, not wrong.
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        spent, best = rdp.get_privacy_spent(orders=chosen, rdp=divergence, delta=delta)
    # max() would make nothing of what is not a number
    return math.inf if math.isnan(spent) else max(0.0, float(spent)), ORDERS.index(best)


def _least_of_all(history: Sequence[Mechanism], delta: float) -> tuple[float, int]:
    """Least epsilon over all of `ORDERS`; those below two only where the best one may be."""
    found = _least(history, delta, FROM_TWO)
    if found[1] > FROM_TWO.start:
        return found
    return min(found, _least(history, delta, BELOW_TWO))


def epsilon(mechanisms: Sequence[Mechanism], delta: float) -> float:
    """Compute the epsilon of a whole history at one delta.

    Guarantee
    ---------
    If every mechanism clips each patient's contribution to the clipping norm,
    draws patients independently with `sample_rate` and adds Gaussian noise of
    `noise_multiplier` times that norm, everything the history released together
    is (epsilon, delta)-differentially private with respect to adding or removing
    one patient. The figure is an upper bound: it is never below the true one.

    The history must have been fixed beforehand: the order that is best is picked at the end.
    A coordinator that chooses each mechanism after it saw the releases before is the matter
    of `client.privacy.privacy_filter`.

    ============================ =========================================
    case                         result
    ============================ =========================================
    no mechanism, or no steps    0
    a mechanism without noise    infinity
    not a number on the way      infinity
    `sample_rate` 1 (full batch) the plain Gaussian mechanism
    order beyond `ORDERS`        still a bound, only looser
    ============================ =========================================

    Parameters
    ----------
    mechanisms : sequence of Mechanism
        The history, in any order.
    delta : float
        In (0, 1).

    Returns
    -------
    float
        Epsilon at least 0.

    Raises
    ------
    BudgetInvalidError
        If `delta` is not in (0, 1).

    Notes
    -----
    Divergence of the subsampled Gaussian: Mironov, Talwar and Zhang 2019
    (arXiv 1908.10530), as computed by Opacus; from divergence to epsilon:
    Balle et al. 2020 (arXiv 1905.09982), theorem 21.
    """
    if not 0 < delta < 1:
        raise BudgetInvalidError(f"delta: {delta} (must be in (0, 1))")
    history = [mechanism for mechanism in mechanisms if mechanism.steps > 0]
    if not history:
        return 0.0
    if any(mechanism.noise_multiplier == 0 for mechanism in history):
        return math.inf
    return _least_of_all(history, delta)[0]


def noise_multiplier_for(epsilon: float, delta: float, sample_rate: float, steps: int) -> float:
    """Find the least noise with which some steps stay within an epsilon.

    Parameters
    ----------
    epsilon : float
        What may be spent, over 0.
    delta : float
        In (0, 1).
    sample_rate : float
        In (0, 1]; 1 = every patient in every step.
    steps : int
        Steps of the whole run, at least 1.

    Returns
    -------
    float
        Noise multiplier, rounded up within 1e-5: its epsilon never exceeds the
        one asked for.

    Raises
    ------
    BudgetInvalidError
        If the epsilon is 0 or less, or too small for any noise.
    """
    if not epsilon > 0:
        raise BudgetInvalidError(f"epsilon: {epsilon} (must be > 0; a run needs some privacy)")
    if steps < 1:
        raise BudgetInvalidError(f"steps: {steps} (must be at least 1)")

    near = FROM_TWO

    def spent(noise: float) -> float:
        # Neighbouring noises have neighbouring best orders, so few are tried first. What
        # any order gives is a bound; where a better one may lie outside, all are tried.
        nonlocal near
        history = [Mechanism(sample_rate, noise, steps)]
        found, best = _least(history, delta, near)
        if best in (near.start, near.stop - 1):
            found, best = _least_of_all(history, delta)
        near = range(max(0, best - NEIGHBOURS), min(best + NEIGHBOURS + 1, len(ORDERS)))
        return found

    high = 1.0
    while spent(high) > epsilon:
        high *= 2
        if high > LARGEST_NOISE_MULTIPLIER:
            raise BudgetInvalidError(
                f"epsilon: {epsilon:g} at delta {delta:g} (too small for {counted(steps, 'step')} "
                "with any noise; allow more or train less)"
            )
    low = high / 2 if high > 1 else 1e-2
    while high - low > NOISE_TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


#: How often an interval is halved: until its ends are neighbours in double precision.
HALVINGS: Final = 200


def gaussian_epsilon(total: float, delta: float) -> float:
    """Compute the epsilon of Gaussian mechanisms without subsampling: the exact curve.

    Guarantee
    ---------
    If the mechanisms' steps/noise_multiplier² add up to at most `total`, however they were
    chosen and after whatever was seen, what they released together is (epsilon, delta)-
    differentially private with respect to adding or removing one patient. Never below the
    exact value; above it by rounding only.

    Parameters
    ----------
    total : float
        Sum of steps/noise_multiplier², at least 0.
    delta : float
        In (0, 1).

    Returns
    -------
    float
        Epsilon at least 0; infinity if `total` is.

    Notes
    -----
    Balle and Wang 2018 (arXiv 1805.06530), theorem 8, with μ = √total; that a filter may stop at
    a total although each mechanism is chosen adaptively: Smith and Thakurta 2022
    (arXiv 2210.17520).
    """
    if not total > 0:
        return 0.0
    if not math.isfinite(total):
        return math.inf
    mu = math.sqrt(total)
    if _gaussian_delta(0.0, mu) <= delta:
        return 0.0
    high = 1.0
    while _gaussian_delta(high, mu) > delta:
        high *= 2
    low = 0.0 if high == 1.0 else high / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (low, middle) if _gaussian_delta(middle, mu) <= delta else (middle, high)
    return high


@lru_cache(maxsize=64)
def largest_gaussian_total(epsilon: float, delta: float) -> float:
    """Find the largest sum of steps/noise_multiplier² whose `gaussian_epsilon` is within a budget.

    Rounded down: never more than the exact value.
    """
    high = 1.0
    while _gaussian_delta(epsilon, high) <= delta:
        high *= 2
    low = 0.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if _gaussian_delta(epsilon, middle) <= delta else (low, middle)
    return low * low * (1 - 1e-15)


def _gaussian_delta(epsilon: float, mu: float) -> float:
    """Bound delta of the Gaussian mechanism of sensitivity μσ at an epsilon, from above.

    Φ(μ/2 - ε/μ) - e^ε·Φ(-μ/2 - ε/μ), in logarithms; what rounding may take is added.
    """
    from scipy.special import log_ndtr

    first = float(log_ndtr(mu / 2 - epsilon / mu))
    second = epsilon + float(log_ndtr(-mu / 2 - epsilon / mu))
    unsure = 1e-15 * (1 + abs(first) + abs(second) + epsilon + (epsilon / mu + mu / 2) ** 2)
    return math.exp(first) * (-math.expm1(min(0.0, second - first)) + unsure)
