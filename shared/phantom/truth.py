"""Truth from the anatomy: region maps, the mineral that gives the drawn BMD, heights.

Region maps are drawn the way scanners draw them: L1–L4 between the middles of
the discs and inside the outline of the bodies, with the posterior elements that
lie over them; the neck as a box across the neck's axis; trochanter and
intertrochanteric region beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.anatomy.body import Anatomy, Mineral, PlacedVertebra
from shared.phantom.anatomy.solid import Floats, vector
from shared.phantom.anatomy.vertebra import end_plates
from shared.phantom.imaging.projection import Frame, project
from shared.records import View
from shared.regions import LUMBAR, REGION_CODES, VERTEBRAE, codes_of

Codes = NDArray[np.uint8]

#: Margin of a lumbar region beyond the body's edge, mm.
EDGE_MM: Final = 1.4
#: Box of the femoral neck along the neck, mm from the head's centre in the template.
NECK_BOX: Final = (24.5, 38.5)
#: End of the intertrochanteric region, template mm below the head's centre.
SHAFT_END: Final = 100.0
#: Bone of the femur is where its own projection exceeds this, g/cm².
FEMUR_EDGE: Final = 0.10


@dataclass(frozen=True)
class Scaled:
    """The anatomy's mineral after scaling to the drawn BMD.

    Attributes
    ----------
    cortex, core : mapping of str to float
        Factor on the mineral of each vertebra T4..L5.
    femur : ndarray of float32, shape (N,)
        Mass of each femoral point, g.
    rest : float
        Factor on pelvis, sacrum and ribs.
    bmd : mapping of str to float
        Areal BMD of each region of `shared.regions.BMD_REGIONS`, g/cm².
    """

    cortex: Mapping[str, float]
    core: Mapping[str, float]
    femur: Floats
    rest: float
    bmd: Mapping[str, float]


# --- region maps ----------------------------------------------------------------------


def spine_regions(anatomy: Anatomy, frame: Frame) -> Codes:
    """Region map of a PA spine."""
    codes = np.zeros(frame.shape, np.uint8)
    x, z = frame.columns[None, :], frame.rows[:, None]
    names = ("T12", *LUMBAR, "L5")
    bodies = [anatomy.vertebrae[name] for name in names]
    cuts = [_cut(upper, lower, x, z) for upper, lower in pairwise(bodies)]
    for place, level in enumerate(LUMBAR, start=1):
        vertebra = bodies[place]
        local_x, local_z = local_coordinates(vertebra, x, z, (0, 2))
        half = vertebra.shape.width / 2
        share = np.clip(np.abs(local_z) / (vertebra.shape.healthy / 2), 0, 1)
        waist = 1 - 0.08 * (1 - share**2)
        inside = (cuts[place - 1] > 0) & (cuts[place] <= 0)
        inside &= np.abs(local_x) < half * waist + EDGE_MM
        codes[inside] = REGION_CODES[level]
    return codes


def local_coordinates(
    vertebra: PlacedVertebra, across: Floats, down: Floats, axes: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Coordinates along a vertebra's own axes as seen in a projection, from its centre, mm."""
    first, second = axes
    centre = vertebra.centre
    u = vector(vertebra.rotation[first, first], vertebra.rotation[second, first])
    w = vector(vertebra.rotation[first, second], vertebra.rotation[second, second])
    u, w = u / np.linalg.norm(u), w / np.linalg.norm(w)
    da, dd = across - centre[first], down - centre[second]
    return da * u[0] + dd * u[1], da * w[0] + dd * w[1]


def _cut(upper: PlacedVertebra, lower: PlacedVertebra, x: Floats, z: Floats) -> Floats:
    """Positive below the middle of the disc between two vertebrae."""
    axis_u, axis_l = upper.rotation[:, 2], lower.rotation[:, 2]
    foot = upper.centre + axis_u * np.float32(upper.shape.posterior + upper.shape.anterior) / 4
    head = lower.centre - axis_l * np.float32(lower.shape.posterior + lower.shape.anterior) / 4
    middle = (foot + head) / 2
    normal = (axis_u + axis_l)[[0, 2]]
    return (x - middle[0]) * normal[0] + (z - middle[2]) * normal[1]


