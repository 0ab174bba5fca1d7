"""The versions that prepare a task's input where the hospital's engineer names them.

For what stays inside the hospital: no job names them and no contract is held against them.
They are the same versions as in a round, by the digest of their weights as they travel, so
what one of them found is found once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from client.contract.data_contract import versions_named
from client.round.received_preparation import in_order
from client.store.prepared_room import keep_in_room
from client.store.prepared_source import lacks_findings
from shared.errors import ConfigError, ModelIncompatibleError, NoChampionError
from shared.inference.champions import load_champions
from shared.protocol.codec import Arrays
from shared.protocol.preparation import Preparation
from shared.tasks import task_class
from shared.training.initial_weights import preparing_of
from shared.training.weights import Weights, load_weights

if TYPE_CHECKING:
    from client.store.patient_source import StoreSource
    from client.store.preparing_version import PreparingVersion
    from client.store.site_store import SiteStore
    from shared.tasks.base import Task
    from shared.training.compute import Compute

#: Versions by the name of their task, with their tensors as they travel.
Named = Mapping[str, tuple[Preparation, Arrays]]


def named_preparations(
    tasks: Collection[str], places: Sequence[Path], registry: str | None
) -> Named:
    """Read the versions that prepare the input of tasks.

    Parameters
    ----------
    tasks : collection of str
        The tasks whose input is prepared.
    places : sequence of Path
        Weights files, or folders of ``<task>.safetensors``.
    registry : str, optional
        MLflow tracking URI, or the path of its SQLite file: its champions.

    Raises
    ------
    ConfigError
        If two versions of one task are named, or versions for tasks that need no other's findings.
    VersionMissingError, NoChampionError
        If there is no such file, or no version in a folder or registry.
    ModelIncompatibleError
        If a file is damaged, of a task whose findings none of `tasks` needs, or holds a number
        too large to travel.
    RegistryUnavailableError
        If the registry does not answer.
    """
    if not places and registry is None:
        return {}
    needed = sorted({name for task in tasks for name in task_class(task).after})
    if not needed:
        raise ConfigError(
            f"{' and '.join(sorted(tasks))}: no other task prepares this input (leave "
            "--prepare-with and --registry out)"
        )
    found: dict[str, tuple[Preparation, Arrays]] = {}
    for origin, weights in _loaded(needed, places, registry):
        name = weights.settings.task
        if name not in needed:
            raise ModelIncompatibleError(
                f"{origin}: weights of {name}, which do not prepare the input of "
                f"{' or '.join(sorted(tasks))} (must be of {' or '.join(needed)})"
            )
        if name in found:
            raise ConfigError(f"--prepare-with: names two versions of {name} (must be one)")
        found[name] = preparing_of(weights, origin)
    return found


def versions_here(store: SiteStore, task: str, named: Named) -> tuple[PreparingVersion, ...]:
    """Give those of the named versions whose findings a task needs, for a store's studies."""
    wanted = {name: named[name][0] for name in task_class(task).after if name in named}

    def weights_of(name: str, compute: Compute, before: tuple[str, ...]) -> Arrays:
        return named[name][1]

    return in_order(store, wanted, weights_of)


def keep_named(store: SiteStore, versions: tuple[PreparingVersion, ...]) -> None:
    """Keep versions that are about to prepare studies, if there is room for what they may find.

    Raises
    ------
    PolicyRefusedError
        If not; the sentence is for the hospital's engineer and names the size.
    """
    keep_in_room(store, versions, versions_named(store.folder))


def refuse_undrawn(task: Task, source: StoreSource, site: str) -> None:
    """Refuse patients who lack only regions that nobody drew, where no version is named.

    Raises
    ------
    NoChampionError
        Naming the tasks of which a version is needed.
    """
    if task.after and lacks_findings(task, source):
        raise NoChampionError(
            f"{task.settings.task}: nobody drew the regions that it needs in studies of {site}, "
            f"and no version of {' or '.join(task.after)} is named that finds them (give "
            "--prepare-with FILE or --registry URI)"
        )


def _loaded(
    needed: Sequence[str], places: Sequence[Path], registry: str | None
) -> list[tuple[str, Weights]]:
    """Read the weights of every place, with where they are from."""
    loaded = []
    for place in places:
        if place.is_dir():
            champions = load_champions(needed, models=place).found
            loaded += [(one.facts.source, one.weights) for one in champions.values()]
        else:
            loaded.append((str(place), load_weights(place)))
    if registry is not None:
        champions = load_champions(needed, registry).found
        loaded += [(one.facts.source, one.weights) for one in champions.values()]
    return loaded
