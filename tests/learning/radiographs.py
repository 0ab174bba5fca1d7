"""Real frontal radiographs with a box per vertebra, as hospitals that differ in image look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
    VertebraBox,
    View,
)
from shared.tasks.pixels import drawn_boxes

GREY_BINS: Final = 16


@dataclass(frozen=True)
class Radiographs:
    """Some radiographs of one folder; a `shared.records.PatientSource`."""

    folder: Path
    patients: Sequence[str]

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """The one radiograph of a patient."""
        return (read_radiograph(self.folder, patient),)


def names_in(folder: Path) -> list[str]:
    """Names of the radiographs in a folder with ``images`` and ``labels``, sorted."""
    return sorted(path.stem for path in (folder / "images").glob("*.jpg"))


def read_radiograph(folder: Path, name: str) -> StudyRecord:
    """Read a picture, and its boxes as a mask.

    A line of the label file is a class and a box (centre, size) or the corners of a
    polygon, all as shares of width and height.
    """
    with Image.open(folder / "images" / f"{name}.jpg") as picture:
        pixels = np.asarray(picture.convert("L"), np.float32) / 255
    lines = (folder / "labels" / f"{name}.txt").read_text().splitlines()
    numbers = [[float(word) for word in line.split()[1:]] for line in lines]
    boxes = [_box(some, pixels.shape) for some in numbers if some]
    regions = drawn_boxes(boxes, pixels.shape)
    image = ImageRecord(pixels.astype(np.float16), (1.0, 1.0), "none", regions)
    return StudyRecord(
        name, name, Vendor.OTHER, {View.LUMBAR_AP: image}, StudyLabels(), Covariates()
    )


def _box(numbers: list[float], shape: tuple[int, ...]) -> VertebraBox:
    if len(numbers) == 4:
        x, y, width, height = numbers
        x0, x1, y0, y1 = x - width / 2, x + width / 2, y - height / 2, y + height / 2
    else:
        xs, ys = numbers[0::2], numbers[1::2]
        x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    rows, columns = shape
    return VertebraBox("", x0 * columns, y0 * rows, x1 * columns, y1 * rows)


def look_of(record: StudyRecord) -> NDArray[np.float64]:
    """Describe how a radiograph looks: grey histogram, shape, sharpness, contrast by place."""
    pixels = np.asarray(record.images[View.LUMBAR_AP].pixels, np.float64)
    histogram, _ = np.histogram(pixels, GREY_BINS, (0, 1), density=True)
    down, across = np.gradient(pixels)
    thirds = [
        part.mean() for band in np.array_split(pixels, 3) for part in np.array_split(band, 3, 1)
    ]
    edge = np.hypot(down, across)
    return np.array(
        [*histogram, pixels.shape[1] / pixels.shape[0], edge.mean(), edge.std(), *thirds]
    )


def split_by_look(
    looks: Mapping[str, NDArray[np.float64]], hospitals: Sequence[str]
) -> dict[str, list[str]]:
    """Deal radiographs to hospitals of equal size by how they look.

    They are put in the order of the first principal component of their standardised looks
    and cut into equal parts: the first hospital has one end of all looks, the last the other.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    names = sorted(looks)
    standard = StandardScaler().fit_transform(np.stack([looks[name] for name in names]))
    along = PCA(n_components=1, svd_solver="full").fit_transform(standard)[:, 0]
    order = [names[place] for place in np.argsort(along, kind="stable")]
    parts = np.array_split(np.array(order), len(hospitals))
    return {
        hospital: sorted(map(str, part)) for hospital, part in zip(hospitals, parts, strict=True)
    }
