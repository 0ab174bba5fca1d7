"""Vessels of the belly with plaques, discs, and what the spinal canal holds.

Sizes and places [U].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.person.attenuation import HYDROXYAPATITE_DENSITY, HYDROXYAPATITE_SLOPE

from ..tissue import SUBSTANCES, Substance, Tissue, tissue
from .course import Physique, SpineCourse
from .slab import Slab, grid
from .slab_shapes import balls, tube, turned

FloatArray = NDArray[np.float64]
SIDES: Final = (1.0, -1.0)
#: Less mineral than this in front of a level is no plaque, g.
LEAST_CALCIUM: Final = 0.002
#: Mineral of one plaque, g [U].
USUAL_PLAQUE: Final = 0.03


def build_vessels(
    course: SpineCourse, physique: Physique, rng: np.random.Generator
) -> list[Tissue]:
    """Aorta with plaques, lower vena cava, iliac vessels, crura of the diaphragm."""
    size = course.size
    apart, hip_y, hip_z = course.hip
    names = ("T4", "T6", "T8", "T10", "T11", "T12", "L1", "L2", "L3", "L4")
    z = np.array([course.z_of(name) for name in names])
    z[-1] += 6
    x, y = course.centre_at(z)
    deep = course.body_at(z)[1]
    lumbar = physique.aorta_mm / 2
    radius = lumbar * np.array([1.12, 1.12, 1.1, 1.08, 1.06, 1.04, 1.0, 0.98, 0.95, 0.90])
    side = rng.normal(7, 2)
    ax = x + np.array([25, 24, 22, 15, 11, 8.5, side, side, side, side - 3]) * size
    before = deep + radius + 2.0
    ay = y - np.array([10, 12, 20, 0, 0, 0, 0, 0, 0, 0]) * size
    ay[3:] -= before[3:]
    # It comes out of the arch with a round top.
    aorta = tube(
        np.concatenate([z[:1] - [0.8 * radius[0]], z]), np.append(ax[0], ax),
        np.append(ay[0] - 3, ay), np.append(0.5 * radius[0], radius),
        np.append(0.5 * radius[0], radius), spacing=(2.0, 4.0),
    )  # fmt: skip
    end_x, end_y, end_z = float(ax[-1]), float(ay[-1]), float(z[-1])
    groin = (apart - 26 * size, hip_y - 46 * size, hip_z - 18 * size)
    iliac, veins = [], []
    for hand in SIDES:
        heights = np.array(
            [end_z - 4, end_z + 35, (end_z + groin[2]) / 2 + 15, groin[2], hip_z + 90]
        )
        final = course.middle_x + hand * groin[0]
        across = np.array([end_x + hand * 5, end_x + hand * 22, 0, final, final + hand * 10])
        across[2] = course.middle_x + hand * 0.85 * groin[0]
        depth = np.array([end_y, end_y + 12, hip_y + 4, groin[1], groin[1] - 4])
        iliac.append(tube(heights, across, depth, [7, 6, 5.5, 5, 4.5], [7, 6, 5.5, 5, 4.5]))
        shift = np.array([0, -hand * 2, -hand * 5, -hand * 13, -hand * 12])
        veins.append(tube(heights + 12, across + shift, depth + np.array([12, 12, 13, 5, 2]),
                          [8, 8, 7, 6.5, 5.5], [6, 6.5, 6, 6, 5.5]))  # fmt: skip
    heights = np.array([course.z_of(n) for n in ("T9", "T11", "T12", "L2", "L4", "L5")])
    heights[-1] -= 8
    vx, vy = course.centre_at(heights)
    vdeep = course.body_at(heights)[1]
    cava = tube(
        heights,
        vx - np.array([16, 22, 20, 17, 16, 12]) * size,
        vy - vdeep - np.array([34, 20, 13, 10, 9, 8]) * size,
        np.array([13, 13, 12, 12, 12, 11]) * size,
        np.array([12, 11, 9, 8, 8, 7]) * size,
    )
    crura = []
    for hand in SIDES:
        heights = np.array([course.z_of(n) for n in ("T11", "T12", "L1", "L2")])
        cx, cy = course.centre_at(heights)
        cdeep = course.body_at(heights)[1]
        out, ahead = np.array([20, 18, 16, 14]) * size, np.array([12, 9, 5, 2]) * size
        wide, thick = np.array([9, 8, 7, 4]) * size, np.array([5, 4.5, 4, 3]) * size
        crura.append(tube(heights, cx + hand * out, cy - cdeep - ahead, wide, thick))
    found = [
        tissue("vessel", *_mesenteric_vessels(course, end_x, ay, rng)),
        tissue("diaphragm", *crura),
        tissue("vena_cava", cava, *veins),
        tissue("aorta", aorta, *iliac),
    ]
    plaques = aortic_plaques(
        course, np.stack([z, ax, ay, radius], axis=1), physique.aortic_calcium, rng
    )
    return found if plaques is None else [*found, plaques]


def _mesenteric_vessels(
    course: SpineCourse, x: float, aorta_y: FloatArray, rng: np.random.Generator
) -> list[Slab]:
    """Upper mesenteric artery and vein, and branches that fan out into the fat of the belly."""
    size = course.size
    z = np.array([course.z_of(name) for name in ("L1", "L2", "L3", "L4")])
    y = float(aorta_y[-3]) - np.array([14, 22, 28, 34]) * size
    artery = tube(z, x + np.array([2, 2, 0, -6]), y, 3.5 * size, 3.5 * size, spacing=(1.5, 4.0))
    vein = tube(z, x - np.array([9, 10, 12, 20]), y - 2, 5.5 * size, 5 * size, spacing=(1.5, 4.0))
    count = 46
    centres = np.stack([
        rng.normal(x - 5, 42 * size, count), rng.normal(float(y[2]) - 4, 9, count),
        rng.uniform(z[1] - 5, z[3] + 50, count),
    ], axis=1)  # fmt: skip
    radii = np.stack([
        rng.uniform(6, 16, count), rng.uniform(1.3, 2.4, count), rng.uniform(1.3, 2.4, count)
    ], axis=1)  # fmt: skip
    turns = np.stack([
        turned("z", rng.uniform(-0.9, 0.9)) @ turned("y", rng.uniform(0, 3.1))
        for _ in range(count)
    ])  # fmt: skip
    on = grid((x - 170 * size, x + 170 * size), (float(z[1]) - 25, float(z[3]) + 70), (1.5, 1.5))
    keep = np.abs(centres[:, 0] - x) < 0.40 * 330 * size
    return [artery, vein, balls(on, centres[keep], radii[keep], turns[keep])]


def aortic_plaques(
    course: SpineCourse,
    aorta: FloatArray,
    calcium: Mapping[str, float],
    rng: np.random.Generator,
) -> Tissue | None:
    """Plaques in the wall of the aorta in front of vertebrae; None without any.

    Parameters
    ----------
    course : SpineCourse
        The spine.
    aorta : ndarray, shape (N, 4)
        Its course from above: height, x, y and radius, mm.
    calcium : mapping of str to float
        Mineral by level, g.
    rng : numpy.random.Generator
        For where and how large they are.
    """
    lumps = [
        _lumps(course, name, grams, float(aorta[-1, 0]), rng)
        for name, grams in calcium.items()
        if grams >= LEAST_CALCIUM
    ]
    if not lumps:
        return None
    where, angle, sizes = (np.concatenate(parts) for parts in zip(*lumps, strict=True))
    x, y, radius = (np.interp(where, aorta[:, 0], aorta[:, k]) for k in (1, 2, 3))
    off = radius - 0.5
    centres = np.stack([x + off * np.cos(angle), y + off * np.sin(angle), where], axis=1)
    turns = np.stack([turned("z", turn) for turn in angle])
    reach = float(radius.max()) + 8
    on = grid(
        (float(x.min()) - reach, float(x.max()) + reach),
        (float(where.min()) - 18, float(where.max()) + 18), (0.5, 1.0),
    )  # fmt: skip
    behind = np.sin(angle) > 0
    parts = [
        balls(on, centres[side], sizes[side], turns[side])
        for side in (behind, ~behind)
        if side.any()
    ]
    # Where they run together they are denser, so that none of the mineral is lost.
    made = tissue("plaque", *parts)
    wanted = sum(grams for grams in calcium.values() if grams >= LEAST_CALCIUM)
    return replace(made, substance=_denser(made.substance, wanted / made.volume))


def _lumps(
    course: SpineCourse, name: str, grams: float, end: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Heights, angles round the aorta and half axes in mm of plaques in front of a level."""
    one = course.level(name)
    half = (one.height + one.disc_below) / 2
    middle = min(float(one.centre[2]), end - half)
    count = int(np.clip(round(grams / USUAL_PLAQUE), 1, 16))
    where = middle + half * rng.uniform(-1, 1, count)
    angle = rng.normal(math.pi / 2, 1.3, count)  # most on the side of the spine
    sizes = np.stack([
        rng.uniform(0.8, 1.5, count), rng.uniform(1.8, 4.5, count), rng.uniform(2.5, 9.0, count)
    ], axis=1)  # fmt: skip
    volume = 4 / 3 * math.pi * sizes.prod(axis=1).sum()
    return where, angle, sizes * (grams / SUBSTANCES["plaque"].mineral * 1000 / volume) ** (1 / 3)


