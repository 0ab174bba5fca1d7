"""A real server on a free port of loopback, in a thread of its own, and certificates for it."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.inference.runtime.runtime import InferenceRuntime
from shared.inference.service.rights import server_credentials
from shared.inference.service.server import RunningService, start_service
from shared.settings.pacs import TlsSettings
from shared.settings.serve import GrpcSettings


@contextlib.contextmanager
def serving(
    runtime: InferenceRuntime,
    settings: GrpcSettings,
    folder: Path | None = None,
    incoming: Path | None = None,
) -> Iterator[str]:
    """Serve; gives the address. `incoming` is where studies come in; None: a folder for a while."""
    if incoming is None:
        with (
            tempfile.TemporaryDirectory() as room,
            serving(runtime, settings, folder, Path(room) / "incoming") as where,
        ):
            yield where
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def do(what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, loop).result(60)

    credentials = server_credentials(settings, folder)
    service: RunningService = do(start_service(runtime, settings, credentials, incoming, port=0))
    try:
        yield f"127.0.0.1:{service.port}"
    finally:
        do(service.stop(1.0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


class Authority:
    """Signs certificates for tests."""

    def __init__(self, folder: Path, name: str = "hospital") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.path = folder / "authority.pem"
        self.path.write_bytes(self._signed(name, self.key.public_key(), authority=True))

    def give(self, name: str, days: int = 2) -> tuple[Path, Path]:
        """Make a certificate and its key; gives both paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, secret = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(self._signed(name, key.public_key(), days=days))
        secret.touch(mode=0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret

    def tls(self, name: str = "localhost") -> TlsSettings:
        """Make the settings of a side that this authority knows."""
        certificate, key = self.give(name)
        return TlsSettings(authority=self.path, certificate=certificate, key=key)

    def _signed(
        self, name: str, public: ec.EllipticCurvePublicKey, authority: bool = False, days: int = 2
    ) -> bytes:
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return built.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
