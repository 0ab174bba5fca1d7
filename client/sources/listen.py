"""The node that a PACS pushes to: C-STORE in, studies taken in when nothing more comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

from client.ingest.folder import IngestReport
from client.ingest.inbox import Inbox, take_inbox
from client.store.site_store import SiteStore
from shared.errors import ConfigValueError
from shared.settings.pacs import ListenSettings

from .arriving import ArrivingSeries
from .nodes import serving, storing_node

#: How often it is looked whether a study is complete.
LOOK_SECONDS: Final = 0.25
#: A study that is quiet waits for the others so many quiet times, and no longer.
LONGEST_WAIT: Final = 10.0


class Quiet:
    """When something of each study last came.

    A study is quiet if nothing of it came for `seconds`, or for as long as was said when it was
    last heard. What a PACS sends in one go is taken in in one go: studies that are quiet wait
    until all are, up to `LONGEST_WAIT` times `seconds`, so that the split of patients does not
    depend on the line's speed.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._last: dict[str, float] = {}
        self._needs: dict[str, float] = {}
        self._lock = threading.Lock()

    def heard(self, study: str, seconds: float | None = None) -> None:
        """Note that something of a study came, and how long it must be quiet, if otherwise."""
        with self._lock:
            self._last[study] = self._clock()
            self._needs[study] = self.seconds if seconds is None else seconds

    def due(self) -> list[str]:
        """Studies to be taken in now, sorted; each is given once."""
        with self._lock:
            now = self._clock()
            over = {one: now - last - self._needs[one] for one, last in self._last.items()}
            quiet = [one for one, seconds in over.items() if seconds >= 0]
            longest = max((over[one] for one in quiet), default=0.0)
            if len(quiet) < len(over) and longest < self.seconds * (LONGEST_WAIT - 1):
                return []
            for one in quiet:
                del self._last[one], self._needs[one]
            return sorted(quiet)


def listen(
    site_folder: Path,
    taken: Callable[[IngestReport], None],
    *,
    started: Callable[[ListenSettings], None] | None = None,
    once: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Take in what is pushed, until it is stopped.

    Whoever pushed has a file's success only once it is durably in the inbox; what is there
    when the node ends, or is killed, is taken in after its next start.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    taken : callable
        Called with the report after each taking in.
    started : callable or None
        Called with the settings once the node listens.
    once : bool
        End after the first taking in.
    stop : Event or None
        Ends it when set.

    Raises
    ------
    ConfigValueError
        If ``site.yaml`` lets nobody send, or the port cannot be listened on.
    """
    store = SiteStore.open(site_folder)
    store.close()
    settings = store.config.pacs.listen
    require_senders(settings)
    inbox = Inbox(store.folder, store.secret, "pushed")
    quiet = Quiet(settings.quiet_seconds)
    series = ArrivingSeries(settings.quiet_seconds, settings.quiet_seconds_ct)
    left = inbox.studies()  # by a node that was ended
    for study in left:
        for path in inbox.files_in(study):
            series.look(study, path)
        quiet.heard(study, series.wait(study))

    def deliver(study_uid: str, data: bytes) -> bool:
        name = inbox.name_of(study_uid)
        quiet.heard(name, settings.quiet_seconds_ct)  # it may take long to be put down
        try:
            new = inbox.deliver(study_uid, data)
            series.look(name, BytesIO(data))
        finally:
            quiet.heard(name, series.wait(name))
        return new

    stop = stop or threading.Event()
    timeout = store.config.pacs.retry.timeout_seconds
    node = storing_node(settings.title, list(settings.senders), timeout)
    # Complete studies that it left are taken at once, or with those that it left half.
    waits = not left and bool(inbox.waiting())
    with inbox.alone("listening"), serving(node, store.folder, settings, deliver):
        if started is not None:
            started(settings)
        while not stop.wait(LOOK_SECONDS):
            due = quiet.due()
            for study in due:
                inbox.finish(study)
                series.forget(study)
            if due or waits:
                waits = False
                taken(take_inbox(site_folder))
                if once:
                    return


def require_senders(settings: ListenSettings) -> None:
    """Refuse to listen for nobody.

    Raises
    ------
    ConfigValueError
        If no sender is named.
    """
    if not settings.senders:
        raise ConfigValueError(
            "site.yaml: pacs.listen.senders: [] (must name the titles that may push, for "
            "instance [HOSPITAL]; an empty list lets nobody in)"
        )
