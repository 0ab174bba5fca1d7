"""``osteofed server registry``: MLflow's own server, on PostgreSQL, with a password from a file."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from server.registry.mlflow_connection import ENVIRONMENT
from shared.errors import InputMissingError, PlaceholderSecretError
from shared.runtime.files import make_private_file
from shared.runtime.flower import program

SHORTEST_PASSWORD: Final = 16
PLACEHOLDER: Final = re.compile(r"change.?me|password|secret|example|placeholder|xxxx", re.I)


@dataclass(frozen=True)
class Database:
    """Where PostgreSQL is; `password_file` holds its password and nothing else."""

    password_file: Path
    host: str = "127.0.0.1"
    port: int = 5432
    name: str = "mlflow"
    user: str = "mlflow"


def serve_registry(
    database: Database, artifacts: Path, *, host: str, port: int, allowed: tuple[str, ...] = ()
) -> None:
    """Become MLflow's server; this process never comes back.

    The password is put into a file that only this user may read, which PostgreSQL's
    library opens itself: it stands in no argument, no environment and no log.

    Parameters
    ----------
    database : Database
        Where experiments, runs and versions are kept.
    artifacts : Path
        Folder of the versions' files.
    host, port : str and int
        Where it listens. MLflow has no login of its own here: loopback, or a network
        that only the coordinator is on.
    allowed : tuple of str
        Names, with ports, by which clients may call it (MLflow's ``--allowed-hosts``).

    Raises
    ------
    InputMissingError
        If the password file is not there.
    PlaceholderSecretError
        If the password is a placeholder or too short.
    """
    passwords = _password_file(database)
    artifacts.mkdir(parents=True, exist_ok=True)
    uri = (
        f"postgresql+psycopg2://{database.user}@{database.host}:{database.port}/{database.name}"
        f"?passfile={passwords}"
    )
    command = [
        program("mlflow"), "server", "--backend-store-uri", uri, "--host", host,
        "--port", str(port), "--artifacts-destination", str(artifacts), "--workers", "1",
    ]  # fmt: skip
    if allowed:
        command += ["--allowed-hosts", ",".join(allowed)]
    os.execve(command[0], command, os.environ | ENVIRONMENT)  # noqa: S606 - no shell


def _password_file(database: Database) -> Path:
    """Write PostgreSQL's password file (``host:port:database:user:password``), 0600."""
    path = database.password_file
    try:
        password = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise InputMissingError(
            f"{path}: is not there; make one: openssl rand -hex 24 > {path}"
        ) from None
    if len(password) < SHORTEST_PASSWORD or PLACEHOLDER.search(password):
        raise PlaceholderSecretError(
            f"{path}: its password is a placeholder, or shorter than {SHORTEST_PASSWORD} "
            f"characters; make one: openssl rand -hex 24 > {path}"
        )
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    target = Path(tempfile.mkdtemp(prefix="osteofed-")) / "pgpass"
    line = f"{database.host}:{database.port}:{database.name}:{database.user}:{escaped}\n"
    make_private_file(target, line.encode())
    return target
