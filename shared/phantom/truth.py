"""Truth from the anatomy: the mineral that gives the drawn BMD, landmarks, heights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.phantom.anatomy.body import Mineral, PointAnatomy
from shared.phantom.anatomy.femur import FemurCloud
from shared.phantom.anatomy.solid import Floats
from shared.phantom.imaging.outlines import (
    NECK_BOX,
    SHAFT_END,
    Codes,
    FemurLandmarks,
    hip_regions,
    spine_regions,
)
from shared.phantom.imaging.projection import Frame, project
from shared.records import View
from shared.regions import LUMBAR, REGION_CODES, VERTEBRAE, codes_of


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


def landmarks_of(cloud: FemurCloud) -> FemurLandmarks:
    """Landmarks of a femur for its regions."""
    return FemurLandmarks(
        cloud.head, cloud.neck_axis, cloud.shaft_axis, cloud.size, NECK_BOX, SHAFT_END
    )


# --- mineral ----------------------------------------------------------------------------


def standard_frame(anatomy: PointAnatomy, view: View) -> Frame:
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


def scale_mineral(anatomy: PointAnatomy) -> Scaled:
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


def _scale_spine(
    anatomy: PointAnatomy,
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    frame = standard_frame(anatomy, View.SPINE_PA)
    codes = spine_regions(anatomy.vertebrae, frame)
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


def _scale_femur(anatomy: PointAnatomy) -> tuple[Floats, dict[str, float], float]:
    frame = standard_frame(anatomy, View.HIP_LEFT)
    cloud = anatomy.femur
    start, end = NECK_BOX
    on_neck = np.clip(1 - (np.abs(cloud.along - (start + end) / 2) - 6) / 12, 0, 1)
    neck_image = project(frame, cloud.points, cloud.mass * on_neck)
    rest_image = project(frame, cloud.points, cloud.mass * (1 - on_neck))
    codes = hip_regions(landmarks_of(cloud), frame, neck_image + rest_image)
    regions = ("femoral_neck", "total_hip")
    table = np.stack([_means(image, codes, regions) for image in (neck_image, rest_image)], axis=1)
    target = np.array([anatomy.patient.bmd[region] for region in regions])
    factor = np.clip(np.linalg.solve(table, target), 0.3, 3.0)
    mass = cloud.mass * (on_neck * np.float32(factor[0]) + (1 - on_neck) * np.float32(factor[1]))
    image = neck_image * factor[0] + rest_image * factor[1]
    names = ("femoral_neck", "trochanter", "total_hip")
    bmd = dict(zip(names, _means(image, codes, names).tolist(), strict=True))
    return np.asarray(mass, np.float32), bmd, float(factor.mean())


def minerals(anatomy: PointAnatomy, scaled: Scaled) -> dict[str, Mineral]:
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


def heights(anatomy: PointAnatomy) -> dict[str, tuple[float, float, float]]:
    """Anterior, middle and posterior height of T4..L4, mm."""
    result = {}
    for level in VERTEBRAE:
        shape = anatomy.vertebrae[level].shape
        result[level] = (float(shape.anterior), float(shape.middle), float(shape.posterior))
    return result
