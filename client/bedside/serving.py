"""The whole bedside node: it listens, looks, reads and delivers until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from client.ingest.set_aside import reading_of
from client.sources.dimse import require_peer
from client.store.site_store import SiteStore
from shared.dicom import own_uids
from shared.dicom.attributes import text_of
from shared.errors import ConfigValueError
from shared.runtime.files import alone_with
from shared.settings.bedside import DestinationSettings
from shared.settings.files import SiteConfig, resolve

from .answering.answering import Answering, StudyReader
from .delivering.delivery import Delivery, Destination
from .delivering.peer import PeerDestination
from .delivering.web import WebDestination
from .receiving.archive import Archive
from .receiving.arrivals import Arrivals
from .receiving.attending import Attendant
from .receiving.node import receiving
from .receiving.wanted import Wants
from .receiving.watching import take_folder
from .work.bell import Bell
from .work.database import open_work_database
from .work.retention import purge
from .work.rooms import BedsideRooms
from .work.work_list import WorkList

#: (0008,0070) of all that this software writes.
OUR_MAKER: Final = "OsteoFed"
#: Between two looks at what is being received, however fast it comes.
LOOK_SECONDS: Final = 0.1
#: Without a change, what has to be tried again is looked for so often.
IDLE_SECONDS: Final = 1.0
WATCH_SECONDS: Final = 2.0
PURGE_SECONDS: Final = 3600.0
#: After a failure that no rule foresees, as of the database, before it is tried again.
FAULT_SECONDS: Final = 2.0


def is_ours(header: Dataset) -> bool:
    """Whether an object is one that this software wrote, here or elsewhere."""
    return own_uids.is_ours(text_of(header, "SOPInstanceUID")) or (
        text_of(header, "Manufacturer") == OUR_MAKER
    )


def config_of(site_folder: Path) -> SiteConfig:
    """Settings of a site.

    Raises
    ------
    StoreMissingError, ConfigError
        If the folder is no site, or its settings are none.
    """
    store = SiteStore.open(site_folder)
    store.close()
    return store.config


@contextmanager
def work_list_of(site_folder: Path) -> Iterator[WorkList]:
    """Open the work list of a site, whether its node runs or not.

    Raises
    ------
    StoreMissingError, ConfigError
        If the folder is no site, or its database cannot be opened.
    """
    config = config_of(site_folder)
    rooms = BedsideRooms(site_folder)
    engine = open_work_database(rooms.folder, config.bedside.database)
    try:
        yield WorkList(engine)
    finally:
        engine.dispose()


@dataclass
class BedsideNode:
    """What runs while `serving` does; for who looks on."""

    work_list: WorkList
    rooms: BedsideRooms
    arrivals: Arrivals
    config: SiteConfig


@contextmanager
def serving(
    site_folder: Path, reader: StudyReader, trouble: Callable[[str], None]
) -> Iterator[BedsideNode]:
    """Run the bedside node of a site, beside what the block does.

    What a node that was killed left is gone on with first: what was being read is read again,
    what was to be sent is sent, by the same UIDs.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    reader : StudyReader
        Reads the studies.
    trouble : callable
        Told, in sentences without a patient, what does not work.

    Raises
    ------
    ConfigError, InputMissingError
        If the settings cannot be followed; see `client.bedside.receiving.node.receiving`.
    StoreMissingError
        If the folder is no site.
    """
    store = SiteStore.open(site_folder)
    try:
        config = store.config
        reading = reading_of(store)
    finally:
        store.close()
    settings, retry = config.bedside, config.pacs.retry
    rooms = BedsideRooms(site_folder)
    with ExitStack() as stack:
        # One node alone: a second would read what the first is reading.
        stack.enter_context(alone_with(rooms.folder / "node.lock"))
        engine = open_work_database(rooms.folder, settings.database)
        stack.callback(engine.dispose)
        work_list = WorkList(engine)
        rooms.tidy(work_list.files())
        work_list.restart()
        wants = Wants(reader.modalities, is_ours, reading)
        arrivals = Arrivals(work_list, rooms, wants, settings.most_study_bytes)
        archive = None
        if settings.ask_archive:
            archive = Archive(
                site_folder, require_peer(config.pacs), settings.listen.title, retry.timeout_seconds
            )
        attendant = Attendant(work_list, settings, archive)
        names = tuple(one.name for one in settings.send_to)
        answering = Answering(work_list, rooms, reader, names)
        deliveries = [
            Delivery(work_list, rooms, _destination(site_folder, one, config), retry, archive)
            for one in settings.send_to
        ]
        steps = [
            NodeStep(attendant.look, heeds=True, least_seconds=LOOK_SECONDS),
            NodeStep(lambda: 0.0 if answering.answer_next() else IDLE_SECONDS, heeds=True),
            *(NodeStep(partial(_sent, one), heeds=True) for one in deliveries),
            NodeStep(
                lambda: _after(PURGE_SECONDS, purge(work_list, rooms, settings.retention_days))
            ),
        ]
        if settings.watch is not None:
            folder = resolve(site_folder, settings.watch)
            steps.append(
                NodeStep(lambda: _after(WATCH_SECONDS, take_folder(folder, arrivals, trouble)))
            )
        stack.enter_context(
            receiving(
                site_folder, settings, arrivals, work_list.release, trouble, retry.timeout_seconds
            )
        )
        stack.enter_context(_running(steps, work_list.bell, trouble))
        yield BedsideNode(work_list, rooms, arrivals, config)


@dataclass(frozen=True)
class NodeStep:
    """What is done again and again: `act` says after how many seconds, 0 = at once.

    One that `heeds` the list's changes is done earlier if it changed, but not before
    `least_seconds` are over.
    """

    act: Callable[[], float]
    heeds: bool = False
    least_seconds: float = 0.0


@contextmanager
def _running(
    steps: Sequence[NodeStep], bell: Bell, trouble: Callable[[str], None]
) -> Iterator[None]:
    """Do each step again and again in a thread of its own; end them after the block."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=_repeat, args=(step, bell, trouble, stop), daemon=True)
        for step in steps
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        bell.ring()
        for thread in threads:
            thread.join()


def _repeat(
    step: NodeStep, bell: Bell, trouble: Callable[[str], None], stop: threading.Event
) -> None:
    while not stop.is_set():
        heard = bell.rung
        try:
            seconds = step.act()
        except Exception as error:  # as a full disk under the database: the node goes on
            trouble(f"a step of the node failed and is tried again: {type(error).__name__}")
            stop.wait(FAULT_SECONDS)
            continue
        if step.heeds and seconds > 0:
            stop.wait(min(step.least_seconds, seconds))
            bell.wait(heard, seconds)
        elif seconds > 0:
            stop.wait(seconds)


def _sent(delivery: Delivery) -> float:
    return 0.0 if delivery.send_next() else IDLE_SECONDS


def _after(seconds: float, done: int) -> float:
    """Say when something is done next, whatever it did."""
    return seconds


def _destination(site_folder: Path, one: DestinationSettings, config: SiteConfig) -> Destination:
    """Make what results are sent by."""
    seconds = config.pacs.retry.timeout_seconds
    if one.peer is not None:
        ours = config.bedside.listen.title
        return PeerDestination(site_folder, one, one.peer, ours, seconds)
    if one.web is not None:
        return WebDestination(site_folder, one, one.web, seconds)
    raise ConfigValueError(f"site.yaml: bedside.send_to: {one.name} has neither `peer` nor `web`")
