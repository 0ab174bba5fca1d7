"""Rules that make one change of many: weighted mean, median, trimmed mean, Krum.

All read the sites in the order given, which is that of their names, so that no bit depends
on the order of arrival.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.rounds.aggregation.blocks import Contribution, Floats, blocks, changes
from shared.protocol.codec import Arrays


def weighted_mean(sites: Sequence[Contribution], before: Arrays) -> Arrays:
    """Average the changes by patients, in float64, upon the model before.

    Parameters
    ----------
    sites : sequence of Contribution
        At least one.
    before : dict of str to ndarray of float32
        The tensors that are trained.

    Returns
    -------
    dict of str to ndarray of float32
        The tensors with the mean change.
    """
    weights = np.array([one.patients for one in sites], np.float64)
    total = {name: value.reshape(-1).astype(np.float64) for name, value in before.items()}
    for one, share in zip(sites, weights / weights.sum(), strict=True):
        with one.opened() as change:
            for block in blocks(before, len(sites)):
                total[block.name][block.begin : block.end] += share * change(block)
    return _shaped(total, before)


def coordinatewise(
    sites: Sequence[Contribution], before: Arrays, rule: Callable[[Floats], Floats]
) -> Arrays:
    """Apply a rule over the sites to every coordinate, upon the model before.

    Parameters
    ----------
    sites : sequence of Contribution
        At least one.
    before : dict of str to ndarray of float32
        The tensors that are trained.
    rule : callable
        From (sites, numbers) to (numbers,), each number for itself.
    """
    made = {name: np.empty(value.size, np.float32) for name, value in before.items()}
    for block, values in changes(sites, before):
        start = before[block.name].reshape(-1)[block.begin : block.end].astype(np.float64)
        made[block.name][block.begin : block.end] = start + rule(values)
    return _shaped(made, before)


def median(values: Floats) -> Floats:
    """Median of (sites, numbers) over the sites (Yin et al. 2018)."""
    return np.asarray(np.median(values, axis=0))


def trimmed_mean(values: Floats, share: float) -> Floats:
    """Mean of (sites, numbers) without a share of the sites at either end (Yin et al. 2018)."""
    from scipy.stats import trim_mean

    return np.asarray(trim_mean(values, share, axis=0))


def krum(
    sites: Sequence[Contribution], before: Arrays, malicious: int, wanted: int
) -> list[Contribution]:
    """Choose the sites nearest to the others (Krum, Blanchard et al. 2017).

    The score of a site is the sum of its squared distances to the n - f - 2 nearest
    others, f being `malicious`.

    Parameters
    ----------
    sites : sequence of Contribution
        All n.
    before : dict of str to ndarray of float32
        The tensors that are trained.
    malicious : int
        How many may be malicious.
    wanted : int
        How many to choose.

    Returns
    -------
    list of Contribution
        In the order given.
    """
    products = np.zeros((len(sites), len(sites)))
    for _, values in changes(sites, before):
        products += values @ values.T
    squares = np.diag(products)
    distances = squares[:, None] + squares[None, :] - 2 * products
    np.fill_diagonal(distances, np.inf)  # a site is no neighbour of its own
    nearest = min(max(1, len(sites) - malicious - 2), max(1, len(sites) - 1))
    scores = np.sort(distances, axis=1)[:, :nearest].sum(axis=1)
    return [sites[i] for i in sorted(np.argsort(scores, kind="stable")[:wanted])]


def _shaped(made: Mapping[str, NDArray[Any]], before: Arrays) -> Arrays:
    """Flat tensors as float32 in the shapes of those before."""
    return {
        name: np.asarray(value, np.float32).reshape(before[name].shape)
        for name, value in made.items()
    }
