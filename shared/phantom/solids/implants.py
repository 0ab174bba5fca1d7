"""Metal and cement in the body: screws and rods, a hip stem, cement, a cage, clips.

An implant answers as a bone does, with a share of space instead of mineral. What lies in it is
its material and nothing else: where shares are above zero, a modality takes that share of bone
and soft tissue away and puts the material's there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from .bone import Matter, blocks_near, filled, sides_along
from .bones.femur import NECK_AXIS, SHAFT_X, PlacedFemur, bend
from .curve import oval_curve
from .distance import (
    Distance,
    Floats,
    blend,
    capsule,
    carve,
    ellipsoid,
    floats,
    length,
    rounded_box,
    vector,
)
from .lattice import Lattice, block_centres
from .template import BoneSurface


@dataclass(frozen=True)
class ImplantMaterial:
    """What implants are made of.

    Attributes
    ----------
    density : float
        g/cm³.
    elements : mapping of str to float
        Mass fractions; they sum to one.
    """

    density: float
    elements: Mapping[str, float]


#: ASTM F136, F138 and F75 in round figures; bone cement with a tenth of barium sulphate; PEEK.
MATERIALS: Final[Mapping[str, ImplantMaterial]] = {
    "titanium": ImplantMaterial(4.43, {"Ti": 0.90, "Al": 0.06, "V": 0.04}),
    "steel": ImplantMaterial(7.95, {"Fe": 0.65, "Cr": 0.18, "Ni": 0.14, "Mo": 0.03}),
    "cobalt_chrome": ImplantMaterial(8.30, {"Co": 0.65, "Cr": 0.29, "Mo": 0.06}),
    "cement": ImplantMaterial(
        1.27, {"C": 0.540, "H": 0.072, "O": 0.315, "Ba": 0.059, "S": 0.014}
    ),
    "peek": ImplantMaterial(1.30, {"C": 0.792, "H": 0.042, "O": 0.166}),
}  # fmt: skip


@dataclass(frozen=True)
class FormulaOutline:
    """A distance asked directly: for what is small and of one patient only."""

    distance: Distance

    def at(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Rows (N, 4) for points: distance in mm and its unit gradient."""
        points = np.stack([x, y, z], axis=1)
        rows = np.empty((len(points), 4), np.float32)
        rows[:, 0] = self.distance(points)
        beside = np.float32(0.05)
        for axis in range(3):
            moved = points.copy()
            moved[:, axis] += beside
            rows[:, 1 + axis] = (self.distance(moved) - rows[:, 0]) / beside
        rows[:, 1:4] /= np.maximum(length(rows[:, 1:4]), np.float32(0.2))[:, None]
        return rows


