"""On which CT series bone is measured: one table of rules about a series that was read.

Taking in and prediction hold a series against the same rules: a site keeps a series that one of
them refuses, for it may be of use elsewhere, and says so; no CT task learns from it or reads it.
What cannot be read at all is refused before (`shared.dicom.ct.eligibility`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared.records import VolumeRecord

#: Thicker slices, or slices further apart, blur end plates into the bone between them, mm.
THICKEST_MM: Final = 5.0
#: Steps are told from positions that files round: so much more is the same thickness, mm.
ROUNDED_MM: Final = 0.05
#: [U] Slices across another axis are told by steps that are so many times a pixel's side.
LONG_STEP: Final = 1.5
#: Kernels for bone and lung as makers name them: they sharpen edges, and with them noise.
#: GE, Siemens (B or Br, Bv, Hr, Qr with 55 and more), Philips, Canon.
SHARP: Final = re.compile(
    r"(BONE|EDGE|LUNG|DETAIL|Y[A-D]|[DEL]|[BHIQ][A-Z]{0,2}(5[5-9]|[6-9]\d)[A-Z]?|FC(3\d|[5-8]\d))"
    r"(PLUS|[\s\\].*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class CtGate:
    """One reason why bone is not measured on a series.

    Attributes
    ----------
    name : str
        Reason code, as `shared.dicom.verdicts.REASONS` has it.
    sentence : str
        What is wrong and what to do.
    finds : callable
        Says what was found, without a patient's values; None if nothing is wrong.
    """

    name: str
    sentence: str
    finds: Callable[[VolumeRecord], str | None]


def is_sharp(kernel: str) -> bool:
    """Say whether a kernel, as its maker names it, is for bone or lung; unknown ones are not."""
    return SHARP.fullmatch(kernel.strip()) is not None


def _not_axial(volume: VolumeRecord) -> str | None:
    """Tell slices across another axis by their steps: pixels are square, slices apart.

    Where all three are alike it does not matter how the slices were cut.
    """
    _, back, left = volume.spacing_mm
    if max(back, left) < LONG_STEP * min(back, left):
        return None
    way = "from front to back" if back > left else "from side to side"
    return f"slices {way}, {max(back, left):g} mm apart"


def is_thick(volume: VolumeRecord) -> bool:
    """Say whether slices are thicker or further apart than `THICKEST_MM`, but for rounding."""
    return volume.thickest_mm > THICKEST_MM + ROUNDED_MM


def _thick(volume: VolumeRecord) -> str | None:
    thickest = volume.thickest_mm
    if not is_thick(volume):
        return None
    return f"{thickest:g} mm {'thick' if thickest == volume.slice_thickness_mm else 'apart'}"


def _sharp(volume: VolumeRecord) -> str | None:
    return f"kernel {volume.kernel.strip()}" if is_sharp(volume.kernel) else None


GATES: Final[tuple[CtGate, ...]] = (
    CtGate(
        "series_not_axial",
        "bone is not measured on a CT series that is not axial; give the axial one",
        _not_axial,
    ),
    CtGate(
        "series_thick",
        "bone is not measured on CT slices that are thicker or further apart than "
        f"{THICKEST_MM:g} mm; give a series of thinner ones",
        _thick,
    ),
    CtGate(
        "kernel_sharp",
        "bone is not measured on a CT series of a sharp kernel; give one of a soft or standard one",
        _sharp,
    ),
)


def refusing_gate(volume: VolumeRecord) -> tuple[CtGate, str] | None:
    """Give the first rule that refuses a series, and what it found; None if bone is measured."""
    for gate in GATES:
        detail = gate.finds(volume)
        if detail is not None:
            return gate, detail
    return None


def why_not_measured(volume: VolumeRecord) -> str:
    """Say why bone is not measured on a series, in a sentence; empty if it is."""
    refused = refusing_gate(volume)
    return "" if refused is None else f"{refused[0].sentence} ({refused[1]})"
