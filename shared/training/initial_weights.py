"""How a network begins: from weights, or drawn from a public seed. The same everywhere.

And with which weights another prepares its input.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import ModelIncompatibleError
from shared.protocol.codec import Arrays, check_finite
from shared.protocol.half_precision import halved
from shared.protocol.preparation import Preparation
from shared.seeds import derive_seed
from shared.settings.task import NetworkSettings, TaskSettings
from shared.training.weights import Weights, digest_arrays, load_weights

if TYPE_CHECKING:
    from torch import nn


def check_fits(settings: TaskSettings, weights: Weights, origin: Path) -> None:
    """Refuse weights that were made for another task or network.

    Raises
    ------
    ModelIncompatibleError
        Naming both.
    """
    found = (weights.settings.task, weights.settings.network)
    if found != (settings.task, settings.network):
        raise ModelIncompatibleError(
            f"{origin}: weights of {found[0]} ({_said(found[1])}) must be of "
            f"{settings.task} ({_said(settings.network)}), as the task's settings say"
        )


def _said(network: NetworkSettings) -> str:
    facts = ", with patient_facts" if network.patient_facts else ""
    return f"{network.size}, {network.image_size}{facts}"


def start_network(
    settings: TaskSettings, start_from: Path | None, seed: int = 0
) -> tuple[nn.Module, str]:
    """Make a task's network as it begins.

    Parameters
    ----------
    settings : TaskSettings
        The task.
    start_from : Path, optional
        Weights; without, the network's own initialisation, drawn from `seed`.
    seed : int
        Public seed.

    Returns
    -------
    tuple of Module and str
        The network, and `digest_arrays` of its tensors.

    Raises
    ------
    VersionMissingError, ModelIncompatibleError
        If the weights are missing, damaged or of another task or network.
    """
    import torch

    from shared.tasks import make_task
    from shared.training.arrays import get_arrays, set_arrays

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "start", settings.task))
        network = make_task(settings).network()
    if start_from is not None:
        start = load_weights(start_from)
        check_fits(settings, start, start_from)
        try:
            set_arrays(network, start.arrays, strict=True)
        except ModelIncompatibleError as error:
            raise ModelIncompatibleError(
                f"{start_from}: {error}; it was made by another version of OsteoFed or is damaged "
                "(pretrain with this version)"
            ) from None
    return network, digest_arrays(get_arrays(network))


def load_preparing(path: Path, task: str) -> tuple[Preparation, Arrays]:
    """Read the weights of a version that prepares the input of another task.

    Parameters
    ----------
    path : Path
        The weights file.
    task : str
        The preparing task's name.

    Returns
    -------
    (Preparation, dict of str to ndarray of float32)
        What a job says of it, and its tensors as they travel.

    Raises
    ------
    VersionMissingError
        If there is no such file.
    ModelIncompatibleError
        If it is damaged, of another task, or holds a number too large to travel.
    """
    weights = load_weights(path)
    if weights.settings.task != task:
        raise ModelIncompatibleError(
            f"{path}: weights of {weights.settings.task} (must be of {task}, which they are to "
            "stand for)"
        )
    return preparing_of(weights, str(path))


def preparing_of(weights: Weights, origin: str) -> tuple[Preparation, Arrays]:
    """Give weights as a version that prepares the input of another task; see `load_preparing`.

    Raises
    ------
    ModelIncompatibleError
        If they hold a number too large to travel; `origin` is where they are from.
    """
    sent = halved(weights.arrays)
    check_finite(sent, f"{origin} in half precision", ModelIncompatibleError)
    return Preparation(settings=weights.settings, digest=digest_arrays(sent)), sent
