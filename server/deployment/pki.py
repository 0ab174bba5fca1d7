"""Keys and certificates of a coordinator: made once, where they belong."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.state.home import IDENTITY, Home
from shared.errors import HomeExistsError, HomeMissingError
from shared.protocol.signatures import Invitation
from shared.runtime.files import make_private_file, write_text_atomically

CA_KEY: Final = "ca.key"
CA: Final = "ca.pem"
SERVER_KEY: Final = "server.key"
SERVER: Final = "server.pem"
INVITATION: Final = "invitation.json"
CA_YEARS: Final = 10
SERVER_DAYS: Final = 825
DEFAULT_PORT: Final = 8443


def make_home(folder: Path, name: str, *, port: int = DEFAULT_PORT) -> dict[str, str]:
    """Make a coordinator's home: identity, certificate authority, server certificate.

    Parameters
    ----------
    folder : Path
        The home; it must not have an identity yet.
    name : str
        DNS name or IP address under which hospitals reach the server.
    port : int
        The one port that is published.

    Returns
    -------
    dict of str
        ``home``, ``address``, ``coordinator`` (public key) and ``invitation`` (path).

    Raises
    ------
    HomeExistsError
        If the folder is a home already: keys are never overwritten.
    """
    if (folder / IDENTITY).exists() or (folder / CA_KEY).exists():
        raise HomeExistsError(
            f"{folder}: is a coordinator's home already; name a new folder (nothing was changed)"
        )
    home = Home(folder)
    key = home.make()
    ca_key, ca = _authority(name)
    server_key, server = _server_certificate(name, ca_key, ca)
    _write_key(folder / CA_KEY, ca_key)
    _write_key(folder / SERVER_KEY, server_key)
    authority = ca.public_bytes(serialization.Encoding.PEM).decode("ascii")
    (folder / CA).write_text(authority, encoding="ascii")
    (folder / SERVER).write_bytes(server.public_bytes(serialization.Encoding.PEM))
    address = f"{_bracketed(name)}:{port}"
    invitation = Invitation(address=address, ca=authority, coordinator=key.public)
    write_text_atomically(folder / INVITATION, invitation.model_dump_json(indent=1) + "\n")
    home.chain().append("home made", coordinator=key.public, address=address)
    return {
        "home": str(folder),
        "address": address,
        "coordinator": key.public,
        "invitation": str(folder / INVITATION),
    }


def _authority(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP384R1())
    subject = _named(f"OsteoFed coordinator {name}"[:64])
    builder = _builder(subject, subject, key.public_key(), timedelta(days=365 * CA_YEARS))
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    return key, builder.sign(key, hashes.SHA384())


def _server_certificate(
    name: str, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP384R1())
    builder = _builder(_named(name[:64]), ca.subject, key.public_key(), timedelta(days=SERVER_DAYS))
    # The SuperLink behind the proxy listens on loopback with the same certificate.
    names = {_general_name(one) for one in (name, "localhost", "127.0.0.1")}
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    return key, builder.sign(ca_key, hashes.SHA384())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks differ; a certificate of this minute must hold at once.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + valid)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    make_private_file(path, text)


def facts_of_home(folder: Path) -> dict[str, Any]:
    """Read the invitation of a home.

    Raises
    ------
    HomeMissingError
        If the folder is no home of real nodes.
    """
    path = folder / INVITATION
    if not path.is_file():
        raise HomeMissingError(
            f"{folder}: is not a coordinator's home (no {INVITATION}); make it with "
            "`osteofed server pki`"
        )
    return Invitation.model_validate_json(path.read_text(encoding="utf-8")).model_dump()
