"""The site's identity and its audit chain."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.chain import Chain
from shared.errors import PlaceholderSecretError
from shared.signing import SigningKey, make_key, read_key

IDENTITY: Final = "identity.key"
AUDIT: Final = "audit.jsonl"


def make_identity(folder: Path, site: str) -> None:
    """Make a site's signing key and the first line of its chain.

    Raises
    ------
    FileExistsError
        If it has a key: an identity is never overwritten.
    """
    key = make_key(folder / IDENTITY)
    Chain(folder / AUDIT, site, key).append("site made", site=site, key=key.public)


def site_key(folder: Path) -> SigningKey:
    """Read a site's signing key.

    Raises
    ------
    PlaceholderSecretError
        If it is missing or readable by others.
    """
    path = folder / IDENTITY
    if not path.exists() and not (folder / AUDIT).exists():
        raise PlaceholderSecretError(
            f"{path}: the site has no signing key; it was made by an older version: run "
            "`osteofed site identity` once (or restore the key from your backup)"
        )
    return read_key(path)


def site_chain(folder: Path, site: str) -> Chain:
    """The audit chain of a site; see `site_key` for what it raises."""
    return Chain(folder / AUDIT, site, site_key(folder))
