"""Flags of quality that a report shows: the hospital's own, and those of the image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from shared.findings.facts import QualityFlag
from shared.findings.findings import RegionMap
from shared.quality import WORDS, assess
from shared.quality.regions import region_flags
from shared.records import ImageRecord, StudyLabels, Vendor, View
from shared.regions import right_of

#: Words of the NHANES quality codes.
QUALITY_WORDS: Mapping[int, str] = {
    1: "objects that do not belong to the body",
    3: "noise or a large body",
    4: "insufficient scan area",
    5: "movement",
    6: "degenerative, fused or fractured",
}
#: What a report says of a spacing that had to be repaired.
REPAIRED: Final = "pixel spacing in a notation outside the standard, repaired"


def hospital_quality(labels: StudyLabels) -> tuple[QualityFlag, ...]:
    """Flags that the hospital's technologist set (code 0 is valid and no flag)."""
    return tuple(
        QualityFlag(
            source="hospital",
            code=str(code),
            subject=region,
            words=QUALITY_WORDS.get(code, f"quality code {code}"),
        )
        for region, code in labels.quality.items()
        if code != 0
    )


def image_quality(
    view: View, image: ImageRecord, regions: RegionMap | None, vendor: Vendor = Vendor.OTHER
) -> tuple[QualityFlag, ...]:
    """Flags that the image itself raises, by `shared.quality`.

    Besides: a spacing that was not read from the file makes areas uncertain.
    """
    flags: list[QualityFlag] = []

    def flag(code: str, subject: str, words: str) -> None:
        flags.append(QualityFlag(source="image", code=code, subject=subject, words=words))

    if image.spacing_provenance in ("derived", "none"):
        flag("spacing", view.value, f"pixel spacing {image.spacing_provenance}, areas uncertain")
    elif image.spacing_provenance == "repaired":
        flag("spacing", view.value, REPAIRED)
    known = regions is not None and regions.any()  # no region at all is said as not assessed
    if regions is not None and known:
        for found in region_flags(image, view, regions):
            right = view is View.HIP_RIGHT
            flag(found.code, right_of(found.subject) if right else found.subject, found.words)
    for mark in assess(replace(image, regions=None), view, vendor):
        if mark.flag != "cut_off" or not known:  # regions tell better, and which
            flag(mark.flag, view.value, WORDS[mark.flag])
    return tuple(flags)
