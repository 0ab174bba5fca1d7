"""``configs/demo.yaml``: which tasks the demo trains, and what it promises of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Self

from pydantic import Field, model_validator

from shared.settings.base import Count, Settings
from shared.settings.files import load_settings

FILE: Final = "demo.yaml"


class TrainingMean(Settings):
    """The task whose error is held against always saying the training patients' mean.

    `regression` is one of the task's released regressions, in whose unit the error is.
    """

    task: str
    regression: str


class DemoPromise(Settings):
    """A bound of one metric at the hospital that took no part.

    With `of`, what is bounded is the metric's ratio to that other metric.
    """

    task: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    of: str | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("needs one of at_least and at_most")
        return self


class DemoSettings(Settings):
    """Rounds by task in the order of training, the compared task, the promises."""

    rounds: dict[str, Count] = Field(min_length=1)
    compared: str
    training_mean: TrainingMean
    promises: tuple[DemoPromise, ...]


def read_demo_settings(folder: Path) -> DemoSettings:
    """Read ``demo.yaml`` of a configs folder or of a finished demo; errors as `load_settings`."""
    return load_settings(folder / FILE, DemoSettings)
