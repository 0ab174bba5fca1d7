"""The inbox: what came from a PACS, until the catalogue has it.

<site>/inbox/fetching/<study>/<content>.dcm   a study being fetched
<site>/inbox/pushed/<study>/<content>.dcm     a study being pushed
<site>/inbox/complete/<study>/<content>.dcm   studies that wait to be taken in
<site>/inbox/outcome.json                     what becomes of the files just taken in
<site>/inbox/fetched.jsonl                    studies that need not be fetched again
<site>/inbox/counts.json                      whether an archive gave all files that it said
<site>/quarantine/<study>/<content>.dcm       what was not taken; a person decides

``<study>`` is a digest keyed with the site's secret, ``<content>`` the digest of the object:
no name says anything, and the same object twice is one file. Folders are 0700, files 0600.

A file leaves the inbox once the catalogue has committed what became of it: what was taken is
deleted, what was quarantined or refused is moved to the quarantine, since the PACS cannot
be asked to have kept it. The decision is written down before the first file is touched, so
whoever is killed on the way does the rest of it next time, and never judges half a study.
The quarantine is not looked at again by itself: a person puts right what can be, takes it in
with ``osteofed site ingest SITE SITE/quarantine`` or deletes it. Slices that were set aside
because others of their series were missing are the exception: they are judged anew, with what
comes, as soon as more of their study does.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal

from client.ingest.folder import IngestReport, ProgressCallback, ingest, set_aside_as_part
from client.store.site_store import SiteStore
from shared.dicom.content import content_digest
from shared.dicom.phi.deidentify import keyed_digest
from shared.dicom.scan import LARGEST_FILE
from shared.dicom.verdicts import FileVerdict
from shared.runtime.files import (
    OWNER_ONLY,
    alone_with,
    leaves_room,
    settle,
    write_text_atomically,
)

Channel = Literal["fetching", "pushed"]
OWNERS_FOLDER: Final = 0o700
PART: Final = ".part"


class TooLargeError(OSError):
    """An object is larger than any that is read; it is not put down at all."""


class Inbox:
    """Where files of a PACS are put down, one study in one folder.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    secret : bytes
        The site's secret, by which studies are named.
    channel : str
        ``fetching`` or ``pushed``: who delivers, so that one never tidies up the other's.
    """

    def __init__(self, site_folder: Path, secret: bytes, channel: Channel = "fetching") -> None:
        self.folder = site_folder / "inbox"
        self.arriving = self.folder / channel
        self.complete = self.folder / "complete"
        self.quarantine = site_folder / "quarantine"
        self._secret = secret
        self._known: set[str] | None = None
        self._renaming = threading.Lock()
        for folder in (self.folder, self.arriving, self.complete):
            folder.mkdir(mode=OWNERS_FOLDER, exist_ok=True)

    def name_of(self, study_uid: str) -> str:
        """Name of a study's folder: 64 hex digits that say nothing without the secret."""
        return keyed_digest(self._secret, "inbox", study_uid).hex()

    def deliver(self, study_uid: str, data: bytes) -> bool:
        """Put one file down, durably, whole or not at all.

        Parameters
        ----------
        study_uid : str
            StudyInstanceUID.
        data : bytes
            The file as it came, file meta group included.

        Returns
        -------
        bool
            False if the same content was there already.

        Raises
        ------
        TooLargeError
            If no study has a file of that size.
        OSError
            If it would leave too little on the disk (`shared.runtime.files.leaves_room`), or
            cannot be written.
        """
        if len(data) > LARGEST_FILE:
            raise TooLargeError(f"an object of {len(data)} bytes (at most {LARGEST_FILE})")
        path = self.arriving / self.name_of(study_uid) / f"{content_digest(data)}.dcm"
        part = path.with_name(f"{path.name}.{threading.get_ident()}{PART}")
        with self._renaming:  # the folder must not move away between making it and writing
            if path.exists():
                return False
            self._require_room(len(data))
            if not path.parent.exists():
                path.parent.mkdir(mode=OWNERS_FOLDER)
                settle(self.arriving)
            try:
                _write(part, data)
                part.replace(path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
            settle(path.parent)
        return True

    def _require_room(self, size: int) -> None:
        """Refuse what would leave too little room on the disk, as the disk does when it is full."""
        if not leaves_room(self.arriving, size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.arriving))

    def forget(self, study_uid: str) -> None:
        """Remove what came so far of a study, because it is fetched from its beginning."""
        shutil.rmtree(self.arriving / self.name_of(study_uid), ignore_errors=True)

    def files_of(self, study_uid: str) -> int:
        """Count what came so far of a study."""
        return len(list((self.arriving / self.name_of(study_uid)).glob("*.dcm")))

    def files_in(self, name: str) -> list[Path]:
        """Files that came so far of a study, by the name of its folder."""
        return sorted((self.arriving / name).glob("*.dcm"))

    def finish(self, name: str, said: int | None = None) -> None:
        """Say that a study, by the name of its folder, is complete: it waits to be taken in.

        Parameters
        ----------
        name : str
            Of `name_of`.
        said : int or None
            How many instances the archive said that it has; fewer show that some are missing.
        """
        source, target = self.arriving / name, self.complete / name
        with self._renaming:
            if not source.is_dir():
                return
            if said is not None:
                short = len(list(source.glob("*.dcm"))) < said
                self._keep_short(lambda known: known | {name: short})
            for part in source.glob(f"*{PART}"):
                part.unlink()
            if target.exists():  # the rest of a study whose first part still waits
                for path in source.iterdir():
                    path.replace(target / path.name)
                source.rmdir()
                settle(target)
            else:
                source.rename(target)
            settle(self.complete)

    @property
    def _counts(self) -> Path:
        return self.folder / "counts.json"

    def short(self) -> dict[str, bool]:
        """Whether the archive gave fewer files than it said, of each study that waits."""
        try:
            found = json.loads(self._counts.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return {}
        return {name: bool(short) for name, short in found.items()}

    def bring_back(self, belongs: Callable[[list[Path]], list[Path]]) -> None:
        """Let quarantined slices wait again whose study waits: more of their series may be there.

        Parameters
        ----------
        belongs : callable
            Says which of some quarantined files were only set aside because others were missing.
        """
        for study in sorted(path.name for path in self.complete.iterdir() if path.is_dir()):
            for path in belongs(sorted((self.quarantine / study).glob("*.dcm"))):
                path.replace(self.complete / study / path.name)
            with suppress(OSError):  # a person may have put something else there
                (self.quarantine / study).rmdir()

    def studies(self) -> list[str]:
        """Names of the studies that are still arriving, sorted."""
        return sorted(path.name for path in self.arriving.iterdir() if path.is_dir())

    def waiting(self) -> list[Path]:
        """Files of complete studies, sorted."""
        return sorted(path for path in self.complete.rglob("*") if path.is_file())

    def waiting_bytes(self) -> int:
        """How much waits to be taken in."""
        return sum(path.stat().st_size for path in self.waiting())

    def was_fetched(self, source: str, study_uid: str, instances: int | None) -> bool:
        """Whether a study was fetched whole before, with as many instances.

        A source that does not tell how many instances a study has is asked for it again
        each time; its content is recognised then.
        """
        return self._fetched_line(source, study_uid, instances) in self._fetched()

    def remember_fetched(self, source: str, study_uid: str, instances: int | None) -> None:
        """Remember that a study lies in the inbox, whole."""
        if instances is None:
            return
        line = self._fetched_line(source, study_uid, instances)
        path = self.folder / "fetched.jsonl"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, OWNER_ONLY)
        with os.fdopen(descriptor, "r+b") as file:
            # A line that was cut off by a crash must not swallow this one.
            torn = file.seek(0, os.SEEK_END) > 0 and _last_byte(file.fileno()) != b"\n"
            file.write((b"\n" if torn else b"") + json.dumps({"fetched": line}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._fetched().add(line)

    def _fetched_line(self, source: str, study_uid: str, instances: int | None) -> str:
        return keyed_digest(self._secret, "fetched", source, study_uid, str(instances)).hex()

    def _fetched(self) -> set[str]:
        """Everything remembered; a line that was cut off is as good as none."""
        if self._known is None:
            path = self.folder / "fetched.jsonl"
            text = path.read_text(encoding="ascii", errors="replace") if path.exists() else ""
            self._known = set(re.findall(r'"fetched": "([0-9a-f]{64})"', text))
        return self._known

    def alone(self, what: str) -> AbstractContextManager[None]:
        """Wait until nobody else does the same with this inbox."""
        return alone_with(self.folder / f"{what}.lock")

    def decide(self, verdicts: list[FileVerdict]) -> None:
        """Write down what becomes of the files that were taken in, then do it."""
        aside = {verdict.path for verdict in verdicts if verdict.verdict != "taken"}
        taken = {verdict.path for verdict in verdicts} - aside
        outcome = {"quarantine": sorted(aside), "delete": sorted(taken)}
        write_text_atomically(
            self.folder / "outcome.json", json.dumps(outcome, indent=1), mode=OWNER_ONLY
        )
        self.carry_out()

    def carry_out(self) -> None:
        """Do what was written down and is not done yet."""
        plan = self.folder / "outcome.json"
        if not plan.exists():
            return
        outcome = json.loads(plan.read_text(encoding="utf-8"))
        for name in outcome["quarantine"]:
            target = self.quarantine / name
            self.quarantine.mkdir(mode=OWNERS_FOLDER, exist_ok=True)
            target.parent.mkdir(mode=OWNERS_FOLDER, exist_ok=True)
            if (self.complete / name).exists():
                (self.complete / name).replace(target)
                settle(target.parent)
        for name in outcome["delete"]:
            (self.complete / name).unlink(missing_ok=True)
        for folder in self.complete.iterdir():
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        self._keep_short(lambda known: {one: it for one, it in known.items() if self._waits(one)})
        plan.unlink()

    def _waits(self, study: str) -> bool:
        return (self.complete / study).exists() or (self.folder / "fetching" / study).exists()

    def _keep_short(self, change: Callable[[dict[str, bool]], dict[str, bool]]) -> None:
        """Change what is known of counts; several processes may."""
        with self.alone("counts"):
            known = self.short()
            now = change(known)
            if not now:  # nothing waits: an inbox that was taken in is empty
                self._counts.unlink(missing_ok=True)
            elif now != known:
                write_text_atomically(self._counts, json.dumps(now), mode=OWNER_ONLY)


def take_inbox(site_folder: Path, progress: ProgressCallback | None = None) -> IngestReport:
    """Take the complete studies of the inbox in, and clear them away.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    progress : callable or None
        Called with (studies done, studies found).

    Returns
    -------
    IngestReport
        Without files if nothing waited. Paths are those of the inbox and say nothing.

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError, PlaceholderSecretError
        See `SiteStore.open`.
    """
    store = SiteStore.open(site_folder)
    try:
        inbox = Inbox(store.folder, store.secret)
        nothing = IngestReport(store.config.site, [], 0, 0, store.counts())
    finally:
        store.close()
    with inbox.alone("taking"):
        inbox.carry_out()
        if not inbox.waiting():
            return nothing
        # What a PACS sends can crash a decoder, and whoever listens has to go on listening.
        inbox.bring_back(partial(set_aside_as_part, site_folder))
        report = ingest(site_folder, inbox.complete, progress, separate=True, short=inbox.short())
        # Catalogue and arrays must outlive a power cut before their source goes.
        os.sync()
        inbox.decide(report.files)
    return report


def _write(path: Path, data: bytes) -> None:
    """Write a file of the owner's alone, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)
