"""A hospital's open store, ledger and chain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from client.identity.chain import site_chain
from client.privacy.ledger import Ledger
from client.store.site_store import SiteStore
from shared.audit.chain import Chain


@dataclass(frozen=True)
class Site:
    """A hospital's open store, ledger and chain, for as long as one message is answered."""

    store: SiteStore
    ledger: Ledger
    chain: Chain

    @property
    def name(self) -> str:
        """The hospital's name."""
        return self.store.config.site

    def close(self) -> None:
        """Let go of the store and the ledger."""
        self.ledger.close()
        self.store.close()


def open_site(folder: Path) -> Site:
    """Open a site folder: its store (the secret is checked) and its ledger.

    Raises
    ------
    StoreMissingError, StoreSecretMismatchError
        If the folder is no site, its store was made with another secret, or its
        ledger is missing or another store's.
    """
    store = SiteStore.open(folder)
    try:
        return Site(store, store.open_ledger(), site_chain(folder, store.config.site))
    except BaseException:
        store.close()
        raise
