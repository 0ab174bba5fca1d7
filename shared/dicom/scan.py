"""First look at a folder: what each file is, and which belong together.

Headers only, no pixels, so that a whole export is looked at in seconds and memory
holds one study's images at a time afterwards.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from shared.dicom.ct.eligibility import SLICE_RULES, check
from shared.dicom.ct.geometry import places_of
from shared.dicom.labels.mark_images import find_images
from shared.dicom.labels.tables import LabelRow, read_table
from shared.dicom.masks.mask_files import loose_grid
from shared.dicom.masks.mask_joining import join_loose
from shared.errors import InputMissingError
from shared.scan_types import ScanKind
from shared.settings.files import LabelColumns

from .attributes import quietly, text_of
from .content import content_digest
from .ct import slices as ct
from .labels import structured_report
from .masks import segmentation
from .own_uids import is_ours
from .parsing import parse
from .repeats import made_when
from .site_reading import SiteReading, view_of_file
from .study_files import ScannedFile, StudyGroup, Unpacked
from .vendors import kind_of, recognise
from .verdicts import FileVerdict, SetAsideError, judge

#: No file of a study comes near this, save enhanced CT of a whole body.
LARGEST_FILE: Final = 512 * 1024 * 1024
#: Files that a worker looks at in one go.
FILES_PER_JOB: Final = 16
#: Endings of the tables that exports hold.
TABLE_ENDINGS: Final = (".csv", ".tsv", ".xlsx")


UID_TEXT: Final = re.compile(r"[0-9.]{0,64}")


@dataclass
class FolderScan:
    """What the first look found.

    Attributes
    ----------
    groups : list of StudyGroup
        Studies with at least one image or CT series, in the order of their first file.
    rows : list of LabelRow
        Labels of the tables, not joined yet; marks know the file in the folder that they name.
    tables : list of str
        Tables that could be read.
    verdicts : list of FileVerdict
        Of everything that is already decided.
    digests : dict of str to str
        SHA-256 of every file that could be read, by its name in the verdicts.
    series : dict of str to list of str
        Names of the slices of each CT series, by SeriesInstanceUID.
    copies : dict of str to str
        Files whose content another has that was looked at before, and that one.
    elsewhere : mapping of str to Path
        Where files lie that are not in the folder under their name.
    kinds : dict of str to ScanKind
        Of every projection of a known maker, by its name.
    """

    groups: list[StudyGroup] = field(default_factory=list)
    rows: list[LabelRow] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    verdicts: list[FileVerdict] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    series: dict[str, list[str]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    kinds: dict[str, ScanKind] = field(default_factory=dict)


#: Applies a function to items and gives the results in order: `map`, or worker processes.
Spread = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]


@dataclass(frozen=True)
class _Look:
    """What one file turned out to be, by itself; `digest` is empty if it was not read."""

    name: str
    digest: str = ""
    file: ScannedFile | None = None
    table: tuple[list[LabelRow], list[FileVerdict]] | None = None
    verdict: FileVerdict | None = None
    kind: ScanKind | None = None


def scan_folder(
    folder: Path,
    reading: SiteReading | LabelColumns,
    spread: Spread = map,
    unpacked: Unpacked | None = None,
) -> FolderScan:
    """Look at every file under a folder; each is read once.

    Parameters
    ----------
    folder : Path
        Where an export lies; walked in sorted order.
    reading : SiteReading or LabelColumns
        What the site says of its files, or of its tables alone.
    spread : callable
        How the work is spread; by default it is done here, one file after the other.
    unpacked : Unpacked or None
        What the archives in the folder held, which are looked at in their place.

    Raises
    ------
    InputMissingError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise InputMissingError(f"{folder}: no such folder (a folder of DICOM files was expected)")
    if isinstance(reading, LabelColumns):
        reading = SiteReading(reading)
    names = [(path, path.relative_to(folder).as_posix()) for path in walk(folder)]
    scan = FolderScan()
    if unpacked is not None:
        names = [one for one in names if one[1] not in unpacked.archives]
        names += [(path, name) for name, path in unpacked.files.items()]
        scan = FolderScan(verdicts=list(unpacked.verdicts), elsewhere=unpacked.files)
    parts = [names[n : n + FILES_PER_JOB] for n in range(0, len(names), FILES_PER_JOB)]
    files: list[ScannedFile] = []
    seen: dict[str, str] = {}
    for looks in spread(partial(_look_at, folder, reading), parts):
        for look in looks:
            _sort_in(look, scan, files, seen)
    _group(files, scan)
    return scan


