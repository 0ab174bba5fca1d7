"""The versions that prepare a task's input as a site holds them: what came, and what was kept.

Their weights come with a whole model; from the second round on a site that keeps them is not
sent them again. Which they are stands in the job, whose signature must have been checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from client.contract.data_contract import versions_named
from client.privacy import firewall
from client.store.patient_source import StoreSource
from client.store.prepared_room import keep_in_room
from client.store.prepared_source import PreparedSource, SiteSource
from client.store.preparing_version import PreparingVersion, kept_weights
from client.store.site_store import SiteStore
from shared.errors import FirewallRefusedError, ModelNotKeptError, PolicyRefusedError
from shared.protocol.codec import Arrays, Shapes
from shared.protocol.preparation import Preparation, record_of
from shared.tasks import make_task, task_class
from shared.training.weights import digest_arrays

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from shared.training.compute import Compute


def receive_preparations(
    store: SiteStore, content: RecordDict, task: str, preparations: Mapping[str, Preparation]
) -> tuple[PreparingVersion, ...]:
    """Read the versions that a message names; `keep_preparations` keeps them.

    Parameters
    ----------
    store : SiteStore
        Whose studies they are to complete.
    content : RecordDict
        The message; its ticket is good.
    task : str
        The task whose input they prepare.
    preparations : mapping of str to Preparation
        What its job names, by task.

    Returns
    -------
    tuple of PreparingVersion
        Each after those whose findings it needs.

    Raises
    ------
    FirewallRefusedError
        If a version is of a task whose findings this one does not need, or if weights that came
        differ from its network in names, types or shapes, are not finite, or are not those that
        the job names.
    ModelNotKeptError
        If they did not come and the site does not keep them.
    """
    for name in sorted(set(preparations) - set(task_class(task).after)):
        raise FirewallRefusedError(
            f"the input of {task} would be prepared with {name}, whose findings it does not need"
        )

    def weights_of(name: str, compute: Compute, before: tuple[str, ...]) -> Arrays:
        return _weights(store, content, preparations[name], compute, before)

    return in_order(store, preparations, weights_of)


def keep_preparations(store: SiteStore, versions: tuple[PreparingVersion, ...]) -> None:
    """Keep versions that are about to prepare studies; what is said when not names no size.

    Raises
    ------
    PolicyRefusedError
        If what they may find would take more disk than the hospital allows.
    """
    try:
        keep_in_room(store, versions, versions_named(store.folder))
    except PolicyRefusedError as error:
        raise PolicyRefusedError(
            "what prepares the input may take more disk than the hospital allows (site.yaml: "
            "policy.maximum_prepared_gigabytes)"
        ) from error


def in_order(
    store: SiteStore,
    preparations: Mapping[str, Preparation],
    weights_of: Callable[[str, Compute, tuple[str, ...]], Arrays],
) -> tuple[PreparingVersion, ...]:
    """Put the versions that prepare a task's input each after those whose findings it needs.

    Parameters
    ----------
    store : SiteStore
        Whose studies they are to complete.
    preparations : mapping of str to Preparation
        By task.
    weights_of : callable
        Gives the weights of a preparing task's version, on a device, after the versions of
        these keys.
    """
    from shared.training.compute import Compute

    if not preparations:
        return ()
    compute = Compute.from_settings(store.config.compute)
    needs = {
        name: sorted(set(task_class(name).after) & set(preparations))
        for name in sorted(preparations)
    }
    versions: dict[str, PreparingVersion] = {}
    for name in TopologicalSorter(needs).static_order():
        before = tuple(versions[one].key for one in needs[name])
        arrays = weights_of(name, compute, before)
        versions[name] = PreparingVersion(
            store.arrays.parent, preparations[name], compute, arrays, before
        )
    return tuple(versions.values())


def prepared_source(
    source: StoreSource,
    task: str,
    versions: tuple[PreparingVersion, ...],
    *,
    only_counts: bool = False,
) -> SiteSource:
    """Give the patients of a split as a task reads them; as they are where nothing prepares."""
    if not versions:
        return source
    return PreparedSource(source, task_class(task).inputs, versions, only_counts)


def _weights(
    store: SiteStore,
    content: RecordDict,
    preparation: Preparation,
    compute: Compute,
    before: tuple[str, ...],
) -> Arrays:
    task, record = preparation.settings.task, record_of(preparation.settings.task)
    state = make_task(preparation.used).network().state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    if record in content:
        came = firewall.admit_model(content, record, shapes)
        found = digest_arrays(came)
        if found != preparation.digest:
            raise FirewallRefusedError(
                f"record {record!r}: holds weights {found[:12]}… (must be "
                f"{preparation.digest[:12]}…, which the request names)"
            )
        return came
    kept = kept_weights(store.arrays.parent, preparation, compute, before)
    if kept is None or _shapes_of(kept) != shapes:
        raise ModelNotKeptError(
            f"this site does not keep the version {preparation.digest[:12]}… of {task} that "
            "prepares the input; send the whole model"
        )
    return kept


def _shapes_of(arrays: Arrays) -> Shapes:
    return {name: array.shape for name, array in arrays.items()}
