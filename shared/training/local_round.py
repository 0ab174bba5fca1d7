"""One local round: private (DP-SGD) or plain, over the same patients in the same way.

What makes the bound of `train_private` exact
---------------------------------------------
A patient's gradient is computed alone (`shared.training.one_patient`), is clipped to whole
numbers whose norm is checked in whole numbers, and is summed in them
(`shared.training.whole_sum`). The noise is an ideal Gaussian rounded to the same numbers
(`shared.training.rounded_gaussian`). It comes from AES-256 in counter mode
(`shared.training.noise`), whatever device trains, under a key of 256 bits: HMAC-SHA256 of the
site's secret over run, round, request, attempt and device. Poisson sampling has keys of its
own, so that sampling and noise are independent. The same key on the same CPU, with the same
number of threads, gives the same release, bit for bit. The guarantee is computational, not
information-theoretic: it holds against whoever does not know the secret and cannot break AES
or HMAC. On a GPU it is not proven that a patient's gradient is the same in its last bits
whoever else is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.errors import CohortTooSmallError
from shared.metrics.statistics import Statistics, add_statistics
from shared.records import PatientSource
from shared.settings.task import OptimiserSettings, PrivateSettings
from shared.tasks.base import Task
from shared.training.arrays import get_arrays, trainable_names
from shared.training.batches import (
    Patients,
    RoundKey,
    batches_of,
    pieces,
    pieces_of,
    poisson_draw,
    shuffled_batches,
    to_batch,
)
from shared.training.compute import Compute
from shared.training.one_patient import (
    buffers_of,
    gradient_alone,
    refuse_memory,
    refuse_statistics,
)
from shared.training.onednn import volumes_by_onednn
from shared.training.optimising import (
    Moment,
    autocast,
    objective,
    optimiser_of,
    pull_towards,
    random_layers,
    seed_layers,
    set_rate,
    threads,
    training,
)
from shared.training.whole_sum import ClippingGrid, WholeSum, set_gradients

__all__ = [
    "LocalRound",
    "RoundKey",
    "evaluate",
    "train_plain",
    "train_private",
]

#: Called after every step with steps done, steps in all and the step's mean loss.
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class LocalRound:
    """What a local round gave.

    Attributes
    ----------
    arrays : dict of str to ndarray of float32
        The trained weights, only those that were trained.
    patients : int
        Patients that could be used.
    steps : int
        Steps done.
    train_loss : float
        Mean loss over patients and steps. **Not** covered by differential privacy:
        it must not leave the site unless the site says so. NaN if no patient was
        ever drawn.
    """

    arrays: dict[str, NDArray[np.float32]]
    patients: int
    steps: int
    train_loss: float


class _Mean:
    """A running mean."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, total: float, count: int) -> None:
        self.total += total
        self.count += count

    @property
    def value(self) -> float:
        return self.total / self.count if self.count else float("nan")


