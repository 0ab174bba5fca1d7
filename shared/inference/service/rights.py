"""Who calls, and what they may: by the name in the certificate that the TLS checked."""

from __future__ import annotations

from typing import Any, Final

import grpc

from shared.errors import ConfigError, InputMissingError
from shared.inference.service.statuses import refused
from shared.runtime.files import require_private
from shared.settings.files import resolve
from shared.settings.serve import GrpcSettings, Right

#: How a caller on this machine is called in the log.
THIS_MACHINE: Final = "this machine"


def caller(context: Any, settings: GrpcSettings, right: Right) -> str:
    """Give the name of who calls.

    Raises
    ------
    CallRefusedError
        ``not_permitted``, if nobody gave that name this right.
    """
    if settings.tls is None:
        return THIS_MACHINE
    told = context.auth_context()
    # The common name counts only where there is no alternative name (RFC 6125, 6.4.4): an
    # authority checks the names that it signs there, and often nothing of the other.
    found = told.get("x509_subject_alternative_name") or told.get("x509_common_name") or ()
    names = [name.decode("utf-8", "replace") for name in found]
    for name in names:
        if right in settings.peers.get(name, ()):
            return name
    shown = names[0][:80] if names else "without a name"
    raise refused(
        "not_permitted",
        f"the certificate ({shown}) may not {right} here (site.yaml: serve.grpc.peers says who may "
        "do what)",
    )


def server_credentials(settings: GrpcSettings, site_folder: Any) -> grpc.ServerCredentials | None:
    """Make the TLS side of who is called; None without TLS, which only loopback may be.

    Raises
    ------
    InputMissingError, ConfigError
        If a file is missing or is no PEM.
    PlaceholderSecretError
        If others may read the key.
    """
    if settings.tls is None:
        return None
    texts = []
    for path in (settings.tls.key, settings.tls.certificate, settings.tls.authority):
        where = resolve(site_folder, path)  # type: ignore[arg-type]  # the settings hold all three
        if not where.is_file():
            raise InputMissingError(f"{where}: no such file (site.yaml: serve.grpc.tls names it)")
        if path is settings.tls.key:
            require_private(where, "the private key of the gRPC service")
        texts.append(where.read_bytes())
        if b"-----BEGIN" not in texts[-1]:
            raise ConfigError(f"{where}: is no PEM file (site.yaml: serve.grpc.tls names it)")
    key, certificate, authority = texts
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority, require_client_auth=True
    )
