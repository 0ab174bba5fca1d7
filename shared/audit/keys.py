"""Ed25519 keys and canonical JSON: what is signed, and that it was.

A key file holds 64 hexadecimal digits, mode 0600, and is never overwritten. What is
signed is always canonical JSON with the kind of thing as its first word, so that a
signature over one kind is none over another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.errors import PlaceholderSecretError
from shared.runtime.files import make_private_file, require_private

KEY_BYTES: Final = 32


@dataclass(frozen=True)
class SigningKey:
    """A private key. `public` is its public key, 64 hexadecimal digits."""

    public: str
    _private: Ed25519PrivateKey = field(repr=False)

    def sign(self, kind: str, content: Mapping[str, Any]) -> str:
        """Sign content of some kind; return 128 hexadecimal digits."""
        return self._private.sign(_payload(kind, content)).hex()


def make_key(path: Path) -> SigningKey:
    """Make a key and write it, mode 0600.

    Raises
    ------
    FileExistsError
        If there is one: an identity is never overwritten.
    """
    private = Ed25519PrivateKey.generate()
    make_private_file(path, (private.private_bytes_raw().hex() + "\n").encode("ascii"))
    return _key(private)


def read_key(path: Path) -> SigningKey:
    """Read a key that `make_key` wrote.

    Raises
    ------
    PlaceholderSecretError
        If it is missing, others may read it, or it is not 32 bytes in hexadecimal.
    """
    try:
        require_private(path, "the signing key")
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise PlaceholderSecretError(
            f"{path}: the signing key cannot be read ({error.strerror}); restore it from your "
            "backup, for without it nobody can tell these answers from somebody else's"
        ) from None
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES or len(set(raw)) < 8:
        raise PlaceholderSecretError(
            f"{path}: is not a signing key (must be {2 * KEY_BYTES} random hexadecimal digits)"
        )
    return _key(Ed25519PrivateKey.from_private_bytes(raw))


def verify(public: str, kind: str, content: Mapping[str, Any], signature: str) -> bool:
    """Tell whether a signature is that of this key over this content of this kind.

    It has one spelling, lower-case hexadecimal digits without spaces: a file in which nothing
    but the spelling of a signature was changed is a changed file.
    """
    try:
        raw = bytes.fromhex(signature)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        key.verify(raw, _payload(kind, content))
    except (ValueError, InvalidSignature):
        return False
    return signature == raw.hex()


def canonical(content: Mapping[str, Any]) -> bytes:
    """Write JSON in the one way that is signed: keys sorted, no spaces, ASCII.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    text = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 over canonical JSON, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(content)).hexdigest()


def _payload(kind: str, content: Mapping[str, Any]) -> bytes:
    return b"osteofed " + kind.encode("ascii") + b"\n" + canonical(content)


def _key(private: Ed25519PrivateKey) -> SigningKey:
    return SigningKey(private.public_key().public_bytes_raw().hex(), private)
