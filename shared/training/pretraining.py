"""Training on public patients, after which a task may fix parts of its network by them."""

from __future__ import annotations

from torch import nn

from shared.records import PatientSource
from shared.settings.task import OptimiserSettings
from shared.tasks.base import Task
from shared.training.batches import Patients, RoundKey
from shared.training.compute import Compute
from shared.training.local_round import LocalRound, Progress, train_plain
from shared.training.optimising import threads


def train_on_public(
    task: Task,
    network: nn.Module,
    source: PatientSource | Patients,
    settings: OptimiserSettings,
    key: RoundKey,
    compute: Compute,
    progress: Progress | None = None,
) -> LocalRound:
    """Train plainly, then let the task fix what it fixes (`Task.settle`).

    Parameters
    ----------
    task, network, settings, key, compute, progress
        See `train_plain`; the network is changed in place.
    source : PatientSource or Patients
        **Public** patients: what is fixed by them is part of every later model, without
        noise.

    Returns
    -------
    LocalRound
        Of the training; the weights as they are afterwards are the network's.

    Raises
    ------
    CohortTooSmallError
        If no patient of the source can be used.
    """
    patients = Patients.of(task, source)
    done = train_plain(task, network, patients, settings, key, compute, progress=progress)
    network.eval()
    with threads(compute):
        network.cpu()  # where samples are: what is fixed by them is small
        task.settle(network, (patients.newest(name) for name in patients.names))
    return done
