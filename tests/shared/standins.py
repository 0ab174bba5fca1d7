"""Digital patients of a few lines, for tests of tasks and training that need no physics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shared.records import Covariates, ImageRecord, StudyLabels, StudyRecord, Vendor, View
from shared.regions import REGION_CODES, VERTEBRAE


def spine_pa(generator: np.random.Generator, density: float) -> ImageRecord:
    """Four bright boxes whose grey level is the density, between soft tissue and margins."""
    pixels = generator.normal(0.1, 0.02, (190, 160)).astype(np.float32)
    regions = np.zeros(pixels.shape, dtype=np.uint8)
    top, left = 20 + int(generator.integers(-6, 7)), 60 + int(generator.integers(-8, 9))
    for number, name in enumerate(("L1", "L2", "L3", "L4")):
        box = slice(top + 37 * number, top + 37 * number + 30), slice(left, left + 42)
        pixels[box] += 0.45 * density
        regions[box] = REGION_CODES[name]
    pixels[:, :6] = np.nan
    return ImageRecord(np.clip(pixels, 0, 1), (1.0, 1.0), "calibrated", regions)


def hip_left(generator: np.random.Generator, density: float) -> ImageRecord:
    """Three adjacent boxes."""
    pixels = generator.normal(0.1, 0.02, (150, 140)).astype(np.float32)
    regions = np.zeros(pixels.shape, dtype=np.uint8)
    top = 40 + int(generator.integers(-6, 7))
    boxes = {
        "femoral_neck": (slice(top, top + 32), slice(40, 62)),
        "trochanter": (slice(top, top + 36), slice(62, 92)),
        "intertrochanteric": (slice(top + 36, top + 66), slice(56, 92)),
    }
    for name, box in boxes.items():
        pixels[box] += 0.45 * density
        regions[box] = REGION_CODES[name]
    return ImageRecord(np.clip(pixels, 0, 1), (1.0, 1.0), "calibrated", regions)


def spine_lateral(generator: np.random.Generator, genant: dict[str, int]) -> ImageRecord:
    """Thirteen boxes on a leaning line; a fracture takes off the front upper corner."""
    pixels = generator.normal(0.1, 0.02, (440, 240)).astype(np.float32)
    regions = np.zeros(pixels.shape, dtype=np.uint8)
    row = 25 + int(generator.integers(-8, 9))
    for number, name in enumerate(VERTEBRAE):
        tall, left = 17 + number // 2, 120 - 3 * number
        loss = int(tall * (0.0, 0.22, 0.35, 0.55)[genant.get(name, 0)])
        regions[row : row + tall, left : left + 32] = REGION_CODES[name]
        for column in range(left, left + 32):
            gone = round(loss * (1 - (column - left) / 32))
            regions[row : row + gone, column] = 0
        row += tall + 6 + number // 3
    pixels[regions > 0] += 0.5
    return ImageRecord(np.clip(pixels, 0, 1), (1.0, 1.0), "derived", regions)


class Standins:
    """A `PatientSource` of stand-in patients, in memory.

    Parameters
    ----------
    patients : int
        How many.
    seed : int
        Same seed, same patients.
    vendor : Vendor
        Of every study.
    studies : int
        Studies per patient.
    """

    def __init__(
        self, patients: int, seed: int = 0, vendor: Vendor = Vendor.GENERIC, studies: int = 1
    ) -> None:
        self._studies = {
            f"p{number:04d}": tuple(
                self._study(number, visit, seed, vendor) for visit in range(studies)
            )
            for number in range(patients)
        }

    @property
    def patients(self) -> Sequence[str]:
        return tuple(self._studies)

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        return self._studies[patient]

    @staticmethod
    def _study(number: int, visit: int, seed: int, vendor: Vendor) -> StudyRecord:
        generator = np.random.default_rng([seed, number, visit])
        density = float(generator.normal(1.0, 0.15))
        grades = generator.choice(4, size=len(VERTEBRAE), p=[0.8, 0.08, 0.07, 0.05])
        genant = {name: int(grade) for name, grade in zip(VERTEBRAE, grades, strict=True)}
        images = {
            View.SPINE_PA: spine_pa(generator, density),
            View.HIP_LEFT: hip_left(generator, density),
            View.SPINE_LATERAL: spine_lateral(generator, genant),
        }
        bmd = {"L1-L4": density, "femoral_neck": 0.85 * density, "total_hip": 0.9 * density}
        return StudyRecord(
            patient=f"p{number:04d}",
            study=f"s{visit}",
            vendor=vendor,
            images=images,
            labels=StudyLabels(bmd=bmd, genant=genant),
            covariates=Covariates(),
        )
