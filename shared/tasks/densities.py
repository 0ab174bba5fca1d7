"""What tasks share that read densities of several regions with one `DensityNetwork`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from shared.metrics import regression
from shared.metrics.named import sums_of
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told, told_regression
from shared.tasks.losses import huber
from shared.tasks.sample import Sample

if TYPE_CHECKING:
    from shared.networks.densenet import DensityNetwork


def as_density_network(network: nn.Module, task: str) -> DensityNetwork:
    """Give the network as what it must be.

    Raises
    ------
    TypeError
        If it is another kind of network.
    """
    from shared.networks.densenet import DensityNetwork

    if not isinstance(network, DensityNetwork):
        raise TypeError(f"{task} trains a DensityNetwork, not a {type(network).__name__}")
    return network


def density_loss(output: Tensor, batch: Sample, scales: Sequence[float]) -> Tensor:
    """Huber loss in units of `scales`, mean over the known regions.

    Parameters
    ----------
    output : Tensor, shape (B, R)
        Densities, g/cm².
    batch : mapping
        "bmd" and "known" (B, R), "weight" (B,).
    scales : sequence of float
        Spread of each region's density, g/cm².

    Returns
    -------
    Tensor, shape (B,)
    """
    error = (output.float() - batch["bmd"]).abs() / torch.tensor(scales, device=output.device)
    known = batch["known"]
    return batch["weight"] * (huber(error) * known).sum(1) / known.sum(1).clamp(min=1.0)


def density_statistics(
    output: Tensor,
    batch: Sample,
    loss: Tensor,
    names: Sequence[str],
    constants: Sequence[float] = (),
) -> Statistics:
    """Sum errors and moments by region, of the patients whose density is known.

    Parameters
    ----------
    output, batch
        As of `density_loss`.
    loss : Tensor, shape (B,)
    names : sequence of str
        What each region is called in sums of metrics, R.
    constants : sequence of float
        See `shared.metrics.regression.regression_sums`.
    """
    sums: Statistics = {"patients": float(len(output)), "loss_sum": float(loss.sum())}
    predicted, true = output.double().cpu().numpy(), batch["bmd"].double().cpu().numpy()
    known = (batch["known"] * batch["weight"][:, None]).cpu().numpy() > 0
    for place, name in enumerate(names):
        rows = known[:, place]
        found = regression.regression_sums(predicted[rows, place], true[rows, place], constants)
        sums |= {f"{name}:{key}": value for key, value in found.items()}
    return sums


def told_densities(
    statistics: Mapping[str, float], names: Mapping[str, str], words: Callable[[str], str]
) -> list[Told]:
    """Tell errors against the mean alone, by region.

    Parameters
    ----------
    statistics : mapping of str to float
        From `density_statistics`, added up.
    names : mapping of str to str
        What each region is called in them.
    words : callable
        Says a region's density in words.
    """
    found: list[Told] = []
    for region, name in names.items():
        sums = sums_of(statistics, name)
        if sums.get("n", 0.0) >= 1:
            found += told_regression(name, words(region), "g/cm²", sums)
    return found
