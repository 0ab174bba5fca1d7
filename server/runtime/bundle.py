"""The bundle: the code that runs in the hospitals, as one file with one digest."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from shared.errors import RuntimeUnavailableError
from shared.runtime.flower import environment_for, program

PACKAGES: Final = ("server", "client", "shared")


def make_bundle(out: Path) -> dict[str, Any]:
    """Build the bundle of this installation; the same sources give the same bytes.

    Parameters
    ----------
    out : Path
        File to write, ``.fab``.

    Returns
    -------
    dict
        ``bundle`` (path), ``digest`` (SHA-256) and ``bytes``.

    Raises
    ------
    RuntimeUnavailableError
        If Flower cannot build it.
    """
    with tempfile.TemporaryDirectory(prefix="osteofed-") as temporary:
        staged = Path(temporary) / "bundle"
        staged.mkdir()
        stage_bundle(staged)
        command = [program("flwr"), "build", "--app", str(staged)]
        environment = environment_for(Path(temporary) / "flwr")
        done = subprocess.run(
            command, cwd=temporary, env=environment, capture_output=True, text=True, check=False
        )
        made = sorted(Path(temporary).glob("*.fab"))
        if done.returncode or len(made) != 1:
            said = " ".join((done.stderr + done.stdout).split())[-300:]
            raise RuntimeUnavailableError(f"Flower could not build the bundle: {said}")
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made[0], out)
    content = out.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"bundle": str(out), "digest": digest, "bytes": len(content)}


def stage_bundle(bundle: Path) -> None:
    """Put the three packages' source and a pyproject for Flower into a folder.

    Parameters
    ----------
    bundle : Path
        Made; what Flower packs and its processes load.
    """
    root = Path(__file__).resolve().parents[2]
    for package in PACKAGES:
        for source in (root / package).rglob("*.py"):
            target = bundle / source.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (bundle / "pyproject.toml").write_text(
        _PYPROJECT.replace("{version}", version("osteofed")), encoding="utf-8"
    )


_PYPROJECT: Final = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "osteofed"
version = "{version}"
description = "Federated bone-health imaging"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "osteofed"
fab-include = ["server/**/*.py", "client/**/*.py", "shared/**/*.py"]

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
federation = ""
"""
