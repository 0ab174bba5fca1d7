"""What somebody drew stays; only what nobody drew is filled in."""

from __future__ import annotations

import numpy as np

from shared.findings.completion import completed
from shared.findings.findings import Findings
from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
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
