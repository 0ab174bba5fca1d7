"""Writes labels into the store: one value each; labels that differ are disputed and stay so."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.store.catalogue import Label

#: SQLite takes at most 32766 parameters.
STUDIES_PER_QUERY: Final = 5000
#: BMD is reported to three decimals; a smaller difference is none.
SAME_LABEL: Final = 0.00051

#: Study, kind, name.
Key = tuple[str, str, str]


class LabelWriter:
    """What is known of labels, and what of it has to be written.

    Parameters
    ----------
    session : Session
        Of the catalogue.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[Key, tuple[float, bool]] = {}
        self._changed: dict[Key, None] = {}

    def load(self, uids: Collection[str]) -> None:
        """Hold the labels of studies that are in the store, by few queries."""
        ordered = sorted(uids)
        columns = select(Label.study, Label.kind, Label.name, Label.value, Label.disputed)
        for start in range(0, len(ordered), STUDIES_PER_QUERY):
            some = ordered[start : start + STUDIES_PER_QUERY]
            for row in self._session.execute(columns.where(Label.study.in_(some))):
                self._known.setdefault((row.study, row.kind, row.name), (row.value, row.disputed))

    def add(self, uid: str, kind: str, name: str, value: float, *, disputed: bool = False) -> str:
        """Take one label: ``new``, ``known``, or ``disputed`` for good if sources differ.

        The labels of a study that is in the store must have been loaded. `disputed` says that
        its sources differ among themselves.
        """
        key = (uid, kind, name)
        if key not in self._known:
            self._known[key] = (value, disputed)
            self._changed[key] = None
            return "disputed" if disputed else "new"
        there, disputed_before = self._known[key]
        if disputed_before:
            return "disputed"
        if disputed or abs(there - value) > SAME_LABEL:
            self._known[key] = (there, True)
            self._changed[key] = None
            return "disputed"
        return "known"

    def send(self) -> None:
        """Write what changed, and hold nothing any more; the caller commits."""
        rows = list(self._rows())
        if rows:
            statement = insert(Label)
            statement = statement.on_conflict_do_update(
                index_elements=["study", "kind", "name"],
                set_={"disputed": statement.excluded.disputed},
            )
            self._session.connection().execute(statement, rows)
        self._known.clear()
        self._changed.clear()

    def _rows(self) -> Iterator[dict[str, object]]:
        for uid, kind, name in self._changed:
            value, disputed = self._known[uid, kind, name]
            yield {
                "study": uid, "kind": kind, "name": name, "value": value, "disputed": disputed
            }  # fmt: skip
