"""One ingest at work: studies into the store, files judged, identifiers turned into digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from sqlalchemy.orm import Session

from client.ingest.known_files import KnownFiles
from client.ingest.seen_identifiers import SeenIdentifiers
from client.ingest.set_aside import SetAsideScans
from client.ingest.staging import Staged, StagingJob
from client.ingest.study_writer import StudyWriter
from client.store.site_store import SiteStore
from shared.dicom.ct.eligibility import SeriesVerdict
from shared.dicom.labels.tables import LabelRow
from shared.dicom.scan import FolderScan
from shared.dicom.study_files import StudyGroup
from shared.dicom.verdicts import FileVerdict


class IngestWriter:
    """The writer of one ingest; nobody else writes meanwhile.

    Parameters
    ----------
    store : SiteStore
        Where to.
    session : Session
        Of its catalogue.
    called : mapping of str to str
        What files were called where they came from, by the name that the site gave them.
        Others have the name that they came with.
    """

    def __init__(
        self, store: SiteStore, session: Session, called: Mapping[str, str] | None = None
    ) -> None:
        self.store = store
        self.session = session
        self.files = KnownFiles(store.secret, session)
        self.studies = StudyWriter(store, session, self.files)
        self.identifiers = SeenIdentifiers(called or {})
        self.set_aside = SetAsideScans(session, self.files)

    def judged_before(self, group: StudyGroup) -> list[FileVerdict] | None:
        """Verdicts of a study that need not be read; None if it must be.

        Depends on what was in the store before this ingest only.
        """
        self.files.settle(group)
        verdicts = self.files.judged_before(group)
        known = ("already_there", "view_repeated")
        if verdicts and all(verdict.reason in known for verdict in verdicts):
            # What stands in them was seen when they were taken; their names may be others now.
            self.identifiers.see_names(file.name for file in group.files)
            self.identifiers.looked_at |= {file.name for file in group.files}
        return verdicts

    def job(self, group: StudyGroup, folder: Path) -> StagingJob:
        """What is to be read of a study, with what is stored of its series already."""
        earlier, kept = self.studies.growth.earlier(group)
        return StagingJob(group, folder, self.store.config.reading, earlier, kept)

    def take_study(self, job: StagingJob, staged: Staged) -> list[FileVerdict]:
        """Store what is new of one study that was read; its folder of arrays is used up."""
        study = staged.study
        read = () if study is None else study.volumes
        self.studies.growth.note_belonging(job.group, staged.verdicts, read)
        if study is None:
            return staged.verdicts
        self.identifiers.see(study.identifiers)
        self.identifiers.looked_at |= study.identified
        return self.studies.take_study(job, staged, study)

    def take_labels(self, rows: list[LabelRow]) -> list[FileVerdict]:
        """Join labels to the store's studies, also to those of earlier ingests."""
        self.send()
        if self.studies.growth.waits:  # marks are placed on the arrays that are in place
            self.commit()
        return self.studies.take_labels(rows)

    def assign_splits(self) -> None:
        """Give every patient without a split one."""
        self.send()
        self.studies.assign_splits()

    def see_other_files(self, folder: Path, scan: FolderScan) -> None:
        """See the identifiers in the files that were not read as part of a study, too."""
        self.identifiers.see_other_files(folder, scan, self.store.config.labels)

    def keep_undecided(
        self, folder: Path, scan: FolderScan, verdicts: Iterable[FileVerdict]
    ) -> dict[str, str]:
        """Keep what a person may decide; return what each one that is open is called."""
        decided = {
            file.name
            for group in scan.groups
            for file in group.images.values()
            if file.told == "decided"
        }
        columns = self.store.config.labels
        return self.set_aside.keep(folder, scan, verdicts, decided, columns)

    def remember(self, verdicts: Iterable[FileVerdict], digests: Mapping[str, str]) -> None:
        """Keep how each file ended."""
        self.files.remember(verdicts, digests)

    def finish_series(
        self, groups: Iterable[StudyGroup], short: Mapping[str, bool]
    ) -> list[SeriesVerdict]:
        """Say of each CT series that came and is stored whether it is whole.

        `short` is by the folder of a study: whether fewer files of it came than were said.
        """
        groups, growth = [one for one in groups if one.series], self.studies.growth
        self.send()
        for group in groups:
            growth.grade(group)
            folder = PurePosixPath(group.files[0].name).parts[0]
            if folder in short:
                growth.note_count(group.study_uid, short=short[folder])
        self.commit()
        return [one for group in groups for one in growth.states(group)]

    def send(self) -> None:
        """Write everything that is waiting; the caller commits."""
        self.studies.send()
        self.files.send()
        self.studies.send_labels()
        self.identifiers.send(self.session, self.store.secret)

    def commit(self) -> None:
        """Write everything that is waiting, for good."""
        self.send()
        self.studies.growth.tell()
        self.session.commit()
        self.studies.growth.settle()
