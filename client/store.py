"""A hospital's store: a pseudonymous catalogue, and arrays that map into memory.

<site>/site.yaml              settings
<site>/secret.key             the site's secret, 0600
<site>/identity.key           the key that signs its answers and its audit chain, 0600
<site>/audit.jsonl            the audit chain
<site>/ledger.sqlite          the privacy ledger; the catalogue knows its identity
<site>/store/catalogue.sqlite
<site>/store/arrays/<study>/<view>.pixels.npy    float16, NaN = not scanned
<site>/store/arrays/<study>/<view>.regions.npy   uint8
<site>/store/arrays/<study>/<series>.hu.npy      int16, Hounsfield units
<site>/store/arrays/<study>/<series>.regions.npy
<site>/store/staging-*                           arrays of an ingest that is going on

The folder is its owner's alone (0700), so nothing in it depends on the umask.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from client.audit import make_identity
from client.catalogue import (
    SCHEMA,
    Base,
    Image,
    Label,
    Patient,
    Property,
    Study,
    Volume,
    bring_up,
    open_catalogue,
)
from client.exclusions import left_out
from client.keys import make_secret, read_secret
from client.ledger import Ledger
from client.ledger_file import make_ledger
from shared.config import SiteConfig, load_settings, resolve, save_settings
from shared.dicom.deidentify import keyed_digest
from shared.errors import StoreExistsError, StoreMissingError, StoreSecretMismatchError
from shared.folders import appearing_whole, in_use
from shared.records import (
    Covariates,
    ImageRecord,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
    VolumeRecord,
)

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
SETTINGS: Final = "site.yaml"
CATALOGUE: Final = "catalogue.sqlite"
OWNERS_FOLDER: Final = 0o700
OWNERS_FILE: Final = 0o600


def secret_check(secret: bytes) -> str:
    """Keyed value by which a store knows its secret without telling it."""
    return keyed_digest(secret, "store check").hex()


def init_site(folder: Path, config: SiteConfig) -> None:
    """Make a site folder: settings, secret, ledger, empty store; whole or not at all.

    Raises
    ------
    StoreExistsError
        If the folder is a site already or holds anything else.
    """
    if in_use(folder):
        what = "is a site already" if (folder / SETTINGS).exists() else "is not empty"
        raise StoreExistsError(f"{folder}: {what}; name a new folder (nothing was changed)")
    with appearing_whole(folder, mode=OWNERS_FOLDER) as part:
        save_settings(config, part / SETTINGS)
        (part / SETTINGS).chmod(OWNERS_FILE)
        secret = make_secret(resolve(part, config.secret))
        make_identity(part, config.site)
        ledger_id = make_ledger(resolve(part, config.ledger))
        store = resolve(part, config.store)
        store.mkdir(parents=True, mode=OWNERS_FOLDER, exist_ok=True)
        (store / "arrays").mkdir(mode=OWNERS_FOLDER)
        engine = open_catalogue(store / CATALOGUE)
        Base.metadata.create_all(engine)
        (store / CATALOGUE).chmod(OWNERS_FILE)
        with Session(engine) as session, session.begin():
            session.add(Property(key="schema", value=SCHEMA))
            session.add(Property(key="secret_check", value=secret_check(secret)))
            session.add(Property(key="ledger_id", value=ledger_id))
        engine.dispose()


@dataclass(frozen=True)
class SiteStore:
    """An open store. Make one with `open`.

    Attributes
    ----------
    folder : Path
        The site folder.
    config : SiteConfig
        Its ``site.yaml``.
    secret : bytes
        The site's secret; never shown.
    engine : Engine
        The catalogue.
    """

    folder: Path
    config: SiteConfig
    secret: bytes = field(repr=False)
    engine: Engine = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> SiteStore:
        """Open the store of a site folder.

        Raises
        ------
        StoreMissingError
            If the folder is no site, or its store is gone.
        StoreSecretMismatchError
            If the store was made with another secret.
        PlaceholderSecretError
            If the secret is a placeholder or readable by others.
        """
        if not (folder / SETTINGS).is_file():
            raise StoreMissingError(
                f"{folder}: is no site, it has no {SETTINGS} (make one with `osteofed site init`)"
            )
        folder = folder.resolve()
        config = load_settings(folder / SETTINGS, SiteConfig)
        secret = read_secret(resolve(folder, config.secret))
        path = resolve(folder, config.store) / CATALOGUE
        if not path.is_file():
            raise StoreMissingError(
                f"{path}: the site has no catalogue (restore it, or make a new site with "
                "`osteofed site init` and take the studies in again)"
            )
        engine = open_catalogue(path)
        bring_up(engine)
        with Session(engine) as session:
            made_with = session.get(Property, "secret_check")
            found = made_with.value if made_with is not None else ""
        if not hmac.compare_digest(found, secret_check(secret)):
            engine.dispose()
            raise StoreSecretMismatchError(
                f"{folder}: the store was made with another secret than "
                f"{resolve(folder, config.secret).name}; put the right secret back "
                "(with this one, patients would get second pseudonyms)"
            )
        return cls(folder, config, secret, engine)

    def open_ledger(self) -> Ledger:
        """Open the privacy ledger that was made with this store.

        Raises
        ------
        StoreMissingError
            If it is missing or another store's.
        """
        with Session(self.engine) as session:
            known = session.get(Property, "ledger_id")
            identity = known.value if known is not None else "none"
        path = resolve(self.folder, self.config.ledger)
        return Ledger(path, self.config.privacy, identity)

    def close(self) -> None:
        """Close the catalogue; the write-ahead log is folded into it."""
        self.engine.dispose()

    @cached_property
    def arrays(self) -> Path:
        """Folder of the arrays."""
        return resolve(self.folder, self.config.store) / "arrays"

    def array_path(self, study: str, name: str, what: Literal["pixels", "hu", "regions"]) -> Path:
        """File of one array; `name` is a view or a replaced UID of a series."""
        return self.arrays / study / f"{name}.{what}.npy"

    def source(self, split: Split) -> StoreSource:
        """Patients of one split; the catalogue is read once, arrays are mapped on use.

        Studies that a person left out (`client.exclusions`) are not in it, nor patients
        without another study.
        """
        return _read_source(self, split)

    def counts(self) -> dict[str, int]:
        """Patients by split, and ``patients``, ``studies`` and ``images`` in all."""
        with Session(self.engine) as session:
            rows = session.execute(select(Patient.split, func.count()).group_by(Patient.split))
            by_split = {split: count for split, count in rows if split is not None}
            studies = session.scalar(select(func.count()).select_from(Study)) or 0
            images = session.scalar(select(func.count()).select_from(Image)) or 0
        counts = {split: by_split.get(split, 0) for split in SPLITS}
        return counts | {"patients": sum(counts.values()), "studies": studies, "images": images}


@dataclass(frozen=True)
class StoreSource:
    """Patients of one split, as `shared.records.PatientSource`.

    What the catalogue says is held; arrays are opened when a study is asked for,
    so a source of thousands of patients is cheap and can be shared by processes.
    """

    store: SiteStore
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
            self._check_there(image)
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

    def _check_there(self, image: Image) -> None:
        """Miss an array now and not when training has begun, which has its price."""
        for what in ("pixels", "regions") if image.mask_digest is not None else ("pixels",):
            path = self.store.array_path(image.study, image.view, what)
            if not os.path.isfile(path):  # noqa: PTH113 - ten times as fast, and for every image
                raise _missing(path, "FileNotFoundError")

    def _image(self, image: Image) -> ImageRecord:
        path = self.store.array_path
        masked = image.mask_digest is not None
        provenance: Any = image.spacing_provenance
        return ImageRecord(
            pixels=_mapped(path(image.study, image.view, "pixels")),
            spacing_mm=(image.row_mm, image.column_mm),
            spacing_provenance=provenance,
            regions=_mapped(path(image.study, image.view, "regions")) if masked else None,
        )

    def _volume(self, volume: Volume) -> VolumeRecord:
        path = self.store.array_path
        masked = volume.mask_digest is not None
        x, y, z = (float(word) for word in volume.origin.split())
        return VolumeRecord(
            hu=_mapped(path(volume.study, volume.series, "hu")),
            spacing_mm=(volume.slice_mm, volume.row_mm, volume.column_mm),
            origin_mm=(x, y, z),
            kvp=volume.kvp,
            kernel=volume.kernel,
            slice_thickness_mm=volume.thickness_mm,
            contrast=volume.contrast,
            regions=_mapped(path(volume.study, volume.series, "regions")) if masked else None,
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


def origin_text(origin_mm: Sequence[float]) -> str:
    """Patient coordinates as the catalogue holds them: x y z in mm."""
    return " ".join(repr(float(part)) for part in origin_mm)


def _facts_of_volume(volume: Volume) -> list[Any]:
    geometry = [volume.slice_mm, volume.row_mm, volume.column_mm, volume.origin]
    return [volume.series, *geometry, volume.digest, volume.mask_digest]


def _facts_of(image: Image) -> list[Any]:
    spacing = [image.row_mm, image.column_mm, image.spacing_provenance]
    return [image.view, *spacing, image.digest, image.mask_digest]


def _mapped(path: Path) -> NDArray[Any]:
    """Map an array into memory, read-only."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError) as error:
        raise _missing(path, type(error).__name__) from None


def _missing(path: Path, kind: str) -> StoreMissingError:
    return StoreMissingError(
        f"{path}: an array of the store is missing or damaged ({kind}); "
        "restore the store from your backup"
    )


def _read_source(store: SiteStore, split: Split) -> StoreSource:
    """Read everything that the catalogue says of one split, in four queries."""
    unused = left_out(store.folder)
    of_split = select(Patient.pseudonym).where(Patient.split == split)
    study_uids = select(Study.uid).where(Study.patient.in_(of_split))
    studies: dict[str, list[Study]] = defaultdict(list)
    images: dict[str, list[Image]] = defaultdict(list)
    volumes: dict[str, list[Volume]] = defaultdict(list)
    with Session(store.engine, expire_on_commit=False) as session:
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
    patients = tuple(sorted(studies))
    return StoreSource(store, patients, dict(studies), dict(images), labels, dict(volumes))


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
