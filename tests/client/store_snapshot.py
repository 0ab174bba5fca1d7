"""Everything that a store holds, to be compared."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from client.store.catalogue import Base


def snapshot(site: Path) -> dict[str, object]:
    """Files of the store by name and content, and every row of every table, in order.

    Identifiers are a set: they are sorted.
    """
    store = site / "store"
    found: dict[str, object] = {
        path.relative_to(site).as_posix(): path.read_bytes() if path.is_file() else None
        for path in store.rglob("*")
        if not path.name.startswith("catalogue.sqlite")
    }
    with sqlite3.connect(store / "catalogue.sqlite") as catalogue:
        for table in Base.metadata.sorted_tables:
            query = f"SELECT * FROM {table.name}"  # noqa: S608 # names of our own
            rows = list(catalogue.execute(query))
            found[table.name] = sorted(rows) if table.name == "identifiers" else rows
    return found
