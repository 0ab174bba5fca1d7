"""Digital patients whose scans went wrong in a way that is known: what the flags are held against.

Each patient's body is rendered once as it should be, and once for each thing that can go
wrong, on two clinical scanners. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final
from unittest import mock

import numpy as np

from shared.phantom.anatomy import body
from shared.phantom.anatomy.body import Mineral, PointAnatomy
from shared.phantom.anatomy.metal import _cage, _clips
from shared.phantom.imaging.scanner import SCANNERS, ScannerProfile
from shared.phantom.population import POPULATIONS, draw_patient
from shared.phantom.study import Situation, _cut, _frame, render_view
from shared.phantom.truth import minerals, scale_mineral
from shared.records import DXA_VIEWS, ImageRecord, View
from shared.seeds import numpy_generator

#: What a case is called when nothing was planted.
CLEAN: Final = "clean"
#: Views of which each scan that goes wrong is made.
PLANTED: Final[Mapping[str, tuple[View, ...]]] = MappingProxyType(
    {
        CLEAN: DXA_VIEWS,
        "motion": DXA_VIEWS,
        "metal:clip": (View.SPINE_PA,),
        "metal:cage": (View.SPINE_PA,),
        "cut_off": (View.SPINE_PA,),
        "wrong_level": (View.SPINE_PA,),
        "saturation": (View.SPINE_PA, View.HIP_LEFT, View.SPINE_LATERAL),
    }
)
#: How far a field lies off when the technologist counted one vertebra wrongly, mm.
ONE_LEVEL_MM: Final = 36.0


@dataclass(frozen=True)
class Case:
    """One image and what is known to be wrong with it.

    `rotation` is the roll of L3 in degrees (0 for other views); `shown` is the image as a
    store holds it, without a region map.
    """

    patient: int
    scanner: str
    view: View
    planted: str
    rotation: float
    shown: ImageRecord


def cases(
    seed: int,
    numbers: range,
    scanners: tuple[str, ...] = ("lunar", "hologic"),
    wanted: Mapping[str, tuple[View, ...]] = PLANTED,
) -> Iterator[Case]:
    """Render the cases of some patients; every fourth patient lies turned."""
    for number in numbers:
        patient = draw_patient(number, seed, POPULATIONS["generic"])
        share = 1.0 if number % 4 == 3 else 0.0
        with mock.patch.object(body, "ROTATION_SHARE", share):
            anatomy = body.build_anatomy(patient)
        bones = minerals(anatomy, scale_mineral(anatomy))
        for name in scanners:
            rng = numpy_generator(seed, "quality cases", name, number)
            for planted, views in wanted.items():
                for view in views:
                    yield _case(anatomy, bones, SCANNERS[name], view, planted, rng)


def _case(
    anatomy: PointAnatomy,
    bones: Mapping[str, Mineral],
    scanner: ScannerProfile,
    view: View,
    planted: str,
    rng: np.random.Generator,
) -> Case:
    frame = _frame(anatomy, scanner, view, rng)
    metal = None
    if planted == "cut_off":
        frame = _cut(anatomy, frame, low=bool(rng.random() < 0.5))
    elif planted == "wrong_level":
        frame = replace(frame, top=frame.top + float(rng.choice([-1, 1])) * ONE_LEVEL_MM)
    elif planted == "metal:clip":
        metal = _clips(rng)
    elif planted == "metal:cage":
        metal = _cage(anatomy, str(rng.choice(["L3", "L4"])))
    elif planted == "saturation":
        window = {
            v: replace(w, high=w.low + (w.high - w.low) * 0.45) for v, w in scanner.window.items()
        }
        scanner = replace(scanner, window=window)
    moving = frozenset([view]) if planted == "motion" else frozenset()
    image, _ = render_view(
        anatomy, bones, Situation({view: frame}, moving, metal, ()), scanner, view, rng
    )
    roll = anatomy.rotation_degrees["spine_pa"] if view is View.SPINE_PA else 0.0
    shown = ImageRecord(image.display.astype(np.float16), image.spacing_mm, "calibrated")
    return Case(anatomy.patient.number, scanner.name, view, planted, roll, shown)
