"""Runs of the benchmark on disk: what each patient's figures were, and from what they came.

A run is one file, written whole. Its name says what was trained how; its digest says from
which settings, so that a run of other settings is made anew and never shown for these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.metrics.statistics import Statistics


@dataclass(frozen=True)
class Run:
    """One trained model, measured on every patient of the unseen hospital.

    Attributes
    ----------
    facts : mapping
        ``cohort``, ``task``, ``arm``, ``seed``, ``digest`` of the settings, ``steps``
        per hospital, ``seconds``, ``epsilon`` and ``delta`` where private, and so on.
    keys : tuple of str
        Names of the statistics.
    values : ndarray of float64, shape (patients, keys)
        Statistics of each patient alone (`Task.statistics`); they add up.
    groups : tuple of mapping of str to str
        For each patient the group it belongs to, by kind (sex, age, scanner, ...).
    """

    facts: Mapping[str, Any]
    keys: tuple[str, ...]
    values: NDArray[np.float64]
    groups: tuple[Mapping[str, str], ...]

    def sums(self, weights: NDArray[np.float64] | None = None) -> Statistics:
        """Add the patients up, each as often as `weights` says (once by default)."""
        total = self.values.sum(axis=0) if weights is None else weights @ self.values
        return {key: float(value) for key, value in zip(self.keys, total, strict=True)}


def run_of(facts: Mapping[str, Any], patients: list[tuple[Statistics, Mapping[str, str]]]) -> Run:
    """Lay the statistics of patients side by side; what one lacks is 0."""
    keys = tuple(sorted({key for statistics, _ in patients for key in statistics}))
    values = np.array([[one.get(key, 0.0) for key in keys] for one, _ in patients])
    return Run(facts, keys, values, tuple(groups for _, groups in patients))


def path_of(folder: Path, cohort: str, arm: str, seed: int) -> Path:
    """Where a run is kept."""
    return folder / cohort / f"{arm}.seed-{seed}.npz"


def save_run(path: Path, run: Run) -> None:
    """Write a run whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        {"facts": dict(run.facts), "keys": run.keys, "groups": [dict(one) for one in run.groups]}
    )
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        np.savez_compressed(
            file, values=run.values.astype(np.float32), text=np.frombuffer(text.encode(), np.uint8)
        )
    temporary.replace(path)


def load_run(path: Path) -> Run:
    """Read a run; no pickle."""
    with np.load(path, allow_pickle=False) as held:
        told = json.loads(bytes(held["text"]))
        values = held["values"].astype(np.float64)
    return Run(told["facts"], tuple(told["keys"]), values, tuple(told["groups"]))


def stored_runs(folder: Path) -> list[Run]:
    """Every run under a folder, in the order of their files."""
    return [load_run(path) for path in sorted(folder.glob("*/*.npz"))]
