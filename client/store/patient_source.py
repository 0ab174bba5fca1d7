"""Patients of one split of a store, as training reads them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from client.store.arrays import What, array_path, check_fit, mapped
from client.store.catalogue import Image, Label, Patient, Study, Volume, has_images
from client.store.exclusions import left_out
from client.store.marks import Marks, marks_on, read_marks
from client.store.pairing import Pairing, Visit, pair_all
from shared.dicom.labels.marks import KeptMark, boxes_of, points_of, slices_of
from shared.hips import as_left, hip_of, labels_as_left
from shared.records import (
    Covariates,
    ImageRecord,
    PairedLabels,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
    VolumeRecord,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from client.store.split import Split

Key = TypeVar("Key")
Row = TypeVar("Row")
Record = TypeVar("Record")


@dataclass(frozen=True)
class StoreSource:
    """Patients of one split, as `shared.records.PatientSource`.

    What the catalogue says is held; arrays are opened when a study is asked for,
    so a source of thousands of patients is cheap and can be shared by processes.
    """

    arrays: Path
    patients: Sequence[str]
    studies_by_patient: Mapping[str, Sequence[Study]] = field(repr=False)
    images: Mapping[str, Sequence[Image]] = field(repr=False)
    labels: Mapping[str, StudyLabels] = field(repr=False)
    volumes: Mapping[str, Sequence[Volume]] = field(repr=False, default_factory=dict)
    paired: Mapping[str, PairedLabels] = field(repr=False, default_factory=dict)
    marks: Marks = field(repr=False, default_factory=dict)

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Return a patient's studies, oldest first; an unknown patient is a KeyError.

        Raises
        ------
        StoreMissingError
            If an array of one of them is not whole.
        """
        return [self._record(study) for study in self.studies_by_patient[patient]]

    def digest(self) -> str:
        """SHA-256 over everything that training reads of these patients.

        Studies, their images, volumes and masks by the digests of the files they came
        from, covariates, undisputed labels and marks, and the paired labels. An array is not read
        again: whoever changes one behind the catalogue's back is not noticed.
        """
        digest = hashlib.sha256()
        for patient in self.patients:
            for study in self.studies_by_patient[patient]:
                digest.update(self._told(patient, study))
        return digest.hexdigest()

    def facts_digest(self, patient: str, study: int) -> str:
        """SHA-256 over everything that training reads of a patient's study, by its number.

        How its volumes were acquired is in it, which `digest` leaves out: requests keep the
        digests that they had.
        """
        row = self.studies_by_patient[patient][study]
        acquired = [
            [one.kvp, one.contrast, one.kernel, one.thickness_mm]
            for one in self.volumes.get(row.uid, ())
        ]
        told = self._told(patient, row) + json.dumps(acquired).encode()
        return hashlib.sha256(told).hexdigest()

    def _told(self, patient: str, study: Study) -> bytes:
        """All that a digest holds of a study, as a line."""
        labels = self.labels.get(study.uid, StudyLabels())
        facts = [
            [patient, study.uid, study.vendor, study.sex, study.age_years],
            [study.height_cm, study.weight_kg, study.ethnic_group],
            [_facts_of(image) for image in self.images.get(study.uid, ())],
            sorted(labels.bmd.items()),
            sorted(labels.genant.items()),
        ]
        # A study without volumes has the digest that it had before there were any.
        facts += [_facts_of_volume(one) for one in self.volumes.get(study.uid, ())]
        if labels.classes:
            facts.append(["classes", *sorted(labels.classes)])
        if study.uid in self.paired:
            facts.append(_facts_of_pair(self.paired[study.uid]))
        facts += [_facts_of_marks(*some) for some in self._marks_of(study.uid).items()]
        return json.dumps(facts).encode() + b"\n"

    def _record(self, study: Study) -> StudyRecord:
        kept = {View(image.view): image for image in self.images.get(study.uid, ())}
        images = as_left(kept)
        volumes = {volume.series: volume for volume in self.volumes.get(study.uid, ())}
        rows: list[Image | Volume] = [*images.values(), *volumes.values()]
        for row in rows:
            check_fit(self._arrays_of(row))
        return StudyRecord(
            patient=study.patient,
            study=study.uid,
            vendor=Vendor(study.vendor),
            images=_Opened(images, self._image),
            labels=labels_as_left(self.labels.get(study.uid, StudyLabels()), hip_of(kept)),
            covariates=Covariates(
                sex=study.sex,
                age_years=study.age_years,
                height_cm=study.height_cm,
                weight_kg=study.weight_kg,
                ethnic_group=study.ethnic_group,
            ),
            volumes=_Opened(volumes, self._volume),
            paired=self.paired.get(study.uid),
        )

    def _marks_of(self, study: str) -> Mapping[str, list[KeptMark]]:
        """Marks of a study by view or series."""
        return self.marks.get(study, {})

    def _arrays_of(self, row: Image | Volume) -> dict[What, Path]:
        """Files of the arrays that an image or a volume has."""
        name = row.view if isinstance(row, Image) else row.series
        kinds: list[What] = ["pixels" if isinstance(row, Image) else "hu"]
        if row.mask_digest is not None:
            kinds.append("regions")
        return {what: array_path(self.arrays, row.study, name, what) for what in kinds}

    def _image(self, image: Image) -> ImageRecord:
        files = self._arrays_of(image)
        provenance: Any = image.spacing_provenance
        marks = marks_on(self.marks, image.study, image.view)
        return ImageRecord(
            pixels=mapped(files["pixels"]),
            spacing_mm=(image.row_mm, image.column_mm),
            spacing_provenance=provenance,
            regions=mapped(files["regions"]) if "regions" in files else None,
            boxes=boxes_of(marks),
            points=points_of(marks),
        )

    def _volume(self, volume: Volume) -> VolumeRecord:
        return open_volume(self.arrays, volume, self.marks)


