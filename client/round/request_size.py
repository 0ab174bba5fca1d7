"""How much memory a request takes at most, by its settings alone: no patient is looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from shared.errors import FirewallRefusedError
from shared.tasks import make_task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from shared.settings.task import TaskSettings

#: What training takes at its peak, of what it keeps for gradients.
PEAK: Final = 1.5
#: Pixels along a side of the images that are tried, until a network takes them.
LONGEST_SIDES: Final = (64, 128, 256, 512)
#: Largest layers that are there at once when nothing is kept.
LAYERS_AT_ONCE: Final = 4
#: Bytes that a trained number takes: weights twice, and gradient, sum and noise of 64 bits each.
BYTES_A_WEIGHT: Final = 48


def bytes_of_request(settings: TaskSettings, patients_at_once: int, *, trains: bool) -> int:
    """Bound the memory that training or measuring takes, in bytes.

    The task's network is run once on images of few pixels a side, and what it keeps for its
    gradients is counted and enlarged: layers take memory in proportion to what they see.

    Parameters
    ----------
    settings : TaskSettings
        What is asked: the network and the size of its images.
    patients_at_once : int
        Patients that are computed together.
    trains : bool
        Whether gradients are computed.

    Raises
    ------
    FirewallRefusedError
        If the network cannot be run on images of this size at all.
    """
    shape, covariates = _input_shapes(settings)
    network = make_task(settings).network()
    weights = sum(value.numel() for value in network.state_dict().values())
    for longest in LONGEST_SIDES:
        tried = (*shape[:2], *(min(side, longest) for side in shape[2:]))
        try:
            kept, largest = _bytes_of_layers(network, tried, covariates)
        except (RuntimeError, ValueError):
            continue  # too small for this network
        larger = math.prod(shape) / math.prod(tried)
        one = PEAK * kept if trains else LAYERS_AT_ONCE * largest
        return int(patients_at_once * larger * one) + BYTES_A_WEIGHT * weights
    raise FirewallRefusedError(
        f"{settings.task}: its network does not take images of {settings.network.image_size}"
    )


def _input_shapes(settings: TaskSettings) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of a patient's images and covariates; no image of the size asked is made."""
    usual = settings.network.model_copy(update={"image_size": None})
    small = make_task(settings.model_copy(update={"network": usual}))
    sample = small.sample(small.example())
    shape = tuple(sample["image"].shape)
    if settings.network.image_size is not None:
        shape = (*shape[:-2], *settings.network.image_size)
    return shape, tuple(sample["covariates"].shape)


def _bytes_of_layers(
    network: nn.Module, shape: tuple[int, ...], covariates: tuple[int, ...]
) -> tuple[int, int]:
    """Bytes that a network keeps for its gradients, and of the largest that a layer gives."""
    import torch

    kept: list[int] = []
    layers: list[int] = [0]

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    def measure(module: object, given: object, output: object) -> None:
        if isinstance(output, torch.Tensor):
            layers.append(output.numel() * output.element_size())

    handles = [module.register_forward_hook(measure) for module in network.modules()]
    hooks: Any = torch.autograd.graph.saved_tensors_hooks
    try:
        with hooks(count, lambda tensor: tensor):
            network(torch.zeros(shape), torch.zeros(covariates))
    finally:
        for handle in handles:
            handle.remove()
    return sum(kept), max(layers)
