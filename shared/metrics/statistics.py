"""The sums that metrics are made of: they add up over patients and over sites."""

from __future__ import annotations

from collections.abc import Mapping

#: Sums that add up over patients and over sites; always holds "patients" and
#: "loss_sum".
Statistics = dict[str, float]


def add_statistics(left: Mapping[str, float], right: Mapping[str, float]) -> Statistics:
    """Add two sets of sums; a key that one lacks counts as zero."""
    return {key: left.get(key, 0.0) + right.get(key, 0.0) for key in sorted({*left, *right})}
