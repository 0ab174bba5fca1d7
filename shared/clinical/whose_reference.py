"""With whom a patient is compared: young adults for a T-score, people of the same age for a Z.

The spine compares with the scanner's own reference on the scanner's own scale, the hip with
NHANES III, unless a site asks for its scanner's (docs/decisions/0027-whose-reference.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum

from shared.clinical.references import (
    AGE_CURVES,
    COMBINATIONS,
    HIPS_OF_SCANNERS,
    USUAL_AREAS,
    YOUNG_HIPS,
    YOUNG_SPINES,
    Mark,
    YoungReference,
)
from shared.records import DXA_VENDORS, Vendor
from shared.regions import LUMBAR


class HipReference(StrEnum):
    """With whom hips compare: NHANES III on the Hologic scale, or as the scanner has it."""

    NHANES = "nhanes"
    SCANNER = "scanner"


def has_scale(vendor: Vendor) -> bool:
    """Say whether BMD on a vendor's scale can be compared with anything."""
    return vendor in DXA_VENDORS


def young_reference(
    region: str, vendor: Vendor = Vendor.HOLOGIC, hip: HipReference = HipReference.NHANES
) -> YoungReference:
    """Young adults with whom the T-score of a region compares.

    Parameters
    ----------
    region : str
        femoral_neck, total_hip, a lumbar vertebra, or several that stand together (L1-L4, L2-L4).
    vendor : Vendor
        Whose scanner measured.
    hip : HipReference
        A scanner whose own hips we do not know is compared with NHANES III all the same.

    Returns
    -------
    YoungReference
        On the scale of its `scale`, to which the BMD is brought first.

    Raises
    ------
    KeyError
        If the region has no reference (Ward's triangle and the trochanter never have one).
    """
    if region in YOUNG_HIPS:
        own = HIPS_OF_SCANNERS.get(vendor, {})
        if hip is HipReference.SCANNER and region in own:
            return own[region]
        return _for(vendor, YOUNG_HIPS[region])
    vertebrae = COMBINATIONS.get(region) or ((region,) if region in LUMBAR else ())
    if not vertebrae:
        known = ", ".join([*LUMBAR, *COMBINATIONS, *YOUNG_HIPS])
        raise KeyError(f"{region}: no young reference (known: {known})")
    return spine_reference(vertebrae, vendor)


def spine_reference(
    vertebrae: Collection[str],
    vendor: Vendor = Vendor.HOLOGIC,
    areas: Mapping[str, float] = USUAL_AREAS,
) -> YoungReference:
    """Young adults with whom one or several lumbar vertebrae compare.

    Parameters
    ----------
    vertebrae : collection of str
        Those that count; they need not be neighbours.
    vendor : Vendor
    areas : mapping of str to float
        Projected areas, cm²; only ratios count, and only where a mean must be put together.

    Returns
    -------
    YoungReference
        The maker's own of just these vertebrae where it is known. Else that of other vertebrae
        whose single means are the same (computed: GE's L2, L3 and L4 are alike, so L1 with L3
        compares as L1-L2). Else the single means, weighted by area (unverified). Norland and the
        generic scanner have none of their own and compare with Hologic's.
    """
    table = YOUNG_SPINES.get(vendor, YOUNG_SPINES[Vendor.HOLOGIC])
    found = _for(vendor, _together(tuple(one for one in LUMBAR if one in vertebrae), table, areas))
    if vendor is Vendor.NORLAND:
        return replace(found, source=f"{found.source}, as Norland's own are not known")
    return found


def _together(
    kept: tuple[str, ...], table: Mapping[str, YoungReference], areas: Mapping[str, float]
) -> YoungReference:
    """Find the reference of one or several vertebrae in a maker's table, or put it together."""
    name = kept[0] if len(kept) == 1 else f"{kept[0]}-{kept[-1]}"
    if name in table and COMBINATIONS.get(name, kept) == kept:
        return table[name]
    means = sorted(table[one].mean for one in kept)
    for other, members in COMBINATIONS.items():
        if other in table and sorted(table[one].mean for one in members) == means:
            source = f"{table[other].source}, that of {other}, whose vertebrae have the same means"
            return replace(table[other], source=source)
    return replace(
        table[kept[0]],
        mean=sum(table[one].mean * areas[one] for one in kept) / sum(areas[one] for one in kept),
        source=f"{table[kept[0]].source}, put together of {', '.join(kept)}",
        mark=Mark.UNVERIFIED,
    )


def why_no_z(region: str, sex: str | None, age_years: float | None, vendor: Vendor) -> str:
    """Say why a region has no Z-score, as part of a sentence; empty where it has one.

    Only a table by age that reproduces Z-scores which a scanner printed gives any.
    """
    curve = AGE_CURVES.get((sex or "", region))
    if curve is None or curve.printed_by is not vendor:
        return (
            "no published table by age is known to reproduce the Z-scores that such a scanner "
            "prints there"
        )
    if age_years is None or not curve.age_from <= age_years <= curve.age_to:
        return (
            f"the table by age that gives the printed Z-scores covers {curve.age_from:.0f} to "
            f"{curve.age_to:.0f} years"
        )
    return ""


def _for(vendor: Vendor, reference: YoungReference) -> YoungReference:
    """Say in a reference's source that BMD is brought to another scale for it."""
    if vendor is reference.scale:
        return reference
    return replace(reference, source=f"{reference.source}, after conversion to the Hologic scale")
