"""A person decides what a scan shows that was set aside, or that it stays out.

What was set aside is not in the store: the next ingest that is given the file takes it as
decided. A decision can be undone; the images that came of it are then removed from the store.
Every decision is a line of the site's audit trail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from client.identity.chain import site_chain
from client.ingest.deciding.decisions import (
    SHOWN_DIGITS,
    UNDECIDED,
    Decision,
    Scope,
    forget_decision,
    keep_decision,
    read_decisions,
)
from client.store.catalogue import (
    Image,
    Label,
    Marking,
    Quality,
    Study,
    UndecidedScan,
    has_images,
)
from client.store.site_store import SiteStore
from shared.dicom.vendors import fits_vendor
from shared.dicom.verdicts import REASONS
from shared.errors import ConfigValueError, InputMissingError
from shared.phrases import counted
from shared.records import Vendor
from shared.scan_types import SAID, ScanType

FEWEST_DIGITS: Final = 4


@dataclass(frozen=True)
class OpenScan:
    """One scan, or all of one kind, that was set aside: what is known, and what was decided.

    Attributes
    ----------
    digest : str
        Keyed digest by which it is decided.
    scope : str
        ``scan`` or ``kind``.
    files : int
        How many were seen.
    reason : str
        Why they were set aside.
    vendor, maker, model : str
        The scanner.
    name : str
        What the scan is called; empty where it has no name, or one that could be a patient's.
    sizes : tuple of (int, int)
        Rows and columns that were seen.
    decision : Decision or None
        What was decided.
    """

    digest: str
    scope: Scope
    files: int
    reason: str
    vendor: str
    maker: str
    model: str
    name: str
    sizes: tuple[tuple[int, int], ...]
    decision: Decision | None

    @property
    def called(self) -> str:
        """The digits by which a person names it."""
        return self.digest[:SHOWN_DIGITS]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        one = self.decision
        return {
            "id": self.called,
            "about": self.scope,
            "files": self.files,
            "reason": self.reason,
            "sentence": REASONS[self.reason][1],
            "maker": self.maker,
            "model": self.model,
            "name": self.name,
            "sizes": [list(size) for size in self.sizes],
            "decided": None if one is None else shown(one),
            "inverted": None if one is None else one.inverted,
        }


def shown(decision: Decision) -> str:
    """A decision as one word: a scan type, or ``out``."""
    return "out" if decision.scan is None else decision.scan.value


def open_scans(folder: Path) -> list[OpenScan]:
    """List what may be decided and what was, what is open first.

    Raises
    ------
    StoreMissingError
        See `SiteStore.open`.
    """
    store = SiteStore.open(folder)
    try:
        return _open_scans(store)
    finally:
        store.close()


def _open_scans(store: SiteStore) -> list[OpenScan]:
    decisions = {one.digest: one for one in read_decisions(store.folder)}
    grouped: dict[str, list[UndecidedScan]] = {}
    with Session(store.engine) as session:
        for row in session.scalars(select(UndecidedScan).order_by(UndecidedScan.content)):
            key = row.content if row.content in decisions or row.scope == "scan" else row.kind
            if key in decisions or row.now in UNDECIDED:
                grouped.setdefault(key, []).append(row)
        found = [_one(key, rows, decisions.get(key)) for key, rows in grouped.items()]
    # Of a kind whose scans have all been decided about one by one, the decision stays listed.
    found += [_bare(one) for one in decisions.values() if one.digest not in grouped]
    return sorted(found, key=lambda one: (one.decision is not None, one.reason, one.digest))


def _bare(decision: Decision) -> OpenScan:
    """A decision about which no scan is left to be listed."""
    scope, digest = decision.scope, decision.digest
    return OpenScan(digest, scope, 0, "scan_type_unknown", "", "", "", "", (), decision)


def _one(key: str, rows: Sequence[UndecidedScan], decision: Decision | None) -> OpenScan:
    first = rows[0]
    return OpenScan(
        digest=key,
        scope="scan" if key == first.content else "kind",
        files=len(rows),
        reason=first.reason,
        vendor=first.vendor,
        maker=first.maker,
        model=first.model,
        name=next((row.name for row in rows if row.name), ""),
        sizes=tuple(sorted({(row.rows, row.columns) for row in rows})),
        decision=decision,
    )


def decide(
    folder: Path, called: str, scan: ScanType | None, *, inverted: bool = False
) -> tuple[OpenScan, str]:
    """Decide what something shows that was set aside (None: it stays out).

    Parameters
    ----------
    folder : Path
        The site folder.
    called : str
        The first digits of its digest, as `open_scans` lists it.
    scan : ScanType or None
        What it shows.
    inverted : bool
        Whether bone is dark as the file is read; only of one that was set aside for it.

    Returns
    -------
    one : OpenScan
        As decided.
    sentence : str
        What follows.

    Raises
    ------
    InputMissingError
        If nothing, or more than one thing, is called so.
    ConfigValueError
        If it cannot be what was said, or was decided before.
    """
    store = SiteStore.open(folder)
    try:
        one = _named(_open_scans(store), called)
        _check(one, scan, inverted=inverted)
        about_polarity = one.reason == "polarity_unsure" and scan is not None
        decision = Decision(
            scope=one.scope, digest=one.digest, scan=scan,
            inverted=inverted if about_polarity else None,
        )  # fmt: skip
        site_chain(store.folder, store.config.site).append(
            "scan decided", about=one.scope, id=one.called, shows=shown(decision),
            inverted=decision.inverted,
        )  # fmt: skip
        keep_decision(store.folder, decision)
    finally:
        store.close()
    return one, _what_follows(one, scan)


def _what_follows(one: OpenScan, scan: ScanType | None) -> str:
    what = counted(one.files, "scan")
    more = "; scans of this kind too, from now on" if one.scope == "kind" else ""
    if scan is None:
        return f"{what} will stay out{more}"
    return (
        f"{what} will be taken as {SAID[scan]} ({scan.value}) when the next ingest is given "
        f"the same files again{more}: run `osteofed site ingest` on their folder, or with --again "
        "on the PACS that they came from"
    )


def undo(folder: Path, called: str) -> tuple[OpenScan, int]:
    """Undo a decision; return what it was about, and how many images left the store with it.

    Waits until an ingest that runs has ended.

    Raises
    ------
    InputMissingError
        If nothing that was decided is called so.
    """
    store = SiteStore.open(folder)
    try:
        with store.alone():
            known = _open_scans(store)
            one = _named([one for one in known if one.decision is not None], called)
            site_chain(store.folder, store.config.site).append(
                "decision undone", about=one.scope, id=one.called
            )
            forget_decision(store.folder, one.digest)
            removed = _remove_images(store, one)
    finally:
        store.close()
    return one, removed


def _named(known: Sequence[OpenScan], called: str) -> OpenScan:
    wanted = called.lower()
    found = [one for one in known if one.digest.startswith(wanted)]
    if len(wanted) < FEWEST_DIGITS or len(found) != 1:
        what = "nothing" if not found else f"{len(found)} of them"
        raise InputMissingError(
            f"{called}: {what} that was set aside or decided is called so (the first "
            f"{FEWEST_DIGITS} or more digits of one id were expected); `osteofed site decide` with "
            "the site folder alone lists them"
        )
    return found[0]


def _check(one: OpenScan, scan: ScanType | None, *, inverted: bool) -> None:
    """Refuse what cannot be."""
    if one.decision is not None and one.reason != "polarity_unsure":
        raise ConfigValueError(
            f"{one.called}: was decided before ({shown(one.decision)}); undo that first (--undo)"
        )
    if inverted and one.reason != "polarity_unsure":
        raise ConfigValueError(
            f"{one.called}: was set aside as {one.reason}, not for bone that looks dark; leave "
            "--inverted out"
        )
    if scan is None or scan.view is None:
        return
    if not fits_vendor(scan.view, Vendor(one.vendor)):
        kind = "a radiograph" if Vendor(one.vendor) is Vendor.OTHER else "a DXA scan"
        raise ConfigValueError(f"{one.called}: is {kind}, so it cannot be {scan.value}")


def _remove_images(store: SiteStore, one: OpenScan) -> int:
    """Remove the images that came of a decision; a study of which nothing is left goes too.

    A patient's split stays known, so that whoever comes back is in the same one.
    """
    key = UndecidedScan.kind if one.scope == "kind" else UndecidedScan.content
    with Session(store.engine) as session, session.begin():
        contents = select(UndecidedScan.content).where(key == one.digest)
        session.execute(
            update(UndecidedScan).where(key == one.digest).values(now=UndecidedScan.reason)
        )
        images = list(
            session.scalars(
                select(Image).where(Image.digest.in_(contents), Image.told == "decided")
            )
        )
        stems = [(image.study, image.view) for image in images]
        for study, view in stems:
            for table, column in ((Quality, Quality.view), (Marking, Marking.image)):
                session.execute(delete(table).where(table.study == study, column == view))
            session.execute(delete(Image).where(Image.study == study, Image.view == view))
        _remove_empty(session, {study for study, _ in stems})
    for study, view in stems:
        for what in ("pixels", "regions"):
            store.array_path(study, view, what).unlink(missing_ok=True)
    return len(stems)


def _remove_empty(session: Session, studies: set[str]) -> None:
    """Remove studies without images and labels; one with labels is a visit of its vendor now."""
    labelled = exists().where(Label.study == Study.uid)
    for uid in sorted(studies):
        bare = (Study.uid == uid, ~has_images())
        session.execute(delete(Study).where(*bare, ~labelled))
        session.execute(update(Study).where(*bare).values(maker=Study.vendor, model=None))
