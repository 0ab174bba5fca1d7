"""Makes ``shared/tasks/xray/looks.npz``: ``python -m tests.verify.film_looks``.

Mean crops of lumbar films of plain digital patients, from the front and from the side, cut by
true boxes. Tests and checks of the gate have other seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.phantom.imaging.film.examination import boxes_of, draw_field, draw_films
from shared.phantom.imaging.film.film import FLATTENED, draw_settings, take_film
from shared.phantom.imaging.film.geometry import FilmView
from shared.phantom.imaging.radiograph import displayed
from shared.phantom.person.generator import PLAIN
from shared.records import ImageRecord
from shared.regions import LUMBAR, REGION_CODES
from shared.seeds import numpy_generator
from shared.tasks.xray.bmd import CROP
from shared.tasks.xray.column import find_column
from shared.tasks.xray.crop import crop_lumbar
from shared.tasks.xray.looks import LOOKS

SEED: Final = 77
PATIENTS: Final = 16
VIEWS: Final[dict[str, FilmView]] = {"front": "ap", "side": "lateral"}


def crops(view: FilmView, patients: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Local contrast of L1 to L4 of so many plain patients, about 0, (96, 64) each."""
    for number in range(patients):
        one = draw_films(number, seed, "generic", PLAIN.name)
        rng = numpy_generator(seed, "film looks", view, number)
        geometry = draw_field(one.anatomy, view, rng)
        shot = take_film(one.anatomy, geometry, draw_settings(view, rng), rng)
        shown = displayed(shot.attenuation, rng, FLATTENED[view])
        regions = np.zeros(shown.shape, np.uint8)
        for box in boxes_of(shot.levels):
            if box.vertebra in LUMBAR:
                place = slice(int(box.y0), int(box.y1)), slice(int(box.x0), int(box.x1))
                regions[place] = REGION_CODES[box.vertebra]
        image = ImageRecord(shown, (1.0, 1.0), "detector")
        yield crop_lumbar(image, find_column(regions), CROP["small"])[1].numpy() - np.float32(0.5)


def main() -> None:
    """Render, average, write; a spine from the front looks the same mirrored."""
    means = {name: np.mean(list(crops(view, PATIENTS, SEED)), 0) for name, view in VIEWS.items()}
    means["front"] = (means["front"] + means["front"][:, ::-1]) / 2
    kept = {
        name: np.rint(127 * one / np.abs(one).max()).astype(np.int8) for name, one in means.items()
    }
    np.savez_compressed(LOOKS, **kept)


if __name__ == "__main__":
    main()
