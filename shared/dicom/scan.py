"""First look at a folder: what each file is, and which belong together.

Headers only, no pixels, so that a whole export is looked at in seconds and memory
holds one study's images at a time afterwards.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from shared.config import LabelColumns
from shared.errors import InputMissingError
from shared.records import Vendor, View

from . import segmentation
from .attributes import quietly, text_of
from .content import content_digest
from .labels import LabelRow, read_table
from .vendors import recognise
from .verdicts import FileVerdict, SetAsideError, judge

#: No file of a DXA study comes near this.
LARGEST_FILE: Final = 256 * 1024 * 1024
#: Endings of the tables that exports hold.
TABLE_ENDINGS: Final = (".csv", ".tsv")
#: Media without preamble begin with an element of group 0008 in little endian.
BARE_DATASET: Final = b"\x08\x00"
#: 128 bytes of preamble and ``DICM``; the file meta group follows.
PREAMBLE_BYTES: Final = 132


@dataclass(frozen=True)
class ScannedFile:
    """One DICOM file that may be used: an image or a mask.

    `digest` is the SHA-256 of the content; `refers_to` the instance UIDs of the
    images a mask was drawn on.
    """

    path: Path
    name: str
    digest: str
    kind: Literal["image", "mask"]
    study_uid: str
    instance_uid: str
    patient_id: str
    vendor: Vendor | None = None
    view: View | None = None
    refers_to: frozenset[str] = frozenset()


@dataclass
class StudyGroup:
    """The files of one study, before their pixels are read."""

    study_uid: str
    images: dict[View, ScannedFile] = field(default_factory=dict)
    #: Slices of CT series, by SeriesInstanceUID.
    series: dict[str, list[ScannedFile]] = field(default_factory=dict)
    masks: list[ScannedFile] = field(default_factory=list)

    @property
    def files(self) -> list[ScannedFile]:
        """Images, slices, then masks."""
        slices = [one for series in self.series.values() for one in series]
        return [*self.images.values(), *slices, *self.masks]


@dataclass
class FolderScan:
    """What the first look found.

    Attributes
    ----------
    groups : list of StudyGroup
        Studies with at least one image, in the order of their first file.
    rows : list of LabelRow
        Labels of the tables, not joined yet.
    tables : list of str
        Tables that could be read.
    verdicts : list of FileVerdict
        Of everything that is already decided.
    digests : dict of str to str
        SHA-256 of every file that could be read, by its name in the verdicts.
    """

    groups: list[StudyGroup] = field(default_factory=list)
    rows: list[LabelRow] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    verdicts: list[FileVerdict] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)


def scan_folder(folder: Path, columns: LabelColumns) -> FolderScan:
    """Look at every file under a folder.

    Parameters
    ----------
    folder : Path
        Where an export lies; walked in sorted order.
    columns : LabelColumns
        The hospital's column names.

    Raises
    ------
    InputMissingError
        If there is no such folder.
    """
    if not folder.is_dir():
        raise InputMissingError(f"{folder}: no such folder (a folder of DICOM files was expected)")
    scan = FolderScan()
    files: list[ScannedFile] = []
    seen: set[str] = set()
    with quietly():
        for path in _walk(folder):
            name = path.relative_to(folder).as_posix()
            try:
                _look(path, name, columns, scan, files, seen)
            except SetAsideError as aside:
                scan.verdicts.append(judge(name, aside.reason, aside.detail))
            except OSError as error:
                scan.verdicts.append(judge(name, "unreadable", type(error).__name__))
            except Exception as error:  # one bad file never stops the batch
                scan.verdicts.append(judge(name, "damaged", type(error).__name__))
    _group(files, scan)
    return scan


def _walk(folder: Path) -> Iterable[Path]:
    """Files under a folder, sorted; links to folders are not followed."""
    for base, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(base) / name


def _look(
    path: Path,
    name: str,
    columns: LabelColumns,
    scan: FolderScan,
    files: list[ScannedFile],
    seen: set[str],
) -> None:
    """Look at one file and put it where it belongs."""
    size = path.stat().st_size
    if size == 0:
        raise SetAsideError("empty_file")
    if size > LARGEST_FILE:
        raise SetAsideError("file_too_large")
    data = path.read_bytes()
    digest = scan.digests[name] = content_digest(data)
    if digest in seen:
        raise SetAsideError("already_there")
    if path.suffix.lower() in TABLE_ENDINGS:
        rows, verdicts = read_table(name, data, columns)
        scan.rows += rows
        scan.verdicts += verdicts
        scan.tables.append(name)
    else:
        files.append(_describe(path, name, digest, parse(data, pixels=False)))
    seen.add(digest)


def parse(data: bytes, *, pixels: bool) -> Dataset:
    """Parse the bytes of a DICOM file, preamble or not.

    Raises
    ------
    SetAsideError
        If it is none, or damaged, or of an encoding that is not read.
    """
    bare = data[:2] == BARE_DATASET and data[128:132] != b"DICM"
    if not bare and data[128:132] != b"DICM":
        raise SetAsideError("not_dicom")
    try:
        # Inflated size is unbounded, and no scanner writes it: refused before parsing.
        if not bare and _is_deflated(data):
            raise SetAsideError("transfer_syntax", "deflated")
        dataset = dcmread(BytesIO(data), force=bare, stop_before_pixels=not pixels)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    except SetAsideError:
        raise
    except InvalidDicomError:
        raise SetAsideError("not_dicom") from None
    except Exception as error:  # pydicom raises many kinds on damaged files
        raise SetAsideError("damaged", type(error).__name__) from None
    if "SOPClassUID" not in dataset:
        raise SetAsideError("damaged" if not bare else "not_dicom")
    return dataset


def _is_deflated(data: bytes) -> bool:
    """Tell by the whole file meta group whether the data set is deflated.

    The group is read exactly as `dcmread` reads it, wherever in it the transfer syntax
    stands and however long the elements before it are: two readers that disagree
    would let a file past. Nothing is inflated for it.
    """
    stream = BytesIO(data)
    meta = _file_meta(stream, implicit=False)
    try:
        next(iter(meta), None)
    except NotImplementedError:  # so does `dcmread` tell that the group is in implicit VR
        meta = _file_meta(stream, implicit=True)
    return str(DeflatedExplicitVRLittleEndian) in text_of(meta, "TransferSyntaxUID").split("\\")


def _file_meta(stream: BytesIO, *, implicit: bool) -> Dataset:
    stream.seek(PREAMBLE_BYTES)
    return read_dataset(stream, implicit, True, stop_when=lambda tag, *_: tag >> 16 != 2)


def _describe(path: Path, name: str, digest: str, dataset: Dataset) -> ScannedFile:
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
    unlinked = not common["study_uid"] or not common["instance_uid"]
    if sop_class in segmentation.CLASSES:
        if unlinked:
            raise SetAsideError("uid_missing")
        refers_to = frozenset(segmentation.referenced_images(dataset))
        return ScannedFile(kind="mask", refers_to=refers_to, **common)
    if not text_of(dataset, "Rows"):
        # The largest part of an object cut off early is gone, pixels first.
        known_image = "image storage" in getattr(sop_class, "name", "").lower()
        raise SetAsideError("pixels_missing" if known_image else "document")
    rules = recognise(dataset)
    if text_of(dataset, "BurnedInAnnotation").upper() == "YES":
        raise SetAsideError("burned_in_text")
    view = rules.view_of(dataset)
    if unlinked:
        raise SetAsideError("uid_missing")
    return ScannedFile(kind="image", vendor=rules.vendor, view=view, **common)


def _group(files: list[ScannedFile], scan: FolderScan) -> None:
    """Put files into studies; what is ambiguous is set aside, not guessed."""
    by_uid = Counter(file.instance_uid for file in files)
    studies: dict[str, list[ScannedFile]] = defaultdict(list)
    for file in files:
        if by_uid[file.instance_uid] > 1:
            scan.verdicts.append(judge(file.name, "uid_twice"))
        else:
            studies[file.study_uid].append(file)
    for study_uid, members in studies.items():
        reason = _contradiction(members)
        if reason:
            scan.verdicts += [judge(file.name, reason) for file in members]
            continue
        group = StudyGroup(study_uid, masks=[file for file in members if file.kind == "mask"])
        views = Counter(file.view for file in members if file.view is not None)
        for file in members:
            if file.view is not None and views[file.view] == 1:
                group.images[file.view] = file
            elif file.view is not None:
                scan.verdicts.append(judge(file.name, "view_twice"))
        if group.images:
            scan.groups.append(group)
        else:
            scan.verdicts += [judge(mask.name, "mask_without_image") for mask in group.masks]


def _contradiction(members: list[ScannedFile]) -> str:
    """Reason why the files cannot be one study, empty if they can."""
    if len({file.patient_id for file in members}) > 1:
        return "patient_conflict"
    if len({file.vendor for file in members if file.vendor is not None}) > 1:
        return "vendor_conflict"
    return ""