@dataclass(frozen=True)
class Implant:
    """One placed piece of one material.

    DXA and film add `density` times the share times the way through it, with the attenuation of
    the material's elements at the beam's energies, and count no mineral there; CT does the same
    and clips at its highest number, so that metal is white and its streaks follow from the
    projections, not from this class.

    Attributes
    ----------
    name : str
        Kind and place, such as ``screw_L4_left``.
    material : str
        Key of `MATERIALS`.
    outline : BoneSurface
        What distances are asked of.
    centre : ndarray of float32, shape (3,)
        Origin of its frame in the world, mm.
    rotation : ndarray of float32, shape (3, 3)
        Columns are its axes in the world.
    reach : float
        No part of it is further from `centre`, mm.
    """

    name: str
    material: str
    outline: BoneSurface
    centre: Floats
    rotation: Floats
    reach: float

    def frame(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """World coordinates in the implant's frame, mm."""
        away = [v - c for v, c in zip((x, y, z), self.centre, strict=True)]
        r = self.rotation
        u, v, w = (away[0] * r[0, k] + away[1] * r[1, k] + away[2] * r[2, k] for k in range(3))
        return u, v, w

    def looked_up(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Rows for points of its frame: distance in mm and unit normal."""
        return self.outline.at(x, y, z)

    def share(self, x: Floats, y: Floats, z: Floats, step: tuple[float, float, float]) -> Floats:
        """Share of each sample that is metal; a sample is a box of sides `step` in mm."""
        rows = self.looked_up(*self.frame(x, y, z))
        return filled(rows[:, 0], *sides_along(rows[:, 1:4] @ self.rotation.T, step))

    def matter(self, x: Floats, y: Floats, z: Floats, step: tuple[float, float, float]) -> Matter:
        """Its share as that of a bone without mineral: CT asks bones and implants alike."""
        share = self.share(x, y, z, step)
        return Matter(share, np.zeros_like(share))


def shares_of(implants: Sequence[Implant], lattice: Lattice) -> dict[str, Floats]:
    """Share of each sample of a lattice that is metal or cement, by material."""
    places, *middles = block_centres(lattice)
    shares: dict[str, Floats] = {}
    for implant in implants:
        blocks = blocks_near(implant, lattice, places, middles)
        if blocks is None:
            continue
        total = shares.setdefault(implant.material, np.zeros(lattice.shape, np.float32))
        for part in blocks.parts():
            found = implant.share(*part.points(lattice), lattice.sides)
            index = (part.i, part.j, part.k)
            total[index] = np.maximum(total[index], found.reshape(part.shape))
    return shares


@dataclass(frozen=True)
class Operated:
    """A vertebra as a surgeon measures it: where it is and how big its body is, mm.

    Attributes
    ----------
    level : str
        Its name.
    centre, rotation : ndarray of float32, shapes (3,) and (3, 3)
        Middle of the body in the world; columns are its axes (left, back, feet).
    width, depth, height : float
        Of the body.
    """

    level: str
    centre: Floats
    rotation: Floats
    width: float
    depth: float
    height: float


def _placed(
    name: str, material: str, distance: Distance, where: Operated, reach: float,
    offset: Floats | None = None,
) -> Implant:  # fmt: skip
    """An implant in a vertebra's frame, `offset` from the middle of its body."""
    centre = where.centre if offset is None else where.centre + where.rotation @ offset
    return Implant(name, material, FormulaOutline(distance), floats(centre), where.rotation, reach)


def fixation(vertebrae: Sequence[Operated], material: str = "titanium") -> list[Implant]:
    """Pedicle screws in vertebrae, from the uppermost to the lowest, and the rods between them."""
    found = []
    for left in (True, False):
        side = 1.0 if left else -1.0
        name = "left" if left else "right"
        heads = []
        for one in vertebrae:
            entry = vector(side * 0.37 * one.width, one.depth / 2 + 21, -0.24 * one.height)
            tip = vector(side * 0.21 * one.width, -0.22 * one.depth, -0.16 * one.height)
            inwards = (tip - entry) / np.float32(np.linalg.norm(tip - entry))
            found.append(
                _placed(
                    f"screw_{one.level}_{name}", material, _screw(entry, tip, inwards), one,
                    float(np.linalg.norm(entry)) + 20,
                )
            )  # fmt: skip
            heads.append(one.centre + one.rotation @ (entry - inwards * np.float32(7)))
        if len(heads) > 1:
            found.append(_rod(f"rod_{name}", material, np.stack(heads)))
    return found


def _screw(entry: Floats, tip: Floats, inwards: Floats) -> Callable[[Floats], Floats]:
    """Distance to a screw of 6 mm with the head that holds the rod."""

    def distance(points: Floats) -> Floats:
        shaft = capsule(points, entry, tip, 3.0, 2.2)
        head = capsule(points, entry - inwards * np.float32(1), entry - inwards * 10, 5.6, 5.6)
        return blend(shaft, head, 1.5)

    return distance


def _rod(name: str, material: str, heads: Floats) -> Implant:
    """A rod of 5.5 mm through the heads of screws and a little further at both ends."""
    first, last = heads[0] - heads[1], heads[-1] - heads[-2]
    ends = [
        end + way / np.float32(np.linalg.norm(way)) * np.float32(9)
        for end, way in ((heads[0], first), (heads[-1], last))
    ]
    corners = np.stack([ends[0], *heads, ends[1]])
    way = np.concatenate([[0], np.cumsum(length(floats(np.diff(corners, axis=0))))])
    even = np.linspace(0, way[-1], 25)
    vertices = floats(np.stack([np.interp(even, way, column) for column in corners.T], axis=1))
    # A rod is bent, not broken, at a screw.
    for _ in range(2):
        vertices[1:-1] = (vertices[:-2] + 2 * vertices[1:-1] + vertices[2:]) / 4
    middle = floats((vertices.min(axis=0) + vertices.max(axis=0)) / 2)
    halves = np.full((len(vertices), 2), 2.75, np.float32)
    upright = np.broadcast_to(vector(0, 1, 0), vertices.shape)
    curve = oval_curve(vertices - middle, upright, halves, np.zeros((len(vertices), 0), np.float32))
    reach = float(length(curve.vertices).max()) + 4
    return Implant(name, material, curve, middle, floats(np.eye(3)), reach)


def hip_prosthesis(femur: PlacedFemur, *, cup: bool = True) -> list[Implant]:
    """Stem and head in a femur whose own head is resected, and the cup around it.

    The femur is one of `place_femur(..., resected=True)`; the stem fills the marrow to 130 mm
    below the head.
    """
    bone, size, n = femur.bone, femur.form.size, vector(*NECK_AXIS)
    marks = np.stack([n * 6, n * 38, vector(SHAFT_X - 2, 0, 48), vector(SHAFT_X, 0, 130)])
    collar, neck, shoulder, tip = bend(femur.form, marks)
    scale = np.float32(size)

    def stem(points: Floats) -> Floats:
        rod = capsule(points, collar, neck, 6 * size, 7 * size)
        body = capsule(points, neck, shoulder, 8 * size, 8.5 * size)
        solid = blend(blend(rod, body, 5), capsule(points, shoulder, tip, 8.5 * size, 5 * size), 6)
        return np.maximum(solid, -ball(points))  # the taper inside the head is the head's

    def ball(points: Floats) -> Floats:
        return floats(length(points) - 16 * scale)

    def shell(points: Floats) -> Floats:
        thick = np.abs(length(points) - 24.4 * scale) - 2.0 * scale
        opening = points @ vector(0.80, -0.25, 0.55)
        return carve(thick, floats(2 * scale - opening), 1)

    side = "left" if femur.left else "right"

    def placed(kind: str, material: str, distance: Distance, reach: float) -> Implant:
        return Implant(
            f"{kind}_{side}", material, FormulaOutline(distance), femur.head, bone.rotation, reach
        )

    found = [
        placed("stem", "titanium", stem, 150 * size),
        placed("head", "cobalt_chrome", ball, 18 * size),
    ]
    if cup:
        found.append(placed("cup", "titanium", shell, 30 * size))
    return found


def cement(where: Operated, millilitres: float, rng: np.random.Generator) -> Implant:
    """Bone cement in a body after vertebroplasty: lumps that have run together.

    `millilitres` is about how much; 2 to 6 are usual, and a body limits it.
    """
    room = vector(where.width * 0.33, where.depth * 0.33, where.height * 0.33)
    # Lumps of unequal size, each under the next one's flank.
    shares = rng.dirichlet((4.0, 4.0, 2.0, 2.0))
    places, radii = [], []
    for number, share in enumerate(shares):
        radius = (0.9 * millilitres * share * 1000 * 3 / (4 * math.pi)) ** (1 / 3)
        side = 1 if number % 2 else -1
        spot = vector(side * rng.uniform(0.1, 0.5), rng.uniform(-0.7, 0.2), rng.uniform(-0.5, 0.5))
        places.append(floats(spot * room))
        squeeze = floats(rng.uniform(0.8, 1.25, 3))
        radii.append(floats(np.minimum(radius * squeeze, room * np.float32(1.25))))

    def distance(points: Floats) -> Floats:
        solid = ellipsoid(points, places[0], radii[0])
        for place, size in zip(places[1:], radii[1:], strict=True):
            solid = blend(solid, ellipsoid(points, place, size), 4)
        half = vector(where.width / 2 - 2, where.depth / 2 - 2, where.height / 2 - 1)
        return np.maximum(solid, rounded_box(points, vector(0, 0, 0), half, 4))

    reach = float(np.linalg.norm(room)) * 1.9 + 4
    return _placed(f"cement_{where.level}", "cement", distance, where, reach)


def cage(above: Operated, disc: float, material: str = "titanium") -> Implant:
    """A frame in the disc below a vertebra, `disc` mm high, open from above to below."""
    high = max(disc, 6.0) / 2
    half = vector(0.30 * above.width, 0.32 * above.depth, high)

    def distance(points: Floats) -> Floats:
        block = rounded_box(points, vector(0, 0, 0), half, 2.0)
        window = rounded_box(points, vector(0, 0, 0), half * vector(0.62, 0.62, 3), 2.0)
        return carve(block, window, 0.5)

    offset = vector(0, 0, above.height / 2 + disc / 2)
    reach = float(np.linalg.norm(half)) + 1
    return _placed(f"cage_{above.level}", material, distance, above, reach, offset)


def clip(number: int, place: Floats, angle: float, material: str = "titanium") -> Implant:
    """A closed surgical clip of 7 mm in the frontal plane, as thick as its two limbs.

    `place` is its middle in the world, mm; `angle` its direction, radians from the patient's left
    to the feet.
    """
    along = vector(math.cos(angle), 0, math.sin(angle)) * np.float32(2.6)

    def distance(points: Floats) -> Floats:
        return capsule(points, -along, along, 0.9, 0.9)

    return Implant(
        f"clip_{number}", material, FormulaOutline(distance), place, floats(np.eye(3)), 4.0
    )
