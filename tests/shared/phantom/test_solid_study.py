"""Visits and films of solid anatomies are what tasks and writers are used to."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from shared.clinical.cross_calibration import standardised_bmd
from shared.phantom.imaging.dxa.looks import SOLID_SCANNERS
from shared.phantom.imaging.dxa.visit import DxaVisit
from shared.phantom.labels import OBJECTS
from shared.phantom.person.generator import NEAR_TO_LIFE, PLAIN
from shared.phantom.person.person import draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.rendered import RenderedStudy
from shared.phantom.solid_source import SolidPatients, solid_patient, solid_radiograph
from shared.phantom.solid_study import (
    METAL_SEEN,
    events_of,
    noticed,
    render_solid_study,
    scan_visit,
)
from shared.records import DXA_VIEWS, Vendor, View
from shared.regions import LUMBAR, UNNAMED_VERTEBRA, VERTEBRAE
from tests.shared.phantom.imaging.bodies import CAREFUL, operated

URBAN = POPULATIONS["urban"]


@lru_cache(maxsize=4)
def study(number: int) -> RenderedStudy:
    return render_solid_study(number, 5, SOLID_SCANNERS["lunar"], URBAN, NEAR_TO_LIFE)


def test_a_visit_has_pictures_truth_and_labels() -> None:
    one = study(0)
    assert set(one.images) == set(DXA_VIEWS)
    assert set(one.heights_mm) == set(VERTEBRAE)
    assert one.covariates == draw_person(0, 5, URBAN, NEAR_TO_LIFE).covariates
    for region, reported in one.labels.bmd.items():
        standard = standardised_bmd(reported, one.vendor, region)
        truth = standardised_bmd(one.true_bmd[region], Vendor.HOLOGIC, region)
        # accuracy of some percent and precision of one
        assert standard == pytest.approx(truth, rel=0.17), region
    assert set(one.labels.genant) <= set(VERTEBRAE)
    assert set(one.labels.quality) == {*LUMBAR, "femoral_neck", "trochanter", "total_hip"}


def test_the_same_arguments_give_the_same_bytes() -> None:
    again = render_solid_study(0, 5, SOLID_SCANNERS["lunar"], URBAN, NEAR_TO_LIFE)
    for view, image in study(0).images.items():
        other = again.images[view]
        np.testing.assert_array_equal(image.display, other.display)
        np.testing.assert_array_equal(image.regions, other.regions)
    assert (again.labels, again.true_bmd, again.events) == (
        study(0).labels, study(0).true_bmd, study(0).events,
    )  # fmt: skip


def test_metal_is_an_object_to_the_operator() -> None:
    views = scan_visit(
        operated(), CAREFUL, SOLID_SCANNERS["hologic"], np.random.default_rng(0),
        np.random.default_rng(1),
    )  # fmt: skip
    for view, level in ((View.SPINE_PA, 3), (View.HIP_LEFT, 6)):
        regions = views[view].image.regions
        assert ((views[view].rays.metal > METAL_SEEN) & (regions == level)).any()
    events = events_of(operated(), CAREFUL, noticed(operated().person))
    assert {"metal:hip:left", "metal:screws:L3", "metal:screws:L4"} <= set(events)
    assert OBJECTS == 1


def test_events_tell_of_a_visit_that_went_wrong() -> None:
    wrong = DxaVisit(
        CAREFUL.lie, 12.0, "right", CAREFUL.off, "head", frozenset({View.HIP_LEFT}), ("zip",),
        CAREFUL.hand,
    )  # fmt: skip
    events = events_of(operated(), wrong, noticed(operated().person))
    assert {"rotation:spine_lateral", "cut_off", "motion:hip_left", "object:zip"} <= set(events)


def test_the_source_gives_what_its_maker_makes_and_keeps_it(tmp_path: Path) -> None:
    made = SolidPatients(1, 3, cache=tmp_path)
    kept = SolidPatients(1, 3, cache=tmp_path, views=[View.SPINE_PA])
    alone = solid_patient(0, 3, PLAIN.name)
    (name,) = made.patients
    first, second = made.studies(name)[0], kept.studies(name)[0]
    assert first.labels == second.labels == alone.labels
    np.testing.assert_array_equal(
        first.images[View.SPINE_PA].pixels, second.images[View.SPINE_PA].pixels
    )
    np.testing.assert_array_equal(
        first.images[View.HIP_LEFT].pixels, alone.images[View.HIP_LEFT].pixels
    )
    assert first.vendor is Vendor.GENERIC


def test_a_film_marks_vertebrae_by_boxes() -> None:
    one = solid_radiograph(1, 3, NEAR_TO_LIFE.name)
    image = one.images[View.LUMBAR_AP]
    assert set(np.unique(np.asarray(image.regions))) == {0, UNNAMED_VERTEBRA}
    marked = np.asarray(image.regions) > 0
    pixels = np.asarray(image.pixels, np.float32)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    rows = np.flatnonzero(marked.any(axis=1))
    assert pixels[marked].mean() > pixels[rows][~marked[rows]].mean()
