"""The site's identity and its audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from shared.audit.chain import Chain
from shared.audit.keys import SigningKey, read_key
from shared.audit.provisioning import begun, unfinished
from shared.errors import PlaceholderSecretError
from shared.settings.files import SiteConfig, load_settings

IDENTITY: Final = "identity.key"
AUDIT: Final = "audit.jsonl"


def make_identity(folder: Path, site: str) -> None:
    """Make a site's signing key and the first line of its chain (`provisioning.begun`).

    Raises
    ------
    FileExistsError
        If it has a key: an identity is never overwritten.
    PlaceholderSecretError
        If the key is gone but the chain is there: a new key would break it.
    """
    with begun(folder / AUDIT, site, folder / IDENTITY) as chain:
        if not chain.head().line:
            chain.append("site made", site=site, key=chain.key.public)


def site_key(folder: Path) -> SigningKey:
    """Read a site's signing key.

    Raises
    ------
    PlaceholderSecretError
        If it is missing or readable by others.
    """
    path = folder / IDENTITY
    never_made = unfinished(path).exists() or not (folder / AUDIT).exists()
    if not path.exists() and never_made:
        raise PlaceholderSecretError(
            f"{path}: the site has no signing key; it was made by an older version, or not to "
            "the end: run `osteofed site identity` once (or restore the key from your backup)"
        )
    return read_key(path)


def site_chain(folder: Path, site: str) -> Chain:
    """The audit chain of a site; see `site_key` for what it raises."""
    return Chain(folder / AUDIT, site, site_key(folder))


def show_identity(folder: Path) -> dict[str, str]:
    """Tell a site's name and public key; make the key if the site never had one.

    Raises
    ------
    ConfigError
        If the folder is no site.
    PlaceholderSecretError
        If the key is gone but the chain is there: a new key would break it.
    """
    site = load_settings(folder / "site.yaml", SiteConfig).site
    if not (folder / IDENTITY).exists():
        make_identity(folder, site)
    return {"site": site, "signing_key": site_key(folder).public}
