"""Training and testing that stay inside one hospital: no message, nothing leaves.

Several site folders together are pooled, which only digital hospitals may do:
it needs every one of them to allow training without privacy.
Where the input of a task is prepared, what a named version finds is kept in each site's store,
as in a round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from client.privacy import policy
from client.privacy.ledger import DEFAULT_COHORT
from client.round.answer import cohort_digest
from client.round.kept_patients import patients_of
from client.round.named_preparation import Named, keep_named, refuse_undrawn, versions_here
from client.round.open_site import Site, open_site
from client.round.received_preparation import prepared_source
from client.round.train_request import usable_patients
from client.store.site_store import SiteStore
from client.store.split import SPLITS
from shared.protocol.preparation import digests_of
from shared.records import StudyRecord
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, load_weights

if TYPE_CHECKING:
    from client.store.prepared_source import SiteSource
    from client.store.preparing_version import PreparingVersion
    from shared.tasks.base import Task

Split = Literal["train", "validation", "test", "all"]
NOTHING_NAMED: Final[Named] = {}


class PooledSource:
    """Patients of several sources as one; pseudonyms of different sites never collide."""

    def __init__(self, sources: Sequence[SiteSource]) -> None:
        self.sources = tuple(sources)
        self._where = {patient: source for source in sources for patient in source.patients}
        self._patients = tuple(sorted(self._where))

    @property
    def patients(self) -> Sequence[str]:
        """Pseudonyms, sorted."""
        return self._patients

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Return the studies of one patient, oldest first."""
        return self._where[patient].studies(patient)


def train_at_site(
    folders: Sequence[Path],
    settings: TaskSettings,
    start_from: Path | None,
    steps: int,
    progress: Callable[[int, int, float], None] | None = None,
    prepare_with: Named = NOTHING_NAMED,
) -> tuple[Weights, dict[str, Any]]:
    """Train one task without privacy on the patients of one site, or of several pooled.

    Parameters
    ----------
    folders : sequence of Path
        Site folders; more than one = pooled.
    settings : TaskSettings
        The task; its ``plain`` settings are used.
    start_from : Path, optional
        Weights to begin with; without, the network's own beginning.
    steps : int
        Optimiser steps.
    progress : callable, optional
        Called with steps done, steps in all and the loss.
    prepare_with : Named
        Versions that find what nobody drew (`client.round.named_preparation`).

    Returns
    -------
    tuple of Weights and dict
        The trained weights, and facts: sites, patients, steps, train_loss, and the digests of
        what prepared the input.

    Raises
    ------
    PolicyRefusedError
        If a site does not allow training without privacy, or so much disk for prepared input.
    CohortTooSmallError
        If a site has fewer patients than it demands.
    NoChampionError
        If they are too few because nobody drew regions, and no version is named that finds them.
    ModelIncompatibleError
        If the weights are of another task or network.
    """
    from shared.training.arrays import get_arrays
    from shared.training.compute import Compute
    from shared.training.local_round import RoundKey, train_plain

    sites = [open_site(folder) for folder in folders]
    task = make_task(settings)
    preparing = [_permitted(site, task, prepare_with) for site in sites]
    own = [
        prepared_source(site.store.source("train"), settings.task, versions)
        for site, versions in zip(sites, preparing, strict=True)
    ]
    network, start = start_network(settings, start_from)
    stores = [site.store for site in sites]
    source = patients_of(task, PooledSource(own), list(zip(stores, own, strict=True)))
    compute = Compute.from_settings(sites[0].store.config.compute)
    run = "alone" if len(sites) == 1 else "pooled"
    asked = f"{settings.model_dump_json()}|{start}|{steps}|{cohort_digest(own)}"
    request = hashlib.sha256(asked.encode()).hexdigest()
    reservations = [
        site.ledger.reserve(run, 1, settings.task, DEFAULT_COHORT, request, None) for site in sites
    ]
    secrets = b"|".join(sorted(site.store.secret for site in sites))
    key = RoundKey(hashlib.sha256(secrets).digest(), run, 1, start)
    done = train_plain(
        task, network, source, settings.plain, key, compute, steps=steps, progress=progress
    )
    for site, reservation in zip(sites, reservations, strict=True):
        site.ledger.commit(reservation, None)
        site.close()
    names = [site.name for site in sites]
    weights = Weights(settings, get_arrays(network), f"trained {run} at {', '.join(names)}")
    facts = {"sites": names, "task": settings.task, "patients": done.patients, "steps": done.steps}
    return weights, facts | {"train_loss": done.train_loss} | _prepared_with(preparing[0])


