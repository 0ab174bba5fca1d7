"""Which files a store knows already, and how each file of an ingest ended."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any, Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.store.catalogue import Image, Slice, SourceFile, Study, Volume
from shared.dicom.ct.volume import joint_digest
from shared.dicom.phi.deidentify import keyed_digest, pseudonym, replaced_uid
from shared.dicom.study_files import StudyGroup
from shared.dicom.verdicts import FileVerdict, judge

CONTENTS_PER_QUERY: Final = 500
#: Reasons that may hold no more once more of the study is there.
PARTS: Final = (
    "slices_missing", "series_too_short", "series_incomplete", "series_part", "mask_without_image",
    "mask_other_grid",
)  # fmt: skip


class KnownFiles:
    """Files by keyed digests of their names and contents; in clear they are nowhere.

    Parameters
    ----------
    secret : bytes
        The site's secret.
    session : Session
        Of the store's catalogue.
    """

    def __init__(self, secret: bytes, session: Session) -> None:
        self.secret = secret
        self.session = session
        self._rows: list[dict[str, Any]] = []

    def keyed(self, *purpose: str) -> str:
        """Keyed digest, 64 hex digits."""
        return keyed_digest(self.secret, *purpose).hex()

    def content(self, digest: str) -> str:
        """Keyed digest of a content's SHA-256."""
        return self.keyed("content", digest)

    def joint(self, digests: Iterable[str]) -> str:
        """Keyed digest of several digests, in any order."""
        return self.content(joint_digest(digests))

    def taken(self, digests: Collection[str]) -> set[str]:
        """Those of some contents of which a file was taken before."""
        return self._ended(digests, SourceFile.verdict == "taken")

    def parts(self, digests: Collection[str]) -> set[str]:
        """Those of some contents that were set aside because others were missing."""
        return self._ended(digests, SourceFile.reason.in_(PARTS))

    def _ended(self, digests: Collection[str], how: ColumnElement[bool]) -> set[str]:
        keyed = {self.content(digest): digest for digest in digests}
        found: set[str] = set()
        names = sorted(keyed)
        for start in range(0, len(names), CONTENTS_PER_QUERY):
            some = names[start : start + CONTENTS_PER_QUERY]
            query = select(SourceFile.content_digest).where(
                how, SourceFile.content_digest.in_(some)
            )
            found |= {keyed[one] for one in self.session.scalars(query)}
        return found

    def visit(self, patient_id: str, day: date) -> str:
        """Keyed digest of who was scanned when."""
        return self.keyed("visit", patient_id.strip(), day.isoformat())

    def judged_before(self, group: StudyGroup) -> list[FileVerdict] | None:
        """Verdicts of a study that need not be read; None if it must be.

        Depends on what was in the store before this ingest only.
        """
        files = group.files
        patient_id = files[0].patient_id
        if not patient_id:
            return [judge(file.name, "patient_id_missing") for file in files]
        stored = self.stored(replaced_uid(self.secret, group.study_uid))
        if stored is None:
            return None
        if stored.patient != pseudonym(self.secret, patient_id):
            return [judge(file.name, "patient_conflict") for file in files]
        if not self._all_there(stored.uid, group):
            return None
        others = {file.name for view in group.settled for file in group.repeats.get(view, [])}
        return [
            judge(file.name, "view_repeated" if file.name in others else "already_there")
            for file in files
        ]

    def settle(self, group: StudyGroup) -> None:
        """Let the scan of a view that the store has stand before the others of the same view.

        A store keeps the scan that it has, however many newer ones come: rounds have learnt of
        it, and its patient's split, its labels and digests are of it.
        """
        if not group.repeats:
            return
        uid = replaced_uid(self.secret, group.study_uid)
        columns = select(Image.view, Image.digest).where(Image.study == uid)
        stored = {(row.view, row.digest) for row in self.session.execute(columns)}
        for view in group.repeats:
            scans = group.scans(view)
            for file in scans:
                if (view.value, self.content(file.digest)) in stored:
                    group.images[view] = file
                    group.repeats[view] = [one for one in scans if one is not file]
                    group.settled.add(view)

    def stored(self, uid: str) -> Any:
        """Uid, patient and vendor of a study that is in the store."""
        columns = (Study.uid, Study.patient, Study.vendor)
        return self.session.execute(select(*columns).where(Study.uid == uid)).one_or_none()

    def _all_there(self, uid: str, group: StudyGroup) -> bool:
        """Whether each file of a study is in the store with the same content.

        And whether all is kept that is asked of it: an older version kept no turns of images,
        and no slices of volumes.
        """
        known: set[str | None] = set()
        unturned = select(Image.view).where(Image.study == uid, Image.turned.is_(None))
        if self.session.execute(unturned).first() is not None:
            return False
        if self._lacks_slices(uid, group):
            return False
        kept = set(self.session.scalars(select(Slice.digest).filter_by(study=uid, kept=True)))
        for table in (Image, Volume):
            columns = select(table.digest, table.mask_digest).where(table.study == uid)
            known |= {digest for row in self.session.execute(columns) for digest in row}
        slices = {file.digest for series in group.series.values() for file in series}
        # Of a view that is settled no other scan is ever taken.
        others = {file.name for view in group.settled for file in group.repeats.get(view, [])}
        for file in group.files:
            if file.name in others:
                continue
            if file.digest not in slices:
                if self.content(file.digest) not in known:
                    return False
                continue
            if self.content(file.digest) in kept:
                continue
            # A slice that came again otherwise encoded; its volume holds it by other content.
            key = (self.keyed("name", file.name), self.content(file.digest))
            seen = self.session.get(SourceFile, key)
            if seen is None or seen.verdict != "taken":
                return False
        return True

    def _lacks_slices(self, uid: str, group: StudyGroup) -> bool:
        """Whether a whole volume came of which an older version kept no slices."""
        columns = select(Volume.series, Volume.slices)
        older = columns.where(Volume.study == uid, Volume.completeness.is_(None))
        slices = {row.series: row.slices for row in self.session.execute(older)}
        return any(
            sum(len(file.places) for file in files)
            >= slices.get(replaced_uid(self.secret, series), math.inf)
            for series, files in (group.series.items() if slices else ())
        )

    def remember(self, verdicts: Iterable[FileVerdict], digests: Mapping[str, str]) -> None:
        """Keep how each file ended, by keyed digests of its name and content."""
        for verdict in verdicts:
            self._rows.append(
                {
                    "name_digest": self.keyed("name", verdict.path),
                    "content_digest": self.content(digests.get(verdict.path, "")),
                    "verdict": verdict.verdict,
                    "reason": verdict.reason,
                }
            )

    def send(self) -> None:
        """Write how files ended; the caller commits."""
        files, self._rows = self._rows, []
        news = [row for row in files if row["reason"] != "already_there"]
        # "Already there" is a fact of one ingest, not of the file.
        old = [row | {"reason": "ok"} for row in files if row["reason"] == "already_there"]
        connection, statement = self.session.connection(), insert(SourceFile)
        if old:
            connection.execute(statement.on_conflict_do_nothing(), old)
        if news:
            facts = {name: statement.excluded[name] for name in ("verdict", "reason")}
            keys = ["name_digest", "content_digest"]
            connection.execute(
                statement.on_conflict_do_update(index_elements=keys, set_=facts), news
            )
