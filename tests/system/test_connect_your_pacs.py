"""Every command of *Connect your PACS* works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.store.site_store import SETTINGS, SiteStore
from shared.runtime.flower import free_port

from .orthanc import PASSWORD, needs_orthanc, needs_storescu, running_orthanc
from .phantom_pacs import make_phantom_hospital

PAGE = Path(__file__).resolve().parents[2] / "docs" / "connect-your-pacs.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
PATIENTS = 4


@dataclass(frozen=True)
class Step:
    """One fenced block: a command to run, or settings to write."""

    kind: str
    tags: frozenset[str]
    text: str


def steps() -> list[Step]:
    """Blocks of the page that a reader types."""
    found = [
        Step(kind, frozenset(tags.split()), text)
        for kind, tags, text in BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    ]
    return [step for step in found if step.tags & {"run", "site"}]


def test_the_page_has_no_command_that_is_not_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all("run" in tags.split() for kind, tags, _ in BLOCK.findall(text) if kind == "sh")
    assert len(steps()) == 10


@pytest.mark.system
@needs_orthanc
@needs_storescu
def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    shutil.move(make_phantom_hospital(tmp_path / "made", PATIENTS), tmp_path / "export")
    shutil.make_archive(str(tmp_path / "export"), "zip", tmp_path / "export")
    with running_orthanc(tmp_path / "pacs") as pacs:
        pacs.load(tmp_path / "export")
        places = {
            "8042": str(pacs.web_port), "4242": str(pacs.dicom_port), "11112": str(free_port()),
            "a-long-password": PASSWORD, "quiet_seconds: 10": "quiet_seconds: 1",
        }  # fmt: skip
        background = []
        for step in steps():
            text = step.text
            for said, here in places.items():
                text = text.replace(said, here)
            if step.kind == "yaml":
                write_settings(tmp_path / "hospital" / SETTINGS, text)
            elif "background" in step.tags:
                background.append(start(text, tmp_path))
            else:
                (expected,) = [tag[5:] for tag in step.tags if tag.startswith("exit=")] or ["0"]
                done = start(text, tmp_path)
                said = done.communicate(timeout=240)[0]
                assert done.returncode == int(expected), said
                for waiting in background:
                    said = waiting.communicate(timeout=240)[0]
                    assert waiting.returncode == 0, said
                background = [] if "storescu" in text else background
    store = SiteStore.open(tmp_path / "hospital")
    assert store.counts()["studies"] == PATIENTS
    store.close()


def write_settings(path: Path, text: str) -> None:
    """Put the page's settings in the place of those that are there."""
    before = path.read_text(encoding="utf-8").split("pacs:\n")[0]
    path.write_text(before + text, encoding="utf-8")


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    """Type a block; the program is the one under test. One that listens is waited for."""
    program = f'osteofed() {{ "{sys.executable}" -m shared.cli "$@"; }}\n'
    running = subprocess.Popen(
        ["/bin/sh", "-ec", program + command], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    if "site listen" in command:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert "listens on" in line, line + running.stdout.read()
        time.sleep(0.1)
    return running
