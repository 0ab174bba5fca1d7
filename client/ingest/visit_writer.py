"""Joins labels to the study they belong to; where none has images, makes a visit of their own.

A BMD belongs to a DXA study of that patient and day, since it is on its scanner's scale; other
labels to whatever study of that day, and marks to the one that has the image. A line of a day
without such a study becomes a row of the studies without images
(`client.store.catalogue.has_images`), of the scanner that the line names, else of the only
vendor that made the patient's other DXA scans, else of none that is known. When images of that
day come later, they take its labels over. Classes and marks are not kept without images.

A patient without any study gets no visit: a store holds patients who were imaged. Others
would fill the splits, and the promise of privacy counts patients, with people of whom
nothing can be learnt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.ingest.deidentification_codes import method_codes
from client.ingest.known_files import KnownFiles
from client.ingest.label_writer import LabelWriter
from client.ingest.mark_writer import MarkWriter
from client.store.catalogue import Label, Study, has_images
from shared.dicom.labels.kinds import BY_KIND, Kind
from shared.dicom.labels.mark_images import MarkedRow
from shared.dicom.labels.names import vendor_named
from shared.dicom.labels.tables import LabelRow
from shared.dicom.phi.deidentify import pseudonym, replaced_uid, shifted_day
from shared.dicom.verdicts import FileVerdict, judge
from shared.records import DXA_VENDORS, Vendor

#: Reason of a label that is kept without images.
ALONE: Final = "visit_without_images"


@dataclass(frozen=True)
class _Visit:
    """What is known of a study.

    `imaged` if it has images. The `maker` of one without is the vendor that its lines name.
    """

    uid: str
    patient: str
    vendor: Vendor
    visit: str | None
    maker: str | None
    sex: str | None
    ethnic_group: str | None
    imaged: bool

    def takes(self, kind: Kind, vendor: Vendor | None) -> bool:
        """Say whether labels of a kind can be of it; `vendor`, if known, made their scan."""
        if kind != "bmd":
            return True
        return self.vendor in DXA_VENDORS and vendor in (None, self.vendor)


class VisitWriter:
    """Joins labels to studies of a store, and keeps visits of those that have none.

    Parameters
    ----------
    session : Session
        Of the catalogue, in which all studies are written already.
    files : KnownFiles
        Makes keyed digests.
    labels : LabelWriter
        Takes the labels.
    marks : MarkWriter
        Takes the marks on images.
    """

    def __init__(
        self, session: Session, files: KnownFiles, labels: LabelWriter, marks: MarkWriter
    ) -> None:
        self._session = session
        self._files = files
        self._labels = labels
        self._marks = marks
        self._by_visit: dict[str, list[_Visit]] = defaultdict(list)
        self._by_patient: dict[str, list[_Visit]] = defaultdict(list)
        self.visits_new = 0
        self.tables_with_news: set[str] = set()

    def take(self, rows: list[LabelRow]) -> list[FileVerdict]:
        """Join labels; return verdicts of those that did not join a study with images."""
        if not rows and self._session.scalar(select(Study.uid).where(~has_images())) is None:
            return []
        self._read()
        self._take_over()
        verdicts = list(self._join(rows))
        self._settle_vendors()
        return verdicts

    def _read(self) -> None:
        """Hold what is known of every study."""
        self._by_visit.clear()
        self._by_patient.clear()
        columns = (
            Study.uid, Study.patient, Study.vendor, Study.visit, Study.maker, Study.sex,
            Study.ethnic_group, has_images(),
        )  # fmt: skip
        for uid, patient, vendor, visit, maker, sex, group, imaged in self._session.execute(
            select(*columns).order_by(Study.uid)
        ):
            self._hold(_Visit(uid, patient, Vendor(vendor), visit, maker, sex, group, bool(imaged)))

    def _hold(self, one: _Visit) -> None:
        self._by_patient[one.patient].append(one)
        if one.visit is not None:
            self._by_visit[one.visit].append(one)

    def _homes(self, visit: str, kind: Kind, vendor: Vendor | None) -> list[_Visit]:
        """Studies with images of a visit that labels of a kind can be of."""
        known = self._by_visit.get(visit, [])
        return [one for one in known if one.imaged and one.takes(kind, vendor)]

    # --- what came with images after its labels ------------------------------------------

    def _take_over(self) -> None:
        """Give labels of visits without images to the images of that day that came since."""
        alone = [one for some in self._by_visit.values() for one in some if not one.imaged]
        moves: dict[tuple[str, Kind], str] = {}
        for one in alone:
            for kind in BY_KIND:
                homes = self._homes(str(one.visit), kind, _said(one))
                if len(homes) == 1:
                    moves[one.uid, kind] = homes[0].uid
        if moves:
            self._labels.load(set(moves.values()))
            self._move(moves)
            self._forget_empty({uid for uid, _ in moves})

    def _move(self, moves: dict[tuple[str, Kind], str]) -> None:
        """Move the labels of a kind from one study to another; a dispute stays one."""
        for uid, kind in moves:
            rows = select(Label).where(Label.study == uid, Label.kind == kind).order_by(Label.name)
            for row in self._session.scalars(rows):
                home = moves[uid, kind]
                self._labels.add(home, kind, row.name, row.value, disputed=row.disputed)
            self._session.execute(delete(Label).where(Label.study == uid, Label.kind == kind))

    def _forget_empty(self, uids: set[str]) -> None:
        """Forget visits whose labels have all been given to others."""
        for uid in sorted(uids):
            if self._session.scalar(select(Label.study).where(Label.study == uid)) is None:
                self._session.execute(delete(Study).where(Study.uid == uid))
                for held in (*self._by_visit.values(), *self._by_patient.values()):
                    held[:] = [one for one in held if one.uid != uid]

    # --- labels ---------------------------------------------------------------------------

    def _join(self, rows: list[LabelRow]) -> Iterator[FileVerdict]:
        """Add labels to their studies, and to visits of their own where there is none."""
        told: dict[tuple[str, Kind, str], list[LabelRow]] = defaultdict(list)
        lonely: dict[str, list[LabelRow]] = defaultdict(list)
        marked: list[tuple[MarkedRow, list[str]]] = []
        for row in rows:
            visit = self._files.visit(row.patient_id, row.day)
            homes = self._homes(visit, row.kind, known_vendor(row.maker))
            if homes and row.mark is not None:
                marked.append(((row, row.mark), [one.uid for one in homes]))
            elif len(homes) == 1:
                told[homes[0].uid, row.kind, row.name].append(row)
            elif homes:
                yield judge(row.path, "label_ambiguous")
            elif BY_KIND[row.kind].alone:
                lonely[visit].append(row)
            else:
                yield judge(row.path, "label_without_study")
        yield from self._marks.take(marked)
        self.tables_with_news |= self._marks.tables_with_news
        alone: set[str] = set()
        for visit, mine in lonely.items():
            found = self._alone(visit, mine)
            if isinstance(found, str):
                yield from (judge(row.path, found) for row in mine)
                continue
            alone.add(found.uid)
            for row in mine:
                told[found.uid, row.kind, row.name].append(row)
        self._labels.load({uid for uid, _, _ in told})
        for (uid, kind, name), mine in told.items():
            results = [self._labels.add(uid, kind, name, row.value) for row in mine]
            if "disputed" in results:
                yield from (judge(row.path, "label_conflict") for row in mine)
                continue
            if "new" in results:
                self.tables_with_news.add(mine[0].path.rsplit(":", 1)[0])
            if uid in alone:
                yield from (judge(row.path, ALONE) for row in mine)

    def _alone(self, visit: str, rows: list[LabelRow]) -> _Visit | str:
        """Find or make the visit without images that lines are of, or say why there is none."""
        who = pseudonym(self._files.secret, rows[0].patient_id)
        if who not in self._by_patient:
            return "label_without_study"
        # The vendor's name of ours is kept: free text of a table could be anybody's name.
        said = {vendor_named(row.maker).value for row in rows if row.maker}
        known = next((one for one in self._by_visit.get(visit, []) if not one.imaged), None)
        if known is not None and known.maker:
            said.add(known.maker)
        if len(said) > 1:
            return "label_conflict"
        maker = said.pop() if said else None
        if known is None:
            return self._make(who, visit, rows[0], maker)
        if maker is not None and known.maker is None:
            self._session.execute(update(Study).where(Study.uid == known.uid).values(maker=maker))
            self._drop(known)
            known = replace(known, maker=maker)
            self._hold(known)
        return known

    def _make(self, who: str, visit: str, row: LabelRow, maker: str | None) -> _Visit:
        """Add a visit without images; of the patient, it has what all other studies agree on."""
        secret, others = self._files.secret, self._by_patient[who]
        sex = _agreed(one.sex for one in others)
        group = _agreed(one.ethnic_group for one in others)
        made = _Visit(
            replaced_uid(secret, f"visit {visit}"),
            who, Vendor.OTHER, visit, maker, sex, group, imaged=False,
        )  # fmt: skip
        self._session.execute(
            insert(Study),
            {
                "uid": made.uid,
                "patient": who,
                "vendor": made.vendor.value,
                "visit": visit,
                "day": shifted_day(secret, row.patient_id, row.day),
                "sex": sex,
                "ethnic_group": group,
                "maker": maker,
                "method": method_codes(
                    dated=True, patient=bool(sex or group), scanner=maker is not None
                ),
            },
        )
        self._hold(made)
        self.visits_new += 1
        return made

    def _drop(self, known: _Visit) -> None:
        """Hold a study no more."""
        self._by_patient[known.patient].remove(known)
        self._by_visit[str(known.visit)].remove(known)

    # --- whose scanner --------------------------------------------------------------------

    def _settle_vendors(self) -> None:
        """Say whose scanner each visit without images was on, by all that the store knows."""
        alone = [one for some in self._by_patient.values() for one in some if not one.imaged]
        for one in alone:
            vendor = self._vendor_of(one)
            if vendor is not one.vendor:
                statement = update(Study).where(Study.uid == one.uid).values(vendor=vendor.value)
                self._session.execute(statement)

    def _vendor_of(self, visit: _Visit) -> Vendor:
        """Vendor that the table says; else the one that made all the patient's DXA scans."""
        if visit.maker is not None:
            return vendor_named(visit.maker)
        others = {
            one.vendor if one.imaged else vendor_named(one.maker or "")
            for one in self._by_patient[visit.patient]
            if one.imaged or one.maker is not None
        } & set(DXA_VENDORS)
        return others.pop() if len(others) == 1 else Vendor.OTHER


def known_vendor(maker: str) -> Vendor | None:
    """DXA vendor that a line names, None if it names none that is known."""
    vendor = vendor_named(maker)
    return vendor if vendor in DXA_VENDORS else None


def _said(visit: _Visit) -> Vendor | None:
    """DXA vendor that the lines of a visit without images name."""
    return known_vendor(visit.maker or "")


def _agreed(values: Iterable[str | None]) -> str | None:
    """The one value that is known, None if there is none or several."""
    known = {value for value in values if value is not None}
    return known.pop() if len(known) == 1 else None
