"""A task's network as a program that others can run: with an example of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from server.registry.model_program import ModelProgram
from shared.protocol.codec import Arrays

if TYPE_CHECKING:
    from shared.tasks.base import Task


def program_of(task: Task, arrays: Arrays) -> ModelProgram:
    """Make what is exported: the network with its weights, and an example of its input.

    The example comes from a study without a patient, so nothing of one is in it.

    Parameters
    ----------
    task : Task
        Makes the network and the tensors.
    arrays : dict of str to ndarray
        The weights.

    Returns
    -------
    Program
        With at least two rows of input, so that the batch stays free.
    """
    from shared.training.arrays import set_arrays

    sample = task.sample(task.example())
    rows = max(2, sample["image"].shape[0])
    image = np.resize(sample["image"].numpy(), (rows, *sample["image"].shape[1:]))
    covariates = np.resize(sample["covariates"].numpy(), (rows, *sample["covariates"].shape[1:]))
    network = task.network()
    set_arrays(network, arrays, strict=True)
    return ModelProgram(network.eval(), image.astype(np.float32), covariates.astype(np.float32))