class _Opened(Mapping[Key, Record]):
    """Images by view or volumes by series, whose arrays are opened when one is asked for.

    Which views a study has is asked of every study of a split in every round, and opening
    an array takes a hundred times as long as that.
    """

    def __init__(self, rows: Mapping[Key, Row], make: Callable[[Row], Record]) -> None:
        self._open = {key: partial(make, row) for key, row in rows.items()}
        self._made: dict[Key, Record] = {}

    def __getitem__(self, key: Key) -> Record:
        if key not in self._made:
            self._made[key] = self._open[key]()
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._open

    def __iter__(self) -> Iterator[Key]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)


def open_volume(arrays: Path, volume: Volume, marks: Marks | None = None) -> VolumeRecord:
    """Open a stored CT series; its arrays are read as they are asked for."""
    x, y, z = (float(word) for word in volume.origin.split())
    path = partial(array_path, arrays, volume.study, volume.series)
    return VolumeRecord(
        hu=mapped(path("hu")),
        spacing_mm=(volume.slice_mm, volume.row_mm, volume.column_mm),
        origin_mm=(x, y, z),
        kvp=volume.kvp,
        kernel=volume.kernel,
        slice_thickness_mm=volume.thickness_mm,
        contrast=volume.contrast,
        regions=None if volume.mask_digest is None else mapped(path("regions")),
        marked_slices=slices_of(marks_on(marks or {}, volume.study, volume.series)),
    )


def _facts_of_volume(volume: Volume) -> list[Any]:
    geometry = [volume.slice_mm, volume.row_mm, volume.column_mm, volume.origin]
    return [volume.series, *geometry, volume.digest, volume.mask_digest]


def _facts_of_pair(paired: PairedLabels) -> list[Any]:
    facts: list[Any] = ["paired", paired.vendor, paired.months, sorted(paired.labels.bmd.items())]
    # Left out where there are none, so that digests of before stay.
    return [*facts, sorted(paired.labels.genant.items())] if paired.labels.genant else facts


def _facts_of_marks(image: str, marks: list[KeptMark]) -> list[Any]:
    return ["marks", image, [[one.kind, one.vertebra, *one.numbers] for one in marks]]


def _facts_of(image: Image) -> list[Any]:
    spacing = [image.row_mm, image.column_mm, image.spacing_provenance]
    return [image.view, *spacing, image.digest, image.mask_digest]


