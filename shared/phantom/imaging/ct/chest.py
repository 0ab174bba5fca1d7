"""How a chest CT is taken: from C7 to the upper lumbar spine, without contrast agent.

Low-dose and standard, soft kernels for reading and sharp ones for lung, 1 to 5 mm. Shares [U].
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, Literal

import numpy as np

from shared.phantom.solids.anatomy import Anatomy

from .scanner import CtProtocol, CtScannerProfile, Sharpness
from .stack import SliceStack

#: Which part of a person a CT is of.
CtPart = Literal["abdomen", "chest"]
#: Tube current by time of low-dose and of standard protocols, mAs, and the share of the first.
DOSES: Final = (35.0, 110.0)
LOW_DOSE: Final = 0.5
#: Slice thickness and distance, mm, with their shares.
SLICES: Final = ((1.0, 1.0, 0.08), (2.0, 2.0, 0.22), (3.0, 3.0, 0.40), (5.0, 5.0, 0.30))
#: Share at 100 kV; the rest is at 120.
AT_100_KV: Final = 0.2
#: Share with the arms beside the trunk, in the field of rays and mostly in the picture.
ARMS_BESIDE: Final = 0.25
#: Share that also has a series with the kernel for lung.
LUNG_SERIES: Final = 0.2
#: HU of lung, mean and SD between patients; of those with emphysema, and their share. It goes with
#: nothing else of a patient, so that lung says nothing of bone.
LUNG_HU: Final = (-845.0, 25.0)
EMPHYSEMA_HU: Final = (-930.0, 15.0)
EMPHYSEMA: Final = 0.15
#: How far a series reaches above the middle of C7, and below that of L1, mm: it ends within L1
#: to below L2.
ABOVE_C7: Final = (5.0, 30.0)
BELOW_L1: Final = (0.0, 60.0)
#: Share of headers that lack the patient's height and weight.
WITHOUT_HEIGHT: Final = 0.5
#: The widest field, mm, and what it leaves beside the trunk.
WIDEST_MM: Final = 500.0
BESIDE_MM: Final = 15.0
FIELD_STEP_MM: Final = 20.0
#: SD of how far the field is off the middle, mm.
CENTRE_SD_MM: Final = 6.0


def draw_lung_hu(rng: np.random.Generator) -> float:
    """Draw the attenuation of a patient's lung, HU."""
    mean, sd = EMPHYSEMA_HU if rng.random() < EMPHYSEMA else LUNG_HU
    return float(mean + sd * np.clip(rng.normal(), -2.5, 2.5))


def chest_stack(
    anatomy: Anatomy, scanner: CtScannerProfile, rng: np.random.Generator
) -> SliceStack:
    """Draw the protocol and the place of a chest series with a soft kernel."""
    spine = anatomy.skeleton.spine
    shares = [share for _, _, share in SLICES]
    thickness, increment, _ = SLICES[int(rng.choice(len(SLICES), p=shares))]
    kernel: Sharpness = "smooth" if rng.random() < 0.5 else "medium"
    low, high = anatomy.tissues[0].box
    trunk = anatomy.person.composition.trunk_width + 60.0  # the chest, shoulders cut at its edge
    widest = max(min(float(high[0] - low[0]), trunk), float(high[1] - low[1])) + 2 * BESIDE_MM
    protocol = CtProtocol(
        kvp=100 if rng.random() < AT_100_KV else 120,
        mas=DOSES[0] if rng.random() < LOW_DOSE else DOSES[1],
        kernel=kernel,
        thickness_mm=thickness,
        increment_mm=increment,
        field_mm=min(FIELD_STEP_MM * math.ceil(widest / FIELD_STEP_MM), WIDEST_MM),
    )
    top = float(spine["C7"].centre[2]) - float(rng.uniform(*ABOVE_C7))
    bottom = float(spine["L1"].centre[2]) + float(rng.uniform(*BELOW_L1))
    off = rng.normal(0, CENTRE_SD_MM, 2)
    centre = (
        float(low[0] + high[0]) / 2 + float(off[0]),
        float(low[1] + high[1]) / 2 + float(off[1]),
    )
    return SliceStack(protocol, top, max(2, round((bottom - top) / increment)), centre)


def lung_stack(stack: SliceStack) -> SliceStack:
    """Give the same slices with the kernel for lung."""
    return replace(stack, protocol=replace(stack.protocol, kernel="sharp"))
