"""The hospital's door: a folder of an export in, pseudonymous studies in the store.

Each file ends as taken, quarantined or refused (`shared.dicom.verdicts`). What is
ambiguous is never guessed. The same file twice changes nothing. Only what the
allow-list of `client.catalogue` has a column for is kept; everything else of a
DICOM file, private elements included, does not exist behind this door.
"""

from __future__ import annotations

import fcntl
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from client.catalogue import Image, Label, Patient, SourceFile, Study
from client.identifiers import remember
from client.split import assign
from client.store import SiteStore
from shared.dicom.deidentify import METHOD, keyed_digest, pseudonym, replaced_uid, shifted_day
from shared.dicom.labels import LabelRow
from shared.dicom.read import ReadStudy, judge_tables, read_group
from shared.dicom.scan import FolderScan, StudyGroup, scan_folder
from shared.dicom.seen import identifiers_in_file
from shared.dicom.verdicts import REASONS, VERDICTS, FileVerdict, judge
from shared.errors import InputEmptyError
from shared.records import View

#: Studies between two commits: what a crash can cost.
STUDIES_PER_COMMIT: Final = 50
#: SQLite takes at most 32766 parameters.
STUDIES_PER_QUERY: Final = 5000
#: BMD is reported to three decimals; a smaller difference is none.
SAME_LABEL: Final = 0.00051

