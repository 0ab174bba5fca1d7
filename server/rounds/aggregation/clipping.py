"""How long updates are, and by how much each is shortened: clipping to the median norm."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from server.rounds.aggregation.update_store import SpooledUpdate


def norm_of(tensors: Iterable[NDArray[np.float32]]) -> float:
    """Euclidean norm over all tensors together, summed in float64 in the order given."""
    return float(np.sqrt(sum(_square(tensor) for tensor in tensors)))


def clip_scales(
    sites: Sequence[SpooledUpdate], names: Sequence[str], factor: float | None
) -> NDArray[np.float64]:
    """By how much each update is shortened.

    Parameters
    ----------
    sites : sequence of SpooledUpdate
        The updates.
    names : sequence of str
        Their tensors.
    factor : float or None
        ``strategy.clip_to_median_norm``: no update is longer than this times the median
        norm afterwards; None = as they are.

    Returns
    -------
    ndarray of float64, shape (sites,)
        In [0, 1].
    """
    if factor is None:
        return np.ones(len(sites))
    norms = np.array([_norm(one, names) for one in sites])
    most = factor * float(np.median(norms))
    return np.minimum(1.0, most / np.maximum(norms, np.finfo(np.float64).tiny))


def _norm(update: SpooledUpdate, names: Sequence[str]) -> float:
    with update.opened() as file:
        return norm_of(file.tensor(name) for name in names)


def _square(tensor: NDArray[np.float32]) -> float:
    exact = tensor.astype(np.float64)
    return float(np.vdot(exact, exact))
