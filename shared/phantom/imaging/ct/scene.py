"""What CT asks a patient for: tissues on a plane, bones, metal, and what contrast does.

World frame as everywhere in the phantom, mm: x to the patient's left, y to the back, z to the
feet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from shared.phantom.solids.bone import Bone, Solid
from shared.phantom.solids.distance import Floats

#: Code of air in every map of codes.
AIR: Final = 0
#: What takes up contrast agent alike.
Uptake = Literal[
    "none", "artery", "vein", "portal", "heart", "kidney", "liver", "spleen", "gut", "muscle",
    "lumen",
]  # fmt: skip


@dataclass(frozen=True)
class TissueLook:
    """How CT shows a tissue.

    Attributes
    ----------
    hu : float
        Mean at 120 kV without contrast.
    texture : float
        SD between places some millimetres apart, HU, without the scanner's noise.
    uptake : str
        Which column of `ContrastPhase` it follows.
    """

    hu: float
    texture: float = 0.0
    uptake: Uptake = "none"


@dataclass(frozen=True)
class SlicePlane:
    """Pixel centres of one plane: pixel (r, c) is at (x[c], y[r], z[r]), mm.

    Attributes
    ----------
    x : ndarray of float32, shape (W,)
    y, z : ndarray of float32, shape (H,)
        z is constant unless the gantry is tilted.
    """

    x: Floats
    y: Floats
    z: Floats


class TissueLabeller(Protocol):
    """Says which tissue is where.

    `looks` is indexed by code; code 0 is air around the body. Bones need no code: what lies
    under them is replaced by as much as they fill.
    """

    @property
    def looks(self) -> Sequence[TissueLook]:
        """Look of each code."""
        ...

    def codes(self, plane: SlicePlane) -> NDArray[np.uint8]:
        """Codes of the pixels of a plane, shape (H, W); the array may be used again."""
        ...


@dataclass(frozen=True)
class MetalPart:
    """Metal or cement: a solid that answers as a bone does, and what it is made of.

    `material` is one of ``titanium``, ``cobalt_chrome``, ``cement``
    (`attenuation.SUBSTANCES`).
    """

    solid: Solid
    material: str


@dataclass(frozen=True)
class ContrastPhase:
    """Iodine by tissue some time after an injection.

    Attributes
    ----------
    name : str
        As a protocol calls it.
    iodine : mapping of str to float
        mg/ml by `TissueLook.uptake`; a kidney's is of its cortex and marrow together.
    marrow : float
        mg/ml in red bone marrow.
    """

    name: str
    iodine: Mapping[Uptake, float]
    marrow: float


#: Iodine in mg/ml, 27 HU each at 120 kV [U]: aorta 280 and 140 HU, liver +12 and +55, kidneys
#: +110 and +140, spleen +80 and +65, muscle +4 and +12; the core of L1 +5 to +20.
ARTERIAL: Final = ContrastPhase(
    "arterial",
    {
        "artery": 10.5, "heart": 8.5, "vein": 1.2, "portal": 1.8, "kidney": 4.2, "liver": 0.45,
        "spleen": 3.0, "gut": 1.2, "muscle": 0.15,
    },
    0.24,
)  # fmt: skip
PORTAL: Final = ContrastPhase(
    "portal venous",
    {
        "artery": 4.6, "heart": 4.4, "vein": 4.2, "portal": 5.2, "kidney": 5.3, "liver": 2.0,
        "spleen": 2.5, "gut": 1.6, "muscle": 0.45,
    },
    0.46,
)  # fmt: skip
#: Iodine of an oral agent in what is in the bowel, mg/ml [U].
ORAL_IODINE: Final = 8.0


@dataclass(frozen=True)
class BreathStep:
    """From a slice on, the patient lies otherwise: a new breath, or a move.

    Attributes
    ----------
    first : int
        Slice index, from 0, from which it counts.
    organs : (float, float, float)
        Shift of soft tissue along x, y, z, mm.
    bones : (float, float, float)
        Shift of bones and metal, mm.
    """

    first: int
    organs: tuple[float, float, float]
    bones: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class CtScene:
    """A patient on the table.

    Attributes
    ----------
    bones : sequence of Bone
    tissues : TissueLabeller
    back_y : float
        World y of the lowest point of the body as it lies: the back, or the belly of a patient
        who lies on it; the table is there. mm.
    metals : sequence of MetalPart
    marrow_fat : float
        Share of yellow marrow in bones.
    contrast : ContrastPhase or None
    enhancement : float
        This patient's factor on the iodine.
    oral : bool
        Whether what is in the bowel has an oral agent.
    breaths : sequence of BreathStep
        Ascending.
    """

    bones: Sequence[Bone]
    tissues: TissueLabeller
    back_y: float
    metals: Sequence[MetalPart] = ()
    marrow_fat: float = 0.5
    contrast: ContrastPhase | None = None
    enhancement: float = 1.0
    oral: bool = False
    breaths: Sequence[BreathStep] = field(default_factory=tuple)

    def iodine(self, uptake: Uptake) -> float:
        """Iodine of a tissue, mg/ml."""
        found = 0.0
        if self.contrast is not None:
            found = self.contrast.iodine.get(uptake, 0.0) * self.enhancement
        return found + (ORAL_IODINE if self.oral and uptake == "lumen" else 0.0)

    def marrow_iodine(self) -> float:
        """Iodine in marrow, mg/ml: only red marrow has much blood."""
        if self.contrast is None:
            return 0.0
        return self.contrast.marrow * self.enhancement * 2 * (1 - self.marrow_fat)

    def breath_at(self, index: int) -> BreathStep:
        """How the patient lies at a slice."""
        lies = BreathStep(0, (0.0, 0.0, 0.0))
        for step in self.breaths:
            if step.first <= index:
                lies = step
        return lies
