"""Draw the gallery of the documentation: ``python -m tests.verify.gallery``.

Ten near-to-life persons of the seed, as they come: DXA of two makes, films, and CT in three
planes and three windows. Nobody is chosen for looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.figure import Figure

from shared.phantom.imaging.ct.of_anatomy import scene_of
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtProtocol
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import acquire
from shared.phantom.imaging.dxa.looks import SOLID_SCANNERS
from shared.phantom.imaging.dxa.visit import draw_lie
from shared.phantom.imaging.film.film import (
    FLATTENED,
    draw_geometry,
    draw_settings,
    take_film,
)
from shared.phantom.imaging.radiograph import displayed
from shared.phantom.person.covariates import POPULATIONS
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import Person, draw_person
from shared.phantom.solid_study import render_solid_study
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.distance import Floats, floats
from shared.records import DXA_VIEWS
from shared.seeds import numpy_generator
from tests.verify.stored import ROOT

SEED: Final = 21
PERSONS: Final = 10
POPULATION: Final = "urban"
FOLDER: Final = ROOT / "docs" / "images"
#: Centre and width of the windows, HU.
WINDOWS: Final = {"soft": (40.0, 400.0), "bone": (400.0, 1800.0), "lung": (-500.0, 1500.0)}
PROTOCOL: Final = CtProtocol(matrix=256, field_mm=420.0, thickness_mm=3.0, increment_mm=3.0)
SLICES: Final = 150
#: How far above L3 the series begins, mm.
ABOVE: Final = 320.0
#: Where the lungs are shown, mm above L3.
LUNG_AT: Final = 230.0


def person(number: int) -> Person:
    """A person of the gallery."""
    return draw_person(number, SEED, POPULATIONS[POPULATION], NEAR_TO_LIFE)


def dxa(number: int) -> list[tuple[Floats, float]]:
    """Three views of a person with the height of a pixel over its width; two makes in turn."""
    scanner = SOLID_SCANNERS["lunar" if number % 2 == 0 else "hologic"]
    study = render_solid_study(number, SEED, scanner, POPULATIONS[POPULATION], NEAR_TO_LIFE)
    aspect = scanner.spacing_mm[0] / scanner.spacing_mm[1]
    found = []
    for view in DXA_VIEWS:
        shown = study.images[view].display
        found.append((floats(np.nan_to_num(shown, nan=0.0)), aspect))
    return found


def films(number: int) -> list[tuple[Floats, float]]:
    """Frontal and lateral film of a person."""
    one = person(number)
    found = []
    for view in ("ap", "lateral"):
        rng = numpy_generator(SEED, "gallery", view, number)
        anatomy = build_anatomy(one, draw_lie(NEAR_TO_LIFE, rng))
        shot = take_film(anatomy, draw_geometry(anatomy, view, rng), draw_settings(view, rng), rng)
        found.append((displayed(shot.attenuation, rng, FLATTENED[view]), 1.0))
    return found


def volume_of(anatomy: Anatomy, number: int) -> np.ndarray:
    """HU of a series from the chest to the pelvis, (slices, rows, columns), head first."""
    low, high = anatomy.tissues[0].box
    stack = SliceStack(PROTOCOL, -ABOVE, SLICES, (0.0, float(low[1] + high[1]) / 2))
    rng = numpy_generator(SEED, "gallery ct", number)
    scanner = CT_SCANNERS[sorted(CT_SCANNERS)[number % len(CT_SCANNERS)]]
    return np.stack([one.hu for one in acquire(scene_of(anatomy), scanner, stack, rng)])


def windowed(hu: np.ndarray, name: str) -> Floats:
    """HU in a window, in [0, 1]."""
    centre, width = WINDOWS[name]
    return floats(np.clip((hu.astype(np.float32) - (centre - width / 2)) / width, 0, 1))


def ct(number: int) -> list[tuple[Floats, float]]:
    """Axial through L3 in two windows, through the chest, coronal and sagittal."""
    anatomy = build_anatomy(person(number))
    hu = volume_of(anatomy, number)
    low, high = anatomy.tissues[0].box
    middle, lungs = round(ABOVE / 3.0), round((ABOVE - LUNG_AT) / 3.0)
    row = round((0.0 - (low[1] + high[1]) / 2) / PROTOCOL.spacing_mm + PROTOCOL.matrix / 2)
    tall = PROTOCOL.increment_mm / PROTOCOL.spacing_mm
    return [
        (windowed(hu[middle], "soft"), 1.0),
        (windowed(hu[middle], "bone"), 1.0),
        (windowed(hu[lungs], "lung"), 1.0),
        (windowed(hu[:, int(row)], "bone"), tall),
        (windowed(hu[:, :, PROTOCOL.matrix // 2], "bone"), tall),
    ]


def draw(rows: Sequence[Sequence[tuple[Floats, float]]], path: Path, title: str) -> None:
    """Write a sheet, a person a column."""
    persons = list(zip(*rows, strict=True))
    heights = [max(image.shape[0] * a / image.shape[1] for image, a in line) for line in persons]
    width = 1.6
    figure = Figure(figsize=(width * len(rows), width * sum(heights) + 0.4), facecolor="black")
    axes = figure.subplots(len(persons), len(rows), height_ratios=heights, squeeze=False)
    for line, places in zip(persons, axes, strict=True):
        for (image, aspect), place in zip(line, places, strict=True):
            place.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect)
            place.set_axis_off()
    figure.suptitle(title, color="white", fontsize=10)
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.965, 0.02, 0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 82})


def main() -> None:
    """Draw all sheets."""
    for name, make, title in (
        ("dxa", dxa, "DXA: PA spine, left hip, lateral spine"),
        ("film", films, "Films: frontal and lateral"),
        ("ct", ct, "CT: L3 in a soft-tissue and a bone window, chest, coronal and sagittal"),
    ):
        rows = [make(number) for number in range(PERSONS)]
        draw(rows, FOLDER / f"gallery-{name}.jpg", title)


if __name__ == "__main__":
    main()
