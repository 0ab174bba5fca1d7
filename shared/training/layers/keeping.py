"""What the formulas of all layers do alike: cast as autocast would, keep what they found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def as_autocast(image: Tensor, *weights: Tensor | None) -> tuple[Any, ...]:
    """Cast what a layer multiplies as autocast would, where it is on."""
    device = image.device.type
    if not torch.is_autocast_enabled(device):
        return image, *weights
    kind = torch.get_autocast_dtype(device)
    return image.to(kind), *(None if one is None else one.to(kind) for one in weights)


def in_full(image: Tensor) -> Tensor:
    """Normalise in single precision under autocast, as PyTorch does."""
    return image.float() if torch.is_autocast_enabled(image.device.type) else image


def keep(weight: Tensor | None, gradients: Callable[[], Tensor]) -> None:
    """Compute gradients, (N, *weight.shape), and keep them if the weight is trained."""
    if weight is not None and weight.requires_grad:
        add_gradients(weight, gradients())


def add_gradients(weight: Tensor, gradients: Tensor) -> None:
    """Add gradients, (N, *weight.shape), to what the weight has from this backward pass."""
    before = getattr(weight, "grad_sample", None)
    value = gradients.to(weight.dtype)  # under autocast it was computed in half of it
    weight.grad_sample = value if before is None else before + value  # type: ignore[attr-defined]


def patients_of(image: Tensor, units: int) -> int:
    """Count the patients, N, of what a layer reads, (N·K, ...)."""
    patients, rest = divmod(len(image), units)
    if rest:
        raise RuntimeError(
            f"a layer sees a batch of {len(image)} (must be a multiple of {units}, the units of a "
            "patient: a layer must not move the batch's axis)"
        )
    return patients
