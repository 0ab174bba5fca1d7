"""A task's network as a program that others can run: with an example of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from server.registry.mlflow_registry import ModelProgram
from shared.protocol.codec import Arrays
from shared.records import Covariates, ImageRecord, StudyLabels, StudyRecord, Vendor

if TYPE_CHECKING:
    from shared.tasks.base import Task

#: An empty study from which a task makes tensors of the right shapes.
BLANK_SHAPE: Final = (256, 256)
BLANK_SPACING_MM: Final = (1.0, 1.0)


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
    from shared.records import View
    from shared.training.arrays import set_arrays

    blank = ImageRecord(np.full(BLANK_SHAPE, 0.5, np.float32), BLANK_SPACING_MM, "none")
    images = dict.fromkeys(task.needs or tuple(View), blank)
    study = StudyRecord("none", "none", Vendor.GENERIC, images, StudyLabels(), Covariates())
    sample = task.sample(study)
    rows = max(2, sample["image"].shape[0])
    image = np.resize(sample["image"].numpy(), (rows, *sample["image"].shape[1:]))
    covariates = np.resize(sample["covariates"].numpy(), (rows, *sample["covariates"].shape[1:]))
    network = task.network()
    set_arrays(network, arrays, strict=True)
    return ModelProgram(network.eval(), image.astype(np.float32), covariates.astype(np.float32))
