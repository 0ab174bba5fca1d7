"""A real PACS for the tests: Orthanc on loopback, with a configuration made for one test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.presentation import build_context

from shared.runtime.flower import free_port
from tests.suite.waiting import comes

#: Debian keeps the plugin in one of these.
PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
PLUGIN = "libOrthancDicomWeb.so"
USER, PASSWORD = "osteofed", "a-password-of-the-test"


def orthanc_program() -> str | None:
    """Where Orthanc is, if it is here with its plugin."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    return program if plugin_folder() is not None else None


def plugin_folder() -> str | None:
    """Folder of the DICOMweb plugin."""
    return next((one for one in PLUGINS if (Path(one) / PLUGIN).exists()), None)


needs_orthanc = pytest.mark.skipif(
    orthanc_program() is None,
    reason="Orthanc is not here: apt-get install orthanc orthanc-dicomweb",
)
needs_storescu = pytest.mark.skipif(
    shutil.which("storescu") is None, reason="storescu is not here: apt-get install dcmtk"
)


@dataclass
class Orthanc:
    """One Orthanc; `start` and `stop` as often as a test wants.

    `calling` is the title that may query and move, `move_port` where it listens.
    """

    folder: Path
    calling: str = "OSTEOFED"
    title: str = "HOSPITAL"
    web_port: int = field(default_factory=free_port)
    dicom_port: int = field(default_factory=free_port)
    move_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Root of its DICOMweb server."""
        return f"http://127.0.0.1:{self.web_port}/dicom-web"

    def configuration(self) -> dict[str, object]:
        """Everything on loopback, everybody known by name."""
        return {
            "Name": "Hospital",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [f"{plugin_folder()}/{PLUGIN}"],
            "HttpPort": self.web_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomAet": self.title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": False,
            "DicomAlwaysAllowGet": False,
            "DicomAlwaysAllowMove": False,
            "DicomModalities": {
                "osteofed": {
                    "AET": self.calling,
                    "Host": "127.0.0.1",
                    "Port": self.move_port,
                    "AllowEcho": True,
                    "AllowFind": True,
                    "AllowGet": True,
                    "AllowMove": True,
                    "AllowStore": True,
                }
            },
            "SynchronousCMove": True,
            "StorageCompression": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
            "OverwriteInstances": False,
            "HttpThreadsCount": 4,
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = orthanc_program()
        assert program is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.folder / "orthanc.json"
        settings.write_text(json.dumps(self.configuration()), encoding="utf-8")
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program, str(settings)], stdout=log, stderr=log, start_new_session=True
            )
        process = self.process
        if comes(lambda: process.poll() is not None or self.answers()) and process.poll() is None:
            return
        self.stop()
        pytest.fail((self.folder / "orthanc.log").read_text(encoding="utf-8")[-2000:])

    def answers(self) -> bool:
        """Whether it serves its web page."""
        try:
            httpx.get(f"http://127.0.0.1:{self.web_port}/system", auth=(USER, PASSWORD))
        except httpx.TransportError:
            return False
        return True

    def stop(self) -> None:
        """Kill it where it stands."""
        if self.process is not None:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def load(self, folder: Path) -> int:
        """Send a folder's DICOM files to it as a scanner does, by C-STORE; return how many."""
        datasets = [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
        node = AE(ae_title="SCANNER")
        node.requested_contexts = [
            build_context(uid, syntax)
            for uid, syntax in sorted(
                {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}
            )
        ]
        association = node.associate("127.0.0.1", self.dicom_port, ae_title=self.title)
        assert association.is_established
        for dataset in datasets:
            assert association.send_c_store(dataset).Status == 0
        association.release()
        return len(datasets)


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """Start a PACS, and kill it at the end."""
    pacs = Orthanc(folder)
    pacs.start()
    try:
        yield pacs
    finally:
        pacs.stop()
