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

from shared.records import (
    DXA_VENDORS,
    Covariates,
    Modality,
    StudyLabels,
    Vendor,
    View,
    modality_of,
)
from shared.scan_types import ScanKind, ScanType, ViewTold, folded
from shared.settings.pacs import ReadingSettings

from ..attributes import number_of, text_of
from ..verdicts import SetAsideError
from . import hologic, lunar, radiograph
from .named_scans import NAMES, view_of_scan, without
from .scan_names import NameMeaning, meaning_of

#: Besides its names, what says of a scan where it was made.
PLACED: Final = ("BodyPartExamined", "ViewPosition", "Laterality", "ImageLaterality")
DIFFERS: Final = "site.yaml gives its name another meaning than its other attributes have"


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
        Labels inside the file of a view; raises ValueError if they are there and unreadable.
    covariates_of : callable
        Covariates inside the file that are not standard attributes.
    """

    vendor: Vendor
    matches: Callable[[Dataset], bool]
    view_of: Callable[[Dataset], View]
    unscanned: Callable[[NDArray[np.float32]], NDArray[np.bool_]]
    labels_of: Callable[[Dataset, View | None], StudyLabels]
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


def kind_of(dataset: Dataset, vendor: Vendor) -> ScanKind:
    """What a file has in common with others of its scanner that are called the same."""
    names = [text_of(dataset, keyword) for keyword in NAMES]
    given = [*names, *(text_of(dataset, keyword) for keyword in PLACED)]
    return ScanKind(
        vendor=vendor,
        maker=text_of(dataset, "Manufacturer"),
        model=text_of(dataset, "ManufacturerModelName"),
        serial=text_of(dataset, "DeviceSerialNumber"),
        name=next((name for name in names if name), ""),
        said=tuple(folded(one) for one in given),
        telling=_are_telling([meaning_of(name) for name in names]),
        rows=int(number_of(dataset, "Rows") or 0),
        columns=int(number_of(dataset, "Columns") or 0),
    )


def _are_telling(names: list[NameMeaning]) -> bool:
    """Whether one of the names has words of its own, and none is that of a hip without a side."""
    sided = all("hip" not in one.concepts or one.concepts & {"left", "right"} for one in names)
    return sided and any(not one.understood for one in names)


def view_told(
    rules: VendorRules, dataset: Dataset, settings: ReadingSettings
) -> tuple[View, ViewTold]:
    """View of a file, and how it was told: by the site's own words, else by the vendor's rules.

    Raises
    ------
    SetAsideError
        If there is no view of use, or its attributes contradict each other or the site's words.
    """
    for keyword in NAMES:
        scan = settings.scan_named(text_of(dataset, keyword))
        if scan is not None:
            return _view_meant(rules, dataset, keyword, scan), "mapped"
    return rules.view_of(dataset), "named"


def _view_meant(rules: VendorRules, dataset: Dataset, keyword: str, scan: ScanType) -> View:
    """View that the site gives a name, held against what all other attributes say."""
    with without(dataset, keyword):
        try:
            other: View | None = rules.view_of(dataset)
        except SetAsideError as aside:
            if aside.reason not in ("scan_type_unknown", "view_not_used"):
                raise
            if aside.reason == "view_not_used" and scan.view is not None:
                raise SetAsideError("scan_type_unknown", DIFFERS) from None
            other = None
    view = view_of_scan(scan, dataset)
    if other not in (None, view) or not fits_vendor(view, rules.vendor):
        raise SetAsideError("scan_type_unknown", DIFFERS)
    return view


def fits_vendor(view: View, vendor: Vendor) -> bool:
    """Whether a maker's images can be of a view: radiographs or DXA scans."""
    return (modality_of(view) is Modality.DXA) == (vendor in DXA_VENDORS)
