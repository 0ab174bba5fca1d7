"""A hospital's store: a pseudonymous catalogue, and arrays that map into memory.

<site>/site.yaml              settings
<site>/secret.key             the site's secret, 0600
<site>/identity.key           the key that signs its answers and its audit chain, 0600
<site>/audit.jsonl            the audit chain
<site>/ledger.sqlite          the privacy ledger; the catalogue knows its identity
<site>/store/catalogue.sqlite
<site>/store/arrays/<study>/<view>.pixels.npy    float16, NaN = not scanned
<site>/store/arrays/<study>/<view>.regions.npy   uint8
<site>/store/arrays/<study>/<series>.hu.npy      int16, Hounsfield units
<site>/store/arrays/<study>/<series>.regions.npy
<site>/store/prepared/<task>/<key>/...           what is made of studies once and kept
<site>/store/staging-*                           arrays of an ingest that is going on

The folder is its owner's alone (0700), so nothing in it depends on the umask.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from client.identity.chain import make_identity
from client.identity.secret import make_secret, read_secret
from client.privacy.ledger import Ledger
from client.privacy.ledger_db import make_ledger
from client.store.arrays import What, array_path
from client.store.catalogue import (
    SCHEMA,
    Base,
    Image,
    Patient,
    Property,
    Study,
    bring_up,
    has_images,
    open_catalogue,
)
from client.store.coming_arrays import settle_arrays
from client.store.patient_source import StoreSource, read_source
from client.store.split import SPLITS, Split
from shared.dicom.phi.deidentify import keyed_digest
from shared.errors import StoreExistsError, StoreMissingError, StoreSecretMismatchError
from shared.runtime.files import alone_with
from shared.runtime.folders import appearing_whole, in_use
from shared.settings.files import SiteConfig, load_settings, resolve, save_settings
from shared.tasks import PERMITTED_AT_FIRST

SETTINGS: Final = "site.yaml"
CATALOGUE: Final = "catalogue.sqlite"
OWNERS_FOLDER: Final = 0o700
OWNERS_FILE: Final = 0o600
#: Held by the one who writes to the store.
LOCK: Final = "ingest.lock"


def secret_check(secret: bytes) -> str:
    """Keyed value by which a store knows its secret without telling it."""
    return keyed_digest(secret, "store check").hex()


def init_site(folder: Path, config: SiteConfig) -> None:
    """Make a site folder: settings, secret, ledger, empty store; whole or not at all.

    Where the settings do not say which tasks are permitted, those of
    `shared.tasks.PERMITTED_AT_FIRST` are written down: a site permits what stands in its
    settings, and nothing that a later version brings. Where they do not say by which rule the
    ledger decides, ``gaussian`` is.

    Raises
    ------
    StoreExistsError
        If the folder is a site already or holds anything else.
    """
    if in_use(folder):
        what = "is a site already" if (folder / SETTINGS).exists() else "is not empty"
        raise StoreExistsError(f"{folder}: {what}; name a new folder (nothing was changed)")
    if config.policy.tasks is None:
        policy = config.policy.model_copy(update={"tasks": PERMITTED_AT_FIRST})
        config = config.model_copy(update={"policy": policy})
    if config.privacy.filter is None:
        privacy = config.privacy.model_copy(update={"filter": "gaussian"})
        config = config.model_copy(update={"privacy": privacy})
    with appearing_whole(folder, mode=OWNERS_FOLDER) as part:
        save_settings(config, part / SETTINGS)
        (part / SETTINGS).chmod(OWNERS_FILE)
        secret = make_secret(resolve(part, config.secret))
        make_identity(part, config.site)
        ledger_id = make_ledger(resolve(part, config.ledger))
        store = resolve(part, config.store)
        store.mkdir(parents=True, mode=OWNERS_FOLDER, exist_ok=True)
        (store / "arrays").mkdir(mode=OWNERS_FOLDER)
        engine = open_catalogue(store / CATALOGUE)
        Base.metadata.create_all(engine)
        (store / CATALOGUE).chmod(OWNERS_FILE)
        with Session(engine) as session, session.begin():
            session.add(Property(key="schema", value=SCHEMA))
            session.add(Property(key="secret_check", value=secret_check(secret)))
            session.add(Property(key="ledger_id", value=ledger_id))
        engine.dispose()


@dataclass(frozen=True)
class SiteStore:
    """An open store. Make one with `open`.

    Attributes
    ----------
    folder : Path
        The site folder.
    config : SiteConfig
        Its ``site.yaml``.
    secret : bytes
        The site's secret; never shown.
    engine : Engine
        The catalogue.
    """

    folder: Path
    config: SiteConfig
    secret: bytes = field(repr=False)
    engine: Engine = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> SiteStore:
        """Open the store of a site folder.

        Raises
        ------
        StoreMissingError
            If the folder is no site, or its store is gone.
        StoreSecretMismatchError
            If the store was made with another secret.
        PlaceholderSecretError
            If the secret is a placeholder or readable by others.
        """
        if not (folder / SETTINGS).is_file():
            raise StoreMissingError(
                f"{folder}: is no site, it has no {SETTINGS} (make one with `osteofed site init`)"
            )
        folder = folder.resolve()
        config = load_settings(folder / SETTINGS, SiteConfig)
        secret = read_secret(resolve(folder, config.secret))
        path = resolve(folder, config.store) / CATALOGUE
        if not path.is_file():
            raise StoreMissingError(
                f"{path}: the site has no catalogue (restore it, or make a new site with "
                "`osteofed site init` and take the studies in again)"
            )
        engine = open_catalogue(path)
        bring_up(engine)
        with Session(engine) as session:
            made_with = session.get(Property, "secret_check")
            found = made_with.value if made_with is not None else ""
        if not hmac.compare_digest(found, secret_check(secret)):
            engine.dispose()
            raise StoreSecretMismatchError(
                f"{folder}: the store was made with another secret than "
                f"{resolve(folder, config.secret).name}; put the right secret back "
                "(with this one, patients would get second pseudonyms)"
            )
        store = cls(folder, config, secret, engine)
        settle_arrays(engine, store.arrays, alone=False)
        return store

    def open_ledger(self) -> Ledger:
        """Open the privacy ledger that was made with this store.

        Raises
        ------
        StoreMissingError
            If it is missing or another store's.
        """
        with Session(self.engine) as session:
            known = session.get(Property, "ledger_id")
            identity = known.value if known is not None else "none"
        path = resolve(self.folder, self.config.ledger)
        return Ledger(path, self.config.privacy, identity)

    def alone(self) -> AbstractContextManager[None]:
        """Be the only one who writes to the store; whoever else would, waits."""
        return alone_with(self.arrays.parent / LOCK)

    def close(self) -> None:
        """Close the catalogue; the write-ahead log is folded into it."""
        self.engine.dispose()

    @cached_property
    def arrays(self) -> Path:
        """Folder of the arrays."""
        return resolve(self.folder, self.config.store) / "arrays"

    def array_path(self, study: str, name: str, what: What) -> Path:
        """File of one array; `name` is a view or a replaced UID of a series."""
        return array_path(self.arrays, study, name, what)

    def source(self, split: Split) -> StoreSource:
        """Patients of one split; the catalogue is read once, arrays are mapped on use.

        Studies that a person left out (`client.store.exclusions`) are not in it, nor patients
        without another study.
        """
        months = self.config.pairing.months
        return read_source(self.folder, self.engine, self.arrays, split, months)

    def counts(self) -> dict[str, int]:
        """Patients by split, and ``patients``, ``studies`` and ``images`` in all.

        Visits of which only labels came are no studies here.
        """
        with Session(self.engine) as session:
            rows = session.execute(select(Patient.split, func.count()).group_by(Patient.split))
            by_split = {split: count for split, count in rows if split is not None}
            studies = (
                session.scalar(select(func.count()).select_from(Study).where(has_images())) or 0
            )
            images = session.scalar(select(func.count()).select_from(Image)) or 0
        counts = {split: by_split.get(split, 0) for split in SPLITS}
        return counts | {"patients": sum(counts.values()), "studies": studies, "images": images}


def origin_text(origin_mm: Sequence[float]) -> str:
    """Patient coordinates as the catalogue holds them: x y z in mm."""
    return " ".join(repr(float(part)) for part in origin_mm)
