"""Sums of one name among a task's statistics, kept as ``NAME:SUM``."""

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
