"""Bone density that a model estimates from what is no DXA: a number with its error, no score.

Such an estimate, from CT (`shared.findings.ct_estimates`) or from a radiograph, has neither a
T-score nor a Z-score nor a class, and sends to DXA.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from shared.findings.ct_estimates import is_from_ct
from shared.findings.facts import Measurement
from shared.findings.region_names import region_words
from shared.phrases import listed
from shared.records import Vendor

#: The quantity of an estimate from a radiograph.
FROM_FILM: Final = "areal BMD from a radiograph"


def film_measurements(task: str, standardised: Mapping[str, float]) -> tuple[Measurement, ...]:
    """Make findings of estimates from a radiograph.

    Parameters
    ----------
    task : str
        Who estimated them.
    standardised : mapping of str to float
        sBMD in g/cm² by region (`shared.regions.BMD_REGIONS`).
    """
    return tuple(
        Measurement(
            task=task,
            quantity=FROM_FILM,
            region=region,
            value=round(value, 3),
            unit="g/cm²",
            scale=Vendor.GENERIC.value,
            standardised=round(value, 3),
        )
        for region, value in standardised.items()
    )


def is_from_film(found: Measurement) -> bool:
    """Say whether a finding is an estimate from a radiograph."""
    return found.quantity == FROM_FILM


def is_bare(found: Measurement) -> bool:
    """Say whether a finding is an estimate that no score is spoken of with."""
    return is_from_ct(found) or is_from_film(found)


def only_bare(found: Collection[Measurement]) -> bool:
    """Say whether every density of a study is such an estimate; False without any."""
    return bool(found) and all(map(is_bare, found))


def origin_of(found: Measurement) -> str:
    """Say what such an estimate is from, after "from"."""
    return "CT" if is_from_ct(found) else "the radiograph"


def film_sentence(found: Sequence[Measurement], errors: Mapping[str, float | None]) -> str:
    """Say what is estimated from a radiograph, with its error and where to go next.

    Parameters
    ----------
    found : sequence of Measurement
        All of a study.
    errors : mapping of str to float or None
        Recorded mean absolute error by region, g/cm²; None where none is.

    Returns
    -------
    str
        Empty without any.
    """
    parts = []
    for one in filter(is_from_film, found):
        error = errors.get(one.region)
        off = (
            "how far this version is off is not recorded"
            if error is None
            else f"this version is off by {error:.3f} {one.unit} on average on validation patients"
        )
        parts.append(f"{region_words(one.region)} {one.value:.3f} {one.unit} ({off})")
    if not parts:
        return ""
    return (
        f"Estimated {FROM_FILM}: {listed(parts)}. It is an estimate on the standardised scale, "
        "not a DXA measurement; refer to DXA."
    )
