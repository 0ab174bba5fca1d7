"""One association with a peer: what it said on the way, and the limits of what it may send."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_AC, A_ASSOCIATE_RJ

#: A peer keeps to `client.sources.nodes.PDU_BYTES`; with this much some that do not are read.
MOST_PDU_BYTES: Final = 4 * 1024**2
#: First byte of what is DICOM: the types of PS3.8, 9.3.1.
PDU_TYPES: Final = range(0x01, 0x08)
#: First bytes of TLS: handshake or alert (RFC 8446, 5.1).
TLS_TYPES: Final = (0x15, 0x16)
READ_BYTES: Final = 65_536
#: What the library calls the events of something that is no DICOM, and of the end (PS3.8, 9.2.2).
UNDERSTOOD_NOTHING: Final = "Evt19"
CONNECTION_CLOSED: Final = "Evt17"
#: How long a part may take where the association has no timeout.
LONGEST_PART_SECONDS: Final = 60.0
#: How long a peer may take to take its leave.
LEAVING_SECONDS: Final = 2.0


@dataclass
class Heard:
    """What a peer did on the way to an association, and on it.

    Attributes
    ----------
    connected, accepted : bool
        Whether there was a connection, and an association.
    rejection : A_ASSOCIATE_RJ or None
        What it said if it rejected the association.
    title : str
        By which it answered.
    aborted, ended : bool
        Whether it aborted, and whether the connection ended, by whichever side.
    strange : bytes
        The beginning of something that is no DICOM.
    too_much : bool
        Whether it sent more than is taken, and was cut off.
    insecure : bool
        Whether the TLS connection failed.
    failure : OSError or None
        Why there was no connection, where that is known.
    line : socket or None
        Of our side, to be closed in the end: the library leaves it open if the peer is gone.
    """

    connected: bool = False
    accepted: bool = False
    rejection: A_ASSOCIATE_RJ | None = None
    title: str = ""
    aborted: bool = False
    ended: bool = False
    strange: bytes = b""
    too_much: bool = False
    insecure: bool = False
    failure: OSError | None = None
    line: socket.socket | None = None

    @property
    def speaks_tls(self) -> bool:
        """Whether it answered in TLS, which was not spoken to it."""
        return self.strange[:1] != b"" and self.strange[0] in TLS_TYPES

    def ask(self, event: evt.Event) -> None:
        """Keep what is going to be connected."""
        self.line = self.line or event.assoc.dul.socket.socket

    def note(self, event: evt.Event) -> None:
        """Keep what a message of the association itself says."""
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            self.rejection = event.pdu
        elif isinstance(event.pdu, A_ASSOCIATE_AC):
            self.accepted = True
            self.title = str(event.pdu.reserved_aet or "").strip()
        elif isinstance(event.pdu, A_ABORT_RQ):
            self.aborted = True


def call(
    node: AE,
    address: tuple[str, int],
    title: str,
    *,
    most_bytes: int,
    evt_handlers: Any = (),
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> tuple[Association, Heard]:
    """Ask for an association; return it, and what was heard of the peer.

    pynetdicom's own ``is_rejected`` misses a rejection that comes and closes the connection
    before the thread that asks has looked, and it does not tell a peer that is down from one
    that hangs up, or that accepts nothing of what was asked for.

    Parameters
    ----------
    node : AE
        Who calls; its timeouts hold.
    address : tuple of str and int
        Host and port.
    title : str
        Of the peer.
    most_bytes : int
        The longest message, and so the largest file, that is taken.
    evt_handlers : list
        More handlers.
    tls : SSLContext or None
        Certificates; None = in the clear.
    **options
        Of `pynetdicom.AE.associate`.

    Raises
    ------
    OSError
        If the host's name is not known.
    """
    heard = Heard()
    handlers = [
        (evt.EVT_ACSE_SENT, heard.ask),
        (evt.EVT_PDU_RECV, heard.note),
        *limits(most_bytes, heard),
        *evt_handlers,
    ]
    if tls is not None:
        tls.sslsocket_class = _telling(heard)
        options["tls_args"] = (tls, address[0])
    association = node.associate(*address, ae_title=title, evt_handlers=handlers, **options)
    if not heard.connected and heard.line is not None:
        heard.line.close()
    return association, heard


def limits(most_bytes: int, heard: Heard | None = None) -> list[Any]:
    """Make the handlers that bound what comes over an association.

    A part of a message (PDU) is at most `MOST_PDU_BYTES` long and comes whole within the
    association's timeout; a message is at most `most_bytes` long. Whoever sends more, or
    something that crashes the library, is cut off: what is too long is not read to its end.

    Parameters
    ----------
    most_bytes : int
        The longest message, in bytes.
    heard : Heard or None
        Told why.
    """
    said = heard if heard is not None else Heard()

    def opened(event: evt.Event) -> None:
        association = event.assoc
        said.connected = True
        if association.is_requestor:
            said.line = association.dul.socket.socket
        reader = _Reader(association.dul, said, most_bytes)
        association.dul.socket.recv = reader.read  # the library has no limit of its own
        association.bind(evt.EVT_DIMSE_RECV, reader.complete)
        _survive(association, said)

    def closed(event: evt.Event) -> None:
        if event.assoc.is_acceptor and not event.assoc.is_established:
            # Its thread waits for a request that will not come, and holds a caller's place.
            event.assoc.dul.to_user_queue.put(None)

    return [(evt.EVT_CONN_OPEN, opened), (evt.EVT_CONN_CLOSE, closed)]


@dataclass
class _Reader:
    """Reads in the stead of the library's own `AssociationSocket.recv`, within limits.

    `bytes` are those of the message that is being read.
    """

    provider: DULServiceProvider
    heard: Heard
    most_bytes: int
    bytes: int = 0
    within: bool = False

    def complete(self, event: evt.Event) -> None:
        """Begin to count the next message."""
        self.bytes = 0

    def read(self, wanted: int) -> bytearray:
        """Read so much; each part is asked for twice, its beginning and then its rest."""
        line, association = self.provider.socket, self.provider.assoc
        if line is None:
            return bytearray()
        self.within = not self.within
        self.bytes += wanted
        if wanted > MOST_PDU_BYTES or self.bytes > self.most_bytes:
            self.heard.too_much = True
            line._shutdown_socket()
            raise OSError("more than is taken")
        try:
            data = _read(line.socket, wanted, association.acse_timeout or LONGEST_PART_SECONDS)
        except OSError:
            self.heard.ended = not association._sent_abort
            raise
        self.heard.ended = len(data) < wanted and not association._sent_abort
        if self.within and data and data[0] not in PDU_TYPES:
            self.heard.strange = bytes(data)
        return data


def _read(line: socket.socket | None, wanted: int, seconds: float) -> bytearray:
    """Read so many bytes in so many seconds; fewer if the connection ends."""
    data = bytearray()
    if line is None:
        return data
    until = time.monotonic() + seconds
    try:
        while len(data) < wanted:
            line.settimeout(max(until - time.monotonic(), 0.001))
            part = line.recv(min(wanted - len(data), READ_BYTES))
            if not part:
                break
            data += part
    finally:
        line.settimeout(None)
    return data


def _survive(association: Association, heard: Heard) -> None:
    """Let an association end where what came would end only the library's thread.

    Whoever waits for an answer would otherwise wait for it until patience is over.
    """
    machine = association.dul.state_machine
    act: Callable[[str], None] = machine.do_action
    ended: list[str] = []

    def do_action(event: str) -> None:
        try:
            act(event)
            if event == UNDERSTOOD_NOTHING:
                heard.strange = heard.strange or b"?"
                association.dimse.msg_queue.put((None, None))
        except Exception:
            if machine.current_state == "Sta1" or ended:
                association.dul.kill_dul()  # it has ended already
                return
            ended.append(event)
            heard.strange = heard.strange or b"?"
            association.dul._kill_thread = False  # which would end without a word
            if association.dul.socket is not None:
                association.dul.socket._shutdown_socket()
            association.dul.event_queue.put(CONNECTION_CLOSED)

    machine.do_action = do_action


def _telling(heard: Heard) -> type[ssl.SSLSocket]:
    """Make a TLS socket that tells what failed, which the library only logs."""

    class TellingSocket(ssl.SSLSocket):
        def connect(self, addr: Any) -> None:
            try:
                super().connect(addr)
            except OSError:
                self.close()
                raise

        def do_handshake(self, block: bool = False) -> None:
            try:
                super().do_handshake(block)
            except TimeoutError:
                raise
            except OSError as error:  # what ssl raises are OSErrors too
                heard.insecure, heard.failure = True, error
                raise

        def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
            try:
                return super().recv(buflen, flags)
            except ssl.SSLError as error:  # in TLS 1.3 a certificate that is missing is said late
                heard.insecure, heard.failure = True, error
                raise

    return TellingSocket


def cut(association: Association) -> None:
    """End an association's connection at once, whoever waits for it."""
    line = association.dul.socket
    if line is not None and line.socket is not None:
        with suppress(OSError):  # it is closed already
            socket.socket.shutdown(line.socket, socket.SHUT_RDWR)
    association.dimse.msg_queue.put((None, None))


def leave(association: Association, heard: Heard) -> None:
    """Take leave of a peer, and leave no thread and no socket behind."""
    association.acse_timeout = LEAVING_SECONDS
    if association.is_established:
        association.release()
    if association.dul.is_alive():
        association.abort()
    if association.is_alive():
        association.join(LEAVING_SECONDS)
    if heard.line is not None:
        heard.line.close()
