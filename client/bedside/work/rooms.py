"""Where the bedside node keeps files: the owner's alone, durable before anybody is told so.

<site>/bedside/worklist.sqlite              the work list
<site>/bedside/arriving/                    what is being put down
<site>/bedside/studies/<name>/<digest>.dcm  wanted instances of a study
<site>/bedside/results/<name>/<file>        what is said of it

``<name>`` is drawn at random and ``<digest>`` is that of the content: no name says anything.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from shared.runtime.files import OWNER_ONLY, leaves_room, make_private_folder, settle


class BedsideRooms:
    """The folders of one bedside node.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    """

    def __init__(self, site_folder: Path) -> None:
        self.folder = site_folder / "bedside"
        self.arriving = self.folder / "arriving"
        self.studies = self.folder / "studies"
        self.results = self.folder / "results"
        for folder in (self.folder, self.arriving, self.studies, self.results):
            make_private_folder(folder)

    def put_down(self, data: bytes) -> Path:
        """Write a file durably, in nobody's folder yet.

        Raises
        ------
        OSError
            If it would leave too little on the disk (`shared.runtime.files.leaves_room`), or
            cannot be written.
        """
        if not leaves_room(self.arriving, len(data)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        path = self.arriving / f"{os.getpid()}-{threading.get_ident()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return path

    def move_in(self, source: Path, room: Path, name: str, file: str) -> None:
        """Give a file that was put down to a study, durably."""
        folder = room / name
        if not folder.exists():
            make_private_folder(folder)
            settle(room)
        source.replace(folder / file)
        settle(folder)

    def source_of(self, name: str) -> Path:
        """Folder of a study's instances."""
        return self.studies / name

    def result(self, name: str, file: str) -> Path:
        """Path of one result."""
        return self.results / name / file

    def forget(self, name: str) -> None:
        """Remove everything of a study."""
        for room in (self.studies, self.results):
            shutil.rmtree(room / name, ignore_errors=True)

    def tidy(self, known: Iterable[tuple[str, str]]) -> int:
        """Remove what was put down and never entered in the work list: nobody was promised it.

        Parameters
        ----------
        known : iterable of (str, str)
            Name and file of each instance and result in the work list.

        Returns
        -------
        int
            How many files were removed.
        """
        kept = set(known)
        removed = 0
        for path in self.arriving.iterdir():
            path.unlink()
            removed += 1
        for room in (self.studies, self.results):
            for path in room.glob("*/*"):
                if (path.parent.name, path.name) not in kept:
                    path.unlink()
                    removed += 1
        return removed
