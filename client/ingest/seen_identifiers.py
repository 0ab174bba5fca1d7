"""Collects the identifiers that are seen while files are read, for the index of digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sqlalchemy.orm import Session

from client.phi import identifier_index
from shared.dicom.phi.identifiers import SeenIdentifier, identifiers_of_name
from shared.dicom.phi.seen import identifiers_in_file
from shared.dicom.scan import FolderScan, leads_out
from shared.settings.files import LabelColumns


class SeenIdentifiers:
    """What was seen and not written yet.

    Parameters
    ----------
    called : mapping of str to str
        What files were called where they came from, by the name that the site gave them: the
        one is seen, and the other names nobody.
    """

    def __init__(self, called: Mapping[str, str]) -> None:
        given = {one for name in called for one in identifiers_of_name(name)}
        came = {one for name in called.values() for one in identifiers_of_name(name)}
        self._seen: set[SeenIdentifier] = set(came)
        self._given = given - came
        #: Files that need not be looked at again.
        self.looked_at: set[str] = set()

    def see_other_files(self, folder: Path, scan: FolderScan, columns: LabelColumns) -> None:
        """See the identifiers in the files that were not read as part of a study, too.

        Parameters
        ----------
        folder : Path
            Where the files lie.
        scan : FolderScan
            Which there are.
        columns : LabelColumns
            What tables call their columns.
        """
        others = {*scan.digests, *(verdict.path for verdict in scan.verdicts)} - self.looked_at
        for name in sorted(others):
            path = scan.elsewhere.get(name, folder / name)
            if not leads_out(path, folder) and path.is_file():
                self.see(identifiers_in_file(path, name, columns))
            elif not {name, name.rpartition(":")[0]} & scan.digests.keys():
                # A link, or what was left in an archive: its name is all that is seen.
                self.see_names([name])

    def see_names(self, names: Iterable[str]) -> None:
        """See what names of files say."""
        for name in names:
            self.see(identifiers_of_name(name))

    def see(self, found: Iterable[SeenIdentifier]) -> None:
        """See identifiers, but for names that the site itself gave."""
        self._seen |= {one for one in found if one not in self._given}

    def send(self, session: Session, secret: bytes) -> None:
        """Write digests of what was seen; the caller commits."""
        if self._seen:
            # In an order of their own: that of a set differs from process to process.
            seen = sorted(self._seen, key=lambda one: (one.kind, one.text))
            identifier_index.remember(session, secret, seen)
            self._seen = set()
