"""Frontal radiographs of digital patients: what is marked is where the spine is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label

from shared.errors import PhantomError
from shared.phantom.imaging.radiograph import LEVELS, generic_radiograph
from shared.phantom.source import DigitalPatients, views_for
from shared.records import DXA_VIEWS, StudyRecord, View
from shared.regions import UNNAMED_VERTEBRA
from shared.tasks import TASKS

SEED = 3
NUMBERS = range(6)


@cache
def drawn(number: int) -> StudyRecord:
    """A patient's radiograph, drawn once and by the first test that looks at it."""
    return generic_radiograph(number, seed=SEED)


def test_the_same_patient_gives_the_same_picture_and_another_does_not() -> None:
    first, again = drawn(0).images[View.LUMBAR_AP], generic_radiograph(0, SEED)
    assert np.array_equal(first.pixels, again.images[View.LUMBAR_AP].pixels)
    other = drawn(1).images[View.LUMBAR_AP]
    assert first.pixels.shape != other.pixels.shape or not np.array_equal(
        first.pixels, other.pixels
    )


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"digital-radiograph-{SEED}-{n:06d}")
def test_a_column_of_vertebrae_is_marked_and_is_brighter_than_beside_it(number: int) -> None:
    image = drawn(number).images[View.LUMBAR_AP]
    assert image.regions is not None
    pixels, marked = np.asarray(image.pixels, np.float32), np.asarray(image.regions) > 0
    assert set(np.unique(image.regions)) == {0, UNNAMED_VERTEBRA}
    assert pixels.min() >= 0.0
    assert pixels.max() <= 1.0
    rows = np.flatnonzero(marked.any(axis=1))
    height = image.spacing_mm[0] * (rows[-1] - rows[0] + 1)
    assert 100 < height < 470  # mm, five to fourteen vertebrae
    _, pieces = label(marked)
    assert pieces <= len(LEVELS)
    brighter = []
    for row in rows:
        columns = np.flatnonzero(marked[row])
        width = columns[-1] - columns[0] + 1
        beside = np.r_[
            pixels[row, max(columns[0] - width, 0) : columns[0]],
            pixels[row, columns[-1] + 1 : columns[-1] + 1 + width],
        ]
        brighter.append(pixels[row, columns].mean() - beside.mean())
    assert np.mean(np.array(brighter) > 0) > 0.8


def test_a_task_that_needs_a_radiograph_is_given_them_from_the_cache_too(tmp_path: Path) -> None:
    task = TASKS["xray-vertebrae"]
    made = task.digital_patients(2, 3, cache=tmp_path)
    kept = task.digital_patients(2, 3, cache=tmp_path)
    for name in made.patients:
        one, two = (source.studies(name)[0].images[View.LUMBAR_AP] for source in (made, kept))
        assert np.array_equal(one.pixels, two.pixels)
        assert np.array_equal(np.asarray(one.regions), np.asarray(two.regions))
        assert one.spacing_provenance == two.spacing_provenance == "none"
    assert views_for(TASKS["dxa-bmd"].inputs.views) == DXA_VIEWS


def test_a_visit_and_a_radiograph_at_once_are_refused() -> None:
    with pytest.raises(PhantomError, match="alone"):
        DigitalPatients(1, 3, views=(View.SPINE_PA, View.LUMBAR_AP))
