"""One name for a vertebra everywhere, one table of its codes, one conversion."""

from __future__ import annotations

import numpy as np
import pytest

from client.browse.pictures import CT_CODES
from shared.dicom.masks.levels import LEVELS
from shared.regions import CT_LEVELS, REGION_CODES, VERTEBRA_CODES, VERTEBRAE, code_of, recoded


def test_codes_that_stores_hold_never_change() -> None:
    assert [code_of(name, "image") for name in VERTEBRAE] == [*range(8, 17), 1, 2, 3, 4]
    thoracic, lumbar = [f"T{n}" for n in range(1, 13)], [f"L{n}" for n in range(1, 6)]
    assert [code_of(name, "volume") for name in thoracic + lumbar] == list(range(8, 25))


def test_every_table_of_levels_is_made_of_the_one_table() -> None:
    assert LEVELS == CT_CODES == {name: code_of(name, "volume") for name in CT_LEVELS}
    assert all(REGION_CODES[name] == code for name, code in VERTEBRA_CODES["image"].items())


def test_a_map_of_one_kind_becomes_one_of_the_other_by_name() -> None:
    names = ["T4", "T12", "L1", "L4"]
    images = np.array([code_of(name, "image") for name in names], np.uint8)
    volumes = np.array([code_of(name, "volume") for name in names], np.uint8)
    assert recoded(images, "image", "volume").tolist() == volumes.tolist()
    assert recoded(volumes, "volume", "image").tolist() == images.tolist()


def test_what_the_other_kind_has_no_code_for_is_background() -> None:
    volume = np.array([[code_of("L5", "volume"), code_of("T1", "volume"), 0]], np.uint8)
    assert not recoded(volume, "volume", "image").any()
    hip = np.array([REGION_CODES["femoral_neck"]], np.uint8)
    assert recoded(hip, "image", "volume").tolist() == [0]
    with pytest.raises(KeyError):
        code_of("L5", "image")