def _denser(plaque: Substance, mineral: float) -> Substance:
    """Plaque of so much mineral, g/cm³; what it has beyond the table's counts as attenuation."""
    more = mineral - plaque.mineral
    return replace(
        plaque,
        mineral=mineral,
        density=plaque.density + more * (1 - 1 / HYDROXYAPATITE_DENSITY),
        hounsfield=plaque.hounsfield + HYDROXYAPATITE_SLOPE * more,
    )


def build_spine_filling(course: SpineCourse) -> list[Tissue]:
    """Discs, fat and fluid of the spinal canal, and the cord down to L1, in order.

    The discs are one column through the bodies, over which the bones are laid: what is between
    two bodies is disc, however the bodies are shaped.
    """
    size = course.size
    z, x, y, wide, deep = [], [], [], [], []
    for one in course.levels:
        axis = one.rotation[:, 2]
        half = one.height / 2
        disc = half + one.disc_below / 2
        for along, share in ((-half, 1.0), (0.0, 0.80), (half, 1.0), (disc, 1.03)):
            place = one.centre + axis * np.float32(along)
            z.append(float(place[2]))
            x.append(float(place[0]))
            y.append(float(place[1]))
            wide.append(one.half_width * share)
            deep.append(one.half_depth * share)
    order = np.argsort(z, kind="stable")
    rows, cx, cy, a, b = (np.array(v)[order] for v in (z, x, y, wide, deep))
    discs = tube(rows, cx, cy, a, b, spacing=(1.5, 1.5), power=2.3)
    z, x, y, behind = [], [], [], []
    for one in course.levels:
        # The canal of the chest lies closer to the bodies.
        back = 9.5 if one.name[0] == "L" or one.name in ("T11", "T12") else 8.2
        place = one.centre + one.rotation[:, 1] * np.float32(one.half_depth + back * size)
        z.append(float(place[2]))
        x.append(float(place[0]))
        y.append(float(place[1]))
        behind.append(one.half_depth)
    last = course.levels[-1]
    z.append(z[-1] + last.height + 14)
    x.append(x[-1])
    y.append(y[-1] + 16 * size)
    heights = np.array(z)
    fat = tube(heights, x, y, 11.5 * size, 9 * size, spacing=(1.5, 3.0))
    sac = tube(heights, x, np.array(y) - 1, 8.5 * size, 7 * size, spacing=(1.5, 3.0))
    end = course.z_of("L1")
    upper = heights <= end
    cord = tube(heights[upper], np.array(x)[upper], np.array(y)[upper], 5.2 * size, 4.2 * size,
                spacing=(1.5, 3.0))  # fmt: skip
    return [
        tissue("disc", discs),
        tissue("visceral_fat", fat),
        tissue("spinal_fluid", sac),
        tissue("cord", cord),
    ]
