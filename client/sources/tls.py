"""What a connection must be before patients go over it: TLS both ways, or this machine's own."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from shared.errors import ConfigError, ConfigValueError, InputMissingError
from shared.runtime.files import require_private
from shared.settings.files import resolve
from shared.settings.pacs import ListenSettings, TlsSettings


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own, which nobody else can listen to."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_tls(where: str, host: str, tls: TlsSettings | None, *, insecure: bool) -> None:
    """Refuse DIMSE in the clear between machines, unless that is meant.

    Parameters
    ----------
    where : str
        Name of the settings, for the sentence: ``pacs.peer``.
    host : str
        Address that is called or listened on.
    tls : TlsSettings or None
        Certificates; None = in the clear.
    insecure : bool
        Whether the settings say that it is meant.

    Raises
    ------
    ConfigValueError
        If it has no TLS, is not this machine's, and is not meant.
    """
    if tls is None and not insecure and not is_loopback(host):
        raise ConfigValueError(
            f"site.yaml: {where}: {host or 'every address'} has no TLS (must have `tls`, or be "
            "this machine's own address; `insecure: true` takes it all the same)"
        )


def serving_context(
    site_folder: Path, listen: ListenSettings, where: str = "pacs.listen"
) -> ssl.SSLContext | None:
    """Make the TLS side of who is called; None for plain DIMSE where that may be.

    Who calls must show a certificate that `authority` signed: titles alone are no secret.
    `where` in ``site.yaml`` the settings stand is for the sentences.

    Raises
    ------
    InputMissingError, ConfigError, PlaceholderSecretError
        See `calling_context`.
    ConfigValueError
        If no authority is named, or see `require_tls`.
    """
    require_tls(where, listen.host, listen.tls, insecure=listen.insecure)
    if listen.tls is None:
        return None
    if listen.tls.certificate is None or listen.tls.key is None:
        raise ConfigError(
            f"site.yaml: {where}.tls needs `certificate` and `key` "
            "(paths of this node's own PEM files)"
        )
    if listen.tls.authority is None:
        raise ConfigValueError(
            f"site.yaml: {where}.tls.authority is missing (must name the certificate that "
            "the senders' are signed by; without one everybody who knows the titles is let in)"
        )
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), site_folder, listen.tls)


def calling_context(site_folder: Path, tls: TlsSettings) -> ssl.SSLContext:
    """Make the TLS side of who calls.

    Raises
    ------
    InputMissingError, ConfigError
        If a file is missing, or is no certificate or key.
    PlaceholderSecretError
        If others may read the private key.
    """
    return _loaded(ssl.create_default_context(), site_folder, tls)


def _loaded(context: ssl.SSLContext, site_folder: Path, tls: TlsSettings) -> ssl.SSLContext:
    """Give a context the certificates and the key that the settings name."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    paths = [
        resolve(site_folder, path)
        for path in (tls.authority, tls.certificate, tls.key)
        if path is not None
    ]
    for path in paths:
        if not path.is_file():
            raise InputMissingError(f"{path}: no such file (site.yaml names it under pacs, tls)")
    require_private_key(site_folder, tls)
    try:
        if tls.authority is not None:
            context.load_verify_locations(resolve(site_folder, tls.authority))
            context.verify_mode = ssl.CERT_REQUIRED
        if tls.certificate is not None:
            key = None if tls.key is None else resolve(site_folder, tls.key)
            context.load_cert_chain(resolve(site_folder, tls.certificate), key)
    except (ssl.SSLError, OSError):
        raise ConfigError(
            f"{', '.join(str(path) for path in paths)}: is no PEM certificate with its key "
            "(site.yaml names them under pacs, tls)"
        ) from None
    return context


def require_private_key(site_folder: Path, tls: TlsSettings) -> None:
    """Do nothing if only its owner may use a connection's private key.

    Raises
    ------
    PlaceholderSecretError
        If others may read it.
    """
    if tls.certificate is not None:
        # Without a file of its own the key stands in the certificate's.
        own = tls.certificate if tls.key is None else tls.key
        require_private(resolve(site_folder, own), "the private key of a connection")
