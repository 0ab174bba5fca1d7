"""A CT series of which more comes: what is stored is read with it, and replaced by both.

What was stored stays unless all of it is in what replaces it, slice by slice with the same
pixels. A part that comes later changes nothing; what contradicts is set aside.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from client.ingest.growing.grown_marks import Followed, follow_marks, follow_mask
from client.ingest.growing.used_in_rounds import UsedRound, rounds_with, stored_since
from client.ingest.known_files import KnownFiles
from client.ingest.staging import staged_array
from client.store.arrays import What, check_whole
from client.store.catalogue import Patient, Slice, Study, Volume
from client.store.coming_arrays import coming_path, expect_arrays, settle_arrays
from client.store.preparing_version import FOLDER as PREPARED
from client.store.site_store import SiteStore
from client.store.slices import (
    grade,
    grid_text,
    judged,
    no_longer_aside,
    slice_rows,
    slices_of_volume,
)
from shared.dicom.ct.completeness import (
    COMPLETENESS_WORDS,
    of_frames,
)
from shared.dicom.ct.earlier import EarlierSlices, SliceSource
from shared.dicom.ct.eligibility import SeriesVerdict
from shared.dicom.phi.deidentify import replaced_uid
from shared.dicom.read import ReadVolume
from shared.dicom.study_files import StudyGroup
from shared.dicom.verdicts import FileVerdict
from shared.phrases import counted, listed
from shared.runtime.files import settle

#: How a volume that was read stands to the one that is stored.
Standing = Literal["same", "more", "other"]
#: Reasons by which slices are set aside that belong to the stored series all the same.
BELONGING: Final = frozenset(
    {
        "slices_missing", "series_too_short", "series_part", "series_incomplete", "damaged",
        "pixels_truncated",
    }
)  # fmt: skip


@dataclass(frozen=True)
class GrownSeries:
    """A stored series that was replaced by more of it.

    Attributes
    ----------
    path : str
        Of its first file; it may identify a patient and stays with who reads the folder.
    stored, slices : int
        Slices before and now.
    sentence : str
        What became of its mask and marks, and which rounds used the part; free of identifiers.
    rounds : tuple of UsedRound
        Those rounds.
    """

    path: str
    stored: int
    slices: int
    sentence: str
    rounds: tuple[UsedRound, ...] = ()


class SeriesGrowth:
    """Replaces volumes of a store by more of the same series.

    Parameters
    ----------
    store : SiteStore
        Where to.
    session : Session
        Of its catalogue; nobody else writes meanwhile.
    files : KnownFiles
        Makes keyed digests.
    """

    def __init__(self, store: SiteStore, session: Session, files: KnownFiles) -> None:
        self._store = store
        self._session = session
        self._files = files
        self._studies: list[str] = []
        self._stale: list[Path] = []
        self._replaced: list[tuple[int, int, str, Sequence[UsedRound]]] = []
        self.grown: list[GrownSeries] = []
        settle_arrays(store.engine, store.arrays, alone=True)

    @property
    def waits(self) -> bool:
        """Whether a volume was replaced and is not committed."""
        return bool(self._studies)

    # --- before a study is read -------------------------------------------------------------

    def earlier(self, group: StudyGroup) -> tuple[dict[str, EarlierSlices], dict[str, Path]]:
        """Say what is stored of a study's series, and where the voxels are, by its own UIDs."""
        uid = replaced_uid(self._files.secret, group.study_uid)
        found, kept = {}, {}
        for series, files in group.series.items():
            name = replaced_uid(self._files.secret, series)
            row = self._session.get(Volume, (uid, name))
            if row is None or row.grid is None:
                continue
            sources = slices_of_volume(self._session, row)
            now = {self._files.content(file.digest) for file in files}
            missing = frozenset(n for n, one in enumerate(sources) if one.known not in now)
            if missing:
                found[series] = EarlierSlices(sources, missing)
                if not row.resampled:
                    kept[series] = self._store.array_path(uid, name, "hu")
        return found, kept

    # --- once it is read --------------------------------------------------------------------

    def digest(self, volume: ReadVolume) -> str:
        """Keyed digest of a volume's slices, whichever of them came first."""
        if not volume.sources:
            return self._files.content(volume.digest)
        return self._files.joint(self._known(volume.sources))

    def _known(self, sources: Iterable[SliceSource]) -> set[str]:
        return {one.known or self._files.content(one.digest) for one in sources}

    def standing(self, key: Mapping[str, str], volume: ReadVolume, slices: int) -> Standing:
        """Say how a volume that was read stands to the stored one, whose digest is another."""
        mine = self._known([*volume.sources, *volume.again])
        query = select(Slice.digest).filter_by(**key, kept=True)
        stored = set(self._session.scalars(query))
        if not stored:  # an older version kept no slices: the files that it took tell
            known = self._files.taken({one.digest for one in volume.sources if one.digest})
            older = self._session.scalar(select(Volume.digest).filter_by(**key))
            if self._files.joint(known) != older:
                return "other"
        elif not stored <= mine:
            return "other"
        return "more" if volume.slices > slices else "same"

    def taking_over(self, key: Mapping[str, str], volume: ReadVolume) -> list[dict[str, Any]]:
        """Rows of the slices of a volume; those of them that were set aside before are no more."""
        sources = [(one.known or self._files.content(one.digest), one) for one in volume.sources]
        rows = slice_rows(key, sources, kept=True)
        no_longer_aside(self._session, key, rows)
        return rows

    def complete(self, key: Mapping[str, str], volume: ReadVolume) -> None:
        """Keep of a stored volume what an older version did not keep of its slices."""
        row = self._session.get(Volume, (key["study"], key["series"]))
        if row is None or row.grid is not None or not volume.sources:
            return
        self._session.execute(update(Volume).filter_by(**key).values(slice_facts(volume)))
        self._session.execute(insert(Slice), self.taking_over(key, volume))

    def replace(
        self,
        key: Mapping[str, str],
        facts: dict[str, Any],
        volume: ReadVolume,
        arrays: tuple[Path, str],
        mask: str | None,
        path: str,
    ) -> None:
        """Replace a stored volume by one that holds all its slices.

        Parameters
        ----------
        key, facts : dict
            The row of the volume.
        volume : ReadVolume
            What was read, without its arrays.
        arrays : (Path, str)
            Where these lie (`staged_array`).
        mask : str or None
            Keyed digest of a mask that came with it.
        path : str
            Name of the first file that came.
        """
        before = self._session.get_one(Volume, (key["study"], key["series"]))
        stored = before.slices
        since = stored_since(self._store.array_path(before.study, before.series, "hu"))
        shape = check_whole(staged_array(*arrays, "hu"))
        followed = Followed()
        if mask is None and before.mask_digest is not None:
            target = staged_array(*arrays, "regions")
            followed = follow_mask(self._store, before, facts, shape, target)
            mask = before.mask_digest if followed.levels is not None else None
            facts = facts | {"levels": followed.levels or ""}
        marks = follow_marks(self._session, before, facts, shape[0])
        digest = self.digest(volume)
        new = facts | slice_facts(volume) | _joined(before, facts)
        self._session.expunge(before)
        statement = update(Volume).filter_by(**key)
        self._session.execute(statement.values(**new, digest=digest, mask_digest=mask))
        self._session.execute(delete(Slice).filter_by(**key, kept=True))
        self._session.execute(insert(Slice), self.taking_over(key, volume))
        self._lay(key, arrays, digest, masked=mask is not None)
        rounds = self._rounds(key["study"], since)
        sentence = _sentence(stored, volume.slices, since, rounds, followed, marks)
        self.grown.append(GrownSeries(path, stored, volume.slices, sentence, rounds))
        self._replaced.append((stored, volume.slices, since, rounds))

    def _lay(
        self, key: Mapping[str, str], arrays: tuple[Path, str], digest: str, *, masked: bool
    ) -> None:
        """Lay arrays where they wait until their row is committed."""
        study, series = key["study"], key["series"]
        kinds: tuple[What, ...] = ("hu", "regions") if masked else ("hu",)
        for what in kinds:
            waiting = coming_path(self._store.arrays, study, series, what, digest)
            staged = staged_array(*arrays, what)
            settle(staged)  # it will stand in the place of what is safe on the disk
            staged.replace(waiting)
            settle(waiting.parent)
        if not masked:
            self._stale.append(self._store.array_path(study, series, "regions"))
        expect_arrays(self._session)
        self._studies.append(study)

    def _rounds(self, study: str, since: str) -> tuple[UsedRound, ...]:
        """Rounds that may have used a study since a time: those of the test split used none."""
        query = select(Patient.split).join(Study).where(Study.uid == study)
        split = self._session.scalar(query)
        return rounds_with(self._store, since) if split in ("train", "validation") else ()

    def tell(self) -> None:
        """Write one line into the audit chain for all that was replaced, before it is committed.

        One, since the number of lines is seen outside: it must not count series.
        """
        from client.identity.chain import IDENTITY, site_chain

        if self._replaced and (self._store.folder / IDENTITY).exists():
            site_chain(self._store.folder, self._store.config.site).append(
                "series replaced",
                series=[
                    {"stored": stored, "slices": slices, "since": since,
                     "rounds": [one.as_dict() for one in rounds]}
                    for stored, slices, since, rounds in self._replaced
                ],
            )  # fmt: skip
        self._replaced.clear()

    def note_belonging(
        self, group: StudyGroup, verdicts: Iterable[FileVerdict], read: Collection[str]
    ) -> None:
        """Note slices that were set aside and belong to a series: without them it is not whole.

        Parameters
        ----------
        group : StudyGroup
            The files of a study.
        verdicts : iterable of FileVerdict
            How they ended.
        read : collection of str
            Series that could be read.
        """
        uid = replaced_uid(self._files.secret, group.study_uid)
        reasons = {verdict.path: verdict.reason for verdict in verdicts}
        for series, files in group.series.items():
            if series in read:
                continue
            name = replaced_uid(self._files.secret, series)
            key = {"study": uid, "series": name}
            mine = [file for file in files if reasons.get(file.name) in BELONGING]
            known = set(self._session.scalars(select(Slice.digest).filter_by(**key)))
            sources = [
                SliceSource(place, told, known=digest)
                for file in mine
                if (digest := self._files.content(file.digest)) not in known
                for place, told in zip(
                    file.places, of_frames(file.slices_told, len(file.places)), strict=True
                )
            ]
            if sources:
                rows = slice_rows(key, [(one.known, one) for one in sources], kept=False)
                self._session.execute(insert(Slice), rows)

    def grade(self, group: StudyGroup) -> None:
        """Say anew which stored series of a study are whole, of which slices were set aside."""
        uid = replaced_uid(self._files.secret, group.study_uid)
        query = select(Slice.series).filter_by(study=uid, kept=False).distinct()
        for series in self._session.scalars(query).all():
            grade(self._session, uid, series)

    def note_count(self, study_uid: str, *, short: bool) -> None:
        """Note whether an archive gave fewer files of a study than it said."""
        uid = replaced_uid(self._files.secret, study_uid)
        self._session.execute(update(Volume).filter_by(study=uid).values(short=short))
        for series in self._session.scalars(select(Volume.series).filter_by(study=uid)).all():
            grade(self._session, uid, series)

    def states(self, group: StudyGroup) -> list[SeriesVerdict]:
        """Say of each series of a study that is stored whether it is whole, and what shows it."""
        uid = replaced_uid(self._files.secret, group.study_uid)
        found = []
        for series, files in group.series.items():
            row = self._session.get(Volume, (uid, replaced_uid(self._files.secret, series)))
            if row is not None:
                found_now = judged(self._session, row)
                state = found_now.completeness
                words = COMPLETENESS_WORDS[state] + (f": {found_now.why}" if found_now.why else "")
                path = min(file.name for file in files)
                found.append(SeriesVerdict(path, len(files), state, words))
        return found

    def settle(self) -> None:
        """Put the arrays of committed rows in place, and remove what was made of the others."""
        if not self._studies:
            return
        settle_arrays(self._store.engine, self._store.arrays, alone=True)
        for path in self._stale:
            path.unlink(missing_ok=True)
        root = self._store.arrays.parent / PREPARED
        for study in self._studies:
            for folder in root.glob(f"*/*/{study}"):
                with suppress(OSError):
                    shutil.rmtree(folder)
        self._studies, self._stale = [], []


