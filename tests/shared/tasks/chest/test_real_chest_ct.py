"""Bodies and muscle on real unenhanced chest CTs, on which nothing was tuned."""

from __future__ import annotations

import numpy as np
import pytest

from shared.records import VolumeRecord
from shared.tasks.chest.crops import crop_level, mean_of_level, seems_enhanced
from shared.tasks.ct.slabs import to_slabs
from tests.suite.real_images import REAL_IMAGES, needs_real_images

sitk = pytest.importorskip("SimpleITK")


def read(name: str) -> VolumeRecord:
    image = sitk.DICOMOrient(sitk.ReadImage(str(REAL_IMAGES / "chest_ct_plain" / name)), "LPS")
    right, back, up = image.GetSpacing()
    hu = np.clip(sitk.GetArrayFromImage(image), -1024, 3071).astype(np.int16)
    return VolumeRecord(hu, (up, back, right), (0.0, 0.0, 0.0), 120.0, "", up, None)


@needs_real_images
@pytest.mark.parametrize(("name", "most_cm2"), [("lung1_image.nrrd", 25), ("lung2_image.nrrd", 40)])
def test_a_body_is_dense_and_has_muscle_behind_it(name: str, most_cm2: float) -> None:
    slabs = to_slabs(read(name))
    for share in (0.06, 0.12, 0.20):
        hu = mean_of_level(slabs, share * len(slabs.hu))
        assert hu is not None
        crop = crop_level(hu, 32)
        assert crop is not None
        row, column = crop.centre
        assert float(hu[row - 12 : row + 12, column - 12 : column + 12].mean()) > 80
        assert float(hu[row - 60 : row - 40, column - 10 : column + 10].mean()) < 60
        assert 12 < crop.muscle_cm2 < most_cm2
        assert not seems_enhanced(hu, crop.centre)


@needs_real_images
def test_half_a_chest_has_no_body() -> None:
    slabs = to_slabs(read("elastix_3DCT_lung.mha"))
    for share in (0.06, 0.12, 0.20):
        hu = mean_of_level(slabs, share * len(slabs.hu))
        assert hu is not None
        assert crop_level(hu, 32) is None
