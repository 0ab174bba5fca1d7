"""A folder of DICOM studies and tables, read into what training and inference need.

`read_study_folder` does it in one go. `scan_folder`, `read_group` and
`join_labels` are its three steps, for who takes in large exports study by study.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.config import LabelColumns
from shared.records import Covariates, ImageRecord, StudyLabels, Vendor, View, VolumeRecord

from .attributes import covariates_of, quietly, study_date, text_of
from .burned_in import looks_burned_in
from .identifiers import SeenIdentifier, identifiers_of
from .labels import LabelRow
from .orientation import flips, turn
from .pixels import stored_values, unit_values
from .scan import FolderScan, ScannedFile, StudyGroup, parse, scan_folder
from .segmentation import read_regions
from .spacing import find_spacing
from .vendors import RULES, VendorRules
from .verdicts import FileVerdict, SetAsideError, judge

BY_VENDOR: Mapping[Vendor, VendorRules] = {rules.vendor: rules for rules in RULES}


@dataclass(frozen=True)
class StudyHeader:
    """Who and when. It identifies, and never leaves the process that read it.

    `patient_id` and the names are empty and `study_date` is None where the files
    do not say.
    """

    patient_id: str
    patient_name: str
    study_uid: str
    study_date: date | None
    accession: str

    def __repr__(self) -> str:
        """Hide everything, so that no log or traceback shows a patient."""
        return "StudyHeader(***)"


@dataclass(frozen=True)
class ReadVolume:
    """One CT series as read.

    Attributes
    ----------
    record : VolumeRecord
        Voxels and geometry.
    slices : int
        Files that it was made of.
    lossy : bool
        Whether any slice was compressed with loss.
    resampled : str
        What was done to the geometry: empty, ``tilt`` or ``gaps``.
    digest : str
        SHA-256 over the sorted SHA-256 of the slices.
    mask_digest : str or None
        SHA-256 of the file that the regions came from.
    """

    record: VolumeRecord
    slices: int
    lossy: bool
    resampled: str
    digest: str
    mask_digest: str | None = None


@dataclass(frozen=True)
class ReadStudy:
    """One study as read.

    Attributes
    ----------
    header : StudyHeader
        Identifiers.
    vendor : Vendor
        The scanner family.
    images : mapping of View to ImageRecord
        At least one; pixels float32.
    labels : StudyLabels
        From the files, and from tables once joined (`join_labels`).
    covariates : Covariates
        Ages capped at 89.
    digests : mapping of View to str
        SHA-256 of the file each image came from.
    mask_digests : mapping of View to str
        Likewise for the masks.
    volumes : mapping of str to ReadVolume
        CT series by SeriesInstanceUID.
    lossy : mapping of View to bool
        Whether an image was compressed with loss at any time.
    maker, model : str
        Manufacturer and model as the files say.
    identifiers : frozenset of SeenIdentifier
        Everything in the files that names the patient, for `client.identifiers`.
    """

    header: StudyHeader
    vendor: Vendor
    images: Mapping[View, ImageRecord]
    labels: StudyLabels
    covariates: Covariates
    digests: Mapping[View, str]
    mask_digests: Mapping[View, str]
    volumes: Mapping[str, ReadVolume] = field(default_factory=dict)
    lossy: Mapping[View, bool] = field(default_factory=dict)
    maker: str = ""
    model: str = ""
    identifiers: frozenset[SeenIdentifier] = frozenset()


@dataclass(frozen=True)
class ReadResult:
    """All studies of a folder, and how each file ended, sorted by path."""

    studies: list[ReadStudy]
    files: list[FileVerdict]


def read_study_folder(folder: Path, columns: LabelColumns | None = None) -> ReadResult:
    """Read every study under a folder.

    Parameters
    ----------
    folder : Path
        An export: DICOM files of any number of studies, CSV tables beside them.
    columns : LabelColumns or None
        The hospital's column names; None = the defaults.

    Returns
    -------
    ReadResult
        A bad file costs a verdict, never the batch.

    Raises
    ------
    InputMissingError
        If there is no such folder.
    """
    scan = scan_folder(folder, columns or LabelColumns())
    verdicts = list(scan.verdicts)
    studies = []
    for group in scan.groups:
        study, more = read_group(group)
        verdicts += more
        if study is not None:
            studies.append(study)
    studies, unused, more = join_labels(studies, scan.rows)
    verdicts += more
    verdicts += [judge(row.path, "label_without_study") for row in unused]
    verdicts += judge_tables(scan, verdicts)
    return ReadResult(studies, sorted(verdicts, key=lambda verdict: verdict.path))


def read_group(group: StudyGroup) -> tuple[ReadStudy | None, list[FileVerdict]]:
    """Read the pixels, masks and inner labels of one study.

    Returns
    -------
    study : ReadStudy or None
        None if no image of it could be taken.
    verdicts : list of FileVerdict
        One for each file of the group.
    """
    parts = _Parts()
    with quietly():
        for view, file in group.images.items():
            try:
                _take(parts, view, file, group.masks)
            except SetAsideError as aside:
                parts.verdicts.append(judge(file.name, aside.reason, aside.detail))
            except Exception as error:  # one bad file never stops the batch
                parts.verdicts.append(judge(file.name, "damaged", type(error).__name__))
    judged = {verdict.path for verdict in parts.verdicts}
    parts.verdicts += [
        judge(mask.name, "mask_without_image") for mask in group.masks if mask.name not in judged
    ]
    vendor = next(iter(group.images.values())).vendor
    if parts.header is None or vendor is None:
        return None, parts.verdicts
    study = ReadStudy(
        header=parts.header,
        vendor=vendor,
        images=parts.images,
        labels=StudyLabels(bmd=parts.bmd),
        covariates=parts.covariates,
        digests={view: group.images[view].digest for view in parts.images},
        mask_digests=parts.mask_digests,
        identifiers=frozenset(parts.identifiers),
    )
    return study, parts.verdicts


@dataclass
class _Parts:
    """A study while its files are being read."""

    images: dict[View, ImageRecord] = field(default_factory=dict)
    bmd: dict[str, float] = field(default_factory=dict)
    mask_digests: dict[View, str] = field(default_factory=dict)
    verdicts: list[FileVerdict] = field(default_factory=list)
    covariates: Covariates = field(default_factory=Covariates)
    header: StudyHeader | None = None
    identifiers: set[SeenIdentifier] = field(default_factory=set)


def _take(parts: _Parts, view: View, file: ScannedFile, masks: list[ScannedFile]) -> None:
    """Read one image with its mask and labels into the study."""
    dataset = parse(file.path.read_bytes(), pixels=True)
    parts.identifiers |= identifiers_of(dataset, file.name)
    image, reversals = _read_image(dataset, file)
    reason, labels = _inner_labels(dataset, file)
    covariates = _filled(parts.covariates, dataset, file)
    header = parts.header or _header(dataset, file.study_uid)
    mask, judged = _read_mask(parts, masks, file, image.pixels.shape, reversals)
    if mask is not None:
        image = replace(image, regions=mask[0])
        parts.mask_digests[view] = mask[1].digest
    # Nothing below can fail, so a study never holds half a file.
    parts.images[view] = image
    parts.bmd |= labels.bmd
    parts.covariates, parts.header = covariates, header
    parts.verdicts += [judge(file.name, reason), *judged]


def _read_image(dataset: Dataset, file: ScannedFile) -> tuple[ImageRecord, tuple[bool, bool]]:
    """Pixels, spacing and how the image had to be turned."""
    vendor, view = file.vendor, file.view
    if vendor is None or view is None:  # a scanned image always has both
        raise SetAsideError("scan_type_unknown")
    unit = unit_values(dataset, stored_values(dataset))
    unit[BY_VENDOR[vendor].unscanned(unit)] = np.nan
    if np.isnan(unit).all():
        raise SetAsideError("nothing_scanned")
    text = looks_burned_in(unit)
    if text:
        raise SetAsideError("burned_in_text", text)
    spacing, provenance = find_spacing(dataset, vendor)
    reversals = flips(text_of(dataset, "PatientOrientation"), view)
    return ImageRecord(turn(unit, reversals), spacing, provenance), reversals


def _inner_labels(dataset: Dataset, file: ScannedFile) -> tuple[str, StudyLabels]:
    """Labels inside an image's file, and the reason code of its verdict."""
    if file.vendor is None:
        return "ok", StudyLabels()
    try:
        return "ok", BY_VENDOR[file.vendor].labels_of(dataset)
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
            parts.identifiers |= identifiers_of(dataset, mask.name)
            regions = read_regions(dataset, (shape[0], shape[1]))
        except SetAsideError as aside:
            return None, [judge(mask.name, aside.reason, aside.detail)]
        except Exception as error:  # one bad file never stops the batch
            return None, [judge(mask.name, "damaged", type(error).__name__)]
        return (turn(regions, reversals), mask), [judge(mask.name, "ok")]
    return None, []


