"""The images and the compose file, by linting; what they start, as plain processes."""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import subprocess
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from server.registry.mlflow_registry import Registry
from shared.runtime.flower import free_port
from shared.runtime.processes import end_marked, marked, new_token
from shared.settings.files import (
    FederationConfig,
    PrivacyTarget,
    Quorum,
    RegistrySettings,
    SimulationRuntime,
    TaskRun,
    save_settings,
)
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import HANG_SECONDS, wait_for
from tests.system.real_federation import MARK, NAMES, OSTEOFED, make_sites

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
POSTGRES = Path("/usr/lib/postgresql")
MISSING_POSTGRES = "PostgreSQL is not installed: apt-get install postgresql"


def postgres_programs() -> Path | None:
    """Folder of the newest PostgreSQL's programs."""
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    return found[-1].parent if found else None


# --- linting ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["server.Dockerfile", "site.Dockerfile"])
def test_the_dockerfiles_are_clean(name: str) -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run(
        [hadolint, DOCKER / name], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["server.Dockerfile", "site.Dockerfile"])
def test_images_run_as_nobody_special_and_hold_only_code(name: str) -> None:
    lines = (DOCKER / name).read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER 10001:10001"]
    copied = {
        line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line
    }
    assert copied <= {"pyproject.toml", "shared", "client", "server"}
    assert "server" not in copied or name == "server.Dockerfile"
    ignored = (DOCKER.parent / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"  # nothing reaches a build that is not named


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("0", "root")
    assert not {"privileged", "network_mode", "pid", "ipc", "devices", "cap_add"} & set(service)
    for volume in service["volumes"]:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"], f"{source}: a folder of the host"


def test_one_port_is_published_and_sites_reach_the_coordinator_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"coordinator": ["8443:8443"]}
    for name in NAMES:
        assert SERVICES[name]["networks"] == ["federation"]
    assert all(COMPOSE["networks"][name]["internal"] for name in ("federation", "registry"))
    on_registry = {name for name, one in SERVICES.items() if "registry" in one["networks"]}
    assert on_registry == {"database", "mlflow", "coordinator"}
    outside = {name for name, one in SERVICES.items() if "outside" in one["networks"]}
    assert outside == {"coordinator"}


def test_no_password_stands_in_the_compose_file() -> None:
    environment = SERVICES["database"]["environment"]
    assert set(environment) == {
        "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS"
    }  # fmt: skip
    assert not any("environment" in one for name, one in SERVICES.items() if name != "database")


@pytest.mark.parametrize("name", ["mlflow", "coordinator"])
def test_the_commands_are_those_of_the_program(name: str) -> None:
    group, command, *rest = SERVICES[name]["command"]
    done = subprocess.run(
        [*OSTEOFED, group, command, "--help"], capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "200"}, timeout=60,
    )  # fmt: skip
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in done.stdout


# --- what they start ----------------------------------------------------------


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A PostgreSQL on loopback with a password; its port, and the file of the password."""
    programs = postgres_programs()
    assert programs is not None
    folder = Path("/tmp") / f"osteofed-postgres-{new_token()[:8]}"  # noqa: S108 - short, random
    folder.mkdir(mode=0o711)
    password, port = folder / "password", free_port()
    password.write_text(secrets.token_hex(24))
    # PostgreSQL refuses to be root.
    user = "nobody" if os.geteuid() == 0 else None
    data = folder / "data"
    data.mkdir(mode=0o700)
    if user is not None:
        for path in (data, password):
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    subprocess.run(
        [programs / "initdb", "--pgdata", data, "--username", "mlflow", "--pwfile", password,
         "--auth", "scram-sha-256"],
        check=True, capture_output=True, user=user, cwd=folder, timeout=120,
    )  # fmt: skip
    server = subprocess.Popen(
        [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", ""],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd=folder,
    )  # fmt: skip
    try:
        ready = [str(programs / "pg_isready"), "--host=127.0.0.1", f"--port={port}", "--quiet"]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0)
        import psycopg2

        line = psycopg2.connect(
            host="127.0.0.1", port=port, user="mlflow", password=password.read_text(),
            dbname="postgres",
        )  # fmt: skip
        line.autocommit = True
        line.cursor().execute("CREATE DATABASE mlflow")
        line.close()
        yield port, password
    finally:
        server.terminate()
        server.wait(HANG_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def registry(
    postgres: tuple[int, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, Path]]:
    """MLflow's server as the compose file starts it; its address, token and artifacts."""
    database_port, password = postgres
    folder, port, token = tmp_path_factory.mktemp("registry"), free_port(), new_token()
    changed = {
        "--database-host": "127.0.0.1", "--password-file": password,
        "--artifacts": folder / "artifacts", "--host": "127.0.0.1", "--port": port,
        "--allowed-host": f"127.0.0.1:{port}",
    }  # fmt: skip
    words = [word.partition("=")[0] for word in SERVICES["mlflow"]["command"]]
    command = [f"{word}={changed[word]}" if word in changed else word for word in words]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*OSTEOFED, *command, f"--database-port={database_port}"],
            stdout=log, stderr=log, env=os.environ | {MARK: token}, start_new_session=True,
            cwd=folder,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{address}/health"), folder / "log")
        yield address, token, folder / "artifacts"
    finally:
        end_marked(MARK, token, 5.0)
        process.wait(HANG_SECONDS)


