"""``osteofed site audit phi``: look for every identifier that was seen at ingest.

Searched is the whole site folder, where the store, the answers that were sent, the node's
state, the ledger, the audit chain and the logs are, and whatever else is named (a
coordinator's MLflow folder, say). Names of files are searched too. Not searched are the
folders that hold identifiers by their purpose (`EXEMPT`): the report names them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.identity.chain import AUDIT
from client.phi.identifier_index import Remembered
from client.phi.text_extraction import Reader, TextPiece, other_writings, pieces_of_file
from client.store.catalogue import Volume
from client.store.site_store import CATALOGUE, SETTINGS, SiteStore
from shared.dicom.phi.burned_in import looks_burned_in
from shared.dicom.phi.burned_in_ct import slice_looks_burned_in
from shared.dicom.phi.ocr import read_text, tesseract_there
from shared.errors import InputEmptyError, InputMissingError
from shared.settings.files import resolve

#: Folders of a site that hold identifiers on purpose, and why.
EXEMPT: Final = {
    "approved": "the coordinator's code as it came and was approved: authors' names stand in it, "
    "and every file is compared with its digest before each message",
    "bedside": "the work list of the node at the bedside, with files and results of studies, until "
    "they are forgotten",
    "inbox": "files as they came from the PACS, until they are taken in",
    "quarantine": "files that were set aside, until a person has decided",
}
WITHHELD: Final = "[name withheld]"
#: What a first path component of a site is called in the report.
PLACES: Final = {
    "answers": "answers that were sent",
    "node": "state and logs of the node",
}

#: Called with (files searched, files in all).
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class PhiFinding:
    """An identifier that was found. What it is is never told, only of what kind.

    `file` is relative to what was searched; a part of it that is an identifier itself is
    withheld.
    """

    where: str
    file: str
    place: str
    kind: str


@dataclass
class PhiReport:
    """What was looked for, where, and what was found.

    Attributes
    ----------
    sought : dict of str to int
        Forms of identifiers by kind.
    days_forgotten : int
        Dates not looked for because the site was at work on them.
    searched : dict of str to dict
        ``files`` and ``bytes`` by kind of place.
    exempt : dict of str to str
        Folders that were not searched on purpose, with the reason.
    not_searched : list of dict
        ``file``, ``place`` and ``reason`` of what could not be read.
    found : list of PhiFinding
        Sorted; empty if nothing was found.
    ocr : bool
        Whether pictures were read by OCR.
    images : int
        Stored images whose pixels were looked at.
    slices : int
        Slices of stored CT volumes whose pixels were looked at: all of each volume, but none
        after the first with text.
    """

    sought: dict[str, int]
    days_forgotten: int
    searched: dict[str, dict[str, int]] = field(default_factory=dict)
    exempt: dict[str, str] = field(default_factory=dict)
    not_searched: list[dict[str, str]] = field(default_factory=list)
    found: list[PhiFinding] = field(default_factory=list)
    ocr: bool = False
    images: int = 0
    slices: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "sought": self.sought,
            "days_forgotten": self.days_forgotten,
            "searched": self.searched,
            "images": self.images,
            "slices": self.slices,
            "ocr": self.ocr,
            "exempt": self.exempt,
            "not_searched": self.not_searched,
            "found": [vars(one) for one in self.found],
        }


def audit_phi(
    site_folder: Path,
    also: Sequence[Path] = (),
    progress: ProgressCallback | None = None,
    *,
    pixels: bool = True,
) -> PhiReport:
    """Search all that a site stored or sent for every identifier seen at its door.

    Parameters
    ----------
    site_folder : Path
        The site.
    also : sequence of Path
        Further files and folders.
    progress : callable or None
        Called with (files searched, files in all).
    pixels : bool
        Whether stored images are looked at for burned-in text.

    Raises
    ------
    InputMissingError
        If something named in `also` is not there.
    InputEmptyError
        If studies are stored, but no identifier is remembered to look for.
    StoreMissingError, StoreSecretMismatchError, PlaceholderSecretError
        See `SiteStore.open`.
    """
    for path in also:
        if not path.exists():
            raise InputMissingError(f"{path}: is not there (a file or folder was to be searched)")
    store = SiteStore.open(site_folder)
    try:
        with Session(store.engine) as session:
            remembered = Remembered(session, store.secret)
            volumes = _volumes(store, session)
        if not len(remembered) and store.counts()["studies"]:
            raise InputEmptyError(
                f"{store.folder}: holds studies, but remembers no identifier to look for; they "
                "were taken in by an older version: take the same export into a new site and "
                "audit that"
            )
        search = _Search(store, remembered, also, volumes, pixels=pixels)
    finally:
        store.close()
    files = list(search.files())
    for number, (where, root, path) in enumerate(files, start=1):
        search.file(where, root, path)
        if progress is not None:
            progress(number, len(files))
    search.report.found.sort(key=lambda one: (one.where, one.file, one.place, one.kind))
    return search.report


class _Search:
    """One audit at work."""

    def __init__(
        self,
        store: SiteStore,
        remembered: Remembered,
        also: Sequence[Path],
        volumes: Mapping[Path, tuple[int, bool]],
        *,
        pixels: bool,
    ) -> None:
        self.remembered, self.volumes = remembered, volumes
        self.folder, self.also, self.pixels = store.folder, also, pixels
        self.store_folder = resolve(store.folder, store.config.store)
        self.ledger = resolve(store.folder, store.config.ledger)
        remembered.forget_words(store.config.site)
        first, last = _days_at_work(store.folder)
        forgotten = remembered.forget_days(first, last)
        self.ocr: Reader | None = read_text if tesseract_there() else None
        self.report = PhiReport(remembered.by_kind(), forgotten, ocr=self.ocr is not None)

    def files(self) -> Iterator[tuple[str, Path, Path]]:
        """Everything to search: what it is called, what its path is relative to, its path."""
        seen: set[Path] = set()
        for root in (self.folder, self.store_folder, self.ledger, *self.also):
            for path in _walk(root):
                if path.resolve() in seen or self._is_exempt(root, path):
                    continue
                seen.add(path.resolve())
                if root in self.also:
                    yield f"also: {root.name}", root, path
                else:
                    yield self._called(path), self.folder, path

    def _is_exempt(self, root: Path, path: Path) -> bool:
        if root != self.folder:
            return False
        top = path.relative_to(root).parts[0]
        if top in EXEMPT:
            self.report.exempt[top] = EXEMPT[top]
        return top in EXEMPT

    def _called(self, path: Path) -> str:
        """What kind of place a file of the site is."""
        if path.is_relative_to(self.store_folder):
            inside = path.relative_to(self.store_folder).parts[0]
            return "catalogue" if inside.startswith(CATALOGUE) else inside
        if path.name.startswith(self.ledger.name):
            return "ledger"
        top = path.relative_to(self.folder).parts[0] if path.is_relative_to(self.folder) else ""
        if top in PLACES:
            return PLACES[top]
        if top == SETTINGS:
            return "settings"
        if top.startswith(AUDIT):
            return "audit chain"
        return "logs" if path.suffix in {".log", ".jsonl"} else "other files of the site"

    def file(self, where: str, root: Path, path: Path) -> None:
        """Search one file, and its name."""
        relative = path.relative_to(root) if path != root else Path(path.name)
        parts, named = [], set()
        for part in relative.parts:
            kinds = self.remembered.kinds_in(part) | self._decoded(part)
            named |= kinds
            parts.append(WITHHELD if kinds else part)
        shown = "/".join(parts)
        self.report.found += [PhiFinding(where, shown, "its name", kind) for kind in sorted(named)]
        try:
            size = path.stat().st_size
            for piece in pieces_of_file(path, self.ocr):
                self._piece(where, shown, piece)
            if self.pixels and path.name.endswith(".pixels.npy"):
                self._image(where, shown, path)
            elif self.pixels and path.name.endswith(".hu.npy"):
                self._volume(where, shown, path)
        except OSError as error:
            self._missing(shown, "", f"cannot be read ({type(error).__name__})")
            return
        counts = self.report.searched.setdefault(where, {"files": 0, "bytes": 0})
        counts["files"] += 1
        counts["bytes"] += size

    def _piece(self, where: str, shown: str, piece: TextPiece) -> None:
        if piece.missing:
            self._missing(shown, piece.place, piece.missing)
        kinds = self.remembered.kinds_in(piece.text)
        decoded = self._decoded(piece.text) - kinds
        for kind in sorted(kinds | decoded):
            line = self._line(piece.text, kind)
            # A table or column is named by whoever made it: its name may be one, too.
            place = WITHHELD if self.remembered.kinds_in(piece.place) else piece.place
            place = " ".join(part for part in (place, line) if part)
            self.report.found.append(PhiFinding(where, shown, place or "the whole file", kind))

    def _decoded(self, text: str) -> set[str]:
        """Kinds of what stands in a text in another writing."""
        found: set[str] = set()
        for other in other_writings(text):
            if other != text:
                found |= self.remembered.kinds_in(other)
        return found

    def _line(self, text: str, kind: str) -> str:
        """Which line of a text holds it; empty for a text of one line."""
        lines = text.splitlines()
        if len(lines) < 2:
            return ""
        for number, line in enumerate(lines, start=1):
            if kind in self.remembered.kinds_in(line) or kind in self._decoded(line):
                return f"line {number}"
        return ""

    def _image(self, where: str, shown: str, path: Path) -> None:
        """Look for text in the pixels of a stored image."""
        try:
            unit = np.load(path, allow_pickle=False).astype(np.float32)
        except ValueError:
            self._missing(shown, "pixels", "an array that cannot be read")
            return
        self.report.images += 1
        if looks_burned_in(unit, tesseract=self.ocr is not None):
            self.report.found.append(PhiFinding(where, shown, "pixels", "burned-in text"))

    def _volume(self, where: str, shown: str, path: Path) -> None:
        """Look for text in every slice of a stored volume, as the scanner made them."""
        try:
            hu = np.load(path, mmap_mode="r", allow_pickle=False)
            readable = hu.ndim == 3 and hu.dtype == np.int16
        except ValueError:
            readable = False
        if not readable:
            self._missing(shown, "pixels", "an array that cannot be read")
            return
        number, lossy = self.volumes.get(path.resolve(), (0, False))
        # Which way they lay is not kept; their number tells, unless they were resampled.
        axes = [axis for axis in range(3) if hu.shape[axis] == number] or [0, 1, 2]
        for axis in axes:
            for one in np.moveaxis(hu, axis, 0):
                self.report.slices += 1
                if slice_looks_burned_in(one, lossy=lossy, tesseract=self.ocr is not None):
                    self.report.found.append(PhiFinding(where, shown, "pixels", "burned-in text"))
                    return

    def _missing(self, shown: str, place: str, reason: str) -> None:
        self.report.not_searched.append({"file": shown, "place": place, "reason": reason})


def _volumes(store: SiteStore, session: Session) -> dict[Path, tuple[int, bool]]:
    """Of each file of voxels, how many slices it was made of, and whether with loss."""
    columns = select(Volume.study, Volume.series, Volume.slices, Volume.lossy)
    return {
        store.array_path(study, series, "hu").resolve(): (slices, bool(lossy))
        for study, series, slices, lossy in session.execute(columns)
    }


def _walk(root: Path) -> Iterator[Path]:
    """Files under a folder, or the file itself, sorted; links are not followed."""
    if root.is_file():
        yield root
        return
    for base, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(base) / name
            if path.is_file() and not path.is_symlink():
                yield path


def _days_at_work(folder: Path) -> tuple[date, date]:
    """First and last day on which the site can have written a date of its own."""
    try:
        with (folder / AUDIT).open(encoding="utf-8") as file:
            first = datetime.fromisoformat(json.loads(file.readline())["time"]).date()
    except (OSError, ValueError, KeyError, TypeError):
        first = datetime.fromtimestamp((folder / SETTINGS).stat().st_mtime, UTC).date()
    # A day on each side: the machine's own time zone may be another.
    today = datetime.now(UTC).date()
    return min(first, today) - timedelta(days=1), today + timedelta(days=1)


def summary(report: PhiReport) -> Counter[tuple[str, str]]:
    """Count what was found by kind of place and kind of identifier."""
    return Counter((one.where, one.kind) for one in report.found)
