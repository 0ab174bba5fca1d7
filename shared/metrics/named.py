"""Sums by name among a task's statistics: `NAME:SUM`, and means as `NAME_sum` and `NAME_n`."""

from __future__ import annotations

from collections.abc import Mapping


def sums_of(statistics: Mapping[str, float], name: str) -> dict[str, float]:
    """Pick the sums of one name, by what stands behind the colon."""
    prefix = f"{name}:"
    return {
        key.removeprefix(prefix): value
        for key, value in statistics.items()
        if key.startswith(prefix)
    }


def means_of(statistics: Mapping[str, float]) -> dict[str, float]:
    """Give every mean over patients of which there are any, by its name."""
    return {
        name.removesuffix("_n"): statistics[f"{name.removesuffix('_n')}_sum"] / count
        for name, count in statistics.items()
        if name.endswith("_n") and count > 0
    }


def mean_loss(statistics: Mapping[str, float]) -> dict[str, float]:
    """Give the mean loss a patient as ``loss``; nothing without patients."""
    patients = statistics.get("patients", 0.0)
    return {"loss": statistics["loss_sum"] / patients} if patients > 0 else {}
