"""Bone density that a model estimates from CT: a number with its error, and nothing like a score.

A T-score compares what DXA measured with what DXA measured of others; an estimate from CT has
none, nor a Z-score, nor a class. It sends to DXA.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from shared.findings.facts import Measurement
from shared.phrases import listed
from shared.records import Vendor

#: What the quantity of such an estimate begins with.
FROM_CT: Final = "areal BMD from CT"
#: And where a contrast agent was given: such an estimate stands in a row of its own.
ENHANCED: Final = f"{FROM_CT} with contrast agent"
#: Region of the levels' mean.
CT_SPINE: Final = "L1-L4"
#: One vertebra is no spine.
FEWEST: Final = 2


def ct_bmd_measurements(
    task: str, standardised: Mapping[str, float], contrast: bool | None = None
) -> tuple[Measurement, ...]:
    """Make findings of the levels that were assessed, and of the mean of two or more.

    Parameters
    ----------
    task : str
        Who estimated them.
    standardised : mapping of str to float
        sBMD in g/cm² by level, L1 to L4.
    contrast : bool, optional
        Whether a contrast agent was given, None = the files do not say.

    Returns
    -------
    tuple of Measurement
        The mean first; which levels it is of stands in its quantity.
    """
    what = ENHANCED if contrast else FROM_CT
    levels = tuple(_estimate(task, level, what, value) for level, value in standardised.items())
    if len(levels) < FEWEST:
        return levels
    mean = sum(standardised.values()) / len(standardised)
    of = f"{what}, mean of {listed(list(standardised))}"
    return (_estimate(task, CT_SPINE, of, mean), *levels)


def is_from_ct(found: Measurement) -> bool:
    """Say whether a finding is such an estimate."""
    return found.quantity.startswith(FROM_CT)


def estimate_sentence(found: Sequence[Measurement], errors: Mapping[str, float]) -> str:
    """Say what is estimated from CT, with its error and where to go next; empty without any.

    Parameters
    ----------
    found : sequence of Measurement
        All of a study.
    errors : mapping of str to float
        Recorded mean absolute error of the levels' mean, g/cm², by task; absent where none is.
    """
    sentences = []
    from_ct = [one for one in found if is_from_ct(one)]
    means = [one for one in from_ct if one.region == CT_SPINE]
    for one in means or from_ct:
        error = errors.get(one.task)
        quantity = one.quantity if one in means else f"{one.quantity}, {one.region} alone"
        off = (
            "how far this version is off is not recorded"
            if error is None
            else f"this version is off by {error:.3f} {one.unit} on average on validation patients"
        )
        if one.quantity.startswith(ENHANCED):
            off += "; how far with a contrast agent is not recorded apart"
        sentences.append(
            f"Estimated {quantity}: {one.value:.3f} {one.unit} ({off}). It is an estimate on "
            "the standardised scale, not a DXA measurement; refer to DXA."
        )
    return " ".join(sentences)


def _estimate(task: str, region: str, quantity: str, value: float) -> Measurement:
    rounded = round(value, 3)
    return Measurement(
        task=task,
        quantity=quantity,
        region=region,
        value=rounded,
        unit="g/cm²",
        scale=Vendor.GENERIC.value,
        standardised=rounded,
    )
