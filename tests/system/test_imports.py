"""What each command may import: whoever asks how things stand does not wait for torch.

A package costs up to two seconds and 150 MB, in every process. The table names, for each
command, the large packages that it may import; the commands are run, and what they imported
is looked up. Help imports none of them.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.errors import RuntimeUnavailableError
from shared.inference.registry_file import REVISION
from tests.system.importing import commands

ROOT = Path(__file__).resolve().parents[2]

#: What is large, or brings what is large with it.
HEAVY = frozenset(
    {
        "alembic", "cryptography", "fastapi", "flwr", "gdcm", "grpc", "highdicom", "jinja2",
        "matplotlib", "mlflow", "monai", "nibabel", "numpy", "opacus", "openpyxl", "pandas", "PIL",
        "pydantic", "pydicom", "pynetdicom", "ray", "requests", "scipy", "scipy.signal",
        "scipy.stats", "sklearn", "spekpy", "sqlalchemy", "torch", "torch._dynamo", "uvicorn",
        "xraydb",
    }
)  # fmt: skip
SETTINGS = {"cryptography", "numpy", "pydantic"}
STORE = SETTINGS | {"sqlalchemy"}
#: The formulas of what was spent need one file of Opacus and `scipy.special`.
LEDGER = STORE | {"scipy"}
#: pydicom asks for requests, and for GDCM where it is installed; nothing of ours imports it.
DICOM = {"PIL", "gdcm", "numpy", "pydantic", "pydicom", "requests", "scipy"}
MAY_IMPORT: dict[str, set[str]] = {
    "phantom make": DICOM | {"highdicom", "sqlalchemy", "xraydb"},  # xraydb is a database
    "site init": STORE,
    "site identity": SETTINGS,
    "site ingest": STORE | DICOM,
    "site studies": STORE,
    "site decide": STORE | DICOM,
    "site ledger": LEDGER,
    "site status": LEDGER,
    "site healthy": LEDGER,
    "site qc": STORE,
    "site enrol": STORE,
    "site audit show": SETTINGS,
    "site audit verify": SETTINGS | {"sqlalchemy"},  # holds the ledger against the chain
    "site audit phi": STORE | DICOM,
    "server pki": SETTINGS,
    "server admit": SETTINGS,
    "server members": SETTINGS,
    "server expel": SETTINGS,
    "server status": SETTINGS,
    "server healthy": SETTINGS,
    "server audit show": SETTINGS,
    "server audit verify": SETTINGS,
    "server bundle": SETTINGS,
    "server versions": SETTINGS,
    "predict": DICOM | {"cryptography", "jinja2", "monai", "torch"},
}
#: Commands that train, serve, ask others or fill a folder for minutes: they take what they need.
NOT_RUN = {
    "demo", "phantom sheet", "serve", "server export", "server passport verify", "server pretrain",
    "server registry", "server resume", "server run", "server up", "site approve", "site browse",
    "site check", "site declare", "site disapprove", "site echo", "site evaluate", "site join",
    "site listen", "site train", "site worklist",
}  # fmt: skip


def imported(folder: Path, lines: list[list[str]] | None) -> list[dict[str, Any]]:
    asked = folder / "asked.json"
    asked.write_text(json.dumps(lines))
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.importing", str(asked)],
        cwd=ROOT, capture_output=True, text=True, timeout=250, check=True,
    )  # fmt: skip
    return list(json.loads(done.stdout))


def heavy(answer: dict[str, Any]) -> frozenset[str]:
    return HEAVY & set(answer["modules"])


def test_every_command_is_in_the_table() -> None:
    leaves = {" ".join(one) for one in commands() if not any(o[:-1] == one for o in commands())}
    assert leaves == set(MAY_IMPORT) | NOT_RUN
    assert not set(MAY_IMPORT) & NOT_RUN


def test_help_imports_nothing_large(tmp_path: Path) -> None:
    answers = imported(tmp_path, None)
    assert len(answers) == len(commands())
    for answer in answers:
        assert answer["code"] == 0, answer["said"]
        assert "Usage" in answer["said"]
        assert not heavy(answer), answer["words"]


#: The columns that are read; tests/shared/inference/test_registry_file.py holds them against
#: MLflow's.
TABLES = """
    CREATE TABLE alembic_version (version_num);
    CREATE TABLE model_versions (name, version, creation_time, storage_location, source, run_id,
        workspace, current_stage);
    CREATE TABLE runs (run_uuid, artifact_uri);
    CREATE TABLE registered_model_tags (key, value, name, workspace);
    CREATE TABLE registered_model_aliases (alias, version, name, workspace);
    CREATE TABLE model_version_tags (key, value, name, version, workspace);
