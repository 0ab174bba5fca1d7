"""What a site says of itself beside an answer: what was asked, and what it has cost so far."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from shared.protocol.codec import PROTOCOL_VERSION
from shared.settings.base import Settings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]

Nonnegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Account(Settings):
    """What a site says about its answer. Nothing here is about a patient.

    `request` is `shared.protocol.signatures.asked_digest` of what the coordinator sent.
    `epsilon_run` is what this run's task cost so far, `epsilon_spent` what the
    site's ledger holds over all runs, both at the site's own `delta`;
    `plain_rounds` counts rounds without privacy, which no epsilon covers. `seconds` are whole
    ones, rounded up.
    """

    protocol: Literal[4] = PROTOCOL_VERSION
    site: Name
    run: Name
    round: Annotated[int, Field(ge=0)]
    task: Name
    mode: Literal["private", "plain", "evaluate"]
    request: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    epsilon_run: Nonnegative = 0.0
    epsilon_spent: Nonnegative = 0.0
    epsilon_budget: Nonnegative = 0.0
    delta: Nonnegative = 0.0
    plain_rounds: Annotated[int, Field(ge=0)] = 0
    seconds: Nonnegative = 0.0
    metrics_withheld: Annotated[str, Field(pattern=r"^[a-z_]{0,40}$")] = ""
