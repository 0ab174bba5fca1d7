"""What soft tissue must know of the skeleton, and the numbers that it is made of.

The skeleton fills a `SpineCourse` (and, if it has ribs of its own, a `RibCage`); the person
gives a `Physique`. World frame, mm: x to the patient's left, y to the back, z to the feet, the
origin in the middle of L3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..distance import Floats, floats

#: Half width of the ring of ribs at the height of a vertebra, its front and its back beside the
#: middle of the vertebral body, mm, men of average size [U].
CAGE: Final[dict[str, tuple[float, float, float]]] = {
    "C7": (40, -38, 24), "T1": (66, -52, 32), "T2": (92, -68, 34), "T3": (108, -84, 34),
    "T4": (118, -99, 33), "T5": (124, -113, 31), "T6": (129, -124, 29), "T7": (133, -133, 27),
    "T8": (136, -139, 26), "T9": (138, -143, 26), "T10": (139, -145, 27), "T11": (137, -143, 29),
    "T12": (133, -138, 31), "L1": (129, -132, 31),
}  # fmt: skip


@dataclass(frozen=True)
class SpineLevel:
    """A vertebra as its surroundings see it.

    Attributes
    ----------
    name : str
        C7 to L5 (or L6).
    centre : ndarray, shape (3,)
        Middle of the body, mm.
    rotation : ndarray, shape (3, 3)
        Columns are its axes: to its left, its back, its lower end plate.
    half_width, half_depth : float
        Of the body, mm.
    height : float
        Of the body in the middle, mm.
    disc_below : float
        Height of the disc, mm.
    """

    name: str
    centre: Floats
    rotation: Floats
    half_width: float
    half_depth: float
    height: float
    disc_below: float


@dataclass(frozen=True)
class Shoulder:
    """A shoulder as soft tissue follows it; points of the world, mm.

    Attributes
    ----------
    head, elbow : ndarray, shape (3,)
        Middle of the humerus's head, and its lower end.
    blade : ndarray, shape (3, 3)
        Upper and lower medial corner of the scapula and its socket, as rows.
    """

    head: Floats
    elbow: Floats
    blade: Floats


@dataclass(frozen=True)
class SpineCourse:
    """The spine and the pelvis as soft tissue follows them.

    Attributes
    ----------
    levels : tuple of SpineLevel
        From the head to the feet, C7 to the last lumbar vertebra.
    hips : ndarray, shape (2, 3)
        Centres of the left and right hip joint, mm.
    sacrum_back : float
        Depth y of the most dorsal point of the sacrum, mm.
    size : float
        Of the skeleton; 1 is an average man's.
    spine_back : float
        From the middle of a lumbar body to the tip of its spinous process, mm.
    shoulders : (Shoulder, Shoulder)
        Left and right.
    shafts : ndarray, shape (2, 3)
        A point in the middle of each femur's shaft, as far down as it is there, mm.
    """

    levels: tuple[SpineLevel, ...]
    hips: Floats
    sacrum_back: float
    size: float
    spine_back: float
    shoulders: tuple[Shoulder, Shoulder]
    shafts: Floats

    def level(self, name: str) -> SpineLevel:
        """Vertebra of that name.

        Raises
        ------
        KeyError
            If the spine has none.
        """
        for one in self.levels:
            if one.name == name:
                return one
        raise KeyError(f"no vertebra {name}; there are {', '.join(v.name for v in self.levels)}")

    def z_of(self, name: str) -> float:
        """Height of the middle of a vertebra, mm."""
        return float(self.level(name).centre[2])

    def centre_at(self, z: ArrayLike) -> tuple[Floats, Floats]:
        """Middle of the spine (x, y) at heights; beyond the ends it goes straight on upwards."""
        centres = np.array([one.centre for one in self.levels], float)
        first = centres[0] + (centres[0] - centres[1])
        centres = np.vstack([first, centres])
        heights = centres[:, 2]
        at = np.asarray(z, float)
        return (
            floats(np.interp(at, heights, centres[:, 0])),
            floats(np.interp(at, heights, centres[:, 1])),
        )

    def body_at(self, z: ArrayLike) -> tuple[Floats, Floats]:
        """Half width and half depth of the bodies at heights, mm."""
        heights = [float(one.centre[2]) for one in self.levels]
        at = np.asarray(z, float)
        wide = np.interp(at, heights, [one.half_width for one in self.levels])
        deep = np.interp(at, heights, [one.half_depth for one in self.levels])
        return floats(wide), floats(deep)

    @property
    def hip(self) -> tuple[float, float, float]:
        """Half distance of the hip joints, their depth and their height, mm."""
        half = float(self.hips[0, 0] - self.hips[1, 0]) / 2
        return half, float(self.hips[:, 1].mean()), float(self.hips[:, 2].mean())

    @property
    def middle_x(self) -> float:
        """Middle of the pelvis from side to side, mm."""
        return float(self.hips[:, 0].mean())


@dataclass(frozen=True)
class RibCage:
    """The outer border of the ring of ribs, by height.

    Attributes
    ----------
    z : ndarray, shape (N,)
        Heights, rising, mm.
    half_width, front, back : ndarray, shape (N,)
        Half width, depth y of its front and back, mm.
    middle : ndarray, shape (N,)
        Depth y at which it is widest, mm.
    front_power : ndarray, shape (N,)
        Of the superellipse in front of that: 2 for an ellipse, more for a box.
    thickness : float
        Of ribs and what is between them, mm.
    """

    z: Floats
    half_width: Floats
    front: Floats
    back: Floats
    middle: Floats
    front_power: Floats
    thickness: float


def cage_around(course: SpineCourse, size: float | None = None) -> RibCage:
    """Rib cage of an average build around a spine; `size` as that of the course."""
    scale = course.size if size is None else size
    near = [one for one in course.levels if one.name in CAGE]
    centres = floats(np.stack([one.centre for one in near]))
    sizes = floats(np.array([CAGE[one.name] for one in near])) * np.float32(scale)
    y = centres[:, 1]
    return RibCage(
        centres[:, 2], sizes[:, 0], y + sizes[:, 1], y + sizes[:, 2], y - np.float32(28 * scale),
        np.full_like(y, 2.4), 9.0 * scale,
    )  # fmt: skip


@dataclass(frozen=True)
class Physique:
    """Soft tissue of a person, in numbers.

    Amounts are factors on the average of the sex; 1 is average.

    Attributes
    ----------
    sex : str
        "F" or "M".
    height_cm, bmi : float
        Height and body mass index in kg/m².
    subcutaneous, visceral : float
        Factors on the fat that goes with the body mass index.
    muscle : mapping of str to float
        Amounts: psoas, paraspinal, quadratus, wall, chest, gluteal, thigh, arm; 1 if left out.
    infiltration : mapping of str to float
        Share of fat tissue in these muscles by mass; 0.04 if left out.
    lean_hu : float
        By how much this person's muscle fibres differ from the table's, HU.
    inspiration : float
        From 0 (breathed out) to 1 (in).
    gas : float
        Amount of bowel gas, 0 to 2.
    bladder : float
        Filling of the bladder, ml.
    aortic_calcium : mapping of str to float
        Mineral of the aorta's plaques by the level behind them, g.
    aorta_mm : float
        Outer diameter of the abdominal aorta, mm.
    arms : str
        "beside" or "above".
    trunk : (float, float), optional
        Width and depth of the trunk at L3, mm; those of the body mass index if left out.
    under_skin : (float, float, float), optional
        Subcutaneous fat at L3 in front, beside and behind, mm; likewise.
    """

    sex: str
    height_cm: float
    bmi: float
    subcutaneous: float = 1.0
    visceral: float = 1.0
    muscle: Mapping[str, float] = field(default_factory=dict)
    infiltration: Mapping[str, float] = field(default_factory=dict)
    lean_hu: float = 0.0
    inspiration: float = 0.7
    gas: float = 1.0
    bladder: float = 160.0
    aortic_calcium: Mapping[str, float] = field(default_factory=dict)
    aorta_mm: float = 23.0
    arms: str = "above"
    trunk: tuple[float, float] | None = None
    under_skin: tuple[float, float, float] | None = None

    def amount(self, muscle: str) -> float:
        """Factor on the average amount of a muscle."""
        return float(self.muscle.get(muscle, 1.0))

    def fatty(self, muscle: str) -> float:
        """Share of fat tissue in a muscle."""
        return float(self.infiltration.get(muscle, 0.04))

    @property
    def is_woman(self) -> bool:
        """Whether the sex is "F"."""
        return self.sex == "F"