def _header(dataset: Dataset, study_uid: str) -> StudyHeader:
    """Identifiers of a study."""
    return StudyHeader(
        patient_id=text_of(dataset, "PatientID"),
        patient_name=text_of(dataset, "PatientName"),
        study_uid=study_uid,
        study_date=study_date(dataset),
        accession=text_of(dataset, "AccessionNumber"),
    )


def join_labels(
    studies: list[ReadStudy], rows: Iterable[LabelRow]
) -> tuple[list[ReadStudy], list[LabelRow], list[FileVerdict]]:
    """Join labels of tables to studies by patient id and day of the scan.

    Returns
    -------
    studies : list of ReadStudy
        With their labels, in the same order.
    unused : list of LabelRow
        Labels of visits that are not among the studies.
    verdicts : list of FileVerdict
        Of labels that are ambiguous or contradict each other or the files.
    """
    visits: dict[tuple[str, date], list[int]] = defaultdict(list)
    for place, study in enumerate(studies):
        if study.header.patient_id and study.header.study_date is not None:
            visits[study.header.patient_id, study.header.study_date].append(place)
    rows_of: dict[int, list[LabelRow]] = defaultdict(list)
    unused: list[LabelRow] = []
    verdicts: list[FileVerdict] = []
    for row in rows:
        places = visits.get(row.visit, [])
        if not places:
            unused.append(row)
        elif len(places) > 1:
            verdicts.append(judge(row.path, "label_ambiguous"))
        else:
            rows_of[places[0]].append(row)
    joined = list(studies)
    for place, mine in rows_of.items():
        labels, more = merge_labels(joined[place].labels, mine)
        verdicts += more
        joined[place] = replace(joined[place], labels=labels)
    return joined, unused, verdicts


