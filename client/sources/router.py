"""What `osteofed site ingest` is given, as the source that it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from client.ingest.folder import IngestReport, ProgressCallback, ingest
from client.ingest.zip_archive import ingest_archive
from client.store.site_store import SETTINGS
from shared.errors import ConfigValueError, OsteofedError, StoreMissingError
from shared.settings.files import SiteConfig, load_settings, parse_settings, resolve
from shared.settings.pacs import DicomWebSettings, PacsSettings

from .fetch import Fetched, Pacs, fetch_all
from .query import Wanted
from .retry import patiently
from .waiting import Say, silently

WEB: Final = "pacs:web"
PEER: Final = "pacs:peer"
#: `site echo` wants to know now.
PATIENCE_OF_ECHO_SECONDS: Final = 10.0


def take_source(
    site_folder: Path,
    source: str,
    wanted: Wanted,
    progress: ProgressCallback | None = None,
    *,
    again: bool = False,
    workers: int | None = None,
    say: Say = silently,
) -> IngestReport | Fetched:
    """Take studies in from a folder, a ZIP file, a DICOMweb server or a DIMSE peer.

    Parameters
    ----------
    site_folder : Path
        A site made by `client.store.site_store.init_site`.
    source : str
        A folder, a file ending in ``.zip``, an address, ``pacs:web`` or ``pacs:peer``.
    wanted : Wanted
        Which studies; only a PACS can be asked.
    progress : callable or None
        Called with (studies done, studies found).
    again : bool
        Also fetch what was fetched before.
    workers : int or None
        Processes that read a folder or an archive; see `client.ingest.folder.ingest`.

    say : callable
        Told what a PACS is waited for, when it lasts, and why it is asked again.

    Raises
    ------
    ConfigValueError
        If a folder or an archive is asked for part of its studies, is or holds what the site
        itself keeps, or ``site.yaml`` does not say where the PACS is.
    """
    if source in (WEB, PEER) or source.startswith(("http://", "https://")):
        settings = _settings(site_folder)
        pacs = _pacs(site_folder, settings, source, say)
        retry = settings.retry
        return fetch_all(site_folder, pacs, wanted, retry, progress, again=again, say=say)
    if wanted.restricts or again:
        raise ConfigValueError(
            f"{source}: --from, --to, --modality, --description and --again ask a PACS (a folder "
            "or an archive is always taken in as a whole; leave them out)"
        )
    path = Path(source)
    refuse_own(site_folder, path)
    if path.suffix.lower() == ".zip" and not path.is_dir():
        return ingest_archive(site_folder, path, progress, workers)
    return ingest(site_folder, path, progress, workers)


def refuse_own(site_folder: Path, path: Path) -> None:
    """Refuse a folder of which the site itself writes or moves files meanwhile.

    Raises
    ------
    ConfigValueError
        If it is the site's inbox or store, lies in one, or holds one.
    """
    settings = site_folder / SETTINGS
    if not settings.is_file() or not path.exists():
        return
    site = site_folder.resolve()
    asked = path.resolve()
    store = resolve(site, load_settings(settings, SiteConfig).store).resolve()
    for what, own in (("inbox", site / "inbox"), ("store", store)):
        if asked == own or own in asked.parents:
            how = "is"
        elif own.exists() and asked in own.parents:
            how = "holds"
        else:
            continue
        raise ConfigValueError(
            f"{path}: {how} the site's own {what}, which is no source (must be a folder of the "
            "hospital's export; `osteofed site listen` takes in by itself what is pushed)"
        )


def echo(site_folder: Path) -> tuple[list[dict[str, Any]], OsteofedError | None]:
    """Try every connection that ``site.yaml`` names.

    Returns
    -------
    connections : list of dict
        ``connection``, ``address``, ``works`` and ``sentence`` of each.
    error : OsteofedError or None
        Of the first that does not work.
    """
    settings = _settings(site_folder)
    retry = settings.retry.model_copy(
        update={
            "attempts": 1,
            "timeout_seconds": min(settings.retry.timeout_seconds, PATIENCE_OF_ECHO_SECONDS),
            "patience_seconds": min(settings.retry.patience_seconds, PATIENCE_OF_ECHO_SECONDS),
        }
    )
    settings = settings.model_copy(update={"retry": retry})
    if settings == PacsSettings(retry=retry):
        raise ConfigValueError(
            "site.yaml: pacs names no connection (must have web, peer or listen.senders)"
        )
    found: list[dict[str, Any]] = []
    first: OsteofedError | None = None
    listen = settings.listen
    tries: list[tuple[str, str]] = []
    if settings.web is not None:
        tries.append(("web", settings.web.url))
    if settings.peer is not None:
        peer = settings.peer
        tries.append(("peer", f"{peer.title} at {peer.host}:{peer.port}"))
    if listen.senders:
        tries.append(("listen", f"{listen.title} at {listen.host}:{listen.port}"))
    for connection, address in tries:
        sentence = "answers" if connection != "listen" else "can be listened on"
        try:
            sentence = "; ".join((sentence, *_try(site_folder, settings, connection)))
        except OsteofedError as error:
            first, sentence = first or error, str(error)
            works = False
        else:
            works = True
        found.append(
            {"connection": connection, "address": address, "works": works, "sentence": sentence}
        )
    return found, first


def _try(site_folder: Path, settings: PacsSettings, connection: str) -> list[str]:
    """Use one connection for next to nothing; what is strange about it."""
    if connection == "listen":
        from .listen import require_senders
        from .nodes import serving, storing_node

        require_senders(settings.listen)
        node = storing_node(settings.listen.title, list(settings.listen.senders), 1.0)
        with serving(node, site_folder, settings.listen, _take_nothing):
            return []
    pacs = _pacs(site_folder, settings, WEB if connection == "web" else PEER)
    patiently(settings.retry, pacs.name, pacs.check)
    return pacs.notes


def _take_nothing(study_uid: str, data: bytes) -> bool:
    """Refuse what comes while it is only tried whether anything could."""
    from .nodes import NotWantedError

    raise NotWantedError


def _pacs(site_folder: Path, settings: PacsSettings, source: str, say: Say = silently) -> Pacs:
    """Make the source that is meant; a folder or an archive needs none of its libraries."""
    if source == PEER:
        from .dimse import PeerSource

        return PeerSource(site_folder, settings, say)
    web = settings.web
    if source != WEB and (web is None or web.url.rstrip("/") != source.rstrip("/")):
        if "@" in source:
            raise ConfigValueError(
                "the address holds a user or a password (must stand in the file that "
                "pacs.web.credentials names in site.yaml)"
            )
        # Credentials of one server are never sent to another.
        web = parse_settings({"url": source}, DicomWebSettings, "address")
    if web is None:
        raise ConfigValueError("site.yaml: pacs.web is missing (must give the url of the PACS)")
    from .dicomweb import WebSource

    retry = settings.retry
    return WebSource(site_folder, web, retry.timeout_seconds, retry.patience_seconds, say)


def _settings(site_folder: Path) -> PacsSettings:
    path = site_folder / SETTINGS
    if not path.is_file():
        raise StoreMissingError(
            f"{site_folder}: is no site, it has no {SETTINGS} (make one with `osteofed site init`)"
        )
    return load_settings(path, SiteConfig).pacs
