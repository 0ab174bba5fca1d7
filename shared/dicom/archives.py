"""ZIP files: what is unpacked of them, under which limits, and those that lie in a folder.

A name in an archive can lead anywhere, and it can be a patient's. So entries are written one
after another under numbers, none under its own name; the names come back only into verdicts.
"""

from __future__ import annotations

import errno
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

from shared.errors import DiskFullError, InputUnreadableError
from shared.phrases import counted
from shared.runtime.files import OWNER_ONLY, ROOM_TO_LEAVE

from .parsing import most_inflated
from .scan import LARGEST_FILE, leads_out, walk
from .study_files import Unpacked
from .verdicts import FileVerdict, SetAsideError, judge

OWNERS_FOLDER: Final = 0o700
#: No export has more files than this, nor more bytes.
MOST_ENTRIES: Final = 1_000_000
MOST_BYTES: Final = 500 * 1024**3
#: Endings by which the reader tells what is not DICOM; of all others the content decides.
ENDINGS: Final = (".csv", ".tsv", ".xlsx", ".nrrd", ".nii", ".nii.gz")
ARCHIVES: Final = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".gz", ".bz2", ".xz")
NESTED_MAGIC: Final = b"PK\x03\x04"
CHUNK: Final = 1024 * 1024
ENCRYPTED: Final = 0x1
#: How an archive begins: with an entry, or with its end where it has none.
MAGIC: Final = (NESTED_MAGIC, b"PK\x05\x06")


def archives_in(folder: Path) -> list[Path]:
    """ZIP files under a folder, by ending and first bytes; none where there is no folder."""
    return [path for path in walk(folder) if _is_archive(path, folder)]


def _is_archive(path: Path, folder: Path) -> bool:
    if path.suffix.lower() != ".zip" or leads_out(path, folder) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in MAGIC
    except OSError:
        return False  # judged by whoever reads it


def unpack_folder(source: Path, archives: list[Path], folder: Path) -> Unpacked:
    """Unpack the archives that lie in a folder; one that cannot be sets itself aside only.

    Parameters
    ----------
    source : Path
        The folder that they lie in.
    archives : list of Path
        From `archives_in`.
    folder : Path
        Where they are unpacked to; it is made.
    """
    result = Unpacked()
    folder.mkdir(mode=OWNERS_FOLDER)
    for number, path in enumerate(archives):
        name = path.relative_to(source).as_posix()
        result.archives.add(name)
        place = folder / f"{number:06d}"
        place.mkdir(mode=OWNERS_FOLDER)
        try:
            with opened(path) as archive:
                _require_room(archive, place)
                names, verdicts = unpack(archive, path, place)
            if not names and not verdicts:
                raise SetAsideError("empty_file")
        except SetAsideError as aside:
            result.verdicts.append(judge(name, aside.reason, aside.detail))
        except InputUnreadableError:
            result.verdicts.append(judge(name, "archive_damaged"))
        else:
            result.files |= {f"{name}/{inner}": place / at for at, inner in names.items()}
            result.verdicts += [replace(one, path=f"{name}/{one.path}") for one in verdicts]
    return result


def _require_room(archive: zipfile.ZipFile, folder: Path) -> None:
    """Set an archive aside whose entries say that they do not fit on the disk."""
    said = sum(entry.file_size for entry in archive.infolist())
    if said > min(MOST_BYTES, shutil.disk_usage(folder).free - ROOM_TO_LEAVE):
        raise SetAsideError("archive_no_room")


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose size is one that an export has.

    Raises
    ------
    InputUnreadableError
        If it is no ZIP file, or one that no export would be.
    """
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


def unpack(
    archive: zipfile.ZipFile, path: Path, folder: Path
) -> tuple[dict[str, str], list[FileVerdict]]:
    """Write what can be used of an archive under numbers.

    Parameters
    ----------
    archive : ZipFile
        Opened by `opened`.
    path : Path
        What it is called.
    folder : Path
        An empty one, where it is unpacked to.

    Returns
    -------
    names : dict of str to str
        Name in the archive by the path under `folder`.
    verdicts : list of FileVerdict
        Of what was set aside, by its name in the archive.

    Raises
    ------
    DiskFullError
        If it does not fit on the disk.
    """
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
            # Without a number it is zipfile's, and EINVAL comes of a header that lies about
            # where its entry begins; all else is of our own disk.
            if error.errno not in (None, errno.EINVAL):
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
    if entry.file_size > most_inflated(entry.compress_size):
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
