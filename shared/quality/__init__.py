"""Quality of one image, from its pixels: what a technologist would object to."""

from __future__ import annotations

from shared.records import ImageRecord, QualityMark, Vendor, View


def assess(image: ImageRecord, view: View, vendor: Vendor) -> tuple[QualityMark, ...]:
    """Find what is wrong with an image; empty = nothing was found.

    Parameters
    ----------
    image : ImageRecord
        As read: pixels in [0, 1], NaN = not scanned.
    view : View
        Its projection.
    vendor : Vendor
        Its scanner family.
    """
    return ()
