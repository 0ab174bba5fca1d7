"""A network as a program (``torch.export``, no pickle) that loads with torch and MLflow alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn


@dataclass(frozen=True)
class ModelProgram:
    """What is needed to export a network: it, and an example of its input.

    `image` is (B, C, H, W) and `covariates` (B, F), float32, B at least 2.
    """

    network: nn.Module
    image: NDArray[np.float32]
    covariates: NDArray[np.float32]


def log_program(run: str, task: str, program: ModelProgram, files: list[Path]) -> int:
    """Log a program with its signature and input example, and register it as a version.

    Parameters
    ----------
    run : str
        Id of the tracking run it comes from.
    task : str
        Name of the registered model.
    program : ModelProgram
        Exported by `torch.export` with a free batch size.
    files : list of Path
        Go into the version as they are.

    Returns
    -------
    int
        The version's number.
    """
    import mlflow
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    single = np.dtype(np.float32)
    example = (program.image, program.covariates)
    network = program.network.cpu().eval()
    with torch.no_grad():
        output = network(*(torch.from_numpy(array) for array in example))
    signature = ModelSignature(
        inputs=Schema(
            [
                TensorSpec(single, (-1, *program.image.shape[1:]), "image"),
                TensorSpec(single, (-1, *program.covariates.shape[1:]), "covariates"),
            ]
        ),
        outputs=Schema([TensorSpec(single, (-1, *output.shape[1:]), "output")]),
    )
    with mlflow.start_run(run_id=run):
        info = mlflow.pytorch.log_model(
            network,
            name=task,
            registered_model_name=task,
            input_example=example,
            signature=signature,
            serialization_format="pt2",
            pip_requirements=[f"torch=={torch.__version__}", f"mlflow=={mlflow.__version__}"],
            extra_files=[str(file) for file in files],
        )
    return int(info.registered_model_version)
