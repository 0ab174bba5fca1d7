"""What soft tissue is made of, and one tissue as a labelled solid.

Codes, densities and numbers of Hounsfield stand in one closed table. A label map holds these
codes; of two tissues the later in a list is there, and bones are laid over all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .distance import Floats
from .tissues.slab import Box, Slab

Labels = NDArray[np.uint8]
#: Outside the patient.
AIR: Final = 0


@dataclass(frozen=True)
class Substance:
    """What a tissue is made of.

    Attributes
    ----------
    code : int
        In label maps, 1 to 255.
    density : float
        Mass, g/cm³.
    fat : float
        Share of lipid by mass, as DXA counts it.
    hounsfield, texture : float
        Mean at 120 kV without contrast, and SD of its structure (no noise), HU.
    mineral : float
        Hydroxyapatite, g/cm³; contained in `density`.
    """

    code: int
    density: float
    fat: float
    hounsfield: float
    texture: float
    mineral: float = 0.0


#: The closed table. Densities after ICRU-44, attenuation after design/anatomy.md; the rest [U].
SUBSTANCES: Final[dict[str, Substance]] = {
    "skin": Substance(1, 1.09, 0.10, 25, 12),
    "subcutaneous_fat": Substance(2, 0.95, 0.86, -106, 9),
    "visceral_fat": Substance(3, 0.95, 0.84, -99, 11),
    "oblique_muscle": Substance(4, 1.05, 0.04, 53, 9),
    "rectus_muscle": Substance(5, 1.05, 0.04, 53, 9),
    "psoas_muscle": Substance(6, 1.05, 0.04, 56, 9),
    "paraspinal_muscle": Substance(7, 1.05, 0.04, 54, 10),
    "quadratus_muscle": Substance(8, 1.05, 0.04, 54, 9),
    "intercostal_muscle": Substance(9, 1.05, 0.04, 45, 14),
    "pectoral_muscle": Substance(10, 1.05, 0.04, 54, 10),
    "back_muscle": Substance(11, 1.05, 0.04, 54, 10),
    "gluteal_muscle": Substance(12, 1.05, 0.04, 54, 10),
    "thigh_muscle": Substance(13, 1.05, 0.04, 57, 9),
    "pelvic_muscle": Substance(14, 1.05, 0.04, 52, 9),
    "arm_muscle": Substance(15, 1.05, 0.04, 57, 9),
    "diaphragm": Substance(16, 1.05, 0.04, 50, 9),
    "lung": Substance(20, 0.20, 0.01, -815, 60),
    "airway": Substance(21, 0.0012, 0.0, -985, 5),
    "heart": Substance(22, 1.05, 0.02, 41, 7),
    "oesophagus": Substance(23, 1.04, 0.03, 38, 10),
    "liver": Substance(24, 1.06, 0.05, 57, 8),
    "spleen": Substance(25, 1.06, 0.02, 49, 7),
    "kidney": Substance(26, 1.05, 0.03, 32, 8),
    "pancreas": Substance(27, 1.04, 0.10, 38, 16),
    "stomach_wall": Substance(28, 1.04, 0.03, 40, 8),
    "stomach_contents": Substance(29, 1.02, 0.02, 20, 22),
    "small_bowel": Substance(30, 1.03, 0.02, 28, 13),
    "colon_wall": Substance(31, 1.04, 0.04, 36, 9),
    "faeces": Substance(32, 0.98, 0.03, 8, 55),
    "gas": Substance(33, 0.0012, 0.0, -975, 8),
    "urine": Substance(34, 1.01, 0.0, 6, 3),
    "bladder_wall": Substance(35, 1.04, 0.03, 36, 6),
    "pelvic_organ": Substance(36, 1.04, 0.02, 42, 9),
    "bile": Substance(37, 1.02, 0.0, 9, 4),
    "adrenal": Substance(38, 1.03, 0.12, 20, 9),
    "aorta": Substance(40, 1.06, 0.0, 42, 5),
    "vena_cava": Substance(41, 1.06, 0.0, 40, 5),
    "vessel": Substance(42, 1.06, 0.0, 41, 6),
    "plaque": Substance(43, 1.40, 0.0, 640, 130, 0.42),
    "disc": Substance(44, 1.10, 0.01, 82, 11),
    "cord": Substance(45, 1.04, 0.02, 38, 4),
    "spinal_fluid": Substance(46, 1.01, 0.0, 14, 4),
    "breast": Substance(47, 0.97, 0.62, -62, 42),
}
#: Skeletal muscle of a slice, as a muscle index counts it: that of the trunk, without the arms.
SKELETAL: Final = frozenset(code for code in range(4, 17) if code != 15)


@dataclass(frozen=True)
class Tissue:
    """One kind of tissue where it is in a patient.

    Attributes
    ----------
    name : str
        Of its substance; contrast and labels go by it.
    parts : tuple of Slab
        Solids that it fills, in the world.
    substance : Substance
        The table's, or this patient's (infiltrated with fat).
    """

    name: str
    parts: tuple[Slab, ...]
    substance: Substance

    @property
    def code(self) -> int:
        """Its code in label maps."""
        return self.substance.code

    @property
    def box(self) -> Box:
        """Corners of a box around it in the world, mm: ((x, y, z), (x, y, z))."""
        low = np.min([part.box[0] for part in self.parts], axis=0)
        high = np.max([part.box[1] for part in self.parts], axis=0)
        return (float(low[0]), float(low[1]), float(low[2])), (
            float(high[0]), float(high[1]), float(high[2]),
        )  # fmt: skip

    @property
    def volume(self) -> float:
        """Sum of its parts, ml; what later tissues take away is not taken off."""
        return sum(part.volume for part in self.parts) / 1000

    def inside(self, x: Floats, y: Floats, z: Floats) -> NDArray[np.bool_]:
        """Whether points are in it; world coordinates in mm that broadcast."""
        found = self.parts[0].inside(x, y, z)
        for part in self.parts[1:]:
            found |= part.inside(x, y, z)
        return found


def tissue(name: str, *parts: Slab, infiltration: float = 0.0) -> Tissue:
    """Make a tissue of the table's substance.

    Parameters
    ----------
    name : str
        Row of `SUBSTANCES`.
    *parts : Slab
        Its solids.
    infiltration : float
        Share of its mass that is fat tissue, 0 to 1 (muscle).
    """
    substance = SUBSTANCES[name]
    return Tissue(name, parts, infiltrated(substance, infiltration) if infiltration else substance)


def infiltrated(substance: Substance, share: float) -> Substance:
    """Substance with a share of its mass replaced by fat tissue.

    Volumes add up, and so does attenuation by volume. Fat lies in streaks, so that the
    structure grows as that of a mixture in pieces much smaller than a voxel [U].
    """
    fat = SUBSTANCES["subcutaneous_fat"]
    density = 1 / ((1 - share) / substance.density + share / fat.density)
    volume = share * density / fat.density
    streaks = 0.35 * abs(substance.hounsfield - fat.hounsfield)
    return replace(
        substance,
        density=density,
        fat=(1 - share) * substance.fat + share * fat.fat,
        hounsfield=(1 - volume) * substance.hounsfield + volume * fat.hounsfield,
        texture=math.hypot(substance.texture, streaks * math.sqrt(volume * (1 - volume))),
    )


def by_code(tissues: Sequence[Tissue], quantity: str, outside: float = 0.0) -> Floats:
    """Quantity of `Substance` as a table to look codes up in, shape (256,)."""
    table = np.zeros(256, np.float32)
    table[AIR] = outside
    for one in tissues:
        table[one.code] = getattr(one.substance, quantity)
    return table
