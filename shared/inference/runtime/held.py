"""The versions that a runtime holds at one time: verified, with warm networks, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from shared.clinical.whose_reference import HipReference
from shared.errors import ConfigError
from shared.inference.champions import champion_mark, load_champions
from shared.inference.predict import ReadyModel, prepare
from shared.inference.schema import ModelFacts
from shared.settings.files import LabelColumns
from shared.settings.pacs import ReadingSettings

if TYPE_CHECKING:
    from shared.errors import NoChampionError
    from shared.tasks.base import Task


@dataclass(frozen=True)
class VersionSource:
    """Where versions come from, and whose signature they need.

    `trust` is the coordinator's public key (`shared.inference.trust.origin.trusted_key`); there is
    no runtime without one.
    """

    trust: str
    registry: str | None = None
    models: Path | None = None


@dataclass(frozen=True)
class ReadingManner:
    """How studies are read, as ``site.yaml`` says; the same as `osteofed predict --settings`.

    `headers` says whether a study keeps its files' headers, which `shared.inference.outputs` needs.
    """

    columns: LabelColumns = field(default_factory=LabelColumns)
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    hip: HipReference = HipReference.NHANES
    device: str = "cpu"
    headers: bool = False


@dataclass(frozen=True)
class HeldVersions:
    """What reads from one swap to the next.

    `number` counts from 1 with every swap; `missing` gives by task why there is no version.
    """

    number: int
    tasks: Mapping[str, type[Task]]
    ready: Mapping[str, ReadyModel]
    missing: Mapping[str, NoChampionError]

    def facts(self) -> tuple[ModelFacts, ...]:
        """Name every version that is held."""
        return tuple(one.champion.facts for one in self.ready.values())

    def digests(self) -> dict[str, str]:
        """Digest of the weights by task."""
        return {one.task: one.digest for one in self.facts()}


def hold(source: VersionSource, device: str, number: int) -> HeldVersions:
    """Load every champion, hold it against the key, and make its network.

    Raises
    ------
    PassportInvalidError
        If one is not what the key signed.
    NoChampionError, RegistryUnavailableError, ModelIncompatibleError
        See `load_champions` and `prepare`.
    ConfigError
        If there is no key.
    """
    from shared.tasks import reporting_tasks

    if not source.trust:
        raise ConfigError(
            "no coordinator's key is known, so no version can be verified (enrol the site with "
            "`osteofed site join`, or give --trust KEY)"
        )
    tasks = reporting_tasks()
    champions = load_champions(tasks, source.registry, source.models, source.trust)
    ready = {name: prepare(champion, device) for name, champion in champions.found.items()}
    return HeldVersions(number, tasks, ready, champions.missing)


def marks_of(source: VersionSource) -> dict[str, str]:
    """Say of each task which version is champion, without loading any."""
    from shared.tasks import reporting_tasks

    return {task: champion_mark(task, source.registry, source.models) for task in reporting_tasks()}