def train_plain(
    task: Task,
    model: nn.Module,
    source: PatientSource | Patients,
    settings: OptimiserSettings,
    key: RoundKey,
    compute: Compute,
    *,
    steps: int | None = None,
    rounds: int = 1,
    proximal_mu: float = 0.0,
    progress: Progress | None = None,
) -> LocalRound:
    """Train without privacy: shuffled batches, no clipping, no noise.

    Parameters
    ----------
    task : Task
        What is learnt.
    model : Module
        The task's network; changed in place.
    source : PatientSource or Patients
        Training patients; as `Patients` their samples stay prepared from call to call.
    settings : OptimiserSettings
        Which weights, optimiser, rate, batch.
    key : RoundKey
        Where all randomness comes from.
    compute : Compute
        Device and batch splitting; bfloat16 on a GPU if it says so.
    steps : int, optional
        Instead of `settings.steps_per_round`.
    rounds : int
        Rounds of the whole run, over which the learning rate falls if it does; which
        round this is, `key` says.
    proximal_mu : float
        Weight of FedProx's pull towards the weights received (Li et al. 2020).
    progress : callable, optional
        See `Progress`.

    Returns
    -------
    LocalRound
        With the weights that were trained.

    Raises
    ------
    CohortTooSmallError
        If no patient of the source can be used.
    """
    patients = _patients(task, source)
    steps = settings.steps_per_round if steps is None else steps
    mean = _Mean()
    with training(task, model, settings, compute) as trained, random_layers(key, compute):
        optimiser = optimiser_of(settings, trained)
        start = [weight.detach().clone() for weight in trained]
        batches = shuffled_batches(patients.names, settings.batch_patients, key)
        wanted = pieces_of(islice(batches, steps), compute.physical_batch_patients)
        loss = 0.0
        made = batches_of(patients, wanted, key, compute, augment=settings.augment)
        with closing(made):
            for piece, batch in made:
                compute.go_on()
                if piece.first:
                    moment = Moment(piece.step, steps, key.round, rounds)
                    set_rate(optimiser, settings, moment)
                    optimiser.zero_grad()
                    loss = 0.0
                with autocast(compute):
                    output = model(batch["image"], batch["covariates"])
                part, value = objective(task, output.float(), batch, settings.worst_first)
                (part / piece.patients).backward()
                loss += value
                if not piece.last:
                    continue
                pull_towards(trained, start, proximal_mu)
                optimiser.step()
                mean.add(loss, piece.patients)
                if progress is not None:
                    progress(piece.step + 1, steps, loss / piece.patients)
        arrays = get_arrays(model, trainable_names(task, model, settings.trainable))
    return LocalRound(arrays, len(patients), steps, mean.value)