"""


def weights_and_registry(folder: Path) -> None:
    """Weights that nobody trained, and a file as MLflow's with a champion of each task."""
    from shared.settings.task import TaskSettings
    from shared.tasks import reporting_tasks
    from shared.training.arrays import get_arrays
    from shared.training.initial_weights import start_network
    from shared.training.weights import Weights, save_weights

    with contextlib.closing(sqlite3.connect(folder / "mlflow.sqlite")) as database, database:
        database.executescript(TABLES)
        database.execute("INSERT INTO alembic_version VALUES (?)", (REVISION,))
        for task in reporting_tasks():
            settings = TaskSettings(task=task)
            network, _ = start_network(settings, None, 1)
            place = folder / "weights" / task
            weights = Weights(settings, get_arrays(network), "test")
            save_weights(place / f"{task}.safetensors", weights)
            version = (task, 1, 0, None, str(place), None, "default", "None")
            database.execute("INSERT INTO model_versions VALUES (?,?,?,?,?,?,?,?)", version)
            alias = ("champion", 1, task, "default")
            database.execute("INSERT INTO registered_model_aliases VALUES (?,?,?,?)", alias)


def lines_of(base: Path) -> dict[str, list[str]]:
    """One line for each command, in an order in which each finds what it needs."""
    site, home, work, export = base / "site", base / "home", base / "work", base / "export"
    (base / "qc.csv").write_text("date,scanner,bmd\n2026-01-05,iDXA,1.001\n")
    (work / "runs" / "run-1").mkdir(parents=True)
    plan = {"run": "run-1", "quorum": {"minimum_sites": 1}, "members": [{"site": "north"}]}
    (work / "runs" / "run-1" / "plan.json").write_text(json.dumps(plan))
    return {
        "phantom make": f"--out {export} --scanner lunar --patients 1 --seed 1 --workers 1".split(),
        "site init": [str(site), "--name", "north"],
        "site ingest": [str(site), str(export), "--workers", "1"],
        "site identity": [str(site)],
        "site studies": [str(site)],
        "site decide": [str(site)],
        "site ledger": [str(site)],
        "site status": [str(site)],
        "site healthy": [str(site)],
        "site qc": [str(site), str(base / "qc.csv")],
        "site audit show": [str(site)],
        "site audit verify": [str(site)],
        "site audit phi": [str(site), "--no-pixels"],
        "server pki": [str(home), "--name", "localhost"],
        "site enrol": [str(site), str(home / "invitation.json"), "--most-patients", "40"],
        "server admit": [str(home), str(site / "enrolment.json")],
        "server members": [str(home)],
        "server status": [str(work), "--home", str(home)],
        "server healthy": [str(home)],
        "server audit show": [str(home)],
        "server audit verify": [str(home)],
        "server expel": [str(home), "north"],
        "server bundle": [str(base / "code.fab")],
        "server versions": ["--uri", f"sqlite:///{base / 'mlflow.sqlite'}"],
        "predict": [
            str(export), "--out", str(base / "out"), "--registry", str(base / "mlflow.sqlite"),
        ],
    }  # fmt: skip


#: Nobody serves the home and no node of the site has joined: these say so.
REFUSED = dict.fromkeys(("site healthy", "server healthy"), RuntimeUnavailableError.exit_code)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of each command."""
    base = tmp_path_factory.mktemp("ran")
    weights_and_registry(base)
    lines = lines_of(base)
    answers = imported(base, [[*name.split(), *words] for name, words in lines.items()])
    return dict(zip(lines, answers, strict=True))


@pytest.mark.parametrize("command", MAY_IMPORT)
def test_a_command_imports_only_what_it_may(ran: dict[str, dict[str, Any]], command: str) -> None:
    assert ran[command]["code"] == REFUSED.get(command, 0), ran[command]["said"]
    assert heavy(ran[command]) <= MAY_IMPORT[command]


def test_a_run_is_planned_and_watched_without_what_its_own_program_loads() -> None:
    """`server run` only plans and watches: the program that it starts trains and aggregates."""
    done = subprocess.run(
        [sys.executable, "-c", "import server.runtime.run, sys; print(*sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert HEAVY & loaded <= SETTINGS
