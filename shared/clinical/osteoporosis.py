"""Osteoporosis by DXA: T ≤ −2.5 at any diagnostic site (WHO; ISCD 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.clinical.scores import BoneClass, reported_score, t_score, who_class
from shared.clinical.whose_reference import has_scale
from shared.records import Vendor

#: Sites on which a diagnosis may rest; one of the right hip counts as that of the left.
SITES: Final = (
    "L1-L4", "femoral_neck", "total_hip", "right_femoral_neck", "right_total_hip",
)  # fmt: skip


def has_osteoporosis(bmd: Mapping[str, float], vendor: Vendor) -> bool | None:
    """Say whether DXA shows osteoporosis.

    Parameters
    ----------
    bmd : mapping of str to float
        Areal BMD by region, g/cm² on the vendor's scale.
    vendor : Vendor
        Whose scanner measured.

    Returns
    -------
    bool or None
        By T-scores as they are reported, to one decimal, against young white women. None where no
        diagnostic site was measured or the scale is not known.
    """
    if not has_scale(vendor):
        return None
    scores = [
        reported_score(t_score(bmd[site], site.removeprefix("right_"), vendor))
        for site in SITES
        if site in bmd
    ]
    return any(who_class(one) is BoneClass.OSTEOPOROSIS for one in scores) if scores else None