def lateral_regions(anatomy: Anatomy, frame: Frame) -> Codes:
    """Region map of a lateral spine: outlines of the bodies T4..L4."""
    codes = np.zeros(frame.shape, np.uint8)
    y, z = frame.columns, frame.rows
    for level in VERTEBRAE:
        vertebra = anatomy.vertebrae[level]
        reach = vertebra.shape.depth * 0.75 + vertebra.shape.healthy * 0.5
        rows = np.flatnonzero(np.abs(z - vertebra.centre[2]) < reach)
        cols = np.flatnonzero(np.abs(y - vertebra.centre[1]) < reach)
        if not len(rows) or not len(cols):
            continue
        box = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        local_y, local_z = local_coordinates(vertebra, y[None, box[1]], z[box[0], None], (1, 2))
        half = vertebra.shape.depth / 2
        upper, lower = end_plates(np.clip(local_y / half, -1, 1), vertebra.shape)
        share = np.clip(np.abs(local_z) / (vertebra.shape.healthy / 2), 0, 1)
        inside = (local_z > upper) & (local_z < lower)
        inside &= np.abs(local_y) < half * (1 - 0.10 * (1 - share**2))
        codes[box][inside] = REGION_CODES[level]
    return codes


def hip_regions(anatomy: Anatomy, frame: Frame, femur: Floats) -> Codes:
    """Region map of a left hip; `femur` is the femur's own areal mineral, (H, W)."""
    from scipy.ndimage import binary_closing, binary_dilation

    bone = femur > FEMUR_EDGE
    bone = binary_dilation(binary_closing(bone, iterations=2))
    cloud = anatomy.femur
    x = frame.columns[None, :] - cloud.head[0]
    z = frame.rows[:, None] - cloud.head[2]
    axis = cloud.neck_axis[[0, 2]]
    axis = axis / np.linalg.norm(axis)
    along = (x * axis[0] + z * axis[1]) / np.float32(cloud.size)
    lift = (x * axis[1] - z * axis[0]) / np.float32(cloud.size)  # positive above the axis
    down = cloud.shaft_axis[[0, 2]]
    below = (x * down[0] + z * down[1]) / np.float32(cloud.size)
    start, end = NECK_BOX
    codes = np.zeros(frame.shape, np.uint8)
    neck = bone & (along >= start) & (along < end) & (np.abs(lift) < 24)
    rest = bone & (along >= end) & (below < SHAFT_END)
    codes[neck] = REGION_CODES["femoral_neck"]
    codes[rest & (lift > 2)] = REGION_CODES["trochanter"]
    codes[rest & (lift <= 2)] = REGION_CODES["intertrochanteric"]
    return codes


# --- mineral ----------------------------------------------------------------------------


def standard_frame(anatomy: Anatomy, view: View) -> Frame:
    """Frame of 1 mm pixels, free of positioning, on which the truth is measured."""
    if view is View.HIP_LEFT:
        head = anatomy.femur.head
        return Frame(view, float(head[2]) - 45.0, float(head[0]) - 45.0, (160, 150), (1.0, 1.0))
    top = float(anatomy.vertebrae["T12"].centre[2]) - 5
    bottom = float(anatomy.vertebrae["L5"].centre[2]) + 5
    middle = float(np.mean([anatomy.vertebrae[level].centre[0] for level in LUMBAR]))
    return Frame(view, top, middle - 50, (int(bottom - top), 100), (1.0, 1.0))


def _means(image: Floats, codes: Codes, regions: tuple[str, ...]) -> NDArray[np.float64]:
    """Mean of an image in each region."""
    counts = np.bincount(codes.ravel(), minlength=17)
    sums = np.bincount(codes.ravel(), weights=image.ravel(), minlength=17)
    return np.array(
        [sums[list(codes_of(r))].sum() / max(counts[list(codes_of(r))].sum(), 1) for r in regions]
    )


def scale_mineral(anatomy: Anatomy) -> Scaled:
    """Scale the mineral so that the projected areal BMD is the drawn one."""
    cortex, core, spine_bmd = _scale_spine(anatomy)
    femur, hip_bmd, hip_factor = _scale_femur(anatomy)
    mean = float(np.mean([cortex[level] for level in LUMBAR]))
    for level in anatomy.vertebrae:
        if level not in cortex:
            near = {"T12": "L1", "T11": "L1", "L5": "L4"}.get(level)
            cortex[level] = cortex[near] if near else mean
            core[level] = core[near] if near else float(np.mean([core[k] for k in LUMBAR]))
    rest = float(np.clip(0.5 * mean + 0.5 * hip_factor, 0.5, 1.6))
    return Scaled(cortex, core, femur, rest, {**spine_bmd, **hip_bmd})


