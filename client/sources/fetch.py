"""Fetches studies from a PACS one by one: none twice, and after a failure those that are left."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeGuard

from client.ingest.folder import IngestReport, ProgressCallback
from client.ingest.inbox import Inbox, TooLargeError, take_inbox
from client.store.site_store import SiteStore
from shared.phrases import counted
from shared.settings.pacs import RetrySettings

from .query import FoundStudy, Wanted
from .retry import (
    OfStudyError,
    StudyFailedError,
    TooMuchError,
    TryAgainError,
    given_up,
    insist,
    patiently,
)
from .waiting import Say, silently

if TYPE_CHECKING:
    from .nodes import Deliver

#: More than this never waits on the disk; who has less to fetch is taken in at once, so that
#: the split of patients does not depend on the order in which they came.
MOST_WAITING_BYTES: Final = 20 * 1024**3
#: After so many studies in a row that it hung up on or stood still at, a PACS is left alone.
MOST_IN_VAIN: Final = 3
NOT_ASKED: Final = (
    f"was not asked for: the {MOST_IN_VAIN} before it were asked for in vain, one after the other"
)


class Pacs(Protocol):
    """A source that is asked: `WebSource` or `PeerSource`."""

    name: str
    notes: list[str]

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
class StudyLeft:
    """A study that was not taken, and why; the same command asks for it again.

    `study_uid` is for the site's own terminal, where the PACS's team can be told: it never
    goes into a log. `status` is what the PACS answered, as its protocol writes it.
    """

    study_uid: str
    status: str
    sentence: str

    def __repr__(self) -> str:
        """Hide which study, so that no log or traceback shows it."""
        return f"StudyLeft(***, {self.status!r})"

    def as_dict(self) -> dict[str, str]:
        """Everything, ready for JSON."""
        return {"study": self.study_uid, "status": self.status, "sentence": self.sentence}


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
    left : tuple of StudyLeft
        Those that were not given whole, and why.
    notes : tuple of str
        What is strange about the PACS, and does no harm by itself.
    """

    report: IngestReport
    source: str
    found: int
    fetched: int
    known: int
    failed: int
    left: tuple[StudyLeft, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        facts = {
            "name": self.source,
            "studies_found": self.found,
            "studies_fetched": self.fetched,
            "studies_fetched_before": self.known,
            "studies_failed": self.failed,
            "studies_left": [one.as_dict() for one in self.left],
            "notes": list(self.notes),
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
    say: Say = silently,
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
    say : callable
        Told why it is asked again.

    Raises
    ------
    SourceUnavailableError
        If the PACS does not answer, however often it is asked. What was fetched before that
        waits in the inbox.
    SourceRefusedError
        If it refuses.
    """
    store = SiteStore.open(site_folder)
    store.close()
    inbox = Inbox(store.folder, store.secret)
    reports: list[IngestReport] = []
    with inbox.alone("fetching"), pacs.ready():
        found = patiently(retry, pacs.name, lambda: pacs.find(wanted), say)
        sweep = _Sweep(pacs, inbox, retry, say, again)
        for done, study in enumerate(found, start=1):
            sweep.over(study)
            if inbox.waiting_bytes() > MOST_WAITING_BYTES:
                reports.append(take_inbox(site_folder))
            if progress is not None:
                progress(done, len(found))
        reports.append(take_inbox(site_folder))
    return sweep.told(_joined(reports))


@dataclass
class _Sweep:
    """Goes over the studies that were found, one after the other, and counts."""

    pacs: Pacs
    inbox: Inbox
    retry: RetrySettings
    say: Say
    again: bool
    fetched: int = 0
    known: int = 0
    in_vain: int = 0
    left: list[StudyLeft] = field(default_factory=list)

    def over(self, study: FoundStudy) -> None:
        """Fetch one study, unless it was fetched before or the PACS is left alone."""
        name = self.pacs.name
        if not self.again and self.inbox.was_fetched(name, study.study_uid, study.instances):
            self.known += 1
        elif self.in_vain >= MOST_IN_VAIN:
            self.left.append(StudyLeft(study.study_uid, "", NOT_ASKED))
        elif (failed := _fetch_one(self.pacs, study, self.inbox, self.retry, self.say)) is None:
            self.fetched, self.in_vain = self.fetched + 1, 0
        else:
            self.left.append(_left(study, failed))
            self.in_vain = self.in_vain + 1 if _answered_nothing(failed) else 0
            if _answered_nothing(failed) and self.in_vain == MOST_IN_VAIN and not self.came:
                raise given_up(name, failed)

    @property
    def came(self) -> int:
        """Studies that the PACS did give, now or before."""
        return self.fetched + self.known

    def told(self, report: IngestReport) -> Fetched:
        """Make what is told in the end."""
        found = self.came + len(self.left)
        return Fetched(
            report,
            self.pacs.name,
            found,
            self.fetched,
            self.known,
            len(self.left),
            tuple(self.left),
            tuple(self.pacs.notes),
        )


def _left(study: FoundStudy, failed: Exception) -> StudyLeft:
    """Say why a study is left."""
    how_often = "".join(f", {note}" for note in getattr(failed, "__notes__", ()))
    return StudyLeft(
        study.study_uid, getattr(failed, "status", ""), f"the PACS {failed}{how_often}"
    )


def _answered_nothing(failed: Exception) -> TypeGuard[OfStudyError]:
    """Whether the PACS answered nothing, as it may do for the next study too."""
    return isinstance(failed, OfStudyError) and not isinstance(failed, StudyFailedError)


def _fetch_one(
    pacs: Pacs, study: FoundStudy, inbox: Inbox, retry: RetrySettings, say: Say
) -> Exception | None:
    """Fetch one study into the inbox; why not, if the PACS does not give it whole."""

    def ask() -> None:
        inbox.forget(study.study_uid)
        pacs.fetch(study, inbox.deliver)
        files = inbox.files_of(study.study_uid)
        if files < (study.instances or 1):
            raise StudyFailedError(
                f"gave {counted(files, 'file')} of a study of {study.instances or 'some'}"
            )

    try:
        insist(retry, pacs.name, ask, say)
    except (OfStudyError, TooMuchError, TooLargeError) as failed:
        # What is too much or too large is so the next time too.
        inbox.forget(study.study_uid)
        return failed
    except TryAgainError as failed:
        raise given_up(pacs.name, failed) from None
    inbox.finish(inbox.name_of(study.study_uid), study.instances)
    inbox.remember_fetched(pacs.name, study.study_uid, study.instances)
    return None


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
        {path: called for report in reports for path, called in report.to_decide.items()},
    )
