"""Saturation: what lies at the top of the grey scale has no detail left."""

from __future__ import annotations

from typing import Final

from shared.quality.pixels import Picture, strength_of
from shared.records import View

#: From this grey value on a pixel counts as saturated.
CEILING: Final = 0.995
#: Share of the scanned pixels at which one would object.
SHARES: Final = {
    View.SPINE_PA: 0.115,
    View.HIP_LEFT: 0.11,
    View.HIP_RIGHT: 0.11,
    View.SPINE_LATERAL: 0.04,
    View.LUMBAR_AP: 0.115,
}


def saturation(picture: Picture, view: View) -> float:
    """Strength of saturation: the share of scanned pixels at the ceiling."""
    share = float((picture.grey[picture.scanned] >= CEILING).mean())
    return strength_of(share, SHARES[view])