def answers(url: str, host: str | None = None) -> bool:
    """Whether a page is there, asked for under a host's name."""
    asked = urllib.request.Request(url, headers={} if host is None else {"Host": host})  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=5) as reply:  # noqa: S310 - loopback
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


needs_postgres = pytest.mark.skipif(postgres_programs() is None, reason=MISSING_POSTGRES)


@needs_postgres
@pytest.mark.system
@pytest.mark.timeout(900)
def test_a_run_is_tracked_and_registered_on_postgresql(
    registry: tuple[str, str, Path], tmp_path: Path
) -> None:
    address, _, artifacts = registry
    make_sites(tmp_path)
    save_settings(TINY_TASK, tmp_path / "task.yaml")
    agreement = FederationConfig(
        name="tiny",
        workspace=Path("work"),
        runtime=SimulationRuntime(sites=tuple(Path(one) for one in NAMES)),
        privacy=PrivacyTarget(epsilon_per_run=3.0, delta=1e-3),
        quorum=Quorum(minimum_sites=3, deadline_seconds=100),
        registry=RegistrySettings(tracking_uri=address),
        tasks=(TaskRun(settings=Path("task.yaml"), rounds=2),),
    )
    save_settings(agreement, tmp_path / "federation.yaml")
    done = subprocess.run(
        [*OSTEOFED, "server", "run", str(tmp_path / "federation.yaml"), "--json"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["tasks"][TINY_TASK.task]["version"] == 1
    client = Registry(address).connection.client
    version = client.get_model_version(TINY_TASK.task, "1")
    assert version.tags["digest"] == result["tasks"][TINY_TASK.task]["digest"]
    assert client.get_model_version_by_alias(TINY_TASK.task, "champion").version == version.version
    # What the version is made of lies with the server, not beside the run.
    assert list(artifacts.rglob(f"{TINY_TASK.task}.safetensors"))
    assert not (tmp_path / "work" / "mlflow.sqlite").exists()


@needs_postgres
@pytest.mark.system
@pytest.mark.timeout(600)
def test_the_password_is_in_no_argument_and_no_environment(
    registry: tuple[str, str, Path], postgres: tuple[int, Path]
) -> None:
    address, token, _ = registry
    password = postgres[1].read_text()
    processes = marked(MARK, token)
    assert len(processes) >= 1
    for process in processes:
        try:
            seen = [*process.cmdline(), *process.environ().values()]
        except psutil.NoSuchProcess:
            continue
        assert not any(password in word for word in seen)
    assert answers(f"{address}/health")


@needs_postgres
@pytest.mark.system
@pytest.mark.timeout(600)
def test_the_registry_answers_to_its_own_name_only(registry: tuple[str, str, Path]) -> None:
    """A web page of elsewhere cannot have a browser call it (DNS rebinding)."""
    address, _, _ = registry
    page = f"{address}/api/2.0/mlflow/experiments/search?max_results=1"
    assert answers(page)
    assert not answers(page, host="elsewhere.example")


@pytest.mark.parametrize(
    ("password", "code"), [("change-me-change-me", 13), ("short", 13), (None, 20)]
)
def test_a_placeholder_is_no_password(tmp_path: Path, password: str | None, code: int) -> None:
    path = tmp_path / "database-password"
    if password is not None:
        path.write_text(password)
    done = subprocess.run(
        [*OSTEOFED, "server", "registry", "--password-file", str(path),
         "--artifacts", str(tmp_path / "artifacts")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "openssl rand" in done.stderr
    assert not (tmp_path / "artifacts").exists()
