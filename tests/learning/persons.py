"""What sex, age and body mass index say alone: the figure that a picture has to beat."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.metrics.statistics import Statistics
from shared.records import StudyRecord
from shared.tasks.base import Task
from shared.tasks.sample import Sample
from shared.tasks.vfa_fracture import THRESHOLDS
from shared.training.batches import Patients, to_batch

#: Weight of the squared coefficients, for each patient.
RIDGE: Final = 1e-3
STEPS: Final = 200
#: Tasks of which a person's facts say something.
KNOWN: Final = ("dxa-bmd", "vfa-fracture")
Groups = Callable[[StudyRecord], Mapping[str, str]]


def facts_of(study: StudyRecord) -> list[float]:
    """Sex, age in decades from 65 years and their product, body mass index from 25 in fives."""
    known = study.covariates
    man = float(known.sex == "M")
    age = 0.0 if known.age_years is None else (known.age_years - 65) / 10
    index = 0.0
    if known.height_cm and known.weight_kg:
        index = (known.weight_kg / (known.height_cm / 100) ** 2 - 25) / 5
    return [1.0, man, age, man * age, index]


def newest(patients: Patients, name: str) -> StudyRecord:
    """A patient's newest study that the task can use."""
    return patients.source.studies(name)[patients.studies[name][-1]]


def by_persons_alone(
    task: Task, train: Patients, tests: Patients, groups: Groups
) -> list[tuple[Statistics, Mapping[str, str]]]:
    """Fit what persons say on some patients; statistics and groups of each of the others.

    Parameters
    ----------
    task : Task
        One of `KNOWN`.
    train, tests : Patients
        Fitted on; measured on.
    groups : callable
        Groups of a study's patient.

    Raises
    ------
    LookupError
        If nothing of the task's can be said by a person's facts.
    """
    if task.name not in KNOWN:
        raise LookupError(f"{task.name}: a person's facts say nothing of it")
    batch = to_batch([train.newest(name) for name in train.names], "cpu")
    facts = np.array([facts_of(newest(train, name)) for name in train.names])
    say = _densities(facts, batch) if task.name == "dxa-bmd" else _grades(facts, batch, task.units)
    found = []
    for name in tests.names:
        study = newest(tests, name)
        one = to_batch([tests.newest(name)], "cpu")
        output = say(np.array([facts_of(study)]))
        found.append((task.statistics(output, one), groups(study)))
    return found


def _densities(
    facts: NDArray[np.float64], batch: Sample
) -> Callable[[NDArray[np.float64]], Tensor]:
    """Least squares for each region, over the patients in whom it is known."""
    values, known = batch["bmd"].double().numpy(), batch["known"].numpy() > 0
    columns: Sequence[NDArray[np.float64]] = [
        np.linalg.lstsq(facts[known[:, k]], values[known[:, k], k], rcond=None)[0]
        for k in range(values.shape[1])
    ]
    weights = np.stack(columns, axis=1)
    return lambda some: torch.from_numpy(some @ weights).float()


def _grades(
    facts: NDArray[np.float64], batch: Sample, units: int
) -> Callable[[NDArray[np.float64]], Tensor]:
    """Logistic regression of each threshold on the facts and the vertebra."""
    thresholds = torch.tensor(THRESHOLDS)
    inputs = _rows(facts, units)
    truth = (batch["grade"][:, None] >= thresholds).double()
    weight = (batch["weight"][:, None] > 0).double()
    coefficients = torch.zeros(inputs.shape[1], len(thresholds), dtype=torch.float64)
    coefficients.requires_grad_()
    solver = torch.optim.LBFGS([coefficients], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        said = inputs @ coefficients
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            said, truth, weight=weight.expand_as(said)
        )
        loss = loss + RIDGE * coefficients.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    fitted = coefficients.detach()

    return lambda some: (_rows(some, units) @ fitted).float()


def _rows(facts: NDArray[np.float64], units: int) -> Tensor:
    """Facts of each patient, once a unit, and which unit that is, as one of `units` columns."""
    by_unit, which = np.repeat(facts, units, axis=0), np.tile(np.eye(units), (len(facts), 1))
    return torch.from_numpy(np.concatenate([by_unit, which], 1))
