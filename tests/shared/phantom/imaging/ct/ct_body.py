"""A simple body for CT: an elliptic trunk in a shell of fat, muscle, and bones of closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.phantom.imaging.ct.scene import CtScene, SlicePlane, TissueLook
from shared.phantom.solids.bone import Bone, straight_through
from shared.phantom.solids.distance import Floats, floats, vector
from shared.phantom.solids.template import SampledOutline, sample_near

LOOKS = (
    TissueLook(-1000.0),
    TissueLook(-105.0, 6.0),
    TissueLook(40.0, 5.0, "gut"),
    TissueLook(52.0, 6.0, "muscle"),
    TissueLook(40.0, 2.0, "artery"),
    TissueLook(55.0, 6.0, "liver"),
    TissueLook(32.0, 5.0, "kidney"),
    TissueLook(10.0, 2.0, "lumen"),
)
#: Half side of a square plate, mm.
PLATE_HALF = 40.0
#: Half width and half depth of a trunk without its fat, and its fat, mm.
TRUNK = (145.0, 92.0)
FAT_MM = 18.0


@dataclass(frozen=True)
class EllipticTrunk:
    """A trunk along z; with `organs` an aorta, a liver, kidneys and bowel."""

    organs: bool = False
    half: tuple[float, float] = TRUNK
    fat: float = FAT_MM
    texture: bool = True

    @property
    def looks(self) -> tuple[TissueLook, ...]:
        if self.texture:
            return LOOKS
        return tuple(replace(look, texture=0.0) for look in LOOKS)

    def codes(self, plane: SlicePlane) -> NDArray[np.uint8]:
        x, y = plane.x[None, :], plane.y[:, None]
        found = np.zeros((len(plane.y), len(plane.x)), np.uint8)
        a, b = self.half
        found[(x / (a + self.fat)) ** 2 + (y / (b + self.fat)) ** 2 < 1] = 1
        found[(x / a) ** 2 + (y / b) ** 2 < 1] = 2
        for side in (-1, 1):
            found[((x - side * 34) / 27) ** 2 + ((y - 70) / 19) ** 2 < 1] = 3
        if self.organs:
            found[((x + 75) / 58) ** 2 + ((y + 10) / 66) ** 2 < 1] = 5
            for side in (-1, 1):
                found[((x - side * 62) / 23) ** 2 + ((y - 38) / 31) ** 2 < 1] = 6
            found[((x - 45) / 30) ** 2 + ((y + 45) / 24) ** 2 < 1] = 7
            found[(x - 14) ** 2 + (y - 2) ** 2 < 12**2] = 4
        return found


@dataclass(frozen=True)
class Uniform:
    """One tissue everywhere."""

    hu: float = 0.0

    @property
    def looks(self) -> tuple[TissueLook, ...]:
        return (TissueLook(-1000.0), TissueLook(self.hu))

    def codes(self, plane: SlicePlane) -> NDArray[np.uint8]:
        return np.ones((len(plane.y), len(plane.x)), np.uint8)


def _template(distance: Callable[[Floats], Floats], reach: float, cortex: float) -> SampledOutline:
    def traits(points: Floats, away: Floats) -> Floats:
        return floats(np.tile([cortex, 1.0], (len(points), 1)))

    side = reach + 4
    return sample_near(distance, (-side, -side, -side), (side, side, side), traits)


@lru_cache(maxsize=4)
def _cylinder(radius: float, half: float, cortex: float) -> SampledOutline:
    def distance(points: Floats) -> Floats:
        across = np.sqrt(points[:, 0] ** 2 + points[:, 1] ** 2) - np.float32(radius)
        return floats(np.maximum(across, np.abs(points[:, 2]) - np.float32(half)))

    return _template(distance, max(radius, half), cortex)


@lru_cache(maxsize=4)
def _plate(half: float, thickness: float) -> SampledOutline:
    def distance(points: Floats) -> Floats:
        wide = np.maximum(np.abs(points[:, 0]), np.abs(points[:, 1])) - np.float32(half)
        return floats(np.maximum(wide, np.abs(points[:, 2]) - np.float32(thickness / 2)))

    return _template(distance, half, 0.0)


def cylinder(
    core: float = 0.12,
    *,
    centre: tuple[float, float, float] = (0.0, 35.0, 0.0),
    radius: float = 20.0,
    half: float = 14.0,
    cortex: float = 0.4,
) -> Bone:
    """A body of a vertebra as a cylinder along z: shell `cortex` mm, core g/cm³."""
    template = _cylinder(radius, half, cortex)
    reach = float(np.hypot(radius, half))
    rotation = np.eye(3, dtype=np.float32)
    return Bone("L1", template, vector(*centre), rotation, straight_through, reach, 1.0, core)


def plate(degrees: float, thickness: float = 4.0, core: float = 0.4) -> Bone:
    """A plate without cortex, leaning by so much about the x axis out of the x–y plane."""
    a = np.deg2rad(degrees)
    rotation = floats([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    centre = vector(0, 0, 0)
    template = _plate(PLATE_HALF, thickness)
    return Bone("plate", template, centre, rotation, straight_through, 1.5 * PLATE_HALF, 1.0, core)


def scene(core: float = 0.12, *, organs: bool = False) -> CtScene:
    """One vertebra's body in a trunk."""
    return CtScene([cylinder(core)], EllipticTrunk(organs), TRUNK[1] + FAT_MM)
