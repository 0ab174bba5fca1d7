"""Makes ``shared/quality/looks.npz``: ``python -m tests.verify.looks``.

Mean pictures of digital patients of both generators on scanners of every kind, laid over each
other at the anchor. The planted faults (`tests.verify.planted_faults`) are of other seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np

from shared.phantom.make import render_by_name
from shared.phantom.solid_source import render_by_names
from shared.phantom.source import generic_patient, record_of
from shared.quality.likeness import GRID_MM, Floats, even_contrast
from shared.quality.looks import ANCHORS, FILE, REACH
from shared.records import ImageRecord, StudyRecord
from shared.regions import REGION_CODES

SEED: Final = 11
#: Patients of points on clinical scanners and on made-up ones; bodies near to life.
POINTS, GENERIC, SOLID = 40, 48, 36
SCANNERS: Final = ("lunar", "hologic", "lunar_prodigy")


def studies() -> Iterator[tuple[str, StudyRecord]]:
    """Render the patients, with the name of who draws the body."""
    for number in range(POINTS):
        study = render_by_name(number, SEED, SCANNERS[number % 3], "community")
        yield "points", record_of(study)
    for number in range(GENERIC):
        yield "points", generic_patient(number, SEED)
    for number in range(SOLID):
        scanner = SCANNERS[number % 3]
        study = render_by_names(number, SEED, scanner, "community", generator="near_to_life")
        yield "solid", record_of(study)


def anchored(image: ImageRecord, names: tuple[str, ...], reach: tuple[int, ...]) -> Floats:
    """Cut out of an image on the grid what lies about its anchor; 0 outside of it."""
    from scipy import ndimage

    cells = even_contrast(image)
    regions = np.asarray(image.regions)
    places = np.nonzero(np.isin(regions, [REGION_CODES[name] for name in names]))
    assert cells is not None
    middle = [
        (float(place.mean()) + 0.5) * mm / GRID_MM - 0.5
        for place, mm in zip(places, image.spacing_mm, strict=True)
    ]
    above, below, before, behind = reach
    grid = np.meshgrid(
        np.arange(-above, below + 1) + middle[0],
        np.arange(-before, behind + 1) + middle[1],
        indexing="ij",
    )
    return np.asarray(ndimage.map_coordinates(cells, grid, order=1, mode="constant"))


def main() -> None:
    """Render, lay over each other, write."""
    seen: dict[str, list[Floats]] = defaultdict(list)
    for kind, study in studies():
        for view, names in ANCHORS.items():
            cut = anchored(study.images[view], names, REACH[view])
            seen[f"{view.value}:{kind}"].append(cut)
    means = {name: np.mean(found, axis=0) for name, found in seen.items()}
    kept = {
        name: np.rint(127 * one / np.abs(one).max()).astype(np.int8) for name, one in means.items()
    }
    np.savez_compressed(FILE, **kept)


if __name__ == "__main__":
    main()
