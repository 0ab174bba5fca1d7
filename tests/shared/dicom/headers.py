"""Headers that say only what a test is about, and what Hologic's rules make of them."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from shared.dicom.vendors import hologic
from shared.dicom.verdicts import SetAsideError
from shared.records import View


def header(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def check_hologic_view(attributes: dict[str, object], outcome: View | str) -> None:
    """Hold the view of a Hologic image, or the reason why it has none."""
    dataset = header(**({"BitsAllocated": 16, "SamplesPerPixel": 1} | attributes))
    if isinstance(outcome, View):
        assert hologic.view_of(dataset) is outcome
    else:
        with pytest.raises(SetAsideError, match=outcome):
            hologic.view_of(dataset)
