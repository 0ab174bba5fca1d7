"""A phantom hospital, its PACS, and sites whose catalogues can be compared."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.store.site_store import SETTINGS, init_site
from shared.phantom.make import make_hospital
from shared.phantom.writers import write_study
from shared.settings.files import SiteConfig, load_settings, save_settings
from tests.shared.rendered_samples import sample_study

from .orthanc import PASSWORD, USER, Orthanc

#: A PACS of a test is given up soon.
QUICK = {"attempts": 2, "first_wait_seconds": 0.05, "timeout_seconds": 20.0}


def make_phantom_hospital(folder: Path, patients: int) -> Path:
    """Write the studies of a hospital with both vendors' scanners; return the DICOM folder."""
    half = patients // 2
    make_hospital(folder, "lunar", patients - half, 7, render=sample_study)
    for number in range(half):
        write_study(sample_study(number, 8, "hologic"), folder / "DICOM")
    return folder / "DICOM"


@dataclass
class Sites:
    """Empty sites with one secret, so that what they hold can be compared."""

    folder: Path
    made: int = 0

    def new(self, pacs: dict[str, Any] | None = None) -> Path:
        """Make a site whose ``site.yaml`` names a PACS."""
        template = self.folder / "template"
        if not template.exists():
            init_site(template, SiteConfig(site="riverside"))
        self.made += 1
        site = self.folder / f"site{self.made}"
        shutil.copytree(template, site)
        configure(site, pacs or {})
        return site


def configure(site: Path, pacs: dict[str, Any]) -> None:
    """Write the PACS into ``site.yaml`` as an engineer does."""
    config = load_settings(site / SETTINGS, SiteConfig)
    data = config.model_dump(mode="json") | {"pacs": {"retry": QUICK} | pacs}
    save_settings(SiteConfig.model_validate(data), site / SETTINGS)


def settings_of(pacs: Orthanc, site: Path, **changes: Any) -> dict[str, Any]:
    """What ``site.yaml`` says of a PACS; writes the credentials beside it."""
    credentials = site.parent / "pacs-password"
    credentials.write_text(f"{USER}:{PASSWORD}\n", encoding="utf-8")
    credentials.chmod(0o600)
    return {
        "web": {"url": pacs.url, "credentials": str(credentials)},
        "peer": {"host": "127.0.0.1", "port": pacs.dicom_port, "title": pacs.title},
        "listen": {
            "port": pacs.move_port,
            "title": pacs.calling,
            "senders": ["STORESCU"],
            "quiet_seconds": 1.0,
        },
    } | changes


def snapshot(site: Path) -> dict[str, object]:
    """Arrays by name and bytes, and every row of every table; files without their names.

    Names of files are remembered as identifiers too, and they differ from source to source:
    what is looked for is compared by `tests.client.phi.test_audit`, not here.
    """
    found: dict[str, object] = {
        path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*.npy")
    }
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        tables = [str(row[0]) for row in catalogue.execute("SELECT name FROM sqlite_master")]
        for table in sorted(
            t for t in tables if not t.startswith(("sqlite_", "ix_", "identifiers"))
        ):
            columns = "content_digest, verdict, reason" if table == "files" else "*"
            rows = catalogue.execute(f"SELECT {columns} FROM {table}")  # noqa: S608
            found[table] = sorted(rows, key=str)
    catalogue.close()
    return found


def left_in_inbox(site: Path) -> list[str]:
    """Studies and decisions that the inbox still holds."""
    inbox = site / "inbox"
    kept = {"fetched.jsonl"}
    return sorted(
        path.relative_to(inbox).as_posix()
        for path in inbox.rglob("*")
        if path.is_file() and path.name not in kept and path.suffix != ".lock"
    )
