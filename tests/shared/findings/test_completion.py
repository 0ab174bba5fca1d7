"""What somebody drew stays, only what nobody drew is filled in, and a network sees neither."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shared.findings.completion import blind, completed
from shared.findings.findings import Findings
from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
    VertebraBox,
    View,
    VolumeRecord,
)


def test_found_regions_stand_only_where_nobody_drew_any() -> None:
    pixels, drawn = np.zeros((4, 4), np.float32), np.full((4, 4), 7, np.uint8)
    found = np.ones((4, 4), np.uint8)
    hu, found_in_volume = np.zeros((2, 4, 4), np.int16), np.full((2, 4, 4), 20, np.uint8)
    study = StudyRecord(
        "p", "s", Vendor.OTHER,
        {
            View.HIP_LEFT: ImageRecord(pixels, (1.0, 1.0), "none", drawn),
            View.SPINE_PA: ImageRecord(pixels, (1.0, 1.0), "none"),
        },
        StudyLabels(), Covariates(), {"1.2.3": VolumeRecord(hu, (1.0, 1.0, 1.0))},
    )  # fmt: skip
    maps = dict.fromkeys((View.HIP_LEFT, View.SPINE_PA, View.SPINE_LATERAL), found)
    volumes = {"1.2.3": found_in_volume, "9.9": found_in_volume}
    whole = completed(study, Findings(region_maps=maps, volume_maps=volumes))
    assert set(whole.images) == {View.HIP_LEFT, View.SPINE_PA}
    assert whole.images[View.HIP_LEFT].regions is drawn
    assert whole.images[View.SPINE_PA].regions is found
    assert whole.volumes["1.2.3"].regions is found_in_volume
    assert set(whole.volumes) == {"1.2.3"}
    assert study.images[View.SPINE_PA].regions is None


def test_a_network_sees_nothing_that_somebody_drew_or_marked() -> None:
    pixels, drawn = np.zeros((4, 4), np.float32), np.full((4, 4), 7, np.uint8)
    hu = np.zeros((2, 4, 4), np.int16)
    bare_image = ImageRecord(pixels, (1.0, 1.0), "none")
    bare_volume = VolumeRecord(hu, (1.0, 1.0, 1.0))
    box, points = VertebraBox("L1", 0, 0, 2, 2), {"L1": (1.0, 1.0)}
    study = StudyRecord(
        "p", "s", Vendor.OTHER,
        {View.SPINE_LATERAL: replace(bare_image, regions=drawn, boxes=(box,), points=points)},
        StudyLabels(genant={"L1": 2}), Covariates(),
        {"1.2.3": replace(bare_volume, regions=drawn[None], marked_slices={"L1": 1})},
    )  # fmt: skip
    seen = blind(study)
    assert seen.images == {View.SPINE_LATERAL: bare_image}
    assert seen.volumes == {"1.2.3": bare_volume}
    assert (seen.patient, seen.study, seen.labels) == ("", "", StudyLabels())
    assert study.images[View.SPINE_LATERAL].boxes == (box,)


def drawn_series(heights: dict[int, tuple[int, int]], step: float = 3.0) -> VolumeRecord:
    """A series of 30 slices on which each code was drawn from one slice to before another."""
    regions = np.zeros((30, 24, 24), np.uint8)
    for code, (first, last) in heights.items():
        regions[first:last, 8:16, 6:18] = code
    return VolumeRecord(np.zeros(regions.shape, np.int16), (step, 1.0, 1.0), regions=regions)


def test_a_vertebra_of_which_the_middle_was_drawn_is_partly_drawn() -> None:
    assert not drawn_series({20: (3, 11), 21: (14, 22)}).is_partly_drawn
    assert drawn_series({20: (3, 11), 21: (14, 15)}).is_partly_drawn
    assert drawn_series({20: (7, 10)}).is_partly_drawn
    assert not drawn_series({20: (7, 10)}, step=5.0).is_partly_drawn
    assert not drawn_series({}).is_partly_drawn
    assert not replace(drawn_series({}), regions=None).is_partly_drawn


def test_what_was_found_stands_on_slices_that_nobody_drew() -> None:
    volume = drawn_series({20: (7, 8), 21: (15, 16)})
    found = np.full(volume.hu.shape, 22, np.uint8)
    study = StudyRecord("p", "s", Vendor.OTHER, {}, StudyLabels(), Covariates(), {"1.2.3": volume})
    [filled] = completed(study, Findings(volume_maps={"1.2.3": found})).volumes.values()
    assert filled.regions is not None
    assert volume.regions is not None
    assert np.array_equal(filled.regions[[7, 15]], volume.regions[[7, 15]])
    rest = np.delete(filled.regions, [7, 15], axis=0)
    assert (rest == 22).all()
    whole = replace(study, volumes={"1.2.3": drawn_series({20: (3, 11)})})
    [kept] = completed(whole, Findings(volume_maps={"1.2.3": found})).volumes.values()
    assert kept.regions is whole.volumes["1.2.3"].regions
