"""The DICOM node that is sent studies: C-ECHO and C-STORE as provider, and nothing else.

Storage commitment is not offered: a scanner may delete what somebody has committed to, and this
node forgets what it has answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakKeyDictionary

from pynetdicom import evt
from pynetdicom.association import Association

from client.sources.association import limits
from client.sources.nodes import (
    CANNOT_UNDERSTAND,
    MOST_INSTANCES,
    MOST_MESSAGE_BYTES,
    OUT_OF_RESOURCES,
    STORED,
    listening,
    storing_node,
)
from shared.errors import ConfigValueError
from shared.settings.bedside import BedsideSettings

from .arrivals import Arrivals
from .wanted import NotUnderstoodError

#: Called with the studies that an association brought, once it has ended in order.
Left = Callable[[set[str]], None]
#: Called with a sentence about what the node had to refuse.
Trouble = Callable[[str], None]


class _Brought:
    """What each open association brought."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[Association, tuple[set[str], list[int]]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def count(self, association: Association) -> int:
        """Count one more instance; return how many there are."""
        with self._lock:
            _, counted = self._of.setdefault(association, (set(), [0]))
            counted[0] += 1
            return counted[0]

    def note(self, association: Association, study_uid: str) -> None:
        """Note that it brought something of a study."""
        with self._lock:
            self._of.setdefault(association, (set(), [0]))[0].add(study_uid)

    def end(self, association: Association) -> set[str]:
        """Studies that it brought; it is forgotten."""
        with self._lock:
            return self._of.pop(association, (set(), [0]))[0]


@contextmanager
def receiving(
    site_folder: Path,
    settings: BedsideSettings,
    arrivals: Arrivals,
    left: Left,
    trouble: Trouble,
    timeout_seconds: float,
) -> Iterator[None]:
    """Listen, and give each instance to `arrivals`.

    Parameters
    ----------
    site_folder : Path
        That paths of the settings are relative to.
    settings : BedsideSettings
        Address, title, who may send, how many at once.
    arrivals : Arrivals
        Takes what comes. A sender has its success once this has.
    left : callable
        Told which studies an association brought that was released in order.
    trouble : callable
        Told what was refused for want of room, in a sentence.
    timeout_seconds : float
        Longest silence on an association.

    Raises
    ------
    ConfigValueError
        If nobody may send, or the address cannot be listened on, or not without TLS.
    InputMissingError, ConfigError, PlaceholderSecretError
        See `client.sources.tls.serving_context`.
    """
    listen = settings.listen
    if not listen.senders:
        raise ConfigValueError(
            "site.yaml: bedside.listen.senders: [] (must name the titles that may send, for "
            "instance [SCANNER, PACS]; an empty list lets nobody in)"
        )
    node = storing_node(listen.title, list(listen.senders), timeout_seconds)
    node.maximum_associations = settings.associations
    brought = _Brought()

    def store(event: evt.Event) -> int:
        if brought.count(event.assoc) > MOST_INSTANCES:
            return OUT_OF_RESOURCES
        try:
            study_uid, _ = arrivals.take(event.encoded_dataset())
        except NotUnderstoodError:
            return CANNOT_UNDERSTAND
        except OSError as error:
            trouble(
                "an instance was refused with A700, so that its sender keeps it: "
                f"{error.strerror or error}"
            )
            return OUT_OF_RESOURCES
        if study_uid:
            brought.note(event.assoc, study_uid)
        return STORED

    def released(event: evt.Event) -> None:
        studies = brought.end(event.assoc)
        if studies:
            left(studies)

    def aborted(event: evt.Event) -> None:
        brought.end(event.assoc)  # nothing is known to be whole

    handlers = [
        (evt.EVT_C_STORE, store),
        (evt.EVT_RELEASED, released),
        (evt.EVT_ABORTED, aborted),
        *limits(MOST_MESSAGE_BYTES),
    ]
    with listening(node, site_folder, listen, handlers, "bedside.listen"):
        yield
