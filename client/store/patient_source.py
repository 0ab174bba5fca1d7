"""Patients of one split of a store, as training reads them."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from client.store.arrays import array_path, check_whole, mapped
from client.store.catalogue import Image, Label, Patient, Study, Volume
from client.store.exclusions import left_out
from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
    VolumeRecord,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from client.store.split import Split


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

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Return a patient's studies, oldest first; an unknown patient is a KeyError."""
        return [self._record(study) for study in self.studies_by_patient[patient]]

    def digest(self) -> str:
        """SHA-256 over everything that training reads of these patients.

        Studies, their images, volumes and masks by the digests of the files they came
        from, covariates and undisputed labels. An array is not read again: whoever
        changes one behind the catalogue's back is not noticed.
        """
        digest = hashlib.sha256()
        for patient in self.patients:
            for study in self.studies_by_patient[patient]:
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
                digest.update(json.dumps(facts).encode() + b"\n")
        return digest.hexdigest()

    def _record(self, study: Study) -> StudyRecord:
        images = {View(image.view): image for image in self.images.get(study.uid, ())}
        for image in images.values():
            for path in self._arrays_of(image).values():
                check_whole(path)
        volumes = self.volumes.get(study.uid, ())
        return StudyRecord(
            patient=study.patient,
            study=study.uid,
            vendor=Vendor(study.vendor),
            images=_Images(images, self._image),
            labels=self.labels.get(study.uid, StudyLabels()),
            covariates=Covariates(
                sex=study.sex,
                age_years=study.age_years,
                height_cm=study.height_cm,
                weight_kg=study.weight_kg,
                ethnic_group=study.ethnic_group,
            ),
            volumes={one.series: self._volume(one) for one in volumes},
        )

    def _arrays_of(self, image: Image) -> dict[str, Path]:
        """Files of the arrays that an image has."""
        files = {"pixels": array_path(self.arrays, image.study, image.view, "pixels")}
        if image.mask_digest is not None:
            files["regions"] = array_path(self.arrays, image.study, image.view, "regions")
        return files

    def _image(self, image: Image) -> ImageRecord:
        files = self._arrays_of(image)
        provenance: Any = image.spacing_provenance
        return ImageRecord(
            pixels=mapped(files["pixels"]),
            spacing_mm=(image.row_mm, image.column_mm),
            spacing_provenance=provenance,
            regions=mapped(files["regions"]) if "regions" in files else None,
        )

    def _volume(self, volume: Volume) -> VolumeRecord:
        path = partial(array_path, self.arrays)
        masked = volume.mask_digest is not None
        x, y, z = (float(word) for word in volume.origin.split())
        return VolumeRecord(
            hu=mapped(path(volume.study, volume.series, "hu")),
            spacing_mm=(volume.slice_mm, volume.row_mm, volume.column_mm),
            origin_mm=(x, y, z),
            kvp=volume.kvp,
            kernel=volume.kernel,
            slice_thickness_mm=volume.thickness_mm,
            contrast=volume.contrast,
            regions=mapped(path(volume.study, volume.series, "regions")) if masked else None,
        )


class _Images(Mapping[View, ImageRecord]):
    """Images by view, whose arrays are opened when one is asked for.

    Which views a study has is asked of every study of a split in every round, and opening
    an array takes a hundred times as long as that.
    """

    def __init__(self, rows: Mapping[View, Image], make: Callable[[Image], ImageRecord]) -> None:
        self._rows, self._make = rows, make
        self._made: dict[View, ImageRecord] = {}

    def __getitem__(self, view: View) -> ImageRecord:
        if view not in self._made:
            self._made[view] = self._make(self._rows[view])
        return self._made[view]

    def __contains__(self, view: object) -> bool:
        return view in self._rows

    def __iter__(self) -> Iterator[View]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _facts_of_volume(volume: Volume) -> list[Any]:
    geometry = [volume.slice_mm, volume.row_mm, volume.column_mm, volume.origin]
    return [volume.series, *geometry, volume.digest, volume.mask_digest]


def _facts_of(image: Image) -> list[Any]:
    spacing = [image.row_mm, image.column_mm, image.spacing_provenance]
    return [image.view, *spacing, image.digest, image.mask_digest]


def read_source(folder: Path, engine: Engine, arrays: Path, split: Split) -> StoreSource:
    """Read everything that the catalogue says of one split, in four queries.

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
        session.expunge_all()
    # Whoever has labels alone is nobody to learn from.
    patients = tuple(
        sorted(
            who for who, some in studies.items() if any(_imaged(s, images, volumes) for s in some)
        )
    )
    return StoreSource(arrays, patients, dict(studies), dict(images), labels, dict(volumes))


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
    found: dict[str, StudyLabels] = {}
    rows = session.execute(
        select(Label.study, Label.kind, Label.name, Label.value)
        .where(Label.study.in_(study_uids), Label.disputed.is_(False))
        .order_by(Label.study, Label.kind, Label.name)
    )
    for study, kind, name, value in rows:
        labels = found.setdefault(study, StudyLabels(bmd={}, genant={}))
        if kind == "bmd":
            labels.bmd[name] = value  # type: ignore[index] # made above as a dict
        else:
            labels.genant[name] = int(value)  # type: ignore[index]
    return found