def merge_labels(
    labels: StudyLabels, rows: Iterable[LabelRow]
) -> tuple[StudyLabels, list[FileVerdict]]:
    """Add the labels of one study; where two sources differ, neither is used.

    BMD is reported to three decimals, so smaller differences are none.
    """
    bmd, genant = dict(labels.bmd), dict(labels.genant)
    told: dict[tuple[str, str], list[LabelRow]] = defaultdict(list)
    for row in rows:
        told[row.kind, row.name].append(row)
    verdicts = []
    for (kind, name), mine in told.items():
        known: dict[str, float] = {**(bmd if kind == "bmd" else genant)}
        values = [row.value for row in mine] + ([known[name]] if name in known else [])
        if max(values) - min(values) > 0.00051:
            verdicts += [judge(row.path, "label_conflict") for row in mine]
            (bmd if kind == "bmd" else genant).pop(name, None)
        elif kind == "bmd":
            bmd.setdefault(name, mine[0].value)
        else:
            genant.setdefault(name, int(mine[0].value))
    return StudyLabels(bmd=bmd, genant=genant, quality=labels.quality), verdicts


def judge_tables(scan: FolderScan, verdicts: list[FileVerdict]) -> list[FileVerdict]:
    """Verdict of each table: taken if at least one of its rows was used."""
    unused = Counter(
        verdict.path.rsplit(":", 1)[0] for verdict in verdicts if verdict.reason != "label_invalid"
    )
    total = Counter(row.path.rsplit(":", 1)[0] for row in scan.rows)
    return [
        judge(table, "ok" if total[table] > unused[table] else "table_unused")
        for table in scan.tables
    ]
