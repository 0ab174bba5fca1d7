"""Hospitals of a few stand-in patients, for tests of the federation that need no DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sqlalchemy.orm import Session

from client.contract.declaring import Proposal, declare
from client.store.catalogue import Image, Label, Patient, Study
from client.store.site_store import SiteStore, init_site
from shared.protocol.invitation import COORDINATOR as PINNED
from shared.protocol.signatures import SIMULATION, Invitation
from shared.records import PatientSource, StudyRecord
from shared.settings.declared import PLACES, rung_below
from shared.settings.files import (
    SiteCompute,
    SiteConfig,
    SitePolicy,
    SitePrivacy,
    load_settings,
)
from shared.settings.task import NetworkSettings, OptimiserSettings, PrivateSettings, TaskSettings
from tests.shared.standins import Standins

#: Where the patients of a store go, one after another.
SPLITS_OF_SIX = ("train", "train", "train", "train", "validation", "test")

#: A task that trains in a second.
TINY_TASK = TaskSettings(
    task="dxa-segmentation",
    network=NetworkSettings(size="small", image_size=(48, 32)),
    plain=OptimiserSettings(steps_per_round=2, batch_patients=4),
    private=PrivateSettings(steps_per_round=2, learning_rate=0.2, augment=False),
)


def tiny_site(
    folder: Path,
    name: str,
    *,
    patients: int = 24,
    seed: int = 1,
    privacy: SitePrivacy | None = None,
    policy: SitePolicy | None = None,
) -> Path:
    """Make a site whose store holds stand-in patients: two thirds train, the rest is split.

    It declares what it has, rounded down.
    """
    config = SiteConfig(
        site=name,
        privacy=privacy or SitePrivacy(epsilon_budget=8.0, delta=1e-3),
        policy=policy or SitePolicy(minimum_patients=5, smallest_cell=1),
        compute=SiteCompute(device="cpu"),
    )
    init_site(folder, config)
    invited(folder)
    fill_store(folder, Standins(patients, seed))
    declare_stand_ins(folder, patients)
    return folder


def invited(folder: Path) -> None:
    """Give a site the key of the tests' coordinator, as a simulation does."""
    from tests.server.jobs import COORDINATOR

    invitation = Invitation(address=SIMULATION, ca="", coordinator=COORDINATOR.public)
    (folder / PINNED).write_text(invitation.model_dump_json())


def declare_stand_ins(folder: Path, patients: int) -> None:
    """Declare what `fill_store` put into a store, rounded down, without counting it."""
    tasks = load_settings(folder / "site.yaml", SiteConfig).policy.tasks or ()
    numbers = {
        place: [SPLITS_OF_SIX[number % 6] for number in range(patients)].count(place)
        for place in PLACES
    }
    declare(
        folder,
        [
            Proposal(task, place, count, None, rung_below(count))
            for task in tasks
            for place, count in numbers.items()
        ],
    )


def fill_store(folder: Path, source: PatientSource) -> None:
    """Put the patients of a source into an empty store: two thirds train, the rest is split."""
    store = SiteStore.open(folder)
    with Session(store.engine) as session, session.begin():
        for number, patient in enumerate(source.patients):
            split = SPLITS_OF_SIX[number % 6]
            name = f"{store.config.site}-{patient}"
            _add(session, store, name, split, source.studies(patient)[0])
    store.close()


def _add(
    session: Session, store: SiteStore, pseudonym: str, split: str, record: StudyRecord
) -> None:
    uid = f"2.25.{int.from_bytes(pseudonym.encode()[-12:], 'big')}"
    session.add(Patient(pseudonym=pseudonym, split=split))
    session.flush()
    session.add(
        Study(
            uid=uid, patient=pseudonym, vendor=record.vendor.value, day=1,
            sex=record.covariates.sex, age_years=record.covariates.age_years,
        )
    )  # fmt: skip
    session.flush()
    for view, image in record.images.items():
        path = store.array_path(uid, view.value, "pixels")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, image.pixels.astype(np.float16))
        if image.regions is not None:
            np.save(store.array_path(uid, view.value, "regions"), image.regions)
        session.add(
            Image(
                study=uid, view=view.value, row_mm=image.spacing_mm[0],
                column_mm=image.spacing_mm[1], spacing_provenance=image.spacing_provenance,
                digest="0" * 64, mask_digest=None if image.regions is None else "0" * 64,
            )
        )  # fmt: skip
    for region, value in record.labels.bmd.items():
        session.add(Label(study=uid, kind="bmd", name=region, value=value))
    for vertebra, grade in record.labels.genant.items():
        session.add(Label(study=uid, kind="genant", name=vertebra, value=float(grade)))
