"""Fetches studies from a PACS one by one: none twice, and after a failure those that are left."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from client.ingest.folder import IngestReport, ProgressCallback
from client.ingest.inbox import Inbox, TooLargeError, take_inbox
from client.store.site_store import SiteStore
from shared.phrases import counted
from shared.settings.pacs import RetrySettings

from .query import FoundStudy, Wanted
from .retry import StudyFailedError, patiently

if TYPE_CHECKING:
    from .nodes import Deliver

#: More than this never waits on the disk; who has less to fetch is taken in at once, so that
#: the split of patients does not depend on the order in which they came.
MOST_WAITING_BYTES: Final = 20 * 1024**3


class Pacs(Protocol):
    """A source that is asked: `WebSource` or `PeerSource`."""

    name: str

    def check(self) -> None:
        """Ask for next to nothing, to see whether it answers."""
        ...

    def find(self, wanted: Wanted) -> list[FoundStudy]:
        """Find studies, sorted by UID."""
        ...

    def fetch(self, study: FoundStudy, deliver: Deliver) -> None:
        """Fetch the files of one study."""
        ...

    def ready(self) -> AbstractContextManager[None]:
        """Hold what fetching needs."""
        ...


@dataclass(frozen=True)
class Fetched:
    """What one fetch did.

    Attributes
    ----------
    report : IngestReport
        Of what was taken in.
    source : str
        Address of the PACS.
    found, fetched, known, failed : int
        Studies that are wanted; fetched now; fetched before; not given whole.
    """

    report: IngestReport
    source: str
    found: int
    fetched: int
    known: int
    failed: int

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        facts = {
            "name": self.source,
            "studies_found": self.found,
            "studies_fetched": self.fetched,
            "studies_fetched_before": self.known,
            "studies_failed": self.failed,
        }
        return self.report.as_dict() | {"source": facts}


def fetch_all(
    site_folder: Path,
    pacs: Pacs,
    wanted: Wanted,
    retry: RetrySettings,
    progress: ProgressCallback | None = None,
    *,
    again: bool = False,
) -> Fetched:
    """Fetch the studies that are wanted and take them in.

    Whoever is killed on the way goes on with the next call: a study is remembered as
    fetched once it lies in the inbox whole, and the inbox is taken in at the end.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    pacs : Pacs
        Whom to ask.
    wanted : Wanted
        For what.
    retry : RetrySettings
        How patiently.
    progress : callable or None
        Called with (studies fetched, studies found).
    again : bool
        Also fetch what was fetched before.

    Raises
    ------
    SourceUnavailableError
        If the PACS does not answer, however often it is asked.
    SourceRefusedError
        If it refuses.
    """
    store = SiteStore.open(site_folder)
    store.close()
    inbox = Inbox(store.folder, store.secret)
    reports: list[IngestReport] = []
    fetched = known = failed = 0
    with inbox.alone("fetching"), pacs.ready():
        found = patiently(retry, pacs.name, lambda: pacs.find(wanted))
        for done, study in enumerate(found, start=1):
            if not again and inbox.was_fetched(pacs.name, study.study_uid, study.instances):
                known += 1
            elif _fetch_one(pacs, study, inbox, retry):
                fetched += 1
            else:
                failed += 1
            if inbox.waiting_bytes() > MOST_WAITING_BYTES:
                reports.append(take_inbox(site_folder))
            if progress is not None:
                progress(done, len(found))
        reports.append(take_inbox(site_folder))
    return Fetched(_joined(reports), pacs.name, len(found), fetched, known, failed)


def _fetch_one(pacs: Pacs, study: FoundStudy, inbox: Inbox, retry: RetrySettings) -> bool:
    """Fetch one study into the inbox; False if the PACS does not give it whole."""

    def ask() -> None:
        inbox.forget(study.study_uid)
        pacs.fetch(study, inbox.deliver)
        files = inbox.files_of(study.study_uid)
        if files < (study.instances or 1):
            raise StudyFailedError(
                f"gave {counted(files, 'file')} of a study of {study.instances or 'some'}"
            )

    try:
        patiently(retry, pacs.name, ask)
    except (StudyFailedError, TooLargeError):  # what is too large is so the next time too
        inbox.forget(study.study_uid)
        return False
    inbox.finish(inbox.name_of(study.study_uid), study.instances)
    inbox.remember_fetched(pacs.name, study.study_uid, study.instances)
    return True


def _joined(reports: list[IngestReport]) -> IngestReport:
    """Several reports as one; the store is as it is after the last."""
    last = reports[-1]
    return IngestReport(
        last.site,
        [file for report in reports for file in report.files],
        sum(report.studies_found for report in reports),
        sum(report.studies_new for report in reports),
        last.counts,
        sum(report.visits_new for report in reports),
        [series for report in reports for series in report.series_not_taken],
        [series for report in reports for series in report.series_not_measured],
        [series for report in reports for series in report.series_kept],
        [series for report in reports for series in report.series_replaced],
    )
