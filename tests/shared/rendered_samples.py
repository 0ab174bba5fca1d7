"""Stand-in digital patients: blocks instead of bones, but everything a writer needs."""

from __future__ import annotations

import numpy as np

from shared.phantom.rendered import RenderedImage, RenderedStudy
from shared.records import DXA_VIEWS, Covariates, StudyLabels, Vendor, View
from shared.regions import HIP, LUMBAR, REGION_CODES, VERTEBRAE
from shared.seeds import numpy_generator

SHAPES = {View.SPINE_PA: (150, 131), View.HIP_LEFT: (120, 101), View.SPINE_LATERAL: (300, 121)}
NAMES = {View.SPINE_PA: LUMBAR, View.HIP_LEFT: HIP, View.SPINE_LATERAL: VERTEBRAE}


def sample_study(
    number: int, seed: int = 7, scanner: str = "lunar", population: str = "generic"
) -> RenderedStudy:
    """Make a study of stacked blocks with a step-shaped unscanned margin."""
    vendor = Vendor.HOLOGIC if scanner == "hologic" else Vendor.LUNAR
    generator = numpy_generator(seed, "sample", number)
    bmd = {
        region: round(float(generator.uniform(0.5, 1.3)), 3)
        for region in (*LUMBAR, "L1-L4", "femoral_neck", "trochanter", "total_hip")
    }
    genant = {name: int(generator.integers(4)) for name in VERTEBRAE}
    images = {view: _image(view, generator) for view in DXA_VIEWS}
    return RenderedStudy(
        patient_number=number,
        seed=seed,
        vendor=vendor,
        covariates=Covariates(
            sex="FM"[number % 2],
            age_years=float(generator.uniform(50, 96)),
            height_cm=round(float(generator.uniform(150, 185)), 1),
            weight_kg=round(float(generator.uniform(45, 110)), 1),
            ethnic_group="white",
        ),
        images=images,
        labels=StudyLabels(bmd=bmd, genant=genant),
        true_bmd=bmd,
        heights_mm=dict.fromkeys(VERTEBRAE, (25.0, 25.0, 25.0)),
        events=(),
    )


def _image(view: View, generator: np.random.Generator) -> RenderedImage:
    """Blocks, one below the other, noise, and steps of unscanned margin at two edges."""
    rows, columns = SHAPES[view]
    display = generator.uniform(0.0, 0.4, (rows, columns)).astype(np.float32)
    regions = np.zeros((rows, columns), np.uint8)
    names = NAMES[view]
    height = (rows - 20) // len(names)
    for place, name in enumerate(names):
        top = 10 + place * height
        block = (slice(top, top + height - 3), slice(columns // 3, columns // 3 + 40))
        display[block] += 0.5
        regions[block] = REGION_CODES[name]
    if view is not View.SPINE_LATERAL:
        display[20 : rows // 2, :9] = np.nan
        display[rows // 2 :, :14] = np.nan
        display[rows // 3 :, -7:] = np.nan
    return RenderedImage(
        bone_density=np.nan_to_num(display),
        display=display,
        regions=regions,
        spacing_mm=(1.0, 1.0),
    )
