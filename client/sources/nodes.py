"""DIMSE nodes: what both the asking and the listening side are made of."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any, Final
from weakref import WeakKeyDictionary

from pydicom import uid
from pynetdicom import AE, AllStoragePresentationContexts, evt, sop_class
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification
from pynetdicom.transport import ThreadedAssociationServer

from shared.dicom.attributes import quietly, text_of
from shared.dicom.parsing import parse
from shared.dicom.scan import LARGEST_FILE
from shared.dicom.verdicts import SetAsideError
from shared.errors import ConfigValueError
from shared.settings.pacs import ListenSettings

from .association import LEAVING_SECONDS, LONGEST_PART_SECONDS, limits
from .refusals import NOT_AUTHORISED
from .tls import serving_context

#: Called with the study's UID and the file; False if it was there already.
Deliver = Callable[[str, bytes], bool]

#: C-STORE answers (PS3.4, table B.2-1; PS3.7, annex C).
STORED: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
#: A study is thousands of packets; larger ones cost fewer turns.
PDU_BYTES: Final = 131_072
#: The longest message of an association: a file of the largest size, and its command.
MOST_MESSAGE_BYTES: Final = LARGEST_FILE + 1024**2
#: So many files one association may send, and one study may have.
MOST_INSTANCES: Final = 50_000

#: What C-GET offers to take: 128 contexts is the most there are (PS3.8, 9.3.2.2), so each
#: class that a bone study may hold with what its pixels may be encoded in.
IMAGE_CLASSES: Final = (
    sop_class.ComputedRadiographyImageStorage,
    sop_class.DigitalXRayImageStorageForPresentation,
    sop_class.DigitalXRayImageStorageForProcessing,
    sop_class.CTImageStorage,
    sop_class.EnhancedCTImageStorage,
    sop_class.SecondaryCaptureImageStorage,
)
IMAGE_SYNTAXES: Final = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.RLELossless,
)
OTHER_CLASSES: Final = (
    sop_class.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    sop_class.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    sop_class.MultiFrameTrueColorSecondaryCaptureImageStorage,
    sop_class.SegmentationStorage,
    sop_class.GrayscaleSoftcopyPresentationStateStorage,
    sop_class.ColorSoftcopyPresentationStateStorage,
    sop_class.BasicTextSRStorage,
    sop_class.EnhancedSRStorage,
    sop_class.ComprehensiveSRStorage,
    sop_class.Comprehensive3DSRStorage,
    sop_class.XRayRadiationDoseSRStorage,
    sop_class.KeyObjectSelectionDocumentStorage,
    sop_class.EncapsulatedPDFStorage,
    sop_class.RawDataStorage,
)
OTHER_SYNTAXES: Final = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
LABEL_MAP_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.7"
#: What a node that is sent to takes: all but deflated ones, whose inflated size is unbounded.
STORED_SYNTAXES: Final = tuple(
    syntax for syntax in ALL_TRANSFER_SYNTAXES if "deflate" not in uid.UID(syntax).name.lower()
)


class NotWantedError(Exception):
    """Whoever is given a file has no use for it; the sender has to keep it."""


def silence() -> None:
    """Keep what the libraries log of associations and requests out of our logs.

    It names studies, titles and now and then a patient. The level of a library's logger is
    not enough: those of its modules may have one of their own (dicomweb-client and MLflow
    treat ``urllib3.connectionpool`` apart).
    """
    known = list(logging.root.manager.loggerDict)
    for library in ("pynetdicom", "dicomweb_client", "retrying", "urllib3", "pydicom"):
        own = logging.getLogger(library)
        own.propagate = False
        if not own.handlers:
            own.addHandler(logging.NullHandler())
        for name in (library, *(one for one in known if one.startswith(f"{library}."))):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def new_node(title: str, timeout_seconds: float) -> AE:
    """Make an application entity that waits so long and no longer."""
    silence()
    node = AE(ae_title=title)
    node.maximum_pdu_size = PDU_BYTES
    node.connection_timeout = timeout_seconds
    node.acse_timeout = timeout_seconds
    node.dimse_timeout = timeout_seconds
    node.network_timeout = timeout_seconds
    return node


def contexts_to_get() -> list[PresentationContext]:
    """Storage contexts of a C-GET, one for each encoding, so that nothing is transcoded."""
    return [
        build_context(one, syntax)
        for classes, syntaxes in (
            (IMAGE_CLASSES, IMAGE_SYNTAXES),
            ((*OTHER_CLASSES, LABEL_MAP_SEGMENTATION), OTHER_SYNTAXES),
        )
        for one in classes
        for syntax in syntaxes
    ]


def storing_node(title: str, senders: list[str], timeout_seconds: float) -> AE:
    """Make a node that is sent to: every storage class in `STORED_SYNTAXES`, and C-ECHO.

    Only who calls it by `title` and is one of `senders` is let in.
    """
    node = new_node(title, timeout_seconds)
    node.require_called_aet = True
    node.require_calling_aet = senders
    node.add_supported_context(Verification, list(OTHER_SYNTAXES))
    classes = {context.abstract_syntax for context in AllStoragePresentationContexts}
    for one in sorted({*map(str, classes), LABEL_MAP_SEGMENTATION}):
        node.add_supported_context(one, list(STORED_SYNTAXES))
    return node


@contextmanager
def serving(
    node: AE, site_folder: Path, listen: ListenSettings, deliver: Deliver
) -> Iterator[None]:
    """Let a node listen.

    Raises
    ------
    ConfigValueError
        If the address cannot be listened on, or not without TLS.
    InputMissingError, ConfigError, PlaceholderSecretError
        See `serving_context`.
    """
    handlers = [(evt.EVT_C_STORE, storing(deliver)), *limits(MOST_MESSAGE_BYTES)]
    with listening(node, site_folder, listen, handlers):
        yield


@contextmanager
def listening(
    node: AE,
    site_folder: Path,
    listen: ListenSettings,
    handlers: list[Any],
    where: str = "pacs.listen",
) -> Iterator[None]:
    """Let a node listen that answers by handlers of its own; `where` its settings stand.

    Raises
    ------
    ConfigValueError, InputMissingError, ConfigError, PlaceholderSecretError
        See `serving`.
    """
    tls = serving_context(site_folder, listen, where)
    try:
        _start_listening(node, (listen.host, listen.port), tls, handlers)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = "is in use (end what listens there already, or set another port)"
        elif error.errno == errno.EACCES:
            why = "may not be used by this user (set a port above 1023)"
        else:
            why = "cannot be listened on (host must be an address of this machine)"
        raise ConfigValueError(f"site.yaml: {where}: {listen.host}:{listen.port} {why}") from None
    try:
        yield
    finally:
        _stop(node)


class ListeningServer(ThreadedAssociationServer):
    """Shakes hands in the thread of each caller, within the time that an association may take.

    The library does so in the thread that accepts, and without a limit: one connection that says
    nothing would leave every other caller unanswered, and the node could not be ended.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._shaking: set[socket.socket] = set()
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; of its TLS nothing is read yet."""
        line, address = socket.socket.accept(self.socket)
        if self.ssl_context is not None:
            try:
                line = self.ssl_context.wrap_socket(
                    line, server_side=True, do_handshake_on_connect=False
                )
            except OSError:  # it has gone already
                line.close()
                raise
            self._shaking.add(line)
        return line, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, and hand who may come in to an association of its own."""
        if isinstance(request, ssl.SSLSocket):
            try:
                request.settimeout(self.ae.acse_timeout or LONGEST_PART_SECONDS)
                request.do_handshake()
                request.settimeout(None)
            except OSError:  # what ssl raises are OSErrors too
                self.shutdown_request(request)
                return
            finally:
                self._shaking.discard(request)
        super().finish_request(request, client_address)

    def server_close(self) -> None:
        """Stop listening, and wait for nobody who is still shaking hands."""
        for line in tuple(self._shaking):
            with suppress(OSError):  # it has gone already
                socket.socket.shutdown(line, socket.SHUT_RDWR)
        super().server_close()


