"""Takes a folder of an export in: pseudonymous studies in the store.

Each file ends as taken, quarantined or refused (`shared.dicom.verdicts`). What is
ambiguous is never guessed. The same file twice changes nothing. Only what the
allow-list of `client.store.catalogue` has a column for is kept; everything else of a
DICOM file, private elements included, does not exist in the store.

Workers look at files and read studies, one study each at a time; this process alone
writes, in order (`client.ingest.writer`). So the number of workers changes no bit of the store,
and an ingest that is killed anywhere ends the same when it is started again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from client.ingest.known_files import KnownFiles
from client.ingest.series_growth import GrownSeries
from client.ingest.set_aside import reading_of
from client.ingest.staging import crashed, stage, staging
from client.ingest.worker_pool import WorkerPool, workers_for
from client.ingest.writer import IngestWriter
from client.store.site_store import SiteStore
from shared.dicom.archives import archives_in, unpack_folder
from shared.dicom.ct.eligibility import SeriesVerdict, series_not_measured, series_not_taken
from shared.dicom.ct.geometry import FEWEST_SLICES
from shared.dicom.read import judge_tables
from shared.dicom.scan import FolderScan, judge_copies, scan_folder
from shared.dicom.study_files import StudyGroup
from shared.dicom.verdicts import REASONS, VERDICTS, FileVerdict, judge
from shared.errors import InputEmptyError

#: Studies between two commits: what a crash can cost.
STUDIES_PER_COMMIT: Final = 50

#: Called with (studies done, studies found).
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did.

    Attributes
    ----------
    site : str
        Name of the site.
    files : list of FileVerdict
        Every file, and every row of a table that joined no study with images, sorted by path.
        The paths are the hospital's own and may identify patients: the report is
        for its engineer and is not kept.
    studies_found, studies_new : int
        Studies in the folder with a usable image; those not in the store before.
    counts : dict of str to int
        The store afterwards (`SiteStore.counts`).
    visits_new : int
        Visits of which only labels came and that were not in the store before.
    series_not_taken : list of SeriesVerdict
        CT series of which nothing was taken, and the rule that refused each.
    series_not_measured : list of SeriesVerdict
        CT series that are kept and on which no bone is measured, likewise.
    series_kept : list of SeriesVerdict
        CT series that are in the store now, of those that came: whether each is ``whole``,
        ``incomplete`` or ``unknown``, and what shows it.
    series_replaced : list of GrownSeries
        CT series of which a part was stored and that were replaced by more of them.
    to_decide : dict of str to str
        What `osteofed site decide` calls a scan that is set aside until a person says what it
        shows, by the path of its file.
    """

    site: str
    files: list[FileVerdict]
    studies_found: int
    studies_new: int
    counts: dict[str, int]
    visits_new: int = 0
    series_not_taken: list[SeriesVerdict] = field(default_factory=list)
    series_not_measured: list[SeriesVerdict] = field(default_factory=list)
    series_kept: list[SeriesVerdict] = field(default_factory=list)
    series_replaced: list[GrownSeries] = field(default_factory=list)
    to_decide: dict[str, str] = field(default_factory=dict)

    @property
    def outcomes(self) -> list[dict[str, Any]]:
        """Files by verdict and reason, most frequent first within a verdict."""
        numbers = Counter((file.verdict, file.reason) for file in self.files)
        order = sorted(numbers, key=lambda key: (VERDICTS.index(key[0]), -numbers[key], key[1]))
        return [
            {
                "verdict": verdict,
                "reason": reason,
                "files": numbers[verdict, reason],
                "sentence": REASONS[reason][1],
            }
            for verdict, reason in order
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "site": self.site,
            "studies_found": self.studies_found,
            "studies_new": self.studies_new,
            "visits_without_images_new": self.visits_new,
            "store": self.counts,
            "outcomes": self.outcomes,
            "series_not_taken": [asdict(series) for series in self.series_not_taken],
            "series_not_measured": [asdict(series) for series in self.series_not_measured],
            "series_kept": [asdict(series) for series in self.series_kept],
            "series_replaced": [asdict(series) for series in self.series_replaced],
            "files": [
                asdict(one)
                | ({"decide": called} if (called := self.to_decide.get(one.path)) else {})
                for one in self.files
            ],
        }