def _split(factor: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cortex and trabecular bone share a change of BMD unequally."""
    return factor**0.75, factor**1.3


def _scale_spine(anatomy: Anatomy) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    frame = standard_frame(anatomy, View.SPINE_PA)
    codes = spine_regions(anatomy, frame)
    names = ("T12", *LUMBAR, "L5")
    owner = (0, 0, 1, 2, 3, 3)  # T12 goes with L1, L5 with L4
    shell, inner = np.zeros((4, 4)), np.zeros((4, 4))
    for column, name in zip(owner, names, strict=True):
        cloud = anatomy.vertebrae[name].cloud
        shell[:, column] += _means(project(frame, cloud.cortex, cloud.cortex_mass), codes, LUMBAR)
        inner[:, column] += _means(project(frame, cloud.core, cloud.core_mass), codes, LUMBAR)
    other = [anatomy.rest[k] for k in ("aorta", "rib_12_left", "rib_12_right") if k in anatomy.rest]
    fixed = sum((_means(project(frame, m.points, m.mass), codes, LUMBAR) for m in other),
                np.zeros(4))  # fmt: skip
    counts = np.array([(codes == REGION_CODES[level]).sum() for level in LUMBAR], float)
    shares = np.array([anatomy.level_share[level] for level in LUMBAR])
    shares *= counts.sum() / (shares * counts).sum()
    target = anatomy.patient.bmd["L1-L4"] * shares
    factor = np.ones(4)
    for _ in range(40):
        c, t = _split(factor)
        current = shell @ c + inner @ t + fixed
        factor = np.clip(factor * (target / current) ** 0.8, 0.15, 4.0)
    c, t = _split(factor)
    final = shell @ c + inner @ t + fixed
    bmd = dict(zip(LUMBAR, final.tolist(), strict=True))
    bmd["L1-L4"] = float((final * counts).sum() / counts.sum())
    return (
        dict(zip(LUMBAR, c.tolist(), strict=True)),
        dict(zip(LUMBAR, t.tolist(), strict=True)),
        bmd,
    )


def _scale_femur(anatomy: Anatomy) -> tuple[Floats, dict[str, float], float]:
    frame = standard_frame(anatomy, View.HIP_LEFT)
    cloud = anatomy.femur
    start, end = NECK_BOX
    on_neck = np.clip(1 - (np.abs(cloud.along - (start + end) / 2) - 6) / 12, 0, 1)
    neck_image = project(frame, cloud.points, cloud.mass * on_neck)
    rest_image = project(frame, cloud.points, cloud.mass * (1 - on_neck))
    codes = hip_regions(anatomy, frame, neck_image + rest_image)
    regions = ("femoral_neck", "total_hip")
    table = np.stack([_means(image, codes, regions) for image in (neck_image, rest_image)], axis=1)
    target = np.array([anatomy.patient.bmd[region] for region in regions])
    factor = np.clip(np.linalg.solve(table, target), 0.3, 3.0)
    mass = cloud.mass * (on_neck * np.float32(factor[0]) + (1 - on_neck) * np.float32(factor[1]))
    image = neck_image * factor[0] + rest_image * factor[1]
    names = ("femoral_neck", "trochanter", "total_hip")
    bmd = dict(zip(names, _means(image, codes, names).tolist(), strict=True))
    return np.asarray(mass, np.float32), bmd, float(factor.mean())


def minerals(anatomy: Anatomy, scaled: Scaled) -> dict[str, Mineral]:
    """All mineral of the body by bone, scaled."""
    bones: dict[str, Mineral] = {}
    for level, vertebra in anatomy.vertebrae.items():
        cloud = vertebra.cloud
        mass = [
            cloud.cortex_mass * np.float32(scaled.cortex[level]),
            cloud.core_mass * np.float32(scaled.core[level]),
        ]
        bones[level] = Mineral(np.concatenate([cloud.cortex, cloud.core]), np.concatenate(mass))
    bones["femur_left"] = Mineral(anatomy.femur.points, scaled.femur)
    for name, mineral in anatomy.rest.items():
        fixed = name.startswith(("rib_12", "aorta"))
        factor = np.float32(1.0 if fixed else scaled.rest)
        bones[name] = Mineral(mineral.points, mineral.mass * factor)
    return bones


def heights(anatomy: Anatomy) -> dict[str, tuple[float, float, float]]:
    """Anterior, middle and posterior height of T4..L4, mm."""
    result = {}
    for level in VERTEBRAE:
        shape = anatomy.vertebrae[level].shape
        result[level] = (float(shape.anterior), float(shape.middle), float(shape.posterior))
    return result
