"""A new registry's file: the tables of the installed MLflow, however they came there."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from server.registry import new_database
from server.registry.new_database import TABLES, make_database, tables_of_mlflow

#: MLflow's own; a connection leaves them out.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def lines(script: str) -> list[str]:
    return [line.rstrip(",") for line in script.splitlines()]


def revision(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as database:
        [(found,)] = database.execute("SELECT version_num FROM alembic_version").fetchall()
    return str(found)


def experiments(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [name for (name,) in database.execute("SELECT name FROM experiments")]


def test_what_is_kept_is_what_mlflow_makes_itself() -> None:
    """Else: ``python -m server.registry.new_database``, and commit what it wrote."""
    kept, made = TABLES.read_text(encoding="utf-8"), tables_of_mlflow()
    # MLflow writes constraints and indexes in an order that is another each time.
    assert sorted(lines(kept)) == sorted(lines(made))
    assert kept.startswith("BEGIN TRANSACTION;")


@pytest.mark.parametrize("kept", ["another revision", "nothing"])
def test_where_what_is_kept_does_not_fit_mlflow_makes_its_tables_itself(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_database(tmp_path / "usual" / "mlflow.sqlite")
    own = tmp_path / "tables.sql"
    if kept != "nothing":
        old = "CREATE TABLE alembic_version (version_num VARCHAR(32));\n"
        own.write_text(old + "INSERT INTO \"alembic_version\" VALUES('0123456789ab');\n")
    monkeypatch.setattr(new_database, "TABLES", own)
    make_database(tmp_path / "own" / "mlflow.sqlite")
    usual, made = (tmp_path / one / "mlflow.sqlite" for one in ("usual", "own"))
    assert revision(made) == revision(usual) != "0123456789ab"
    assert experiments(made) == experiments(usual) == ["Default"]


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.sqlite"
    path.write_bytes(b"somebody's")
    make_database(path)
    assert path.read_bytes() == b"somebody's"
