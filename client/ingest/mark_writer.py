"""Marks of tables on their way into the store: on one image each, or disputed for good."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from client.ingest.known_files import KnownFiles
from client.store.catalogue import Marking
from client.store.marks import numbers_text, read_markable
from client.store.site_store import SiteStore
from shared.dicom.labels.mark_images import MarkedRow, MarkKey, placed
from shared.dicom.labels.marks import MOST_MARKS, Markable, MarkedPlace, same_place
from shared.dicom.labels.tables import LabelRow
from shared.dicom.phi.deidentify import replaced_uid
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge


class MarkWriter:
    """Places marks on the images and volumes of studies that are in the store.

    Parameters
    ----------
    store : SiteStore
        Where to.
    session : Session
        Of its catalogue, in which all studies are written already; the caller commits.
    files : KnownFiles
        Makes keyed digests.
    """

    def __init__(self, store: SiteStore, session: Session, files: KnownFiles) -> None:
        self._store = store
        self._files = files
        self._session = session
        self.tables_with_news: set[str] = set()

    def take(self, marked: Sequence[tuple[MarkedRow, list[str]]]) -> Iterator[FileVerdict]:
        """Take marks, each with the uids of the studies of its patient and day.

        Returns
        -------
        iterator of FileVerdict
            Of those that are on no image, outside of it, contradicted, or too many.
        """
        known: dict[str, Markable] = {}
        told: dict[tuple[str, MarkKey], list[tuple[LabelRow, tuple[float, ...]]]]
        told = defaultdict(list)
        for (row, mark), uids in marked:
            for uid in uids:
                if uid not in known:
                    known[uid] = read_markable(self._session, self._store.arrays, uid)
            try:
                uid, mine = self._home(mark, {uid: known[uid] for uid in uids})
                key, kept = placed(row.name, mine, known[uid])
            except SetAsideError as aside:
                yield judge(row.path, aside.reason)
                continue
            told[uid, key].append((row, kept.numbers))
        for (uid, key), several in told.items():
            outcome = self._add(uid, key, [numbers for _, numbers in several])
            if outcome == "too many":
                yield from (judge(row.path, "marks_too_many") for row, _ in several)
            elif outcome == "disputed":
                yield from (judge(row.path, "label_conflict") for row, _ in several)
            elif outcome == "new":
                self.tables_with_news |= {row.path.rsplit(":", 1)[0] for row, _ in several}

    def _home(self, mark: MarkedPlace, studies: dict[str, Markable]) -> tuple[str, MarkedPlace]:
        """Find the one study that a mark can be of; the mark as the store names its image.

        Raises
        ------
        SetAsideError
            If there is none, or more than one.
        """
        if mark.study_uid:  # its file was in the folder
            uid = replaced_uid(self._store.secret, mark.study_uid)
            studies = {name: one for name, one in studies.items() if name == uid}
            if mark.kind == "slice":
                mark = replace(mark, image=replaced_uid(self._store.secret, mark.image))
            else:
                mark = replace(mark, content=self._files.content(mark.content))
        found = [uid for uid, one in studies.items() if one.candidates(mark)]
        if len(found) != 1:
            raise SetAsideError("label_ambiguous" if found else "mark_without_image")
        return found[0], mark

    def _add(self, uid: str, key: MarkKey, told: list[tuple[float, ...]]) -> str:
        """Take what was told of one thing: ``new``, ``known``, ``too many``, ``disputed``."""
        mine = {
            "study": uid, "image": key.image, "kind": key.kind, "vertebra": key.vertebra
        }  # fmt: skip
        if key.itself:
            mine["numbers"] = numbers_text(key.itself)
        there = self._session.scalars(select(Marking).filter_by(**mine)).one_or_none()
        before = [] if there is None else [tuple(map(float, there.numbers.split()))]
        everything = before + told
        disputed = not all(same_place(everything[0], other) for other in everything)
        if there is None:
            if self._is_full(uid, key):
                return "too many"
            row = mine | {"numbers": numbers_text(told[0]), "disputed": disputed}
            self._session.execute(insert(Marking), row)
        elif there.disputed:
            disputed = True
        elif disputed:
            self._session.execute(update(Marking).filter_by(**mine).values(disputed=True))
        return "disputed" if disputed else "known" if before else "new"

    def _is_full(self, uid: str, key: MarkKey) -> bool:
        """Say whether an image has as many marks of a kind as are kept."""
        mine = select(func.count()).select_from(Marking)
        mine = mine.filter_by(study=uid, image=key.image, kind=key.kind)
        return (self._session.scalar(mine) or 0) >= MOST_MARKS
