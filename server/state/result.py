"""``result.json``: what a federated run did and brought, as other programs read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.runtime.files import write_text_atomically


class Facts(BaseModel):
    """Facts are frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Absence(Facts):
    """A site that did not answer, and why.

    `kind`: ``refused`` (the hospital said no), ``failed`` (its program broke),
    ``late`` (no answer by the deadline), ``rejected`` (its answer was not what it
    must be), ``unreachable`` (its node is not there, or took no message),
    ``quarantined`` (it was not asked, for it had kept failing).
    """

    site: str
    kind: Literal["refused", "failed", "late", "rejected", "unreachable", "quarantined"]
    reason: str


class Measured(Facts):
    """Metrics on validation patients. `patients` is 0 where a site withheld its sums."""

    patients: int
    loss: float | None
    metrics: dict[str, float]


class CurvePoint(Facts):
    """How good the global model was after a number of rounds (0 = its beginning)."""

    after_round: int
    pooled: Measured
    sites: dict[str, Measured]


class RoundFacts(Facts):
    """One round. `epsilon` is what the run's task has cost each site so far (empty: plain).

    Each site's `epsilon` holds at its own `delta` (empty: by an older build, which kept none).
    `plain_rounds` are the rounds without privacy in each site's ledger, of this and
    any other run: no epsilon covers a site that has any.
    Bytes are those of the records sent to (`bytes_down`) and by (`bytes_up`) the
    sites; `patients` are the declared numbers that the sites claim, as they were used.
    """

    round: int
    attempts: int
    seconds: float
    bytes_down: int
    bytes_up: int
    patients: dict[str, int]
    site_seconds: dict[str, float]
    epsilon: dict[str, float]
    delta: dict[str, float] = {}
    plain_rounds: dict[str, int] = {}
    absent: list[Absence]


def last_said(
    rounds: list[RoundFacts], what: Literal["epsilon", "delta", "plain_rounds"]
) -> dict[str, Any]:
    """Give what each site said last, also one that was absent from the last round."""
    return {site: value for one in rounds for site, value in getattr(one, what).items()}


class Verdict(Facts):
    """Whether a candidate became champion, and why."""

    promoted: bool
    reason: str
    metric: str | None = None
    candidate: float | None = None
    reference: float | None = None


class Judged(Facts):
    """What the sites said of a trained model; kept, so that it is said once.

    After a promotion the champion is the model itself, and asking again would find it no
    better than itself. `moved` are bytes down and up.
    """

    digest: str
    curve: list[CurvePoint]
    verdict: Verdict
    moved: tuple[int, int]


class TaskResult(Facts):
    """One task of a run. `epsilon` by site is this run's; empty for a plain run.

    `plain_rounds` by site are those of its whole ledger; see `RoundFacts`.
    """

    task: str
    mode: Literal["private", "plain"]
    version: int | None
    champion: bool
    verdict: Verdict | None
    weights: Path
    digest: str
    strategy: str
    noise_multiplier: float
    rounds: list[RoundFacts]
    curve: list[CurvePoint]
    epsilon: dict[str, float]
    epsilon_spent: dict[str, float]
    plain_rounds: dict[str, int] = {}
    bytes_up: int
    bytes_down: int
    seconds: float


class RunResult(Facts):
    """``result.json`` of a run.

    `startup_seconds` is from the command to the first message, `seconds` the whole.
    """

    schema_version: Literal[1] = 1
    run: str
    name: str
    workspace: Path
    tracking_uri: str
    sites: list[str]
    seconds: float = 0.0
    startup_seconds: float = 0.0
    tasks: dict[str, TaskResult]


def save_result(result: RunResult, path: Path) -> None:
    """Write a result atomically."""
    write_text_atomically(path, result.model_dump_json(indent=2) + "\n")
