"""dicom3tools' ``dciodvfy``: what it calls an error in a DICOM file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_dciodvfy = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dciodvfy is not here: apt-get install dicom3tools"
)


def errors_in(path: Path) -> list[str]:
    """Every line of an error, with the name of the file."""
    done = subprocess.run(
        ["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    # A file that is no DICOM gives no error line but nothing of what else it says either.
    assert any(not line.startswith("Error") for line in lines), f"{path.name}: nothing was checked"
    return [f"{path.name}: {line}" for line in lines if line.startswith("Error")]
