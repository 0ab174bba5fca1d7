"""One view of a DXA visit: what rays cross, what the scanner measures and shows, and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from shared.phantom.imaging.acquisition import scan
from shared.phantom.imaging.crossing import (
    areal_metal,
    cross_bones,
    crossed_by,
    soft_tissue,
)
from shared.phantom.imaging.outlines import Codes
from shared.phantom.imaging.physics import Crossed
from shared.phantom.imaging.projection import Frame
from shared.phantom.imaging.scanner import ScannerProfile
from shared.phantom.rendered import RenderedImage
from shared.phantom.solids.anatomy import Anatomy
from shared.phantom.solids.distance import Floats
from shared.phantom.solids.implants import Implant, shares_of
from shared.records import View

from .fields import SeenBody, cut_off, field_of, rays_of, seen_from
from .placed import regions_in
from .visit import DxaVisit

#: More mineral than this a detector cannot tell from it, g/cm²: metal is white, no more.
MOST_MINERAL: Final = 4.0


@dataclass(frozen=True)
class ViewRays:
    """What the rays of one view cross.

    Attributes
    ----------
    frame : Frame
        Pixel grid.
    bodies : dict of str to SeenBody
        Vertebrae as the view sees them.
    mineral, own : ndarray of float32, shape (H, W)
        Mineral of bones and plaques, and of the femur alone (zeros elsewhere), g/cm².
    metal : ndarray of float32, shape (H, W)
        Metal and cement, g/cm² of all materials.
    crossed : Crossed
        What attenuates, metal as the mineral that attenuates as much.
    """

    frame: Frame
    bodies: dict[str, SeenBody]
    mineral: Floats
    own: Floats
    metal: Floats
    crossed: Crossed


@dataclass(frozen=True)
class ScannedView:
    """One view as it was scanned.

    Attributes
    ----------
    image : RenderedImage
        As the scanner shows it, with the true regions.
    rays : ViewRays
        What was there.
    by_hand : ndarray of uint8, shape (H, W)
        Regions as the operator drew them.
    measured : ndarray of float32, shape (H, W)
        What the scanner's decomposition gives, g/cm² on the anatomy's scale.
    """

    image: RenderedImage
    rays: ViewRays
    by_hand: Codes
    measured: Floats


def cross_view(
    anatomy: Anatomy,
    view: View,
    spacing: tuple[float, float],
    visit: DxaVisit,
    objects: Sequence[Implant] = (),
    *,
    left: bool = True,
) -> ViewRays:
    """What the rays of a view cross.

    Parameters
    ----------
    anatomy : Anatomy
        The patient, who lies as `visit` says.
    view : View
        Of a DXA visit.
    spacing : (float, float)
        Row, column, mm.
    visit : DxaVisit
        For the fields.
    objects : sequence of Implant
        What is worn.
    left : bool
        Which hip `View.HIP_LEFT` shows.
    """
    skeleton = anatomy.skeleton
    lateral = view is View.SPINE_LATERAL
    roll = visit.lateral_roll if lateral else 0.0
    bodies = seen_from(skeleton.spine, roll)
    frame = field_of(skeleton, bodies, view, spacing, visit.off[view], left=left)
    if view is View.SPINE_PA and visit.cut_off is not None:
        frame = cut_off(frame, bodies, low=visit.cut_off == "head")
    rays = rays_of(frame, anatomy.tissues[0].box, roll)
    metal = shares_of([*skeleton.implants, *objects], rays.bones)
    femur = skeleton.femora["left" if left else "right"].bone
    own = np.zeros(frame.shape, np.float32)
    if view is View.HIP_LEFT:
        others = [one for one in skeleton.bones if one is not femur]
        femoral = cross_bones([femur], rays, metal)
        own, bones = femoral.mineral, femoral + cross_bones(others, rays, metal)
    else:
        bones = cross_bones(skeleton.bones, rays, metal)
    masses = areal_metal(metal, rays)
    fat = anatomy.person.composition.marrow_fat
    soft = soft_tissue(anatomy.tissues, bones.inside, rays, fat)
    crossed = crossed_by(bones.mineral, masses, soft, MOST_MINERAL)
    total = sum(masses.values(), np.zeros(frame.shape, np.float32))
    return ViewRays(frame, bodies, bones.mineral + soft.mineral, own, total, crossed)


def take_view(
    anatomy: Anatomy,
    rays: ViewRays,
    visit: DxaVisit,
    scanner: ScannerProfile,
    rng: np.random.Generator,
    *,
    left: bool = True,
) -> ScannedView:
    """Scan a view.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    rays : ViewRays
        What is crossed (`cross_view`).
    visit : DxaVisit
        Who moved, how the operator draws.
    scanner : ScannerProfile
        Beams, dose, window.
    rng : numpy.random.Generator
        For motion, photons, the vendor's masking and window.
    left : bool
        Which hip `View.HIP_LEFT` shows.
    """
    frame = rays.frame
    femur = anatomy.skeleton.femora["left" if left else "right"]
    regions = regions_in(frame, rays.bodies, femur, rays.own)
    by_hand = regions_in(frame, rays.bodies, femur, rays.own, visit.hand)
    moving = frame.view in visit.moving
    image, exposure = scan(rays.crossed, regions, frame, scanner, rng, moving=moving)
    return ScannedView(image, rays, by_hand, exposure.density)
