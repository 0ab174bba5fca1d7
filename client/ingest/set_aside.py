"""Scans that a person may decide about: what is known of them, and what was decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.ingest.deciding.decisions import SHOWN_DIGITS, UNDECIDED, Scope, read_decisions
from client.ingest.deidentification_codes import scanner_text
from client.ingest.known_files import KnownFiles
from client.store.catalogue import UndecidedScan
from client.store.site_store import SiteStore
from shared.dicom.phi.deidentify import keyed_digest
from shared.dicom.phi.seen import identifiers_in_file
from shared.dicom.scan import FolderScan, SiteReading
from shared.dicom.verdicts import FileVerdict
from shared.scan_types import Decided, ScanKind, folded
from shared.settings.files import LabelColumns

#: Shorter words of an identifier are no sign that a name holds it, in scripts of letters.
SHORTEST_WORD: Final = 3
LONGEST_NAME: Final = 64
#: A date or a number of somebody, which no name of a scan needs.
LONG_NUMBER: Final = re.compile(r"\d{4}")


@dataclass(frozen=True)
class DecidedScans:
    """What was decided at a site, asked while files are read."""

    secret: bytes = field(repr=False)
    decisions: Mapping[str, Decided] = field(repr=False)

    def __call__(self, digest: str, kind: ScanKind) -> tuple[Decided | None, Decided | None]:
        """What was decided of a content and of its kind."""
        if not self.decisions:
            return None, None
        of_kind = self.decisions.get(f"kind {kind_digest(self.secret, kind)}")
        return self.decisions.get(f"scan {content_digest(self.secret, digest)}"), of_kind


def reading_of(store: SiteStore) -> SiteReading:
    """All that a site says of its files."""
    decisions = {
        f"{one.scope} {one.digest}": Decided(one.scan, one.inverted)
        for one in read_decisions(store.folder)
    }
    config = store.config
    return SiteReading(config.labels, config.reading, DecidedScans(store.secret, decisions))


def content_digest(secret: bytes, digest: str) -> str:
    """Keyed digest of a content, as `KnownFiles.content` makes it."""
    return keyed_digest(secret, "content", digest).hex()


def kind_digest(secret: bytes, kind: ScanKind) -> str:
    """Keyed digest of a kind of scans."""
    scanner = (kind.vendor.value, kind.maker, kind.model, kind.serial)
    return keyed_digest(secret, "scan kind", *scanner, *kind.said).hex()


def scope_of(reason: str, kind: ScanKind) -> Scope:
    """What a decision is about: a name of its own stands for a kind, anything else for itself."""
    return "kind" if reason == "scan_type_unknown" and kind.telling else "scan"


class SetAsideScans:
    """Keeps what is known of scans that somebody may decide about.

    Parameters
    ----------
    session : Session
        Of the catalogue.
    files : KnownFiles
        Makes keyed digests.
    """

    def __init__(self, session: Session, files: KnownFiles) -> None:
        self._session = session
        self._files = files
        self._known = set(session.scalars(select(UndecidedScan.content)))

    def keep(
        self,
        folder: Path,
        scan: FolderScan,
        verdicts: Iterable[FileVerdict],
        decided: Iterable[str],
        columns: LabelColumns,
    ) -> dict[str, str]:
        """Keep them, or how they ended; return what each one that is open is called, by name.

        Parameters
        ----------
        folder : Path
            Where the files lie.
        scan : FolderScan
            Their kinds and contents.
        verdicts : iterable of FileVerdict
            How they ended.
        decided : iterable of str
            Names of those that were taken because a person said so.
        columns : LabelColumns
            What the site's tables call their columns.
        """
        called: dict[str, str] = {}
        by_person = set(decided)
        for verdict in verdicts:
            kind = scan.kinds.get(verdict.path)
            if kind is None or verdict.reason == "already_there":
                continue
            content = self._files.content(scan.digests[verdict.path])
            concerned = verdict.reason in UNDECIDED or verdict.reason == "left_out"
            if not concerned and verdict.path not in by_person and content not in self._known:
                continue
            path = scan.elsewhere.get(verdict.path, folder / verdict.path)
            row = self._row(path, verdict, kind, columns)
            self._put(content, row)
            if verdict.reason in UNDECIDED:
                key = row["kind"] if row["scope"] == "kind" else content
                called[verdict.path] = key[:SHOWN_DIGITS]
        return called

    def _row(
        self, path: Path, verdict: FileVerdict, kind: ScanKind, columns: LabelColumns
    ) -> dict[str, Any]:
        open_for = verdict.reason if verdict.reason in UNDECIDED else "scan_type_unknown"
        return {
            "kind": kind_digest(self._files.secret, kind),
            "scope": scope_of(open_for, kind),
            "reason": open_for,
            "now": verdict.reason,
            "vendor": kind.vendor.value,
            "maker": scanner_text(kind.maker),
            "model": scanner_text(kind.model),
            "name": _safe_name(path, kind.name, columns),
            "rows": kind.rows,
            "columns": kind.columns,
        }

    def _put(self, content: str, row: dict[str, Any]) -> None:
        """Write a row; of one that is there, why it was set aside stays unless it is so anew."""
        self._known.add(content)
        changes = {"now": row["now"]}
        if row["now"] in UNDECIDED:
            changes |= {name: row[name] for name in ("scope", "reason")}
        statement = insert(UndecidedScan).values(content=content, **row)
        self._session.execute(
            statement.on_conflict_do_update(index_elements=["content"], set_=changes)
        )


def _safe_name(path: Path, name: str, columns: LabelColumns) -> str:
    """What a scan is called; empty where it may name the patient, or where nobody could look."""
    shown = "".join(one for one in name if one.isprintable())[:LONGEST_NAME]
    said = folded(shown).replace(" ", "")
    seen = identifiers_in_file(path, "", columns)
    # No DICOM file is without UIDs: one that shows none could not be read.
    if not said or not seen or LONG_NUMBER.search(said):
        return ""
    for one in seen:
        text = folded(one.text)
        words = {text.replace(" ", ""), *text.split()}
        if any(word in said for word in words if len(word) >= SHORTEST_WORD or not word.isascii()):
            return ""
    return shown