def walk(folder: Path) -> Iterator[Path]:
    """Files under a folder, sorted, and links to folders outside of it; none is followed."""
    for base, folders, names in os.walk(folder):
        folders.sort()
        outside = [name for name in folders if leads_out(Path(base) / name, folder)]
        for name in sorted((*names, *outside)):
            yield Path(base) / name


def leads_out(path: Path, folder: Path) -> bool:
    """Tell whether a path is a link to somewhere outside of a folder."""
    if not path.is_symlink():
        return False
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a link to itself: it cannot be read either
        return False


def _look_at(folder: Path, reading: SiteReading, files: Sequence[tuple[Path, str]]) -> list[_Look]:
    """Look at some files, each by itself; one bad file never stops the batch."""
    with quietly():
        return [
            _Look(name, verdict=judge(name, "link_outside"))
            if leads_out(path, folder)
            else _look(path, name, reading)
            for path, name in files
        ]


def _look(path: Path, name: str, reading: SiteReading) -> _Look:
    """Look at one file."""
    digest, kind = "", None
    try:
        size = path.stat().st_size
        if size == 0:
            raise SetAsideError("empty_file")
        if size > LARGEST_FILE:
            raise SetAsideError("file_too_large")
        data = path.read_bytes()
        digest = content_digest(data)
        if path.suffix.lower() in TABLE_ENDINGS:
            return _Look(name, digest, table=read_table(name, data, reading.columns))
        file = describe(path, name, digest, data, reading)
        return _Look(name, digest, file, kind=file.kind_of_scan)
    except SetAsideError as aside:
        verdict, kind = judge(name, aside.reason, aside.detail), aside.kind
    except OSError as error:
        verdict = judge(name, "unreadable", type(error).__name__)
    except Exception as error:  # one bad file never stops the batch
        verdict = judge(name, "damaged", type(error).__name__)
    return _Look(name, digest, verdict=verdict, kind=kind)


def _sort_in(look: _Look, scan: FolderScan, files: list[ScannedFile], seen: dict[str, str]) -> None:
    """Put one file where it belongs; the second of two files with one content is nothing new."""
    if look.digest:
        scan.digests[look.name] = look.digest
    if look.kind is not None:
        scan.kinds[look.name] = look.kind
    if look.digest in seen:
        scan.copies[look.name] = seen[look.digest]
    elif look.verdict is not None:
        scan.verdicts.append(look.verdict)
    else:
        seen[look.digest] = look.name
        if look.file is not None:
            files.append(look.file)
        if look.table is not None:
            rows, verdicts = look.table
            scan.rows += rows
            scan.verdicts += verdicts
            scan.tables.append(look.name)


def judge_copies(scan: FolderScan, verdicts: Iterable[FileVerdict]) -> list[FileVerdict]:
    """Verdicts of copies, once it is known what became of the files that they repeat.

    Parameters
    ----------
    scan : FolderScan
        Which files are copies.
    verdicts : iterable of FileVerdict
        How all others ended.

    Returns
    -------
    list of FileVerdict
        Of each copy: ``already_there`` if the other was taken, else the other's own.
    """
    ended = {verdict.path: verdict for verdict in verdicts}
    taken = {path for path, verdict in ended.items() if verdict.verdict == "taken"}
    return [
        judge(copy, "already_there") if first in taken else replace(ended[first], path=copy)
        for copy, first in scan.copies.items()
    ]


def describe(path: Path, name: str, digest: str, data: bytes, reading: SiteReading) -> ScannedFile:
    """Say what the content of a file is that is no table.

    Raises
    ------
    SetAsideError
        If it is of no use, with the reason.
    """
    grid = loose_grid(data)
    if grid is not None:
        return ScannedFile(path, name, digest, "mask", "", "", "", grid=grid)
    return _describe(path, name, digest, parse(data, pixels=False), reading, data)


