"""Digital patients of scanners that no threshold was set on, and what can be wrong with an image.

Each fault is one that an image can show. Everything follows from the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from shared.phantom.make import render_by_name
from shared.phantom.solid_source import solid_patient
from shared.phantom.source import generic_patient, record_of
from shared.records import DXA_VIEWS, ImageRecord, StudyRecord, View
from shared.seeds import numpy_generator
from tests.quality_cases import cases

#: Clinical scanners of the patients of points.
SCANNERS: Final = ("lunar", "hologic", "lunar_prodigy")
#: A spacing is wrong by this factor or more, up to the second.
WRONG_SPACING: Final = (1.5, 2.2)


@dataclass(frozen=True)
class Planted:
    """An image that is given as a view, and what is wrong with it (``good``: nothing)."""

    fault: str
    view: View
    image: ImageRecord


def patient(number: int, seed: int) -> StudyRecord:
    """Render a patient: by number on a made-up scanner, a clinical one, or as a solid body."""
    if number % 3 == 0:
        return generic_patient(number, seed)
    if number % 3 == 1:
        scanner = SCANNERS[number // 3 % len(SCANNERS)]
        return record_of(render_by_name(number, seed, scanner, "generic"))
    return solid_patient(number, seed, "near_to_life")


def planted(number: int, seed: int, study: StudyRecord | None = None) -> Iterator[Planted]:
    """Give the good images of a patient, and one image with each fault."""
    study = patient(number, seed) if study is None else study
    plain = {
        view: replace(study.images[view], pixels=np.asarray(study.images[view].pixels, np.float32),
                      regions=None)
        for view in DXA_VIEWS
    }  # fmt: skip
    for view, image in plain.items():
        yield Planted("good", view, image)
    rng = numpy_generator(seed, "planted", number)
    for fault, (views, make) in FAULTS.items():
        view = views[int(rng.integers(len(views)))]
        yield Planted(fault, view, make(plain, view, rng))
    for case in cases(seed, range(number, number + 1), ("hologic",), {"wrong_level": SPINE}):
        yield Planted("wrong level", case.view, case.shown)


Images = Mapping[View, ImageRecord]
Make = Callable[[Images, View, np.random.Generator], ImageRecord]
SPINE: Final = (View.SPINE_PA,)


def _blank(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    pixels = images[view].pixels
    flat = np.where(np.isnan(pixels), np.nan, rng.uniform(0, 1))
    return replace(images[view], pixels=flat.astype(np.float32))


def _noise(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    from scipy import ndimage

    drawn = rng.normal(0, 1, images[view].pixels.shape)
    drawn = ndimage.gaussian_filter(drawn, rng.uniform(0, 6))
    shown = rng.uniform(0.2, 0.6) + 0.2 * drawn / drawn.std()
    return replace(images[view], pixels=shown.clip(0, 1).astype(np.float32))


def _upside_down(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    turned = images[view].pixels[::-1]
    return replace(images[view], pixels=turned[:, ::-1] if rng.random() < 0.5 else turned)


def _mirrored(images: Images, view: View, _: np.random.Generator) -> ImageRecord:
    return replace(images[view], pixels=np.ascontiguousarray(images[view].pixels[:, ::-1]))


def _cut_off(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    pixels = images[view].pixels
    rows = round(rng.uniform(0.4, 0.5) * pixels.shape[0])
    return replace(images[view], pixels=pixels[rows:] if rng.random() < 0.5 else pixels[:-rows])


def _other_view(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    others = [one for one in DXA_VIEWS if one is not view]
    return images[others[int(rng.integers(len(others)))]]


def _spacing(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    factor = rng.uniform(*WRONG_SPACING) ** rng.choice([-1, 1])
    row, column = images[view].spacing_mm
    return replace(images[view], spacing_mm=(row * factor, column * factor))


def _inverted(images: Images, view: View, _: np.random.Generator) -> ImageRecord:
    return replace(images[view], pixels=1 - images[view].pixels)


def _forearm(images: Images, view: View, rng: np.random.Generator) -> ImageRecord:
    """Two long bones between soft tissue and air."""
    pixels = images[view].pixels
    rows, columns = np.indices(pixels.shape) * np.reshape(images[view].spacing_mm, (2, 1, 1))
    middle = columns.max() / 2 + rng.normal(0, 4)
    shown = 0.15 * (abs(columns - middle) < 38) + rng.normal(0, 0.02, pixels.shape)
    for side in (-1, 1):
        width = rng.uniform(6, 9) * (1 + 0.8 * np.exp(-(((rows - 20) / 25) ** 2)))
        off = (columns - middle - side * rng.uniform(10, 16)) / width
        shown += 0.6 * np.sqrt(np.clip(1 - off**2, 0, 1))
    return replace(images[view], pixels=shown.clip(0, 1).astype(np.float32))


#: What is planted, and on which views it can be.
FAULTS: Final[Mapping[str, tuple[tuple[View, ...], Make]]] = {
    "blank": (DXA_VIEWS, _blank),
    "noise": (DXA_VIEWS, _noise),
    "upside down": (DXA_VIEWS, _upside_down),
    "faces the other way": ((View.SPINE_LATERAL,), _mirrored),
    "other hip": ((View.HIP_LEFT,), _mirrored),
    "cut off": (DXA_VIEWS, _cut_off),
    "another view": (DXA_VIEWS, _other_view),
    "spacing": (DXA_VIEWS, _spacing),
    "inverted": (DXA_VIEWS, _inverted),
    "other body part": (DXA_VIEWS, _forearm),
}
