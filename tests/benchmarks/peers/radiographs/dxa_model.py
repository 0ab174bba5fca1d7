"""Network, samples, private training and evaluation under NVFLARE: radiographs."""

import itertools
from pathlib import Path

import numpy as np
import torch
from opacus import PrivacyEngine
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from shared.networks.unet import SegmentationNetwork


class Network(SegmentationNetwork):
    """The network; with a file, from the weights in it. NVFLARE makes it by its name."""

    def __init__(self, start: str = "") -> None:
        super().__init__(1, [[True, True]], size="small")
        if start:
            self.load_state_dict(load_file(start))


def load_samples(folder: str, hospital: str, split: str) -> TensorDataset:
    """Read a hospital's prepared samples."""
    with np.load(Path(folder) / f"{hospital}.{split}.npz") as held:
        return TensorDataset(
            *(torch.from_numpy(held[key]) for key in ("image", "covariates", "vertebra"))
        )


def dice_and_surprise(output: Tensor, vertebra: Tensor) -> Tensor:
    """Soft Dice plus cross-entropy of each patient."""
    true = vertebra.flatten(1).float()
    logit = (output[:, 1] - output[:, 0]).flatten(1)
    chance = logit.sigmoid()
    both = 2 * (chance * true).sum(1) + 1
    missed = 1 - both / (chance.sum(1) + true.sum(1) + 1)
    surprise = nn.functional.binary_cross_entropy_with_logits(logit, true, reduction="none")
    return missed + surprise.mean(1)


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
    for image, covariates, vertebra in itertools.islice(endless, steps):
        optimiser.zero_grad()
        losses = dice_and_surprise(private(image, covariates), vertebra)
        losses.mean().backward()
        optimiser.step()
        total, seen = total + float(losses.sum()), seen + len(losses)
    return total / max(seen, 1)


def test(network: nn.Module, samples: TensorDataset) -> float:
    """Mean loss over all samples."""
    network.eval()
    image, covariates, vertebra = samples.tensors
    with torch.no_grad():
        return float(dice_and_surprise(network(image, covariates), vertebra).mean())
