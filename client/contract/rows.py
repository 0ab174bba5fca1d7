"""One line of a data contract's table: a requirement, what was found, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from shared.settings.contract import Weight

Verdict = Literal["met", "not met", "cannot tell"]
MET: Final[Verdict] = "met"
NOT_MET: Final[Verdict] = "not met"
CANNOT_TELL: Final[Verdict] = "cannot tell"


@dataclass(frozen=True)
class ContractRow:
    """One requirement and what came of it.

    `requirement` names it and says nothing of the site; `found` and `advice` are for the
    hospital's own engineer and never leave it.
    """

    requirement: str
    required: str
    found: str
    verdict: Verdict
    weight: Weight
    advice: str

    @property
    def fails(self) -> bool:
        """Whether it keeps the site from training."""
        return self.weight == "must" and self.verdict != MET


def make_row(
    rule: Any, requirement: str, required: str, found: str, verdict: Verdict, advice: str
) -> ContractRow:
    """Make the row of a rule; what is met needs no advice.

    The advice begins with what was found and what is required, so that it can be read alone.
    """
    advice = "" if verdict == MET else f"found {found} (required: {required}): {advice}"
    return ContractRow(requirement, required, found, verdict, rule.weight, advice)


def verdict_of_share(outside: int, unknown: int, total: int, exceptions: float) -> Verdict:
    """Say whether at most a share of `total` lies outside, where of some nobody knows."""
    allowed = exceptions * total
    if outside > allowed:
        return NOT_MET
    return CANNOT_TELL if outside + unknown > allowed else MET


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Say what holds of several scanners: the worst that holds of one."""
    for verdict in (NOT_MET, CANNOT_TELL):
        if verdict in verdicts:
            return verdict
    return MET
