"""Network, samples, private training and evaluation: what every Flower app calls its task."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from shared.networks.densenet import DensityNetwork

CENTRES, SCALES = (1.0, 0.88, 0.86), (0.16, 0.14, 0.13)


def make_network() -> nn.Module:
    """Make the network: two pictures, three facts of the scanner by each, three densities."""
    return DensityNetwork(
        outputs=(1, 2), covariates=3, centres=CENTRES, scales=SCALES, size="small"
    )


def load_samples(folder: str, hospital: str, split: str) -> TensorDataset:
    """Read a hospital's prepared samples."""
    with np.load(Path(folder) / f"{hospital}.{split}.npz") as held:
        return TensorDataset(
            *(torch.from_numpy(held[key]) for key in ("image", "covariates", "bmd", "known"))
        )


def huber_loss(output: Tensor, bmd: Tensor, known: Tensor) -> Tensor:
    """Huber loss of each patient in units of the spread, mean over the known regions."""
    scales = torch.tensor(SCALES)
    loss = nn.functional.huber_loss(output / scales, bmd / scales, reduction="none")
    return (loss * known).sum(1) / known.sum(1).clamp(min=1.0)


class ByView(nn.Module):
    """A stage of the body that looks at a batch of each view apart."""

    def __init__(self, stage: nn.Module, views: int) -> None:
        super().__init__()
        self.stage, self.views = stage, views

    def forward(self, given: Tensor) -> Tensor:
        """Look at one view after another."""
        found = [self.stage(one) for one in given.unflatten(0, (-1, self.views)).unbind(1)]
        return torch.stack(found, dim=1).flatten(0, 1)


@contextmanager
def one_view_at_a_time(network: nn.Module) -> Iterator[None]:
    """Let a body's stages be `ByView` for a while: Opacus counts patients by batches."""
    if not isinstance(network, DensityNetwork):
        yield
        return
    body, stages = network.body, dict(network.body.named_children())
    for name, stage in stages.items():
        setattr(body, name, ByView(stage, network.views))
    try:
        yield
    finally:
        for name, stage in stages.items():
            setattr(body, name, stage)


def train(
    network: nn.Module,
    samples: TensorDataset,
    *,
    steps: int,
    sample_rate: float,
    noise: float,
    clip: float,
    rate: float,
) -> float:
    """Train some steps by DP-SGD; give the mean loss."""
    with one_view_at_a_time(network):
        network.train()
        private, optimiser, loader = PrivacyEngine().make_private(
            module=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=rate),
            data_loader=DataLoader(samples, batch_size=round(len(samples) * sample_rate)),
            noise_multiplier=noise,
            max_grad_norm=clip,
        )
        total, seen = 0.0, 0
        endless = itertools.chain.from_iterable(itertools.repeat(loader))
        for image, covariates, bmd, known in itertools.islice(endless, steps):
            optimiser.zero_grad()
            losses = huber_loss(private(image, covariates), bmd, known)
            losses.mean().backward()
            optimiser.step()
            total, seen = total + float(losses.sum()), seen + len(losses)
    return total / max(seen, 1)


def test(network: nn.Module, samples: TensorDataset) -> float:
    """Mean loss over all samples."""
    network.eval()
    image, covariates, bmd, known = samples.tensors
    with torch.no_grad():
        return float(huber_loss(network(image, covariates), bmd, known).mean())
