"""What models of a chance have in common: loss, sums, metrics, operating point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from shared.metrics import ranking
from shared.metrics.named import mean_loss, sums_of
from shared.metrics.statistics import Statistics
from shared.tasks.sample import Sample

#: Said positive from this probability on: fixed before any patient was seen, near the share of
#: osteoporosis among those whom DXA is ordered for, so that neither error is preferred [U].
OPERATING_POINT: Final = 0.3
#: Said of a patient of whom nothing could be read.
UNREAD: Final = math.log(OPERATING_POINT / (1 - OPERATING_POINT))
#: Metrics, what a person calls each, and what saying the same of everybody gives.
AUC: Final = "auc_osteoporosis"
METRIC_WORDS: Final[Mapping[str, tuple[str, float | None]]] = {
    AUC: ("AUC, osteoporosis by DXA", 0.5),
    "sensitivity": ("sensitivity at the operating point", None),
    "specificity": ("specificity at the operating point", None),
    "brier": ("Brier score", None),
}


def chance_loss(output: Tensor, batch: Sample) -> Tensor:
    """Cross-entropy, shape (B,): unweighted, so that a probability is one; mean over a patient.

    A unit's weight is 1 over the number of the patient's units that count.
    """
    each = functional.binary_cross_entropy_with_logits(
        output.float()[:, 0], batch["positive"], reduction="none"
    )
    return batch["weight"] * each


def patient_logits(output: Tensor, placed: Tensor, units: int) -> Tensor:
    """Mean logit of each patient's units that were read, shape (N,); `UNREAD` without any.

    Parameters
    ----------
    output : Tensor, shape (N·K, 1)
    placed : Tensor, shape (N·K,)
        1 where a unit was read.
    units : int
        K.
    """
    seen = placed.double().reshape(-1, units)
    logits = output.double()[:, 0].reshape(-1, units)
    mean = (logits * seen).sum(1) / seen.sum(1).clamp(min=1)
    return torch.where(seen.any(1), mean, torch.full_like(mean, UNREAD))


def chance_statistics(output: Tensor, batch: Sample, units: int, loss: Tensor) -> Statistics:
    """Count scores by bin and class, and what the operating point makes of them.

    Who is counted follows from labels alone, not from what could be read.
    """
    known = (batch["known"].reshape(-1, units)[:, 0] > 0).cpu().numpy()
    positive = (batch["positive"].reshape(-1, units)[:, 0] > 0).cpu().numpy()[known]
    logits = patient_logits(output, batch["placed"], units)
    scores = logits.sigmoid().cpu().numpy()[known]
    said = scores >= OPERATING_POINT
    sums: Statistics = {
        "patients": float(len(known)),
        "loss_sum": float(loss.sum()),
        "brier_sum": float(np.square(scores - positive).sum()),
        "brier_n": float(len(scores)),
        "sensitivity_sum": float((said & positive).sum()),
        "sensitivity_n": float(positive.sum()),
        "specificity_sum": float((~said & ~positive).sum()),
        "specificity_n": float((~positive).sum()),
    }
    found = ranking.score_sums(scores, positive)
    return sums | {f"{AUC}:{key}": value for key, value in found.items()}


def chance_metrics(statistics: Mapping[str, float]) -> dict[str, float]:
    """Give ``auc_osteoporosis``, ``sensitivity``, ``specificity``, ``brier`` and ``loss``."""
    found = {AUC: ranking.auc(sums_of(statistics, AUC))}
    for name in ("sensitivity", "specificity", "brier"):
        count = statistics.get(f"{name}_n", 0.0)
        if count > 0:
            found[name] = statistics[f"{name}_sum"] / count
    found |= mean_loss(statistics)
    return {key: value for key, value in found.items() if math.isfinite(value)}
