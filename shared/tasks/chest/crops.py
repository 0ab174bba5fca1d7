"""What a chest task sees of one vertebra: its body, and the muscle behind it at the same level.

Both are cut out of three slabs around the middle of a level, 9 mm. Without a network: the body is
the largest dense disc near the middle, the muscle is what has the attenuation of muscle behind
the canal and between the ribs. Arms lie outside of the frame of slabs or apart from the back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shared.clinical.trabecular_core import METAL_HU
from shared.tasks.ct.slabs import BEHIND_MM, FRAME, PIXEL_MM, Slabs

#: Slabs from a level's middle that are averaged.
OFFSETS: Final = (-1, 0, 1)
#: A body is looked for so near to the middle of the frame, and so far before the skin, mm.
BESIDE_MM: Final = 45.0
BEFORE_SKIN_MM: Final = (20.0, 160.0)
#: Denser than soft tissue without contrast agent, HU; what is thinner than twice `SOLID_MM` is no
#: body; the width of a body is looked at so far behind its front, and lies between these, mm [U].
BONE_HU: Final = 130.0
SOLID_MM: Final = 5.0
LOOKED_MM: Final = 11.0
WIDTH_MM: Final = (22.0, 62.0)
#: Depth of a body by its width (design/anatomy.md).
DEPTH_OF_WIDTH: Final = 0.84
#: HU of muscle (from -29 to 150 as published).
MUSCLE_HU: Final = (-29.0, 150.0)
#: Muscle counts from so far behind the middle of a body, and so far beside it, mm [U].
BEHIND_BODY_MM: Final = 26.0
MUSCLE_BESIDE_MM: Final = 60.0
#: The skin is no muscle, mm.
SKIN_MM: Final = 4.0
#: Side of the crop of a body and of that of muscle, mm.
BODY_FIELD_MM: Final = 54.0
MUSCLE_FIELD_MM: Final = 150.0
#: What lies further from the middle of a body than this is left out of its crop, mm.
BODY_REACH_MM: Final = 26.0
#: HU that are black and white in the crops of bodies and of muscle.
BODY_WINDOW: Final = (-50.0, 350.0)
MUSCLE_WINDOW: Final = (-150.0, 150.0)
#: Blood without contrast agent has 30 to 60 HU. So much that is brighter, in a piece of so many
#: cm² in front of a body, is no calcium in the wall of a vessel [U].
ENHANCED_HU: Final = (120.0, 600.0)
ENHANCED_CM2: Final = 2.0
ENHANCED_BEFORE_MM: Final = (22.0, 60.0)
ENHANCED_BESIDE_MM: Final = 45.0

Image = NDArray[np.float32]


@dataclass(frozen=True)
class LevelCrop:
    """One level.

    Attributes
    ----------
    body, muscle : ndarray of float32, shape (S, S)
        In [0, 1] by `BODY_WINDOW` and `MUSCLE_WINDOW`; 0 where left out.
    muscle_cm2 : float
        Area of muscle behind the canal.
    metal_share : float
        Share of the body's crop that is denser than bone (`METAL_HU`).
    centre : (int, int)
        Row and column of the body's middle in the frame.
    """

    body: Image
    muscle: Image
    muscle_cm2: float
    metal_share: float
    centre: tuple[int, int]


def mean_of_level(slabs: Slabs, middle: float) -> Image | None:
    """Mean of the slabs around a level's middle, (392, 392); None where one is not in the series.

    Parameters
    ----------
    slabs : Slabs
    middle : float
        In slabs from the feet.
    """
    places = [round(middle) + offset for offset in OFFSETS]
    if places[0] < 0 or places[-1] >= len(slabs.hu):
        return None
    return np.asarray(slabs.hu[places[0] : places[-1] + 1].mean(0), np.float32)


def find_body(hu: Image) -> tuple[int, int] | None:
    """Find row and column of the middle of a vertebral body; None where there is none.

    From the front the body is the first bone near the middle: what is brighter than soft tissue,
    holes filled, as wide as a body.

    Parameters
    ----------
    hu : ndarray of float32, shape (392, 392)
        `mean_of_level`.
    """
    first, last = _rows(BEFORE_SKIN_MM)
    left, right = _columns(BESIDE_MM, FRAME[1] // 2)
    part = ndimage.gaussian_filter(hu[first:last, left:right], 1.0) > BONE_HU
    closed = ndimage.binary_closing(np.pad(part, 4), iterations=3)[4:-4, 4:-4]
    parts, many = ndimage.label(ndimage.binary_fill_holes(closed))
    if not many:
        return None
    bone = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    solid = ndimage.binary_opening(bone, _disc(round(SOLID_MM / PIXEL_MM)))
    wide = solid.sum(1) * PIXEL_MM
    rows = np.flatnonzero(wide >= WIDTH_MM[0] / 2)
    if not len(rows):
        return None
    front = int(rows[0])
    waist = front + round(LOOKED_MM / PIXEL_MM)
    if waist >= len(wide) or not WIDTH_MM[0] <= wide[waist] <= WIDTH_MM[1]:
        return None
    depth = DEPTH_OF_WIDTH * float(wide[waist])
    column = float(np.flatnonzero(solid[waist]).mean())
    return first + front + round(depth / 2 / PIXEL_MM), left + round(column)


def muscle_mask(hu: Image, centre: tuple[int, int]) -> NDArray[np.bool_]:
    """Muscle behind the canal of a vertebra, between the ribs of both sides, (392, 392)."""
    low, high = MUSCLE_HU
    body = ndimage.binary_opening(hu > -300, np.ones((5, 5)))
    inside = ndimage.distance_transform_edt(body) * PIXEL_MM > SKIN_MM
    found = (hu >= low) & (hu <= high) & inside
    found[: centre[0] + round(BEHIND_BODY_MM / PIXEL_MM)] = False
    left, right = _columns(MUSCLE_BESIDE_MM, centre[1])
    found[:, :left] = False
    found[:, right:] = False
    return np.asarray(ndimage.binary_opening(found, np.ones((3, 3))))


def crop_level(hu: Image, side: int) -> LevelCrop | None:
    """Cut body and muscle of a level out; None where no body is found.

    Parameters
    ----------
    hu : ndarray of float32, shape (392, 392)
    side : int
        S, rows and columns of both crops.
    """
    centre = find_body(hu)
    if centre is None:
        return None
    rows, columns = np.ogrid[: FRAME[0], : FRAME[1]]
    far = np.hypot(rows - centre[0], columns - centre[1]) * PIXEL_MM > BODY_REACH_MM
    body = np.where(far, 0, _grey(hu, BODY_WINDOW))
    muscle = muscle_mask(hu, centre)
    shown = np.where(muscle, _grey(hu, MUSCLE_WINDOW), 0)
    behind = centre[0] + round(MUSCLE_FIELD_MM / 4 / PIXEL_MM)
    return LevelCrop(
        _cut(body, centre, BODY_FIELD_MM, side),
        _cut(shown, (behind, centre[1]), MUSCLE_FIELD_MM, side),
        float(muscle.sum()) * PIXEL_MM**2 / 100,
        float((hu[~far] > METAL_HU).mean()),
        centre,
    )


def seems_enhanced(hu: Image, centre: tuple[int, int]) -> bool:
    """Say whether blood in front of a vertebra is brighter than it is without contrast agent."""
    near, far = (round(mm / PIXEL_MM) for mm in ENHANCED_BEFORE_MM)
    left, right = _columns(ENHANCED_BESIDE_MM, centre[1])
    part = hu[max(centre[0] - far, 0) : max(centre[0] - near, 0), left:right]
    low, high = ENHANCED_HU
    bright = ndimage.binary_opening((part >= low) & (part <= high), np.ones((5, 5)))
    parts, many = ndimage.label(bright)
    if not many:
        return False
    return float(np.bincount(parts.ravel())[1:].max()) * PIXEL_MM**2 / 100 >= ENHANCED_CM2


def _rows(before_skin: tuple[float, float]) -> tuple[int, int]:
    near, far = before_skin
    skin = FRAME[0] - 1 - BEHIND_MM / PIXEL_MM
    return max(round(skin - far / PIXEL_MM), 0), round(skin - near / PIXEL_MM)


def _columns(beside_mm: float, middle: int) -> tuple[int, int]:
    beside = round(beside_mm / PIXEL_MM)
    return max(middle - beside, 0), min(middle + beside, FRAME[1])


def _disc(radius: int) -> NDArray[np.bool_]:
    steps = np.arange(-radius, radius + 1)
    return np.asarray(steps[:, None] ** 2 + steps**2 <= radius**2)


def _grey(hu: Image, window: tuple[float, float]) -> Image:
    low, high = window
    return np.asarray(np.clip((hu - low) / (high - low), 0, 1), np.float32)


def _cut(grey: Image, centre: tuple[int, int], field_mm: float, side: int) -> Image:
    """Cut a square around a place and bring it to `side` pixels by means; 0 outside the frame."""
    import torch
    from torch.nn import functional

    half = round(field_mm / PIXEL_MM / 2)
    padded = np.pad(grey, half)
    part = padded[centre[0] : centre[0] + 2 * half, centre[1] : centre[1] + 2 * half]
    whole = torch.from_numpy(np.ascontiguousarray(part, dtype=np.float32))[None, None]
    mode = "area" if side <= 2 * half else "bilinear"
    more = {} if mode == "area" else {"align_corners": False}
    return np.asarray(functional.interpolate(whole, (side, side), mode=mode, **more)[0, 0])