def train_private(
    task: Task,
    model: nn.Module,
    source: PatientSource | Patients,
    settings: PrivateSettings,
    noise_multiplier: float,
    key: RoundKey,
    compute: Compute,
    *,
    rounds: int = 1,
    proximal_mu: float = 0.0,
    declared: int | None = None,
) -> LocalRound:
    """Train with DP-SGD, the patient being the unit of privacy.

    Guarantee
    ---------
    Let q = `settings.sample_rate`, σ = `noise_multiplier`, T =
    `settings.steps_per_round`, C = `settings.max_grad_norm`. Against adding or
    removing all data of one patient, with the other patients of the source and the declared
    number N in the normalisation held fixed, the arrays that are returned are a post-processing
    of T adaptive releases of the Poisson-subsampled Gaussian mechanism of rate q
    and noise σ: in each step every patient is drawn independently with
    probability q and contributes one vector (the gradient of the mean loss of all
    units of one study), which follows from that patient, the weights, the key and the number
    of threads alone, and whose Euclidean norm over all trained weights together is at most C;
    an ideal Gaussian N(0, (σC)²), rounded to the grid of the contributions, is added to every
    coordinate of the sum. The cost is `accounting.epsilon([Mechanism(q, σ, T)], delta)`.

    ================================ ==============================================
    case                             what happens
    ================================ ==============================================
    gradient of norm 0               contributes 0; nothing is divided by 0
    gradient with an inf or NaN      the patient contributes 0 in this step
    norm overflows to inf            the patient contributes 0 in this step
    nobody drawn                     a step of pure noise, counted like any other
    one patient in the store         as any: bounded by C, hidden by the noise
    no patient in the store          steps of pure noise, where N is declared
    patient without usable units     never drawn
    more or fewer patients than N    the same division by q·N; only how far a step goes differs
    study that another version       a fixed function of that patient's own study: as any
    prepared
    σ = 0                            no privacy; clipped training, for tests
    another order of the patients    the same sum, bit for bit
    layers that draw at random       draw for each patient from a seed of its own
    ================================ ==============================================

    `train_loss` is outside the guarantee. What the generator of the noise means is a matter of
    the module's docstring.

    Parameters
    ----------
    task, model, source, key, compute, rounds, proximal_mu
        See `train_plain`. In bfloat16 (GPU only) a patient's gradient is another, rounder
        vector; it is clipped, summed and hidden in whole numbers all the same, so that
        the guarantee stays. The proximal pull depends on weights only and costs no privacy.
    settings : PrivateSettings
        q, C, T, which weights, optimiser and rate (`slowed_by_noise` lowers it). The
        sum is divided by q·N.
    declared : int, optional
        N, at least 1: public and fixed beforehand. Without, as many as can be used, whose
        number then is public: of digital patients, or in experiments.
    noise_multiplier : float
        σ, at least 0.

    Returns
    -------
    LocalRound
        With the weights that were trained.

    Raises
    ------
    CohortTooSmallError
        If no patient of the source can be used, and no N is declared.
    NotImplementedError
        Before any step, if the network has a layer that keeps statistics of samples.
    BudgetInvalidError
        If there is no grid for the noise (`ClippingGrid.of`).
    """
    # With a declared number nothing hangs on whether anybody is there, not even a refusal.
    patients = _patients(task, source) if declared is None else Patients.of(task, source)
    number = len(patients) if declared is None else declared
    settings = settings.slowed_by_noise(noise_multiplier, number, rounds)
    refuse_statistics(model)
    grid = ClippingGrid.of(settings.max_grad_norm, noise_multiplier)
    steps = settings.steps_per_round
    expected = settings.sample_rate * number
    stream = key.stream("noise")
    mean = _Mean()
    with (
        training(task, model, settings, compute) as trained,
        random_layers(key, compute),
        volumes_by_onednn(model),
    ):
        start = [weight.detach().clone() for weight in trained]
        before = buffers_of(model)
        optimiser = optimiser_of(settings, trained)
        size = sum(weight.numel() for weight in trained)
        drawn = (
            poisson_draw(patients.names, settings.sample_rate, key, step) for step in range(steps)
        )
        made = batches_of(patients, pieces_of(drawn, 1), key, compute, augment=settings.augment)
        with closing(made):
            for piece, sample in made:
                compute.go_on()
                if piece.first:
                    total = WholeSum(grid, size, compute.device)
                if sample:
                    seed_layers(key, piece.step, piece.names[0])
                    gradient, loss = gradient_alone(
                        task, model, sample, trained, compute, settings.worst_first
                    )
                    total.add(gradient)
                    mean.add(loss, 1)
                if not piece.last:
                    continue
                refuse_memory(model, before)
                set_rate(optimiser, settings, Moment(piece.step, steps, key.round, rounds))
                set_gradients(trained, total.release(stream) / expected)
                pull_towards(trained, start, proximal_mu)
                optimiser.step()
                optimiser.zero_grad()
        arrays = get_arrays(model, trainable_names(task, model, settings.trainable))
    return LocalRound(arrays, len(patients), steps, mean.value)


def evaluate(
    task: Task, model: nn.Module, source: PatientSource | Patients, compute: Compute
) -> Statistics:
    """Sum a task's statistics over the newest usable study of every patient.

    Parameters
    ----------
    task, model, compute
        See `train_plain`.
    source : PatientSource
        Patients to measure on; those without a usable study are left out.

    Returns
    -------
    Statistics
        Sums (`Task.metrics` turns them into metrics); at least "patients" and
        "loss_sum", 0 without patients.
    """
    patients = Patients.of(task, source)
    sums: Statistics = {"patients": 0.0, "loss_sum": 0.0}
    was_training = model.training
    with threads(compute), torch.no_grad():
        model.to(compute.device).eval()
        for piece in pieces(patients.names, compute.physical_batch_patients):
            compute.go_on()
            batch = to_batch([patients.newest(name) for name in piece], compute.device)
            with autocast(compute):
                output = model(batch["image"], batch["covariates"])
            sums = add_statistics(sums, task.statistics(output.float(), batch))
        model.train(was_training)
    return sums


def _patients(task: Task, source: PatientSource | Patients) -> Patients:
    patients = Patients.of(task, source)
    if not len(patients):
        raise CohortTooSmallError(
            f"{task.name}: no patient, of {len(patients.source.patients)} in all, has a study with "
            "the views and labels that training needs (check what ingest took in)"
        )
    return patients
