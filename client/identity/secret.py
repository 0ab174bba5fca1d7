"""The site's secret: made once, read by its owner only, never a placeholder.

All pseudonyms, replaced UIDs, day shifts and the random numbers of training
derive from it. Whoever has it and the store can link pseudonyms to patients.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

from shared.errors import PlaceholderSecretError, StoreMissingError
from shared.runtime.files import make_private_file, require_private

SECRET_BYTES: Final = 32
#: 32 random bytes have fewer different values than this once in more than 10^20.
FEWEST_VALUES: Final = 12


def make_secret(path: Path) -> bytes:
    """Make the site's secret and write it as hex, mode 0600.

    Parameters
    ----------
    path : Path
        File to make; it must not exist.

    Returns
    -------
    bytes
        32 random bytes.

    Raises
    ------
    FileExistsError
        If there is one: a secret is never overwritten.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    make_private_file(path, (secret.hex() + "\n").encode("ascii"))
    return secret


def read_secret(path: Path) -> bytes:
    """Read the site's secret.

    Raises
    ------
    StoreMissingError
        If there is none.
    PlaceholderSecretError
        If others may read it, or if it is not 32 random bytes in hex.
    """
    try:
        require_private(path, "the site's secret")
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        raise StoreMissingError(
            f"{path}: the site's secret is missing; put it back from your backup "
            "(without it the store's pseudonyms cannot be continued)"
        ) from None
    except OSError as error:
        raise PlaceholderSecretError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        raise PlaceholderSecretError(
            f"{path}: is not hexadecimal (must be 64 hex digits made by `osteofed site init`)"
        ) from None
    if len(secret) < SECRET_BYTES:
        raise PlaceholderSecretError(
            f"{path}: holds {len(secret)} bytes (must be {SECRET_BYTES} or more random bytes "
            "made by `osteofed site init`)"
        )
    if len(set(secret)) < FEWEST_VALUES:
        raise PlaceholderSecretError(
            f"{path}: looks like a placeholder, not like random bytes "
            "(make a site with `osteofed site init`)"
        )
    return secret
