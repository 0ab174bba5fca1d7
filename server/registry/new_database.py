"""A new registry's SQLite file, there whole or not at all, in a tenth of a second.

MLflow makes its tables by going through every change that they have ever had, which takes three
to five seconds of a processor for each new workspace. What comes of it is always the same, so it
is kept as SQL beside this module (``mlflow_tables.sql``) and used where the installed MLflow
wants that very revision. Of another revision MLflow makes the tables itself.

Write it anew, for another MLflow: ``python -m server.registry.new_database``.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import tempfile
from pathlib import Path
from typing import Final

from shared.inference.registry_file import SQLITE
from shared.runtime.files import alone_with

TABLES: Final = Path(__file__).with_name("mlflow_tables.sql")
REVISION: Final = re.compile(r"INSERT INTO \"?alembic_version\"? VALUES\('([0-9a-f]+)'\);")


def make_database(path: Path) -> None:
    """Make a new SQLite file with MLflow's tables; one that is there is left as it is.

    MLflow cannot go on with half of its tables: whoever is killed in between would leave a
    registry that never opens again. So it is made beside, and gets its name when it is whole.

    Parameters
    ----------
    path : Path
        The file; artifacts of its first experiment go into ``artifacts`` beside it.

    Raises
    ------
    OSError, SQLAlchemyError, MlflowException
        If it cannot be made.
    """
    if path.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with alone_with(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return
        part.unlink(missing_ok=True)
        _write_known_tables(part)
        store = SqlAlchemyStore(f"{SQLITE}{part}", (path.parent / "artifacts").resolve().as_uri())
        store.engine.dispose()
        part.replace(path)


def _write_known_tables(part: Path) -> None:
    """Write the tables if they are those of the installed MLflow; else write nothing."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    try:
        script = TABLES.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    found = REVISION.search(script)
    if found is None or found[1] != _get_latest_schema_revision():
        return
    with contextlib.closing(sqlite3.connect(part)) as database:
        database.executescript(script)


def tables_of_mlflow() -> str:
    """Give what MLflow's own way makes of an empty file, as SQL."""
    import sqlalchemy
    from mlflow.store.db.utils import _initialize_tables

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.sqlite"
        engine = sqlalchemy.create_engine(f"{SQLITE}{path}")
        _initialize_tables(engine)
        engine.dispose()
        with contextlib.closing(sqlite3.connect(path)) as database:
            lines = list(database.iterdump())
    return "\n".join(line.rstrip() for part in lines for line in part.splitlines()) + "\n"


if __name__ == "__main__":
    TABLES.write_text(tables_of_mlflow(), encoding="utf-8")
