"""A folder of DICOM studies and tables, read into what training and inference need.

`read_study_folder` does it in one go. `scan_folder`, `read_group` and
`join_labels` are its three steps, for who takes in large exports study by study.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.dicom.ct.earlier import EarlierSlices
from shared.dicom.ct.volume import ReadVolume, read_series
from shared.dicom.labels.label_joining import join_labels, judge_tables, merge_labels
from shared.dicom.masks.segmentation import read_regions
from shared.dicom.phi.burned_in import looks_burned_in
from shared.dicom.phi.identifiers import SeenIdentifier, identifiers_of
from shared.dicom.pixels.grey_values import is_lossy, stored_values, unit_values
from shared.dicom.pixels.orientation import Facing, facing, flips, turn
from shared.dicom.pixels.spacing import find_spacing, magnification_of
from shared.records import Covariates, ImageRecord, ScanChoice, StudyLabels, Vendor, View
from shared.scan_types import HOW_TOLD, ViewTold
from shared.settings.files import LabelColumns
from shared.settings.pacs import ReadingSettings

from .archives import archives_in, unpack_folder
from .attributes import covariates_of, quietly, remarks_of, text_of
from .parsing import parse
from .read_study import ReadStudy, StudyHeader, header_of, without_pixels
from .repeats import STORED, Coverage, choose, coverage_of
from .scan import FolderScan, SiteReading, judge_copies, scan_folder
from .study_files import ScannedFile, StudyGroup
from .vendors import RULES, VendorRules, radiograph
from .verdicts import FileVerdict, SetAsideError, judge

#: Characters kept of a maker's and a model's name (DICOM: LO).
LONGEST_NAME: Final = 64
BY_VENDOR: Mapping[Vendor, VendorRules] = {rules.vendor: rules for rules in RULES}


@dataclass(frozen=True)
class ReadResult:
    """All studies of a folder, and how each file ended, sorted by path."""

    studies: list[ReadStudy]
    files: list[FileVerdict]


def read_study_folder(
    folder: Path,
    columns: LabelColumns | None = None,
    settings: ReadingSettings | None = None,
    *,
    headers: bool = False,
) -> ReadResult:
    """Read every study under a folder.

    Parameters
    ----------
    folder : Path
        An export: DICOM files of any number of studies, tables and masks beside them.
    columns : LabelColumns or None
        The hospital's column names; None = the defaults.
    settings : ReadingSettings or None
        What the site says of its makers; None = nothing.
    headers : bool
        Whether `ReadStudy.headers` are kept.

    Returns
    -------
    ReadResult
        A bad file costs a verdict, never the batch.

    Raises
    ------
    InputMissingError
        If there is no such folder.
    """
    reading = SiteReading(columns or LabelColumns(), settings or ReadingSettings())
    with TemporaryDirectory(prefix="osteofed-") as room:  # the owner's alone
        archives = archives_in(folder)
        unpacked = unpack_folder(folder, archives, Path(room) / "unpacked") if archives else None
        scan = scan_folder(folder, reading, unpacked=unpacked)
        return _read_scanned(scan, settings, headers)


def _read_scanned(scan: FolderScan, settings: ReadingSettings | None, headers: bool) -> ReadResult:
    """Read every study that was found."""
    verdicts = list(scan.verdicts)
    studies = []
    for group in scan.groups:
        study, more = read_group(group, settings, headers=headers)
        verdicts += more
        if study is not None:
            studies.append(study)
    studies, unused, more = join_labels(studies, scan.rows)
    verdicts += more
    verdicts += [judge(row.path, "label_without_study") for row in unused]
    verdicts += judge_tables(scan, verdicts)
    verdicts += judge_copies(scan, verdicts)
    return ReadResult(studies, sorted(verdicts, key=lambda verdict: verdict.path))


def read_group(
    group: StudyGroup,
    settings: ReadingSettings | None = None,
    earlier: Mapping[str, EarlierSlices] | None = None,
    *,
    headers: bool = False,
) -> tuple[ReadStudy | None, list[FileVerdict]]:
    """Read the pixels, masks and inner labels of one study.

    Parameters
    ----------
    group : StudyGroup
        Its files.
    settings : ReadingSettings or None
        What the site says of its makers; None = nothing.
    earlier : mapping of str to EarlierSlices or None
        What came of its CT series before, by SeriesInstanceUID.
    headers : bool
        Whether `ReadStudy.headers` are kept.

    Returns
    -------
    study : ReadStudy or None
        None if neither an image nor a volume of it could be taken.
    verdicts : list of FileVerdict
        One for each file of the group.
    """
    parts = _Parts(settings or ReadingSettings(), headers={} if headers else None)
    with quietly():
        for view in group.images:
            _take_view(parts, view, group)
        for uid, slices in group.series.items():
            _take_series(parts, uid, slices, group.masks, (earlier or {}).get(uid))
    judged = {verdict.path for verdict in parts.verdicts}
    parts.verdicts += [
        judge(mask.name, "mask_without_image") for mask in group.masks if mask.name not in judged
    ]
    if parts.header is None:
        return None, parts.verdicts
    vendors = {group.images[view].vendor for view in parts.images}
    study = ReadStudy(
        header=parts.header,
        vendor=next((vendor for vendor in vendors if vendor is not None), Vendor.OTHER),
        images=parts.images,
        labels=StudyLabels(bmd=parts.bmd),
        covariates=parts.covariates,
        digests=parts.digests,
        mask_digests=parts.mask_digests,
        volumes=parts.volumes,
        lossy=parts.lossy,
        turned=parts.turned,
        choices={view: one for view, one in parts.choices.items() if view in parts.images},
        set_aside=parts.set_aside,
        told=parts.told,
        facing=parts.facing,
        maker=parts.maker,
        model=parts.model,
        identifiers=frozenset(parts.identifiers),
        identified=frozenset(parts.identified),
        headers=parts.headers or {},
    )
    return study, parts.verdicts


@dataclass
class _Parts:
    """A study while its files are being read."""

    settings: ReadingSettings
    images: dict[View, ImageRecord] = field(default_factory=dict)
    volumes: dict[str, ReadVolume] = field(default_factory=dict)
    lossy: dict[View, bool] = field(default_factory=dict)
    turned: dict[View, tuple[bool, bool]] = field(default_factory=dict)
    told: dict[View, ViewTold] = field(default_factory=dict)
    facing: dict[View, Facing] = field(default_factory=dict)
    bmd: dict[str, float] = field(default_factory=dict)
    digests: dict[View, str] = field(default_factory=dict)
    mask_digests: dict[View, str] = field(default_factory=dict)
    choices: dict[View, ScanChoice] = field(default_factory=dict)
    set_aside: dict[View, str] = field(default_factory=dict)
    verdicts: list[FileVerdict] = field(default_factory=list)
    covariates: Covariates = field(default_factory=Covariates)
    header: StudyHeader | None = None
    maker: str = ""
    model: str = ""
    identifiers: set[SeenIdentifier] = field(default_factory=set)
    identified: set[str] = field(default_factory=set)
    headers: dict[str, Dataset] | None = None

    def identify(self, dataset: Dataset, file: ScannedFile) -> None:
        """Collect what in a file names the patient."""
        self.identifiers |= identifiers_of(dataset, file.name)
        self.identified.add(file.name)
        if self.headers is not None:
            self.headers[file.digest] = without_pixels(dataset)

    def refuse(self, view: View, files: Sequence[ScannedFile], reason: str, detail: str) -> None:
        """Set files of a view aside, and keep why it has no image unless one is taken."""
        judged = [judge(file.name, reason, detail) for file in files]
        self.verdicts += judged
        self.set_aside.setdefault(view, f"its image was set aside: {judged[0].sentence}")

    def describe(self, dataset: Dataset, file: ScannedFile, covariates: Covariates) -> None:
        """Keep what a data set says of the study; the first one that says it counts."""
        self.covariates = covariates
        self.header = self.header or header_of(dataset, file.study_uid)
        self.maker = self.maker or text_of(dataset, "Manufacturer")[:LONGEST_NAME]
        self.model = self.model or text_of(dataset, "ManufacturerModelName")[:LONGEST_NAME]


def _take_view(parts: _Parts, view: View, group: StudyGroup) -> None:
    """Read the scan of a view that is used into the study, and say why the others are not."""
    scans = group.scans(view)
    if len(scans) > 1:
        chosen, why = (scans[0], STORED) if view in group.settled else _chosen(parts, view, scans)
        if chosen is None:
            return
        parts.choices[view] = ScanChoice(len(scans), why, chosen.instance_uid)
        judged = {verdict.path for verdict in parts.verdicts}
        others = [file for file in scans if file is not chosen and file.name not in judged]
        parts.verdicts += [judge(file.name, "view_repeated") for file in others]
        scans = [chosen]
    with _refusals(parts, view, scans[0]):
        _take(parts, view, scans[0], group.masks)
        parts.set_aside.pop(view, None)


@contextmanager
def _refusals(parts: _Parts, view: View, file: ScannedFile) -> Iterator[None]:
    """Turn what goes wrong with a file into its verdict: one bad file never stops the batch."""
    try:
        yield
    except SetAsideError as aside:
        parts.refuse(view, [file], aside.reason, aside.detail)
    except Exception as error:
        parts.refuse(view, [file], "damaged", type(error).__name__)


def _chosen(
    parts: _Parts, view: View, scans: Sequence[ScannedFile]
) -> tuple[ScannedFile | None, str]:
    """Choose among several scans of a view, and say why; None if none can be used."""
    usable: list[Coverage] = []
    for file in scans:
        with _refusals(parts, view, file):
            dataset = parse(file.path.read_bytes(), pixels=True)
            image, _, _ = _read_image(dataset, file, parts.settings)
            usable.append(coverage_of(file, view, image))
    if not usable:
        return None, ""
    chosen, why = choose(usable)
    if chosen is None:
        parts.refuse(view, [one.file for one in usable], "view_twice", "")
    return chosen, why


def _take(parts: _Parts, view: View, file: ScannedFile, masks: list[ScannedFile]) -> None:
    """Read one image with its mask and labels into the study."""
    dataset = parse(file.path.read_bytes(), pixels=True)
    parts.identify(dataset, file)
    image, reversals, faces = _read_image(dataset, file, parts.settings)
    reason, labels = _inner_labels(dataset, file)
    covariates = _filled(parts.covariates, dataset, file)
    lossy = is_lossy(dataset)
    mask, judged = _read_mask(parts, masks, file, image.pixels.shape, reversals)
    if mask is not None:
        image = replace(image, regions=mask[0])
        parts.mask_digests[view] = mask[1].digest
    # Nothing below can fail, so a study never holds half a file.
    parts.images[view] = image
    parts.digests[view] = file.digest
    parts.lossy[view] = lossy
    parts.turned[view] = reversals
    if faces is not None:
        parts.facing[view] = faces
    parts.bmd |= labels.bmd
    parts.describe(dataset, file, covariates)
    parts.told[view] = file.told
    how = "" if file.told == "named" else f"as {view.value}, {HOW_TOLD[file.told]}"
    remarks = [how, *remarks_of(dataset), magnification_of(dataset)[2]]
    detail = "; ".join(remark for remark in remarks if remark)
    parts.verdicts += [judge(file.name, reason, detail), *judged]


def _take_series(
    parts: _Parts,
    uid: str,
    slices: list[ScannedFile],
    masks: list[ScannedFile],
    earlier: EarlierSlices | None,
) -> None:
    """Read one CT series with its masks into the study."""
    instances = {file.instance_uid for file in slices}
    mine = [mask for mask in masks if mask.series_uid == uid or instances & mask.refers_to]
    volume, header, verdicts = read_series(slices, mine, parts.identify, parts.settings, earlier)
    if volume is not None and header is not None:
        parts.volumes[uid] = volume
        parts.describe(header, slices[0], _filled(parts.covariates, header, slices[0]))
    parts.verdicts += verdicts


def _read_image(
    dataset: Dataset, file: ScannedFile, settings: ReadingSettings
) -> tuple[ImageRecord, tuple[bool, bool], Facing | None]:
    """Pixels, spacing, how the image had to be turned, and which way a lateral one faces."""
    vendor, view = file.vendor, file.view
    if vendor is None or view is None:  # a scanned image always has both
        raise SetAsideError("scan_type_unknown")
    said = settings.of_maker(text_of(dataset, "Manufacturer"))
    inverted = (said is not None and said.inverted) != bool(file.inverted)
    unit = unit_values(dataset, stored_values(dataset), inverted=inverted)
    unscanned = BY_VENDOR[vendor].unscanned(unit)
    text = looks_burned_in(unit, unscanned=unscanned)
    unit[unscanned] = np.nan
    if np.isnan(unit).all():
        raise SetAsideError("nothing_scanned")
    unsure = view is View.LUMBAR_AP and file.inverted is None
    if unsure and radiograph.looks_inverted(unit):
        raise SetAsideError("polarity_unsure")
    if text:
        raise SetAsideError("burned_in_text", text)
    spacing, provenance = find_spacing(dataset, vendor)
    orientation = text_of(dataset, "PatientOrientation")
    reversals = flips(orientation, view)
    image = ImageRecord(turn(unit, reversals), spacing, provenance)
    if view is not View.SPINE_LATERAL:
        return image, reversals, None
    faces = facing(orientation, image, reversals)
    if faces == Facing("right", "anatomy"):
        reversals = (reversals[0], True)
        image = ImageRecord(turn(unit, reversals), spacing, provenance)
    return image, reversals, faces


def _inner_labels(dataset: Dataset, file: ScannedFile) -> tuple[str, StudyLabels]:
    """Labels inside an image's file, and the reason code of its verdict."""
    if file.vendor is None:
        return "ok", StudyLabels()
    try:
        return "ok", BY_VENDOR[file.vendor].labels_of(dataset, file.view)
    except (ValueError, IndexError):
        return "labels_unreadable", StudyLabels()