def evaluate_at_site(
    folder: Path,
    weights: Mapping[str, Path],
    split: Split,
    prepare_with: Callable[[Collection[str]], Named] = lambda tasks: NOTHING_NAMED,
) -> dict[str, Any]:
    """Measure weights on the patients of one site; nothing leaves the hospital.

    Parameters
    ----------
    folder : Path
        Site folder.
    weights : mapping of str to Path
        Weights files by the label they get in the result.
    split : str
        ``train``, ``validation``, ``test`` or ``all``.
    prepare_with : callable
        Gives, of the tasks of the weights, the versions that find what nobody drew
        (`client.round.named_preparation`).

    Returns
    -------
    dict
        ``{"site", "split", "models": {label: {"task", "patients", "loss", "metrics", "told"}}}``:
        ``told`` are the metrics as a person reads them (`shared.metrics.told.Told`). And of each
        model the digests of what prepared its input.

    Raises
    ------
    VersionMissingError, ModelIncompatibleError
        If a weights file is missing or does not fit its task's network.
    NoChampionError
        If no patient can be measured because nobody drew regions, and no version is named that
        finds them.
    """
    from shared.training.arrays import set_arrays
    from shared.training.compute import Compute
    from shared.training.local_round import evaluate

    loaded = {label: load_weights(path) for label, path in weights.items()}
    named = prepare_with({one.settings.task for one in loaded.values()})
    store = SiteStore.open(folder)
    compute = Compute.from_settings(store.config.compute)
    models: dict[str, Any] = {}
    for label, one in loaded.items():
        task = make_task(one.settings)
        preparing = versions_here(store, one.settings.task, named)
        keep_named(store, preparing)
        source = split_source(store, split, task, preparing)
        network = task.network()
        set_arrays(network, one.arrays, strict=True)
        patients_here = patients_of(task, source, [(store, one) for one in source.sources])
        statistics = evaluate(task, network, patients_here, compute)
        patients = int(statistics.get("patients", 0))
        models[label] = {
            "task": one.settings.task,
            "patients": patients,
            "loss": statistics.get("loss_sum", 0.0) / patients if patients else None,
            "metrics": task.metrics(statistics),
            "told": [asdict(one) for one in task.tell(statistics)],
            "statistics": dict(statistics),
            **_prepared_with(preparing),
        }
    store.close()
    return {"site": store.config.site, "split": split, "models": models}


def split_source(
    store: SiteStore, split: Split, task: Task, preparing: tuple[PreparingVersion, ...]
) -> PooledSource:
    """Patients of one split of a store, or of all of them, as a task reads them.

    Raises
    ------
    NoChampionError
        If none can be used because nobody drew regions, and no version finds them.
    """
    splits = SPLITS if split == "all" else (split,)
    own = [store.source(one) for one in splits]
    found = PooledSource([prepared_source(one, task.settings.task, preparing) for one in own])
    if task.after and not preparing and not usable_patients(task, found):
        for one in own:
            refuse_undrawn(task, one, store.config.site)
    return found


def _permitted(site: Site, task: Task, named: Named) -> tuple[PreparingVersion, ...]:
    """Hold a site's rules against training, and keep the versions that will prepare the input."""
    store, config, own = site.store, site.store.config, site.store.source("train")
    policy.permit_task(task.settings.task, config)
    policy.permit_plain(config)
    if not named:
        usable = usable_patients(task, own)
        if usable < config.policy.minimum_patients:
            refuse_undrawn(task, own, site.name)
        policy.permit_cohort(config, usable)
        return ()
    for name in sorted(named):
        policy.permit_task(name, config)
    versions = versions_here(store, task.settings.task, named)
    countable = prepared_source(own, task.settings.task, versions, only_counts=True)
    policy.permit_cohort(config, usable_patients(task, countable))
    keep_named(store, versions)
    return versions


def _prepared_with(versions: tuple[PreparingVersion, ...]) -> dict[str, Any]:
    """Name what prepared an input; nothing where nothing did."""
    by_task = {one.preparation.settings.task: one.preparation for one in versions}
    return {"prepared_with": digests_of(by_task)} if by_task else {}
