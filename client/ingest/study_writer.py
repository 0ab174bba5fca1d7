"""Writes what is new of a study into the store: arrays into place, rows into the catalogue.

Arrays are renamed into place first and rows are written after them, a batch at a time. What
is killed in between leaves arrays that nothing names; the next ingest renames the same
arrays over them.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.ingest.deidentification_codes import methods_of, scanner_text
from client.ingest.known_files import KnownFiles
from client.ingest.label_writer import LabelWriter
from client.ingest.mark_writer import MarkWriter
from client.ingest.series_growth import SeriesGrowth, Standing, slice_facts
from client.ingest.staging import Staged, StagingJob, VolumeExtent, What, staged_array
from client.ingest.visit_writer import VisitWriter
from client.store.catalogue import Image, Patient, Quality, Slice, Study, Volume
from client.store.marks import turned_text
from client.store.site_store import OWNERS_FOLDER, SiteStore, origin_text
from client.store.split import assign
from shared.dicom.labels.tables import LabelRow
from shared.dicom.phi.deidentify import pseudonym, replaced_uid, shifted_day
from shared.dicom.read import ReadVolume
from shared.dicom.read_study import ReadStudy
from shared.dicom.verdicts import FileVerdict, judge
from shared.records import QualityMark, View
from shared.regions import HIP_REPORTED, RIGHT_HIP

#: Flag of an image that was assessed and about which nothing is to be said.
NOTHING_FOUND: Final = QualityMark("none", 0.0)
#: In the order in which rows may refer to each other.
ROWS_IN_ORDER: Final = (Patient, Study, Image, Volume, Slice, Quality)

_Verdicts = dict[str, FileVerdict]


@dataclass(frozen=True)
class _Piece:
    """An image or a volume on its way into the store.

    Its row by `table`, `key` and `facts`; keyed `digest` of its content and plain
    `mask_digest`; names of the `files` and the `mask` that it came from; stems of its
    arrays where they are `staged` and `stored`; the reason if `other` content is there; and of
    a volume what was read, with the digest that it had before schema 5.
    """

    table: type[Image] | type[Volume]
    key: dict[str, str]
    facts: dict[str, Any]
    digest: str
    mask_digest: str | None
    files: list[str]
    mask: str
    staged: str
    stored: str
    what: What
    other: str
    volume: ReadVolume | None = None
    older: str = ""


class StudyWriter:
    """Writes studies, their labels and the split of new patients.

    Parameters
    ----------
    store : SiteStore
        Where to.
    session : Session
        Of its catalogue.
    files : KnownFiles
        Makes keyed digests, and tells which studies are there.
    """

    def __init__(self, store: SiteStore, session: Session, files: KnownFiles) -> None:
        self.store = store
        self.session = session
        self.files = files
        self.studies_new = 0
        self._patients = set(session.scalars(select(Patient.pseudonym)))
        self._rows: dict[type[Any], list[dict[str, Any]]] = defaultdict(list)
        self._labels = LabelWriter(session)
        self.growth = SeriesGrowth(store, session, files)
        marks = MarkWriter(store, session, files)
        self.visits = VisitWriter(session, files, self._labels, marks)

    def take_study(self, job: StagingJob, staged: Staged, study: ReadStudy) -> list[FileVerdict]:
        """Store what is new of one study that was read; its folder of arrays is used up."""
        group = job.group
        secret = self.store.secret
        uid = replaced_uid(secret, group.study_uid)
        stored = self.files.stored(uid)
        if stored is not None and stored.vendor != study.vendor.value:
            shutil.rmtree(job.folder)
            return [judge(file.name, "vendor_conflict") for file in group.files]
        if stored is None:
            self._add_study(uid, pseudonym(secret, group.files[0].patient_id), study)
        else:
            self._labels.load([uid])
        changed: _Verdicts = {}
        kept: set[str] = set()
        for piece in self._pieces(uid, job, study, staged.extents):
            is_new, more = self._put(piece, job.folder, study_is_new=stored is None)
            changed |= more
            if piece.table is Image and all(one.reason != piece.other for one in more.values()):
                kept.add(piece.key["view"])
            if is_new and piece.table is Image:
                self._add_marks(piece.key, staged.marks[View(piece.key["view"])])
        # What a scan says that is not kept would dispute what the stored one says.
        measured = {name: v for name, v in study.labels.bmd.items() if _view_of(name) in kept}
        for name, value in measured.items():
            self._labels.add(uid, "bmd", name, value)
        for name, grade in study.labels.genant.items():
            self._labels.add(uid, "genant", name, float(grade))
        shutil.rmtree(job.folder)
        return [
            # What was not taken keeps its own reason.
            changed.get(verdict.path, verdict) if verdict.verdict == "taken" else verdict
            for verdict in staged.verdicts
        ]

    def _add_marks(self, key: Mapping[str, str], marks: Iterable[QualityMark]) -> None:
        """Keep what was found in an image, or that nothing was."""
        self._rows[Quality] += [
            {**key, "flag": mark.flag, "strength": mark.strength, "code": mark.code}
            for mark in (*marks,) or (NOTHING_FOUND,)
        ]

    def _add_study(self, uid: str, who: str, study: ReadStudy) -> None:
        """Add patient and study; identifiers turn into keyed values here."""
        header, known, secret = study.header, study.covariates, self.store.secret
        day = header.study_date
        if who not in self._patients:
            self._patients.add(who)
            self._rows[Patient].append({"pseudonym": who, "split": None})
        self._rows[Study].append(
            {
                "uid": uid,
                "patient": who,
                "vendor": study.vendor.value,
                "visit": None if day is None else self.files.visit(header.patient_id, day),
                "day": None if day is None else shifted_day(secret, header.patient_id, day),
                "sex": known.sex,
                "age_years": known.age_years,
                "height_cm": known.height_cm,
                "weight_kg": known.weight_kg,
                "ethnic_group": known.ethnic_group,
                "maker": scanner_text(study.maker) or None,
                "model": scanner_text(study.model) or None,
                "method": methods_of(study),
            }
        )
        self.studies_new += 1

    def _pieces(
        self, uid: str, job: StagingJob, study: ReadStudy, extents: Mapping[str, VolumeExtent]
    ) -> Iterator[_Piece]:
        """Images and volumes of a study, as they would stand in the catalogue."""
        masks = {mask.digest: mask.name for mask in job.group.masks}
        names = {file.digest: file.name for file in job.group.files}
        for view, image in study.images.items():
            choice = study.choices.get(view)
            yield _Piece(
                table=Image,
                key={"study": uid, "view": view.value},
                facts={
                    "row_mm": image.spacing_mm[0],
                    "column_mm": image.spacing_mm[1],
                    "spacing_provenance": image.spacing_provenance,
                    "lossy": study.lossy.get(view),
                    "turned": turned_text(study.turned.get(view, (False, False))),
                    "scans": 1 if choice is None else choice.scans,
                    "chosen": None if choice is None else choice.why,
                    "told": study.told.get(view, "named"),
                },
                digest=self.files.content(study.digests[view]),
                mask_digest=study.mask_digests.get(view),
                files=[names[study.digests[view]]],
                mask=masks.get(study.mask_digests.get(view, ""), ""),
                staged=view.value,
                stored=view.value,
                what="pixels",
                other="view_already_stored",
            )
        for number, (series, volume) in enumerate(study.volumes.items()):
            replaced = replaced_uid(self.store.secret, series)
            yield _Piece(
                table=Volume,
                key={"study": uid, "series": replaced},
                facts=asdict(extents[series]) | _facts_of(volume),
                digest=self.growth.digest(volume),
                mask_digest=volume.mask_digest,
                files=[file.name for file in job.group.series.get(series, [])],
                mask=masks.get(volume.mask_digest or "", ""),
                staged=f"volume{number}",
                stored=replaced,
                what="hu",
                other="series_already_stored",
                volume=volume,
                older=self.files.content(volume.digest),
            )

    def _put(self, piece: _Piece, folder: Path, *, study_is_new: bool) -> tuple[bool, _Verdicts]:
        """Store a piece if it is new, and its mask; return that, and the verdicts that change."""
        table = piece.table
        there = None
        if not study_is_new:
            slices = [Volume.slices] if table is Volume else []
            columns = select(table.digest, table.mask_digest, *slices).filter_by(**piece.key)
            there = self.session.execute(columns).one_or_none()
        standing = self._standing(piece, there)
        if standing == "other":
            changed = {name: judge(name, piece.other) for name in piece.files}
            return False, changed | {piece.mask: judge(piece.mask, "mask_without_image")}
        changed = {}
        mask = None if piece.mask_digest is None else self.files.content(piece.mask_digest)
        if standing == "more" and piece.volume is not None:
            arrays = (folder, piece.staged)
            self.growth.replace(piece.key, piece.facts, piece.volume, arrays, mask, piece.files[0])
            return True, changed
        if there is not None:
            changed = {name: judge(name, "already_there") for name in piece.files}
            if piece.volume is not None:
                self.growth.complete(piece.key, piece.volume)
            if table is Image:
                self._tell_again(piece)
        if mask is not None and there is not None and there.mask_digest is not None:
            same = there.mask_digest == mask
            changed[piece.mask] = judge(piece.mask, "already_there" if same else "mask_twice")
        elif mask is not None:
            self._move(folder, piece, "regions")
            if there is not None:
                more = {"levels": piece.facts["levels"]} if table is Volume else {}
                self.session.execute(
                    update(table).filter_by(**piece.key).values(mask_digest=mask, **more)
                )
        if there is None:
            self._move(folder, piece, piece.what)
            row = {**piece.key, **piece.facts, "digest": piece.digest, "mask_digest": mask}
            if piece.volume is not None:
                row |= slice_facts(piece.volume)
                self._rows[Slice] += self.growth.taking_over(piece.key, piece.volume)
            self._rows[table].append(row)
        return there is None, changed

    def _tell_again(self, piece: _Piece) -> None:
        """Keep what an older version did not of an image that is there, and how often it came."""
        kept = update(Image).filter_by(**piece.key)
        self.session.execute(kept.values(turned=piece.facts["turned"]))
        more = func.coalesce(Image.scans, 1) < piece.facts["scans"]
        values = {name: piece.facts[name] for name in ("scans", "chosen")}
        self.session.execute(kept.where(Image.scans.is_(None) | more).values(values))

    def _standing(self, piece: _Piece, there: Any) -> Standing | None:
        """Say how a piece stands to what is there; None if nothing is."""
        if there is None:
            return None
        if there.digest in (piece.digest, piece.older):
            return "same"
        if piece.volume is None:
            return "other"
        return self.growth.standing(piece.key, piece.volume, there.slices)

    def _move(self, folder: Path, piece: _Piece, what: What) -> None:
        """Put an array where it stays; one of the same name holds the same or is named by none."""
        target = self.store.array_path(piece.key["study"], piece.stored, what)
        target.parent.mkdir(parents=True, exist_ok=True, mode=OWNERS_FOLDER)
        staged_array(folder, piece.staged, what).replace(target)

    def take_labels(self, rows: list[LabelRow]) -> list[FileVerdict]:
        """Join labels to the store's studies, also to those of earlier ingests; all are written."""
        return self.visits.take(rows)

    def assign_splits(self) -> None:
        """Give every patient without a split one; all patients are written."""
        counted = self.session.execute(
            select(Patient.split, func.count()).group_by(Patient.split)
        ).all()
        counts = {split: count for split, count in counted if split is not None}
        newcomers = self.session.scalars(select(Patient.pseudonym).where(Patient.split.is_(None)))
        splits = assign(newcomers, counts, self.store.config.split, self.store.secret)
        if splits:
            rows = [{"pseudonym": who, "split": split} for who, split in splits.items()]
            self.session.execute(update(Patient), rows)

    def send(self) -> None:
        """Write the rows that are waiting; the caller commits."""
        connection = self.session.connection()
        for table in ROWS_IN_ORDER:
            rows = self._rows.pop(table, [])
            if rows:
                connection.execute(insert(table), rows)

    def send_labels(self) -> None:
        """Write the labels that are waiting, whose studies are written already."""
        self._labels.send()


def _view_of(region: str) -> View:
    """View in which a density is measured."""
    if region in RIGHT_HIP:
        return View.HIP_RIGHT
    return View.HIP_LEFT if region in HIP_REPORTED else View.SPINE_PA


def _facts_of(volume: ReadVolume) -> dict[str, Any]:
    """Columns of a volume besides its key and digests."""
    record = volume.record
    return {
        "slices": volume.slices,
        "slice_mm": record.spacing_mm[0],
        "row_mm": record.spacing_mm[1],
        "column_mm": record.spacing_mm[2],
        "origin": origin_text(record.origin_mm),
        "kvp": record.kvp,
        "kernel": scanner_text(record.kernel),
        "thickness_mm": record.slice_thickness_mm,
        "contrast": record.contrast,
        "lossy": volume.lossy,
        "resampled": volume.resampled,
    }