def _start_listening(
    node: AE, address: tuple[str, int], tls: ssl.SSLContext | None, handlers: list[Any]
) -> None:
    """Let a node listen in a thread of its own, as `AE.start_server` does, until `AE.shutdown`.

    Raises
    ------
    OSError
        If the address cannot be listened on.
    """
    server = node.make_server(
        address, ssl_context=tls, evt_handlers=handlers, server_class=ListeningServer
    )
    Thread(target=server.serve_forever, name="listening", daemon=True).start()
    node._servers.append(server)


def _stop(node: AE) -> None:
    """End a node that listens, and what is still connected to it.

    A caller that was rejected or has left closes the connection itself; to abort its association
    before that is an error that pynetdicom raises in a thread of its own.
    """
    until = time.monotonic() + LEAVING_SECONDS
    while time.monotonic() < until and any(
        not one.is_established for one in node.active_associations
    ):
        time.sleep(0.02)
    node.shutdown()


def storing(deliver: Deliver) -> Callable[[evt.Event], int]:
    """Make the answer to C-STORE: success once the file is durably there, never before.

    A file that is there already is a success too: the sender need not keep it. After
    `MOST_INSTANCES` of one association the rest is refused.
    """
    stored: WeakKeyDictionary[Association, int] = WeakKeyDictionary()

    def store(event: evt.Event) -> int:
        count = stored.get(event.assoc, 0)
        if count >= MOST_INSTANCES:
            return OUT_OF_RESOURCES
        stored[event.assoc] = count + 1
        data = event.encoded_dataset()
        study = study_of(data)
        if not study:
            return CANNOT_UNDERSTAND
        try:
            deliver(study, data)
        except NotWantedError:
            return NOT_AUTHORISED
        except OSError:
            return OUT_OF_RESOURCES
        return STORED

    return store


def study_of(data: bytes) -> str:
    """StudyInstanceUID of a file, empty if it cannot be told."""
    try:
        with quietly():
            return text_of(parse(data, pixels=False), "StudyInstanceUID")
    except SetAsideError:
        return ""
