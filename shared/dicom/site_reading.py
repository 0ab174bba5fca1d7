"""What a site says of its files, and the view of a projection by it: decided, named, seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from shared.hips import HIPS
from shared.records import Vendor, View
from shared.scan_types import SAID, Decided, ScanKind, ViewTold
from shared.settings.files import LabelColumns
from shared.settings.pacs import ReadingSettings

from .vendors import VendorRules, fits_vendor, lunar, view_told
from .vendors.named_scans import says_a_side
from .vendors.nameless import view_by_pixels
from .verdicts import SetAsideError

#: What was decided of a content and of a kind of scan; None where nobody decided.
Decisions = Callable[[str, ScanKind], tuple[Decided | None, Decided | None]]


def nobody_decided(digest: str, kind: ScanKind) -> tuple[None, None]:
    """Say that no person decided anything."""
    return None, None


@dataclass(frozen=True)
class SiteReading:
    """What a site says of its files.

    Attributes
    ----------
    columns : LabelColumns
        What it calls the columns of its tables.
    settings : ReadingSettings
        What it says of its makers and its scans' names.
    decisions : callable
        What a person decided of a scan, by the SHA-256 of its content, and of its kind.
    """

    columns: LabelColumns = field(default_factory=LabelColumns)
    settings: ReadingSettings = field(default_factory=ReadingSettings)
    decisions: Decisions = nobody_decided


def view_of_file(
    rules: VendorRules,
    dataset: Dataset,
    reading: SiteReading,
    digest: str,
    kind: ScanKind,
    data: bytes,
) -> tuple[View, ViewTold, bool | None]:
    """View of a projection, how it was told, and whether a person said that it is inverted.

    What was decided of this scan comes first; what was decided of its kind, where nothing else
    says what it shows. Pixels are asked where the names of a Lunar scan say nothing.
    """
    alone, of_kind = reading.decisions(digest, kind)
    if alone is not None:
        return *_decided_view(alone, rules), alone.inverted
    nameless = rules.vendor is Vendor.LUNAR and lunar.is_nameless(dataset)
    try:
        view, told = view_told(rules, dataset, reading.settings)
    except SetAsideError as aside:
        if aside.reason != "scan_type_unknown":
            raise
        if of_kind is not None:
            view, told = _decided_view(of_kind, rules)
            if view in HIPS and not says_a_side(dataset):
                # The next of a kind may be the other one.
                raise SetAsideError("hip_side_unknown") from None
            if rules.vendor is Vendor.LUNAR:
                view_by_pixels(dataset, data, view)  # refuses what looks like another view
            return view, told, None
        seen = view_by_pixels(dataset, data, None) if nameless else None
        if seen is None:
            raise
        return seen, "recognised", None
    if nameless:
        view_by_pixels(dataset, data, view)
    return view, told, None


def _decided_view(decided: Decided, rules: VendorRules) -> tuple[View, ViewTold]:
    """View that a person named."""
    if decided.scan is None:
        raise SetAsideError("left_out")
    view = decided.scan.view
    if view is None or not fits_vendor(view, rules.vendor):
        raise SetAsideError("view_not_used", SAID[decided.scan])
    return view, "decided"
