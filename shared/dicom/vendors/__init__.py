"""Readers of projections: one file per DXA vendor, and one for radiographs of any maker.

DXA is recognised by manufacturer, model and protocol, never by Modality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.records import Covariates, StudyLabels, Vendor, View

from ..verdicts import SetAsideError
from . import hologic, lunar, radiograph


@dataclass(frozen=True)
class VendorRules:
    """How files of one vendor are read.

    Attributes
    ----------
    vendor : Vendor
        The scanner family.
    matches : callable
        Says whether a data set is a scan of this vendor.
    view_of : callable
        Gives the view, or raises `SetAsideError` with the reason why there is none.
    unscanned : callable
        Marks the margin in display values (H, W) in [0, 1].
    labels_of : callable
        Labels inside the file; raises ValueError if they are there and unreadable.
    covariates_of : callable
        Covariates inside the file that are not standard attributes.
    """

    vendor: Vendor
    matches: Callable[[Dataset], bool]
    view_of: Callable[[Dataset], View]
    unscanned: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    labels_of: Callable[[Dataset], StudyLabels]
    covariates_of: Callable[[Dataset], Covariates]


RULES: Final[tuple[VendorRules, ...]] = (
    VendorRules(
        Vendor.LUNAR,
        lunar.matches,
        lunar.view_of,
        lunar.unscanned,
        lunar.labels_of,
        lunar.covariates_of,
    ),
    VendorRules(
        Vendor.HOLOGIC,
        hologic.matches,
        hologic.view_of,
        hologic.unscanned,
        hologic.labels_of,
        hologic.covariates_of,
    ),
    VendorRules(
        Vendor.OTHER,
        radiograph.matches,
        radiograph.view_of,
        radiograph.unscanned,
        radiograph.labels_of,
        radiograph.covariates_of,
    ),
)


def recognise(dataset: Dataset) -> VendorRules:
    """Find the rules of a file's vendor.

    Raises
    ------
    SetAsideError
        If it is neither a DXA object of a known vendor nor a radiograph.
    """
    for rules in RULES:
        if rules.matches(dataset):
            return rules
    raise SetAsideError("scanner_unknown")
