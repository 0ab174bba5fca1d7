"""A ZIP file as a source: each entry is unpacked under a number, none under its own name.

A name in an archive can lead anywhere, and it can be a patient's. So entries are
written one after another into a folder of the site's own, judged there as any folder is,
and the folder is removed. The names come back only into the report, and are remembered as
names of files are: in digests.
"""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Final

from client.ingest.folder import IngestReport, ProgressCallback, ingest, remember_names
from client.ingest.inbox import OWNERS_FOLDER, Inbox
from client.store.site_store import SiteStore
from shared.dicom.scan import LARGEST_FILE
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.errors import DiskFullError, InputEmptyError, InputMissingError, InputUnreadableError
from shared.phrases import counted
from shared.runtime.files import OWNER_ONLY, ROOM_TO_LEAVE

#: No export has more files than this, nor more bytes.
MOST_ENTRIES: Final = 1_000_000
MOST_BYTES: Final = 500 * 1024**3
#: An image of nothing but background packs a hundred times; more, and large, is a bomb.
LARGEST_RATIO: Final = 200
SMALL_ENOUGH: Final = 16 * 1024 * 1024
#: Endings by which the reader tells what is not DICOM; of all others the content decides.
ENDINGS: Final = (".csv", ".tsv", ".xlsx", ".nrrd", ".nii", ".nii.gz")
ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".gz", ".bz2", ".xz")
NESTED_MAGIC: Final = b"PK\x03\x04"
CHUNK: Final = 1024 * 1024
ENCRYPTED: Final = 0x1


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
    with inbox.alone("archive"), _folder(inbox.folder / "archive") as folder:
        with _opened(path) as archive:
            names, verdicts = _unpack(archive, path, folder)
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


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose size is one that an export has."""
    if not path.is_file():
        raise InputMissingError(f"{path}: no such file (a ZIP of DICOM studies was expected)")
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise InputUnreadableError(
            f"{path}: is no ZIP file, or is damaged (pack the studies again, or name the folder)"
        ) from None
    with archive:
        if len(archive.infolist()) > MOST_ENTRIES:
            raise InputUnreadableError(
                f"{path}: has {counted(len(archive.infolist()), 'file')} (at most {MOST_ENTRIES}; "
                "name the folder instead)"
            )
        yield archive


def _unpack(
    archive: zipfile.ZipFile, path: Path, folder: Path
) -> tuple[dict[str, str], list[FileVerdict]]:
    """Write what can be used under numbers; give names back by number, and verdicts of the rest."""
    names: dict[str, str] = {}
    verdicts: list[FileVerdict] = []
    entries = sorted(
        (entry for entry in archive.infolist() if not entry.is_dir()),
        key=lambda entry: entry.filename,
    )
    times = Counter(entry.filename for entry in entries)
    folders: dict[str, int] = {}
    left = min(MOST_BYTES, shutil.disk_usage(folder).free - ROOM_TO_LEAVE)
    for number, entry in enumerate(entries):
        try:
            _require_usable(entry, times[entry.filename])
            parent = str(PurePosixPath(entry.filename).parent)
            place = f"{folders.setdefault(parent, len(folders)):06d}"
            name = f"{place}/{number:07d}{_ending(entry.filename)}"
            (folder / place).mkdir(mode=OWNERS_FOLDER, exist_ok=True)
            left -= entry.file_size
            if left < 0:
                raise DiskFullError(
                    f"{path}: does not fit on the site's disk unpacked (make room, or give the "
                    "studies in several archives)"
                )
            with archive.open(entry) as source:
                _write(source, folder / name)
        except SetAsideError as aside:
            verdicts.append(judge(entry.filename, aside.reason, aside.detail))
        except DiskFullError:
            raise
        except OSError as error:
            if error.errno is not None:  # of our own disk
                raise
            verdicts.append(judge(entry.filename, "archive_damaged"))
        except Exception as error:  # zipfile and its decoders raise many kinds
            verdicts.append(judge(entry.filename, "archive_damaged", type(error).__name__))
        else:
            names[name] = entry.filename
    return names, verdicts


def _require_usable(entry: zipfile.ZipInfo, times: int) -> None:
    """Set aside, before a byte of it is read, what no honest archive holds."""
    name = entry.filename
    # zipfile has cut the name at a NUL already; the name as it was written must be this one.
    odd = "\\" in entry.orig_filename or "\x00" in entry.orig_filename
    if odd or name.startswith("/") or name[1:2] == ":" or ".." in PurePosixPath(name).parts:
        raise SetAsideError("archive_path")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        raise SetAsideError("archive_link")
    if times > 1:
        raise SetAsideError("archive_name_twice")
    if entry.flag_bits & ENCRYPTED:
        raise SetAsideError("archive_encrypted")
    if name.lower().endswith(ARCHIVES) and not name.lower().endswith(ENDINGS):
        raise SetAsideError("archive_nested")
    if entry.file_size > LARGEST_FILE:
        raise SetAsideError("file_too_large")
    if entry.file_size > max(SMALL_ENOUGH, entry.compress_size * LARGEST_RATIO):
        raise SetAsideError("archive_bomb")


def _write(source: IO[bytes], target: Path) -> None:
    """Write one entry; no more of it than it said is ever unpacked (zipfile sees to that)."""
    first = source.read(CHUNK)
    if first.startswith(NESTED_MAGIC) and not target.name.endswith(".xlsx"):
        raise SetAsideError("archive_nested")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(first)
            shutil.copyfileobj(source, file, CHUNK)
    except Exception:
        target.unlink()  # what is cut off is not to be judged as if it were whole
        raise


def _ending(name: str) -> str:
    """Ending under which an entry is written."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), ".dcm")


def _renamed(verdict: FileVerdict, names: dict[str, str]) -> FileVerdict:
    """Verdict of a number as the verdict of the entry; ``:12`` is a table's line."""
    path, colon, line = verdict.path.partition(":")
    return replace(verdict, path=f"{names.get(path, path)}{colon}{line}")
