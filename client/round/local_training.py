"""Training and testing that stay inside one hospital: no message, nothing leaves.

Several site folders together are pooled, which only digital hospitals may do:
it needs every one of them to allow training without privacy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from client.privacy import policy
from client.privacy.ledger import DEFAULT_COHORT
from client.round.answer import cohort_digest
from client.round.open_site import Site, open_site
from client.round.train_request import usable_patients
from client.store.site_store import SiteStore
from shared.records import PatientSource, StudyRecord
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.training.initial_weights import start_network
from shared.training.weights import Weights, load_weights

if TYPE_CHECKING:
    from shared.tasks.base import Task

Split = Literal["train", "validation", "test", "all"]


class PooledSource:
    """Patients of several sources as one; pseudonyms of different sites never collide."""

    def __init__(self, sources: Sequence[PatientSource]) -> None:
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

    Returns
    -------
    tuple of Weights and dict
        The trained weights, and facts: sites, patients, steps, train_loss.

    Raises
    ------
    PolicyRefusedError
        If a site does not allow training without privacy.
    CohortTooSmallError
        If a site has fewer patients than it demands.
    ModelIncompatibleError
        If the weights are of another task or network.
    """
    from shared.training.arrays import get_arrays
    from shared.training.compute import Compute
    from shared.training.local_round import RoundKey, train_plain

    sites = [open_site(folder) for folder in folders]
    task = make_task(settings)
    own = [site.store.source("train") for site in sites]
    for site, patients in zip(sites, own, strict=True):
        _permit(site, task, patients)
    network, start = start_network(settings, start_from)
    source = PooledSource(own)
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
    return weights, facts | {"train_loss": done.train_loss}


def evaluate_at_site(folder: Path, weights: Mapping[str, Path], split: Split) -> dict[str, Any]:
    """Measure weights on the patients of one site; nothing leaves the hospital.

    Parameters
    ----------
    folder : Path
        Site folder.
    weights : mapping of str to Path
        Weights files by the label they get in the result.
    split : str
        ``train``, ``validation``, ``test`` or ``all``.

    Returns
    -------
    dict
        ``{"site", "split", "models": {label: {"task", "patients", "loss", "metrics"}}}``.

    Raises
    ------
    VersionMissingError, ModelIncompatibleError
        If a weights file is missing or does not fit its task's network.
    """
    from shared.training.arrays import set_arrays
    from shared.training.compute import Compute
    from shared.training.local_round import evaluate

    loaded = {label: load_weights(path) for label, path in weights.items()}
    store = SiteStore.open(folder)
    compute = Compute.from_settings(store.config.compute)
    source = split_source(store, split)
    models: dict[str, Any] = {}
    for label, one in loaded.items():
        task = make_task(one.settings)
        network = task.network()
        set_arrays(network, one.arrays, strict=True)
        statistics = evaluate(task, network, source, compute)
        patients = int(statistics.get("patients", 0))
        models[label] = {
            "task": one.settings.task,
            "patients": patients,
            "loss": statistics.get("loss_sum", 0.0) / patients if patients else None,
            "metrics": task.metrics(statistics),
            "statistics": dict(statistics),
        }
    store.close()
    return {"site": store.config.site, "split": split, "models": models}


def split_source(store: SiteStore, split: Split) -> PatientSource:
    """Patients of one split of a store, or of all of them."""
    if split == "all":
        return PooledSource([store.source(s) for s in ("train", "validation", "test")])
    return store.source(split)


def _permit(site: Site, task: Task, patients: PatientSource) -> None:
    config = site.store.config
    policy.permit_task(task.settings.task, config)
    policy.permit_plain(config)
    policy.permit_cohort(config, usable_patients(task, patients))