def slice_facts(volume: ReadVolume) -> dict[str, Any]:
    """Columns of a volume that say how its slices lie and whether all are there."""
    return {
        "completeness": volume.judged.completeness,
        "grid": grid_text(volume.sources[0].place) if volume.sources else None,
    }


def _joined(before: Volume, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What holds of a volume if it holds of a part of it."""
    agents = {before.contrast, facts["contrast"]}
    known = agents.pop() if len(agents) == 1 else None
    lossy = bool(before.lossy) or bool(facts["lossy"])
    return {"lossy": lossy, "contrast": True if True in agents else known}


def _sentence(
    stored: int, slices: int, since: str, rounds: Sequence[UsedRound],
    mask: Followed, marks: Followed,
) -> str:  # fmt: skip
    """Say what a replacement meant, in words without a patient's values."""
    said = [f"replaced: {stored} slices were stored, now {slices} are"]
    if rounds:
        named = listed([f"{one.run} {one.round} ({one.task})" for one in rounds])
        said.append(f"rounds since {since[:10]} used {stored} of {slices} slices: {named}")
    if mask.lost:
        said.append("its mask no longer fits and was taken out: give it again")
    if marks.lost:
        said.append(f"{counted(marks.lost, 'mark')} no longer fit: give the table again")
    return "; ".join(said)