def read_source(
    folder: Path, engine: Engine, arrays: Path, split: Split, months: float
) -> StoreSource:
    """Read everything that the catalogue says of one split, in five queries.

    Parameters
    ----------
    folder : Path
        The site folder.
    engine : Engine
        The catalogue of its store.
    arrays : Path
        The store's folder of arrays.
    split : str
        Whose patients.
    months : float
        How far away the BMD of another visit may lie (`client.store.pairing`).
    """
    unused = left_out(folder)
    of_split = select(Patient.pseudonym).where(Patient.split == split)
    study_uids = select(Study.uid).where(Study.patient.in_(of_split))
    studies: dict[str, list[Study]] = defaultdict(list)
    images: dict[str, list[Image]] = defaultdict(list)
    volumes: dict[str, list[Volume]] = defaultdict(list)
    with Session(engine, expire_on_commit=False) as session:
        order = (Study.patient, Study.day, Study.uid)
        for study in session.scalars(
            select(Study).where(Study.patient.in_(of_split)).order_by(*order)
        ):
            if study.uid not in unused:
                studies[study.patient].append(study)
        for image in session.scalars(
            select(Image).where(Image.study.in_(study_uids)).order_by(Image.study, Image.view)
        ):
            images[image.study].append(image)
        for volume in session.scalars(
            select(Volume).where(Volume.study.in_(study_uids)).order_by(Volume.study, Volume.series)
        ):
            volumes[volume.study].append(volume)
        labels = read_labels(session, study_uids)
        marks = read_marks(session, study_uids)
        session.expunge_all()
    # Whoever has labels alone is nobody to learn from.
    patients = tuple(
        sorted(
            who for who, some in studies.items() if any(_imaged(s, images, volumes) for s in some)
        )
    )
    dated = ([(one.uid, one.day, one.vendor) for one in some] for some in studies.values())
    paired = pair_studies(dated, labels, images.keys() | volumes.keys(), months).paired
    return StoreSource(
        arrays, patients, dict(studies), dict(images), labels, dict(volumes), paired, marks
    )


#: Uid, day and vendor of a study.
Dated = tuple[str, int | None, str]


def pair_studies(
    patients: Iterable[Sequence[Dated]],
    labels: Mapping[str, StudyLabels],
    wanted: Set[str],
    months: float,
) -> Pairing:
    """Pair studies of the catalogue; studies that are left out must not be among them.

    Parameters
    ----------
    patients : iterable of sequences of Dated
        The studies of each patient, those without images too.
    labels : mapping of str to StudyLabels
        By study.
    wanted : set of str
        Studies with images.
    months : float
        Farthest that a visit may be away.
    """
    nothing = StudyLabels()

    def lacks(study: Dated) -> bool:
        uid, _, vendor = study
        return uid in wanted and (vendor == Vendor.OTHER or not labels.get(uid, nothing).bmd)

    # In every round this is asked of all studies, and most have a value.
    visits = (
        [Visit(uid, day, Vendor(vendor), labels.get(uid, nothing)) for uid, day, vendor in studies]
        for studies in patients
        if any(map(lacks, studies))
    )
    return pair_all(visits, wanted, months)


def pair_stored(
    session: Session, unused: Set[str], months: float, patient: str | None = None
) -> tuple[Pairing, dict[str, str]]:
    """Pair the studies of all patients, or of one; and the split of each study.

    Parameters
    ----------
    session : Session
        Of the catalogue.
    unused : set of str
        Studies that a person left out.
    months : float
        Farthest that a visit may be away.
    patient : str, optional
        Pseudonym of the only one who is asked about.
    """
    query = (
        select(Study.uid, Study.day, Study.vendor, Study.patient, Patient.split, has_images())
        .join(Patient, Study.patient == Patient.pseudonym)
        .order_by(Study.patient, Study.day, Study.uid)
    )
    asked = select(Study.uid)
    if patient is not None:
        query = query.where(Study.patient == patient)
        asked = asked.where(Study.patient == patient)
    patients: dict[str, list[Dated]] = defaultdict(list)
    split_of: dict[str, str] = {}
    wanted: set[str] = set()
    for uid, day, vendor, of, split, imaged in session.execute(query):
        if uid not in unused:
            patients[of].append((uid, day, vendor))
            split_of[uid] = split or ""
            wanted |= {uid} if imaged else set()
    labels = read_labels(session, asked)
    return pair_studies(patients.values(), labels, wanted, months), split_of


def _imaged(study: Study, *pictures: Mapping[str, Sequence[Any]]) -> bool:
    return any(study.uid in some for some in pictures)


def read_labels(session: Session, study_uids: Any) -> dict[str, StudyLabels]:
    """Labels that are not disputed, by study.

    Parameters
    ----------
    session : Session
        Of the catalogue.
    study_uids : select or sequence of str
        Which studies.
    """
    told: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    rows = session.execute(
        select(Label.study, Label.kind, Label.name, Label.value)
        .where(Label.study.in_(study_uids), Label.disputed.is_(False))
        .order_by(Label.study, Label.kind, Label.name)
    )
    for study, kind, name, value in rows:
        told[study][kind][name] = value
    return {
        study: StudyLabels(
            bmd=kinds["bmd"],
            genant={name: int(grade) for name, grade in kinds["genant"].items()},
            classes=kinds["class"],
        )
        for study, kinds in told.items()
    }
