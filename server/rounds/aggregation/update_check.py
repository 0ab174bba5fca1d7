"""What an update must be to be aggregated, asked as it arrives."""

from __future__ import annotations

from typing import Final

import numpy as np

from server.rounds.aggregation.clipping import norm_of
from shared.errors import AggregationRefusedError
from shared.protocol.codec import Arrays, check_finite
from shared.protocol.half_precision import LENGTHENED

#: No training changes a weight by more. What is made of far larger numbers may not be
#: finite, and one of them in a tensor takes half precision from all its others. It is no
#: bound on what one site can do: that is ``strategy.maximum_update_norm``.
LARGEST_CHANGE: Final = 1e4


def check_update(site: str, update: Arrays, before: Arrays, maximum_norm: float | None) -> None:
    """Refuse an update that must not be aggregated.

    Parameters
    ----------
    site : str
        Its name.
    update : dict of str to ndarray
        What its training changed, as it sent it.
    before : dict of str to ndarray of float32
        The tensors that are trained.
    maximum_norm : float or None
        ``strategy.maximum_update_norm``.

    Raises
    ------
    AggregationRefusedError
        If its tensors are not exactly those trained, float32, finite and within
        `LARGEST_CHANGE`, or it moves further than `maximum_norm`, with room for the
        rounding on its way.
    """
    _check_tensors(site, update, before)
    check_finite(update, site, AggregationRefusedError)
    for name, value in update.items():
        if value.size and float(np.abs(value).max()) > LARGEST_CHANGE:
            raise AggregationRefusedError(
                f"{site}: tensor {name!r} changes a weight by more than {LARGEST_CHANGE:g}"
            )
    if maximum_norm is not None:
        moved = norm_of(update[name] for name in sorted(before))
        if moved > maximum_norm * LENGTHENED:
            raise AggregationRefusedError(
                f"{site}: the update has norm {moved:.4g} "
                f"(strategy.maximum_update_norm: {maximum_norm:g})"
            )


def _check_tensors(site: str, update: Arrays, before: Arrays) -> None:
    """Compare names, shapes and number types."""
    differing = set(before) ^ set(update)
    if differing:
        raise AggregationRefusedError(
            f"{site}: the update's tensors differ from those trained ({sorted(differing)[0]})"
        )
    for name, value in update.items():
        if value.shape != before[name].shape or value.dtype != np.float32:
            raise AggregationRefusedError(
                f"{site}: tensor {name!r} is {value.dtype} {value.shape} "
                f"(must be float32 {before[name].shape})"
            )
