"""How far estimates are off, with intervals over patients that every way of training has alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.regions import LUMBAR
from shared.tasks.ct.localisation import SHIFTED_MM
from tests.learning.scores import Figure, draws, interval
from tests.verify.topic import Runs

#: Ways without a network: a line on the true level's attenuation, and who the patient is.
LINE: Final = "line"
PERSONS: Final = "persons"
Patient = Mapping[str, Any]


def by_seed(runs: Runs) -> dict[int, list[Patient]]:
    """Patients of every seed, in the order of the plan."""
    found: dict[int, list[Patient]] = {}
    for key, one in runs.items():
        seed = int(key.partition("/")[0].removeprefix("seed-"))
        found.setdefault(seed, []).extend(one.figures["patients"])
    return found


def labels_of(patient: Patient, truth: bool = False) -> Mapping[str, float]:
    """What is to be estimated, by level: what DXA said, or what is true; sBMD in g/cm²."""
    found: Mapping[str, float] = patient["truth" if truth else "labels"]
    return found


def pairs(
    patients: Sequence[Patient], arm: str, of: str, *, truth: bool = False
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Estimates and labels of each patient, of its vertebrae or of their mean.

    A patient's value is compared with the mean of the labels of the levels that were estimated.
    """
    found = []
    for patient in patients:
        said = estimates(patient, arm)
        labels = labels_of(patient, truth)
        levels = [level for level in LUMBAR if level in said and level in labels]
        both = np.array([[said[level], labels[level]] for level in levels]).reshape(-1, 2)
        if of == "patient" and len(both):
            both = both.mean(0, keepdims=True)
        found.append((both[:, 0], both[:, 1]))
    return found


def estimates(patient: Patient, arm: str) -> Mapping[str, float]:
    """What an arm, or a way without a network, says of a patient's levels."""
    found: Mapping[str, float]
    found = patient[arm] if arm in (LINE, PERSONS) else patient["arms"][arm]["bmd"]
    return found


class Errors:
    """Absolute errors of an arm on the patients of every seed, resampled by patient.

    Only vertebrae that all of the `arms` estimated count, for each alike.
    """

    def __init__(
        self, seeds: Mapping[int, Sequence[Patient]], of: str, arms: Sequence[str],
        *, truth: bool = False,
    ) -> None:  # fmt: skip
        self.arms = list(arms)
        many = min(len(some) for some in seeds.values())
        weights = draws(many)
        values, replicates = [], []
        for some in seeds.values():
            each = [_common(patient, of, self.arms, truth) for patient in some[:many]]
            total = np.array([np.abs(e).sum(1) for e in each])  # (patients, arms)
            count = np.array([e.shape[1] for e in each], float)
            values.append(total.sum(0) / count.sum())
            replicates.append((weights @ total) / (weights @ count)[:, None])
        self._values, self._replicates = np.mean(values, axis=0), np.mean(replicates, axis=0)

    def error(self, arm: str) -> Figure:
        """Mean absolute error, mean over seeds."""
        place = self.arms.index(arm)
        return interval(float(self._values[place]), self._replicates[:, place])

    def gain(self, arm: str, other: str) -> Figure:
        """How much smaller the error is than another's."""
        mine, theirs = self.arms.index(arm), self.arms.index(other)
        return interval(
            float(self._values[theirs] - self._values[mine]),
            self._replicates[:, theirs] - self._replicates[:, mine],
        )

    def share(self, arm: str, other: str) -> Figure:
        """Another's error over this one's: above 1 where this one is nearer."""
        mine, theirs = self.arms.index(arm), self.arms.index(other)
        return interval(
            float(self._values[theirs] / self._values[mine]),
            self._replicates[:, theirs] / self._replicates[:, mine],
        )


def _common(patient: Patient, of: str, arms: Sequence[str], truth: bool) -> NDArray[np.float64]:
    """Errors of each arm on what all of them estimated, (arms, vertebrae or one or none)."""
    labels = labels_of(patient, truth)
    said = [estimates(patient, arm) for arm in arms]
    levels = [one for one in LUMBAR if one in labels and all(one in some for some in said)]
    errors = np.array([[some[one] - labels[one] for one in levels] for some in said])
    errors = errors.reshape(len(arms), -1)
    return errors.mean(1, keepdims=True) if of == "patient" and levels else errors


def agreement(patients: Sequence[Patient], arm: str, of: str) -> dict[str, float]:
    """Correlation, R² and bias of an arm's estimates with labels."""
    some = pairs(patients, arm, of)
    said, label = (np.concatenate([one[place] for one in some]) for place in (0, 1))
    left = float(np.square(said - label).sum() / np.square(label - label.mean()).sum())
    return {
        "r": float(np.corrcoef(said, label)[0, 1]),
        "r2": 1 - left,
        "bias": float((said - label).mean()),
        "n": float(len(label)),
    }


def mean_of(patients: Sequence[Patient], arm: str, what: str) -> list[float]:
    """A figure of each patient of an arm, without those who have none."""
    return [one["arms"][arm][what] for one in patients if what in one["arms"][arm]]


def shifts(patients: Sequence[Patient], arm: str) -> tuple[int, int, int]:
    """Patients with a named level that is off by more than half a vertebra, named, and all."""
    named = [one["arms"][arm]["off_mm"] for one in patients]
    off = sum(any(mm > SHIFTED_MM for mm in one.values()) for one in named)
    return off, sum(map(bool, named)), len(named)
