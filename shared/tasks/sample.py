"""Tensors of patients, one by one and in batches."""

from __future__ import annotations

import torch
from torch import Tensor

#: One patient (leading axis K) or a batch of patients (leading axes N, K).
#: Always holds "image" (K, C, H, W) or (K, C, D, H, W) float32, "covariates" (K, F) float32
#: and "weight" (K,) float32; targets are the task's own.
Sample = dict[str, Tensor]


def bytes_of(sample: Sample) -> int:
    """What the numbers of a sample take."""
    return sum(value.numel() * value.element_size() for value in sample.values())


def collate(samples: list[Sample]) -> Sample:
    """Stack samples of patients along a new leading axis, (K, ...) -> (N, K, ...)."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def fold(batch: Sample) -> Sample:
    """Fold patients and units, (N, K, ...) -> (N·K, ...)."""
    return {key: value.flatten(0, 1) for key, value in batch.items()}
