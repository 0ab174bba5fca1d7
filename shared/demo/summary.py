"""The shape of ``summary.json``, version 1. Every figure in it was computed in the run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Standing = Literal["better", "equal", "worse"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HospitalSummary(_Part):
    """One hospital: its patients by split and the privacy that it spent.

    `epsilon_spent` is over all tasks together, as the hospital's own ledger
    composes them; 0 for a hospital that takes no part.
    """

    scanner: str
    patients: int = Field(ge=1)
    train: int = Field(ge=0)
    validation: int = Field(ge=0)
    test: int = Field(ge=0)
    epsilon_spent: float = Field(ge=0)
    epsilon_budget: float = Field(gt=0)
    delta: float = Field(gt=0)


class TaskSummary(_Part):
    """One trained task.

    `epsilon` is what this task's run alone spent at each hospital. `metrics` are
    those of the champion on each hospital's **test** patients, ``unseen`` being
    the hospital that took no part; a metric that cannot be computed on them
    (for example an AUC without a case) is null. BMD errors are in g/cm2. `start` is the
    headline metric, at the unseen hospital, of the public weights that the run started
    from, and `against_start` how the champion stands against it there, compared at three
    decimals; null where either cannot be computed.
    """

    version: int = Field(ge=1)
    rounds: int = Field(ge=1)
    epsilon: dict[str, float]
    bytes_up: int = Field(ge=0)
    bytes_down: int = Field(ge=0)
    seconds: float = Field(ge=0)
    metrics: dict[str, dict[str, float | None]]
    start: float | None
    against_start: Standing | None


class Comparison(_Part):
    """The headline metric on the unseen hospital, by way of training."""

    pretrained: float
    alone: dict[str, float]
    federated: float
    federated_private: float
    pooled: float


class DemoSummary(_Part):
    """``runs/demo/summary.json``.

    `stages` are the seconds of each stage by its title; stages overlap, so they add up to
    more than `seconds`. Summaries of before have none.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema")
    seconds: float
    stages: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    peak_rss_mb: float
    hospitals: dict[str, HospitalSummary]
    tasks: dict[str, TaskSummary]
    comparison: dict[str, Comparison]
    report: str
    champions: dict[str, int]