#: Called with (studies done, studies found).
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did.

    Attributes
    ----------
    site : str
        Name of the site.
    files : list of FileVerdict
        Every file, and every row of a table that was not used, sorted by path.
        The paths are the hospital's own and may identify patients: the report is
        for its engineer and is not kept.
    studies_found, studies_new : int
        Studies in the folder with a usable image; those not in the store before.
    counts : dict of str to int
        The store afterwards (`SiteStore.counts`).
    """

    site: str
    files: list[FileVerdict]
    studies_found: int
    studies_new: int
    counts: dict[str, int]

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """Files by verdict and reason, most frequent first within a verdict."""
        numbers = Counter((file.verdict, file.reason) for file in self.files)
        order = sorted(numbers, key=lambda key: (VERDICTS.index(key[0]), -numbers[key], key[1]))
        return [
            {
                "verdict": verdict,
                "reason": reason,
                "files": numbers[verdict, reason],
                "sentence": REASONS[reason][1],
            }
            for verdict, reason in order
        ]

    @property
    def took_anything(self) -> bool:
        """Whether at least one file was taken, now or before."""
        return any(file.verdict == "taken" for file in self.files)

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "site": self.site,
            "studies_found": self.studies_found,
            "studies_new": self.studies_new,
            "store": self.counts,
            "outcomes": self.outcomes,
            "files": [
                {"path": f.path, "verdict": f.verdict, "reason": f.reason, "sentence": f.sentence}
                for f in self.files
            ],
        }


def ingest(
    site_folder: Path, source_dir: Path, progress: ProgressCallback | None = None
) -> IngestReport:
    """Take a folder of DICOM studies and label tables into a site's store.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.init_site`.
    source_dir : Path
        The export; only read.
    progress : callable or None
        Called with (studies done, studies found).

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError, PlaceholderSecretError
        See `SiteStore.open`.
    InputMissingError
        If there is no such folder.
    InputEmptyError
        If there is no file in it.
    """
    store = SiteStore.open(site_folder)
    try:
        scan = scan_folder(source_dir, store.config.labels)
        if not scan.digests and not scan.verdicts:
            raise InputEmptyError(
                f"{source_dir}: holds no file (a folder of DICOM studies was expected)"
            )
        with _alone(store.arrays.parent), Session(store.engine) as session:
            door = _Door(store, session)
            verdicts = list(scan.verdicts)
            for done, group in enumerate(scan.groups, start=1):
                verdicts += door.take_study(group)
                if done % STUDIES_PER_COMMIT == 0:
                    session.commit()
                if progress is not None:
                    progress(done, len(scan.groups))
            verdicts += door.take_labels(scan.rows)
            verdicts += _tables(scan, verdicts, door)
            door.assign_splits()
            door.remember(verdicts, scan.digests)
            door.remember_identifiers(source_dir, scan)
            session.commit()
        verdicts.sort(key=lambda verdict: verdict.path)
        return IngestReport(
            store.config.site, verdicts, len(scan.groups), door.studies_new, store.counts()
        )
    finally:
        store.close()


def _tables(scan: FolderScan, verdicts: list[FileVerdict], door: _Door) -> list[FileVerdict]:
    """Verdicts of the tables; one that told nothing new was there already."""
    judged = judge_tables(scan, verdicts)
    return [
        judge(verdict.path, "already_there")
        if verdict.reason == "ok" and verdict.path not in door.tables_with_news
        else verdict
        for verdict in judged
    ]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other ingest works on the same store."""
    with (folder / "ingest.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Door:
    """One ingest at work: what it knows of the store, and what it changes."""

    def __init__(self, store: SiteStore, session: Session) -> None:
        self.store = store
        self.session = session
        self.studies_new = 0
        self.identified: set[str] = set()
        self.tables_with_news: set[str] = set()
        self.labels: dict[tuple[str, str, str], Label] = {}
        stored = session.execute(select(Image.digest, Image.mask_digest))
        self.known = {digest for row in stored for digest in row if digest is not None}

    def keyed(self, *purpose: str) -> str:
        """Keyed digest, 64 hex digits."""
        return keyed_digest(self.store.secret, *purpose).hex()

    def take_study(self, group: StudyGroup) -> list[FileVerdict]:
        """Read one study and store what is new of it."""
        files = group.files
        patient_id = files[0].patient_id
        if not patient_id:
            return [judge(file.name, "patient_id_missing") for file in files]
        uid = replaced_uid(self.store.secret, group.study_uid)
        who = pseudonym(self.store.secret, patient_id)
        stored = self.session.get(Study, uid)
        if stored is not None and stored.patient != who:
            return [judge(file.name, "patient_conflict") for file in files]
        if all(self.keyed("content", file.digest) in self.known for file in files):
            self.identified |= {file.name for file in files}
            return [judge(file.name, "already_there") for file in files]
        study, verdicts = read_group(group)
        if study is None:
            return verdicts
        remember(self.session, self.store.secret, study.identifiers)
        self.identified |= {file.name for file in files}
        if stored is not None and stored.vendor != study.vendor.value:
            return [judge(file.name, "vendor_conflict") for file in files]
        if stored is None:
            self._add_study(uid, who, study)
        else:
            self._load_labels([uid])
        changed = self._add_images(uid, study, group)
        for name, value in study.labels.bmd.items():
            self._add_label(uid, "bmd", name, value)
        return [changed.get(verdict.path, verdict) for verdict in verdicts]

    def _add_study(self, uid: str, who: str, study: ReadStudy) -> None:
        """Add patient and study; identifiers turn into keyed values here."""
        header, known, secret = study.header, study.covariates, self.store.secret
        day = header.study_date
        if self.session.get(Patient, who) is None:
            self.session.add(Patient(pseudonym=who, split=None))
            self.session.flush()
        self.session.add(
            Study(
                uid=uid,
                patient=who,
                vendor=study.vendor.value,
                visit=None if day is None else self.visit(header.patient_id, day.isoformat()),
                day=None if day is None else shifted_day(secret, header.patient_id, day),
                sex=known.sex,
                age_years=known.age_years,
                height_cm=known.height_cm,
                weight_kg=known.weight_kg,
                ethnic_group=known.ethnic_group,
                method=METHOD,
            )
        )
        self.session.flush()
        self.studies_new += 1

    def visit(self, patient_id: str, day: str) -> str:
        """Keyed value of who was scanned when."""
        return self.keyed("visit", patient_id.strip(), day)

    def _add_images(self, uid: str, study: ReadStudy, group: StudyGroup) -> dict[str, FileVerdict]:
        """Store new images and masks; return the verdicts that this changes."""
        changed: dict[str, FileVerdict] = {}
        for view, image in study.images.items():
            file = group.images[view]
            digest = self.keyed("content", study.digests[view])
            mask = study.mask_digests.get(view)
            mask_digest = None if mask is None else self.keyed("content", mask)
            mask_name = next((m.name for m in group.masks if m.digest == mask), "")
            row = self.session.get(Image, (uid, view.value))
            if row is None:
                self._write(uid, view, "pixels", image.pixels.astype(np.float16))
                row = Image(
                    study=uid,
                    view=view.value,
                    row_mm=image.spacing_mm[0],
                    column_mm=image.spacing_mm[1],
                    spacing_provenance=image.spacing_provenance,
                    digest=digest,
                )
                self.session.add(row)
            elif row.digest != digest:
                changed[file.name] = judge(file.name, "view_already_stored")
                if mask_name:
                    changed[mask_name] = judge(mask_name, "mask_without_image")
                continue
            else:
                changed[file.name] = judge(file.name, "already_there")
            if mask_digest is None or image.regions is None:
                continue
            if row.mask_digest is None:
                self._write(uid, view, "regions", image.regions)
                row.mask_digest = mask_digest
            else:
                same = row.mask_digest == mask_digest
                changed[mask_name] = judge(mask_name, "already_there" if same else "mask_twice")
        return changed

    def _write(self, uid: str, view: View, what: Any, array: np.ndarray[Any, Any]) -> None:
        """Write an array whole or not at all."""
        path = self.store.array_path(uid, view.value, what)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        part.replace(path)

    def _add_label(self, uid: str, kind: str, name: str, value: float) -> str:
        """Store one label: ``new``, ``known``, or ``disputed`` for good if sources differ.

        The study's labels must have been loaded (`_load_labels`).
        """
        row = self.labels.get((uid, kind, name))
        if row is None:
            row = Label(study=uid, kind=kind, name=name, value=value, disputed=False)
            self.labels[uid, kind, name] = row
            self.session.add(row)
            return "new"
        if row.disputed:
            return "disputed"
        if abs(row.value - value) > SAME_LABEL:
            row.disputed = True
            return "disputed"
        return "known"

    def take_labels(self, rows: list[LabelRow]) -> list[FileVerdict]:
        """Join labels to the store's studies, also to those of earlier ingests."""
        self.session.flush()
        studies: dict[str, list[str]] = defaultdict(list)
        for uid, visit in self.session.execute(
            select(Study.uid, Study.visit).where(Study.visit.is_not(None))
        ):
            studies[str(visit)].append(uid)
        told: dict[tuple[str, str, str], list[LabelRow]] = defaultdict(list)
        verdicts: list[FileVerdict] = []
        for row in rows:
            found = studies.get(self.visit(row.patient_id, row.day.isoformat()), [])
            if len(found) == 1:
                told[found[0], row.kind, row.name].append(row)
            else:
                reason = "label_ambiguous" if found else "label_without_study"
                verdicts.append(judge(row.path, reason))
        self._load_labels({uid for uid, _, _ in told})
        for (uid, kind, name), mine in told.items():
            results = [self._add_label(uid, kind, name, row.value) for row in mine]
            if "disputed" in results:
                verdicts += [judge(row.path, "label_conflict") for row in mine]
            elif "new" in results:
                self.tables_with_news.add(mine[0].path.rsplit(":", 1)[0])
        return verdicts

    def _load_labels(self, uids: Collection[str]) -> None:
        """Hold the labels of studies, by few queries."""
        ordered = sorted(uids)
        for start in range(0, len(ordered), STUDIES_PER_QUERY):
            some = ordered[start : start + STUDIES_PER_QUERY]
            for row in self.session.scalars(select(Label).where(Label.study.in_(some))):
                self.labels[row.study, row.kind, row.name] = row

    def assign_splits(self) -> None:
        """Give every patient without a split one."""
        self.session.flush()
        counted = self.session.execute(
            select(Patient.split, func.count()).group_by(Patient.split)
        ).all()
        counts = {split: count for split, count in counted if split is not None}
        newcomers = list(self.session.scalars(select(Patient).where(Patient.split.is_(None))))
        splits = assign(
            [patient.pseudonym for patient in newcomers],
            counts,
            self.store.config.split,
            self.store.secret,
        )
        for patient in newcomers:
            patient.split = splits[patient.pseudonym]

    def remember_identifiers(self, folder: Path, scan: FolderScan) -> None:
        """Keep, as keyed digests, what the files hold that were not read as part of a study."""
        others = {*scan.digests, *(verdict.path for verdict in scan.verdicts)} - self.identified
        column = self.store.config.labels.patient_id
        for name in sorted(others):
            if (folder / name).is_file():
                found = identifiers_in_file(folder / name, name, column)
                remember(self.session, self.store.secret, found)

    def remember(self, verdicts: list[FileVerdict], digests: dict[str, str]) -> None:
        """Keep how each file ended, by keyed digests of its name and content."""
        held = {
            (row.name_digest, row.content_digest): row
            for row in self.session.scalars(select(SourceFile))
        }
        for verdict in verdicts:
            name = self.keyed("name", verdict.path)
            content = self.keyed("content", digests.get(verdict.path, ""))
            row = held.get((name, content))
            if row is None:
                row = SourceFile(
                    name_digest=name, content_digest=content, verdict="taken", reason="ok"
                )
                held[name, content] = row
                self.session.add(row)
            # "Already there" is a fact of one ingest, not of the file.
            if verdict.reason != "already_there":
                row.verdict, row.reason = verdict.verdict, verdict.reason


__all__ = ["IngestReport", "ingest"]