def _describe(
    path: Path, name: str, digest: str, dataset: Dataset, reading: SiteReading, data: bytes
) -> ScannedFile:
    """Say what a data set is, or why it is not used."""
    sop_class = dataset.SOPClassUID
    common: dict[str, Any] = {
        "path": path,
        "name": name,
        "digest": digest,
        "study_uid": text_of(dataset, "StudyInstanceUID"),
        "instance_uid": text_of(dataset, "SOPInstanceUID"),
        "patient_id": text_of(dataset, "PatientID"),
    }
    if sop_class == MediaStorageDirectoryStorage:
        raise SetAsideError("media_index")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        # They name things later on: nothing but digits and dots gets that far.
        if not UID_TEXT.fullmatch(text_of(dataset, keyword)):
            raise SetAsideError("uid_invalid")
    if is_ours(common["instance_uid"]):  # what was estimated never comes back as what was measured
        raise SetAsideError("own_result")
    unlinked = not common["study_uid"] or not common["instance_uid"]
    if sop_class in segmentation.CLASSES:
        if unlinked:
            raise SetAsideError("uid_missing")
        refers_to = frozenset(segmentation.referenced_images(dataset))
        return ScannedFile(kind="mask", refers_to=refers_to, **common)
    if sop_class in structured_report.CLASSES:
        rows, odd = structured_report.read_report(dataset, name)
        return ScannedFile(kind="labels", rows=tuple(rows), odd=tuple(odd), **common)
    if sop_class in ct.CLASSES:
        return _describe_slices(dataset, common, unlinked=unlinked)
    if not text_of(dataset, "Rows"):
        # The largest part of an object cut off early is gone, pixels first.
        known_image = "image storage" in getattr(sop_class, "name", "").lower()
        raise SetAsideError("pixels_missing" if known_image else "document")
    rules = recognise(dataset)
    kind = kind_of(dataset, rules.vendor)
    try:
        if text_of(dataset, "BurnedInAnnotation").upper() == "YES":
            raise SetAsideError("burned_in_text")
        view, told, inverted = view_of_file(rules, dataset, reading, digest, kind, data)
        if unlinked:
            raise SetAsideError("uid_missing")
    except SetAsideError as aside:
        aside.kind = kind
        raise
    return ScannedFile(
        kind="image", vendor=rules.vendor, view=view, told=told, kind_of_scan=kind,
        inverted=inverted, made=made_when(dataset), **common,
    )  # fmt: skip


def _describe_slices(dataset: Dataset, common: dict[str, Any], *, unlinked: bool) -> ScannedFile:
    """Describe one slice of a CT, or the frames of an enhanced one."""
    check(SLICE_RULES, dataset)
    series = text_of(dataset, "SeriesInstanceUID")
    if unlinked or not series:
        raise SetAsideError("uid_missing")
    return ScannedFile(
        kind="slice",
        series_uid=series,
        places=places_of(dataset),
        slices_told=ct.told_of(dataset),
        **common,
    )


def _group(files: list[ScannedFile], scan: FolderScan) -> None:
    """Put files into studies; what is ambiguous is set aside, not guessed."""
    loose = [file for file in files if file.grid is not None]
    by_uid = Counter(file.instance_uid for file in files if file.grid is None)
    studies: dict[str, list[ScannedFile]] = defaultdict(list)
    for file in files:
        if file.grid is not None:
            continue
        if file.kind == "slice":
            scan.series.setdefault(file.series_uid, []).append(file.name)
        if by_uid[file.instance_uid] > 1:
            scan.verdicts.append(judge(file.name, "uid_twice"))
        elif file.kind == "labels":
            # Labels are joined by patient and day, as those of a table are.
            scan.tables.append(file.name)
            scan.rows += file.rows
            scan.verdicts += file.odd
        else:
            studies[file.study_uid].append(file)
    groups = []
    for study_uid, members in studies.items():
        reason = _contradiction(members)
        if reason:
            scan.verdicts += [judge(file.name, reason) for file in members]
        else:
            groups.append(_study(study_uid, members, scan))
    scan.rows = find_images(scan.rows, files)
    join_loose(loose, groups, scan.verdicts)
    for group in groups:
        if group.images or group.series:
            scan.groups.append(group)
        else:
            scan.verdicts += [judge(mask.name, "mask_without_image") for mask in group.masks]


def _study(study_uid: str, members: list[ScannedFile], scan: FolderScan) -> StudyGroup:
    """Sort the files of one study."""
    group = StudyGroup(study_uid, masks=[file for file in members if file.kind == "mask"])
    for file in members:
        if file.view is not None and file.view in group.images:
            group.repeats.setdefault(file.view, []).append(file)
        elif file.view is not None:
            group.images[file.view] = file
        elif file.kind == "slice":
            group.series.setdefault(file.series_uid, []).append(file)
    return group


def _contradiction(members: list[ScannedFile]) -> str:
    """Reason why the files cannot be one study, empty if they can."""
    if len({file.patient_id for file in members}) > 1:
        return "patient_conflict"
    if len({file.vendor for file in members if file.vendor is not None}) > 1:
        return "vendor_conflict"
    return ""


__all__ = [
    "FolderScan",
    "SiteReading",
    "describe",
    "judge_copies",
    "leads_out",
    "parse",
    "scan_folder",
    "walk",
]
