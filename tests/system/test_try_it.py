"""The federation that the guide has copied runs, ends with a version, and makes no second one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "run-a-consortium.md"
#: Fewer patients and rounds than the guide's, so that it takes a third; cells of metrics are
#: smaller accordingly, or no version would be measured.
SMALLER = {
    "--patients 80": "--patients 30",
    "rounds: 3": "rounds: 1",
    "\ncat >": "\nsed -i 's/smallest_cell: 10/smallest_cell: 1/' runs/try/*/site.yaml\ncat >",
}


def copied() -> str:
    """The guide's lines, with the changes of `SMALLER`."""
    page = GUIDE.read_text(encoding="utf-8")
    [lines] = [part for part in page.split("```\n") if "osteofed phantom make" in part]
    for said, instead in SMALLER.items():
        assert said in lines
        lines = lines.replace(said, instead)
    return lines


def typed(folder: Path, lines: str) -> str:
    """What a shell prints that runs lines until one fails."""
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    done = subprocess.run(
        ["bash", "-e", "-c", lines], cwd=folder, env=os.environ | {"PATH": path},
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_federation_to_copy_runs_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    typed(tmp_path, copied())
    tried = tmp_path / "runs" / "try"
    result = json.loads((tried / "work" / "result.json").read_text(encoding="utf-8"))
    assert result["sites"] == ["north", "south"]
    assert result["tasks"]["dxa-bmd"]["champion"]
    assert (tried / "models" / "dxa-bmd.passport.json").is_file()

    said = typed(tmp_path, "osteofed server run runs/try/federation.yaml")
    assert "is finished and made dxa-bmd version 1;" in " ".join(said.split())
    listed = typed(tmp_path, "osteofed server versions --workspace runs/try/work --json")
    assert [one["version"] for one in json.loads(listed)] == [1]
