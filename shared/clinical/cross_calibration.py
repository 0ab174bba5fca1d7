"""BMD on one scale for every scanner: standardised BMD (sBMD) and back.

Scanners of different makers give the same bone different numbers. The
International Committee for Standards in Bone Measurement's sBMD is the common
scale on which models are trained; results go back to the scale of the patient's
own scanner. A single patient's BMD is off by about 3.5 % after conversion
(`references.CROSS_CALIBRATION_ERROR`).
"""

from __future__ import annotations

from typing import Final

from shared.clinical.references import COMBINATIONS, STANDARDISATION, Line
from shared.records import Vendor
from shared.regions import LUMBAR

#: sBMD outside this range is a typing error, not a bone, g/cm².
PLAUSIBLE_SBMD: Final = (0.2, 2.5)
_IDENTITY = Line(0.0, 1.0, "", next(iter(STANDARDISATION.values()))["spine"].mark)


def _line(vendor: Vendor, region: str) -> Line:
    """Find the line of a vendor and region; KeyError names what is known."""
    known = STANDARDISATION[Vendor.HOLOGIC]
    name = "spine" if region in LUMBAR or region in COMBINATIONS else region
    if name not in known:
        raise KeyError(
            f"{region}: no cross-calibration (known: {', '.join([*LUMBAR, 'L1-L4', *known])})"
        )
    return _IDENTITY if vendor is Vendor.GENERIC else STANDARDISATION[vendor][name]


def is_plausible(standardised: float) -> bool:
    """Say whether bone can have an sBMD, g/cm²; NaN cannot be."""
    return PLAUSIBLE_SBMD[0] <= standardised <= PLAUSIBLE_SBMD[1]


def standardised_bmd(bmd: float, vendor: Vendor, region: str) -> float:
    """Convert a vendor's areal BMD to standardised BMD.

    Parameters
    ----------
    bmd : float
        g/cm² on the vendor's scale.
    vendor : Vendor
        `Vendor.GENERIC` is on the standardised scale already (identity).
    region : str
        L1, L2, L3, L4, L1-L4 or vertebrae that stand together (L2-L4), femoral_neck,
        total_hip or trochanter. A single vertebra uses the line that was published for the spine.

    Returns
    -------
    float
        sBMD in **g/cm²** (the literature prints mg/cm²).

    Raises
    ------
    KeyError
        If the region has no cross-calibration.

    Notes
    -----
    Spine: Hui 1997. Femur: sBMD = a + b·BMD, see `references.STANDARDISATION`.
    """
    line = _line(vendor, region)
    return line.intercept + line.slope * bmd


def vendor_bmd(standardised: float, vendor: Vendor, region: str) -> float:
    """Convert standardised BMD to a vendor's scale; the inverse of `standardised_bmd`.

    Parameters
    ----------
    standardised : float
        sBMD in g/cm².
    vendor, region
        See `standardised_bmd`.

    Returns
    -------
    float
        g/cm² on the vendor's scale.

    Raises
    ------
    KeyError
        If the region has no cross-calibration.
    """
    line = _line(vendor, region)
    return (standardised - line.intercept) / line.slope


def converted_bmd(bmd: float, vendor: Vendor, target: Vendor, region: str) -> float:
    """Convert areal BMD from one vendor's scale to that of `target`, on which a reference is.

    Same units and errors as `standardised_bmd`.
    """
    if vendor is target:
        return bmd
    return vendor_bmd(standardised_bmd(bmd, vendor, region), target, region)


def hologic_bmd(bmd: float, vendor: Vendor, region: str) -> float:
    """Convert areal BMD to the Hologic scale, on which NHANES III is."""
    return converted_bmd(bmd, vendor, Vendor.HOLOGIC, region)