def _filled(known: Covariates, dataset: Dataset, file: ScannedFile) -> Covariates:
    """Fill what is not known yet: standard attributes first, then the vendor's own."""
    sources = [covariates_of(dataset)]
    if file.vendor is not None:
        sources.append(BY_VENDOR[file.vendor].covariates_of(dataset))
    for source in sources:
        missing = {
            name: getattr(source, name)
            for name in ("sex", "age_years", "height_cm", "weight_kg", "ethnic_group")
            if getattr(known, name) is None
        }
        known = replace(known, **missing)
    return known


def _read_mask(
    parts: _Parts,
    masks: list[ScannedFile],
    image: ScannedFile,
    shape: tuple[int, ...],
    reversals: tuple[bool, bool],
) -> tuple[tuple[NDArray[np.uint8], ScannedFile] | None, list[FileVerdict]]:
    """Region map of an image, if exactly one usable mask refers to it."""
    mine = [mask for mask in masks if image.instance_uid in mask.refers_to]
    if len(mine) > 1:
        return None, [judge(mask.name, "mask_twice") for mask in mine]
    for mask in mine:
        try:
            dataset = parse(mask.path.read_bytes(), pixels=True)
            parts.identify(dataset, mask)
            right = image.view is View.HIP_RIGHT
            regions = read_regions(dataset, (shape[0], shape[1]), right=right)
        except SetAsideError as aside:
            return None, [judge(mask.name, aside.reason, aside.detail)]
        except Exception as error:  # one bad file never stops the batch
            return None, [judge(mask.name, "damaged", type(error).__name__)]
        return (turn(regions, reversals), mask), [judge(mask.name, "ok")]
    return None, []


__all__ = [
    "ReadResult", "ReadVolume", "join_labels", "judge_tables", "merge_labels", "read_group",
    "read_study_folder",
]  # fmt: skip
