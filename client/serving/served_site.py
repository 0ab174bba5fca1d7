"""A site as it is served: its settings, the key that it trusts, and the runtime that they give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.clinical.whose_reference import HipReference
from shared.errors import ConfigError
from shared.inference.runtime.held import ReadingManner, VersionSource
from shared.inference.runtime.runtime import InferenceRuntime
from shared.inference.trust.origin import trusted_key
from shared.runtime.files import make_private_folder
from shared.settings.files import SiteConfig, load_settings, resolve
from shared.settings.serve import ServeSettings
from shared.training.compute import choose_device

#: Folder of the site that belongs to what serves it; in it the digital test study, and the
#: studies that come in.
ROOM: Final = "serve"
TEST_STUDY: Final = "test-study"
INCOMING: Final = "incoming"


@dataclass(frozen=True)
class ServedSite:
    """What is served."""

    folder: Path
    config: SiteConfig
    trust: str

    @property
    def settings(self) -> ServeSettings:
        """``serve:`` of ``site.yaml``."""
        return self.config.serve

    def source(self) -> VersionSource:
        """Where versions come from."""
        models, registry = self.settings.models, self.settings.registry
        if registry is not None and "://" not in registry:  # a file, or a workspace
            registry = str(resolve(self.folder, Path(registry)))
        found = None if models is None else resolve(self.folder, models)
        return VersionSource(self.trust, registry=registry, models=found)

    def manner(self) -> ReadingManner:
        """How studies are read."""
        return ReadingManner(
            columns=self.config.labels,
            reading=self.config.reading,
            hip=HipReference(self.config.scores.hip),
            device=choose_device(self.settings.device, "serve.device"),
            headers=bool(self.config.bedside.listen.senders),
        )

    def runtime(self) -> InferenceRuntime:
        """Make what reads; it is not started."""
        room = self.folder / ROOM
        make_private_folder(room)
        return InferenceRuntime(
            self.source(), self.manner(), room / TEST_STUDY, self.settings.waiting
        )


def served_site(folder: Path, trust: str | None) -> ServedSite:
    """Read what is to be served.

    Parameters
    ----------
    folder : Path
        The site.
    trust : str or None
        A coordinator's key that a person gave (`trusted_key`).

    Raises
    ------
    ConfigError
        If there is no ``site.yaml``, no key, or it does not say where versions are.
    """
    folder = folder.resolve()
    config = load_settings(folder / "site.yaml", SiteConfig)
    key = trusted_key(trust, folder)
    if key is None:
        raise ConfigError(
            f"{folder}: no coordinator's key is known, so no version can be verified (enrol with "
            "`osteofed site join`, or give --trust KEY)"
        )
    if (config.serve.models is None) == (config.serve.registry is None):
        raise ConfigError(
            f"{folder / 'site.yaml'}: serve: must name either `models`, the folder of the "
            "versions that the coordinator exported, or `registry`"
        )
    return ServedSite(folder, config, key)