def ingest(
    site_folder: Path,
    source_dir: Path,
    progress: ProgressCallback | None = None,
    workers: int | None = None,
    *,
    separate: bool = False,
    called: Mapping[str, str] | None = None,
    unread: Iterable[str] = (),
    short: Mapping[str, bool] | None = None,
) -> IngestReport:
    """Take a folder of DICOM studies and label tables into a site's store.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    source_dir : Path
        The export; only read.
    progress : callable or None
        Called with (studies done, studies found).
    workers : int or None
        Processes that read; 1 = this one. None = one for each core where the export is
        large enough to pay for them. Changes the speed, never the result.
    separate : bool
        Never read in this process, so that a decoder that crashes costs one study only.
    called : mapping of str to str or None
        What files were called before the site gave them the names that they have here.
    unread : iterable of str
        Names of what was set aside before; they may be a patient's, too.
    short : mapping of str to bool or None
        Whether an archive gave fewer files of a study than it said, by the study's folder.

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError, PlaceholderSecretError
        See `SiteStore.open`.
    InputMissingError
        If there is no such folder.
    InputEmptyError
        If there is no file in it.
    """
    store = SiteStore.open(site_folder)
    try:
        with (
            ExitStack() as held,
            WorkerPool(workers_for(source_dir, workers), separate=separate) as pool,
        ):
            staged, unpacked = None, None
            if archives := archives_in(source_dir):
                staged = held.enter_context(_alone_in(store))
                unpacked = unpack_folder(source_dir, archives, staged / "archives")
            scan = scan_folder(source_dir, reading_of(store), pool.each, unpacked)
            if not scan.digests and not scan.verdicts:
                raise InputEmptyError(
                    f"{source_dir}: holds no file (a folder of DICOM studies was expected)"
                )
            staged = staged or held.enter_context(_alone_in(store))
            with Session(store.engine) as session:
                writer = IngestWriter(store, session, called)
                writer.identifiers.see_names(unread)
                verdicts, to_decide = _take(source_dir, scan, writer, pool, staged, progress)
                kept = writer.finish_series(scan.groups, short or {})
        return IngestReport(
            store.config.site,
            verdicts,
            sum(map(_is_usable, scan.groups)),
            writer.studies.studies_new,
            store.counts(),
            writer.studies.visits.visits_new,
            series_not_taken(scan.series, verdicts),
            series_not_measured(scan.series, verdicts),
            kept,
            writer.studies.growth.grown,
            to_decide,
        )
    finally:
        store.close()


@contextmanager
def _alone_in(store: SiteStore) -> Iterator[Path]:
    """Be the only ingest into a store, with a folder for what is on its way."""
    with store.alone(), staging(store.arrays.parent) as staged:
        yield staged


def _is_usable(group: StudyGroup) -> bool:
    """Whether a study has an image, or slices enough for a volume."""
    series = group.series.values()
    return bool(group.images) or any(
        sum(len(file.places) for file in files) >= FEWEST_SLICES for files in series
    )


def set_aside_as_part(site_folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Say which files, as an inbox names them, were set aside as parts of something larger.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    paths : sequence of Path
        Named by the digests of their contents.
    """
    if not paths:
        return []
    store = SiteStore.open(site_folder)
    try:
        with Session(store.engine) as session:
            parts = KnownFiles(store.secret, session).parts([path.stem for path in paths])
        return [path for path in paths if path.stem in parts]
    finally:
        store.close()


def remember_names(site_folder: Path, names: Iterable[str]) -> dict[str, int]:
    """Remember names of files of which none could be taken; return the store's counts."""
    store = SiteStore.open(site_folder)
    try:
        with store.alone(), Session(store.engine) as session:
            writer = IngestWriter(store, session)
            writer.identifiers.see_names(names)
            writer.commit()
        return store.counts()
    finally:
        store.close()


def _take(
    source_dir: Path,
    scan: FolderScan,
    writer: IngestWriter,
    pool: WorkerPool,
    staged: Path,
    progress: ProgressCallback | None,
) -> tuple[list[FileVerdict], dict[str, str]]:
    """Take everything that was found; return how each file ended, by path, and what is open."""
    verdicts = list(scan.verdicts)
    done, jobs = 0, []
    for number, group in enumerate(scan.groups):
        known = writer.judged_before(group)
        if known is None:
            jobs.append(writer.job(group, staged / str(number)))
            continue
        writer.remember(known, scan.digests)
        verdicts += known
        done += 1
    for job, result in zip(jobs, pool.each(stage, jobs, crashed), strict=True):
        more = writer.take_study(job, result)
        writer.remember(more, scan.digests)
        verdicts += more
        done += 1
        if done % STUDIES_PER_COMMIT == 0:
            writer.commit()
        if progress is not None:
            progress(done, len(scan.groups))
    remembered = {verdict.path for verdict in verdicts[len(scan.verdicts) :]}
    verdicts += writer.take_labels(scan.rows)
    verdicts += _tables(scan, verdicts, writer)
    verdicts += judge_copies(scan, verdicts)
    writer.assign_splits()
    writer.see_other_files(source_dir, scan)
    writer.remember([one for one in verdicts if one.path not in remembered], scan.digests)
    to_decide = writer.keep_undecided(source_dir, scan, verdicts)
    writer.commit()
    return sorted(verdicts, key=lambda verdict: verdict.path), to_decide


def _tables(
    scan: FolderScan, verdicts: list[FileVerdict], writer: IngestWriter
) -> list[FileVerdict]:
    """Verdicts of the tables; one that told nothing new was there already."""
    judged = judge_tables(scan, verdicts)
    return [
        judge(verdict.path, "already_there")
        if verdict.reason == "ok" and verdict.path not in writer.studies.visits.tables_with_news
        else verdict
        for verdict in judged
    ]


__all__ = ["IngestReport", "ingest", "remember_names"]
