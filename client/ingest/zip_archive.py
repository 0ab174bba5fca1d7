"""A ZIP file as a source: each entry is unpacked under a number, none under its own name.

It is unpacked (`shared.dicom.archives`) into a folder of the site's own, judged there as any
folder is, and the folder is removed. The names come back only into the report, and are
remembered as names of files are: in digests.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from client.ingest.folder import IngestReport, ProgressCallback, ingest, remember_names
from client.ingest.inbox import OWNERS_FOLDER, Inbox
from client.store.site_store import SiteStore
from shared.dicom.archives import opened, unpack
from shared.dicom.verdicts import FileVerdict
from shared.errors import InputEmptyError, InputMissingError


def ingest_archive(
    site_folder: Path,
    path: Path,
    progress: ProgressCallback | None = None,
    workers: int | None = None,
) -> IngestReport:
    """Take the studies and tables of a ZIP file into a site's store.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    path : Path
        The archive; only read.
    progress : callable or None
        Called with (studies done, studies found).
    workers : int or None
        Processes that read; see `client.ingest.folder.ingest`.

    Raises
    ------
    InputMissingError
        If there is no such file.
    InputUnreadableError
        If it is no ZIP file, or one that no export would be.
    InputEmptyError
        If there is no file in it.
    DiskFullError
        If it does not fit on the site's disk.
    """
    store = SiteStore.open(site_folder)
    store.close()
    site = store.config.site
    inbox = Inbox(store.folder, store.secret)
    if not path.is_file():
        raise InputMissingError(f"{path}: no such file (a ZIP of DICOM studies was expected)")
    with inbox.alone("archive"), _folder(inbox.folder / "archive") as folder:
        with opened(path) as archive:
            names, verdicts = unpack(archive, path, folder)
        if not names and not verdicts:
            raise InputEmptyError(f"{path}: holds no file (studies in DICOM were expected)")
        unread = [path.name, *(verdict.path for verdict in verdicts)]
        if not names:
            return IngestReport(site, verdicts, 0, 0, remember_names(site_folder, unread))
        report = ingest(site_folder, folder, progress, workers, called=names, unread=unread)
    files = [*verdicts, *(_renamed(verdict, names) for verdict in report.files)]
    return replace(report, files=sorted(files, key=lambda verdict: verdict.path))


@contextmanager
def _folder(folder: Path) -> Iterator[Path]:
    """Hold an empty folder; what somebody who was killed left in it goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=OWNERS_FOLDER)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _renamed(verdict: FileVerdict, names: dict[str, str]) -> FileVerdict:
    """Verdict of a number as the verdict of the entry; ``:12`` is a table's line."""
    path, colon, line = verdict.path.partition(":")
    return replace(verdict, path=f"{names.get(path, path)}{colon}{line}")
