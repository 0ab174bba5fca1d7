"""An anatomy on the table of a CT scanner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.solids.anatomy import Anatomy
from shared.phantom.solids.distance import Floats, floats
from shared.phantom.solids.tissue import Tissue
from shared.phantom.solids.tissues.slab import grid_of
from shared.phantom.solids.tissues.slices import plane_labels

from .scene import ContrastPhase, CtScene, MetalPart, SlicePlane, TissueLook, Uptake

#: What takes up contrast agent; muscles by the end of their names, the rest takes none.
UPTAKES: Final[Mapping[str, Uptake]] = {
    "aorta": "artery", "vessel": "heart", "vena_cava": "vein", "heart": "heart", "liver": "liver",
    "spleen": "spleen", "kidney": "kidney", "pancreas": "gut", "stomach_wall": "gut",
    "small_bowel": "gut", "colon_wall": "gut", "oesophagus": "gut", "adrenal": "gut",
    "pelvic_organ": "gut", "bladder_wall": "muscle", "diaphragm": "muscle",
    "stomach_contents": "lumen", "bowel_contents": "lumen",
}  # fmt: skip
OUTSIDE: Final = TissueLook(-1000.0)


def uptake_of(tissue: str) -> Uptake:
    """How a tissue takes up contrast agent."""
    return "muscle" if tissue.endswith("_muscle") else UPTAKES.get(tissue, "none")


class SlabLabeller:
    """The tissues of a patient, as CT asks for them.

    Parameters
    ----------
    tissues : sequence of Tissue
        In order.
    hu : mapping of str to float
        HU of tissues that differ in this patient from the table's, by name.

    Attributes
    ----------
    looks : list of TissueLook
        By code.
    """

    def __init__(self, tissues: Sequence[Tissue], hu: Mapping[str, float] | None = None) -> None:
        self.tissues = tissues
        own = hu or {}
        self.looks = [OUTSIDE] * (max(one.code for one in tissues) + 1)
        for one in tissues:
            made = one.substance
            mean = own.get(one.name, made.hounsfield)
            self.looks[one.code] = TissueLook(mean, made.texture, uptake_of(one.name))

    def codes(self, plane: SlicePlane) -> NDArray[np.uint8]:
        """Codes of the pixels of a plane, shape (H, W)."""
        heights = plane.z if np.ptp(plane.z) > 0 else floats(plane.z[0])
        # One who lies on the belly is seen from behind: coordinates fall.
        turn_y, turn_x = _falls(plane.y), _falls(plane.x)
        rows, columns = slice(None, None, turn_y), slice(None, None, turn_x)
        if heights.ndim:
            heights = heights[rows]
        found = plane_labels(self.tissues, plane.x[columns], plane.y[rows], heights)
        return found[rows, columns]


def _falls(values: Floats) -> int:
    return -1 if values[-1] < values[0] else 1


def scene_of(
    anatomy: Anatomy,
    *,
    contrast: ContrastPhase | None = None,
    enhancement: float = 1.0,
    oral: bool = False,
    prone: bool = False,
    hu: Mapping[str, float] | None = None,
) -> CtScene:
    """What a scanner meets when this person lies on its table.

    Parameters
    ----------
    anatomy : Anatomy
        The person.
    contrast : ContrastPhase, optional
        After an injection; none by default.
    enhancement : float
        The person's factor on the iodine.
    oral : bool
        Whether there is an oral agent in stomach and bowel.
    prone : bool
        On the belly: the table is there.
    hu : mapping of str to float, optional
        HU of tissues that differ in this patient from the table's, by name.
    """
    skin = anatomy.tissues[0]
    sheets = [part.faces(grid_of(part)) for part in skin.parts]
    lowest = [float(np.max(back[back > front])) for front, back in sheets]
    highest = [float(np.min(front[back > front])) for front, back in sheets]
    return CtScene(
        bones=anatomy.skeleton.bones,
        tissues=SlabLabeller(anatomy.tissues, hu),
        back_y=min(highest) if prone else max(lowest),
        metals=[MetalPart(one, one.material) for one in anatomy.skeleton.implants],
        marrow_fat=anatomy.person.composition.marrow_fat,
        contrast=contrast,
        enhancement=enhancement,
        oral=oral,
    )
