"""The passport of a version: its document, and what of it holds by itself.

It stands on both sides: the coordinator makes it (`server.registry.passport`, which also holds it
against chains and kept updates), and whoever reads a patient with a version checks it first
(`shared.inference.trust`).
"""

from __future__ import annotations

import json
from operator import not_
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from shared.audit.chain import Head
from shared.audit.keys import verify
from shared.errors import PassportInvalidError
from shared.protocol.messages import Job
from shared.protocol.preparation import digests_of
from shared.protocol.signatures import Statement, asked_digest, other_mechanism
from shared.settings.base import Settings
from shared.settings.files import StrategySettings
from shared.settings.task import TaskSettings

PASSPORT: Final = "passport"
FILE: Final = "passport.json"
#: Raised by one with every change of what a passport holds or means.
VERSION: Final = 3


class RoundPassport(Settings):
    """Where one round's model comes from: what was asked, and every statement aggregated.

    The job stands here whole: with `model_before` it makes what every statement answers.
    """

    round: int
    job: Job
    model_before: str
    model_after: str
    patients: dict[str, int]
    statements: list[Statement]


class Passport(Settings):
    """Where a version comes from. `digest` is that of its weights, `start` of those before.

    All models are named as they were sent, in half precision; `start_exact` is the digest
    of what the run began with as the coordinator held it, not rounded. `prepared_with` are the
    digests of the versions that prepared its input, by task.
    """

    passport: Literal[3] = VERSION
    run: str
    task: str
    digest: str
    start: str
    start_exact: str
    settings: TaskSettings
    strategy: StrategySettings
    most_patients: int
    prepared_with: dict[str, str] = Field(default_factory=dict, exclude_if=not_)
    rounds: list[RoundPassport]
    coordinator: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    head: Head
    signature: str

    def content(self) -> dict[str, Any]:
        """What the signature is over."""
        return self.model_dump(mode="json", exclude={"signature"})


def read_passport(path: Path) -> Passport:
    """Read a passport without believing it.

    Raises
    ------
    PassportInvalidError
        If it is none.
    """
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        return Passport.model_validate_json(text)
    except (OSError, ValueError):  # pydantic's too
        if _is_older(text):
            raise PassportInvalidError(
                f"{path}: is of an older OsteoFed; verify it with the version that made it"
            ) from None
        raise PassportInvalidError(f"{path}: is not a passport") from None


def _is_older(text: str) -> bool:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(read, dict) and read.get("passport") in range(1, VERSION)


def check_passport(path: Path, passport: Passport, key: str) -> None:
    """Hold a passport against the coordinator's key, and its parts against one another.

    Parameters
    ----------
    path : Path
        Where it stands, for the sentence.
    passport : Passport
        As it was read.
    key : str
        The coordinator's public key, known from elsewhere.

    Raises
    ------
    PassportInvalidError
        With a reason of its own for each thing that can be wrong.
    """
    if passport.coordinator != key:
        raise PassportInvalidError(f"{path}: is signed by another key than the coordinator's")
    if not verify(key, PASSPORT, passport.content(), passport.signature):
        raise PassportInvalidError(f"{path}: its signature is not that of its content")
    _check_rounds(path, passport)


def _check_rounds(path: Path, passport: Passport) -> None:
    before = passport.start
    for number, one in enumerate(passport.rounds, start=1):
        where = f"{path}: round {number}"
        if one.round != number or one.model_before != before:
            raise PassportInvalidError(f"{where} does not follow the one before it")
        before = one.model_after
        _check_job(where, passport, one)
        if sorted(one.patients) != sorted(said.site for said in one.statements):
            raise PassportInvalidError(f"{where}: the sites counted are not those that signed")
        for said in one.statements:
            if not said.is_signed():
                raise PassportInvalidError(f"{where}: {said.site} did not sign its statement")
            if (said.run, said.round, said.task) != (passport.run, number, passport.task):
                raise PassportInvalidError(f"{where}: {said.site}'s statement is about another")
            if one.patients[said.site] != min(said.patients, passport.most_patients):
                raise PassportInvalidError(f"{where}: {said.site} was counted otherwise")
    if before != passport.digest:
        raise PassportInvalidError(f"{path}: the last round's model is not this version")


def _check_job(where: str, passport: Passport, one: RoundPassport) -> None:
    """Hold what was asked against the version, and against what every site signed."""
    job = one.job
    if (job.run, job.round, job.task, job.settings) != (
        passport.run, one.round, passport.task, passport.settings,
    ):  # fmt: skip
        raise PassportInvalidError(f"{where}: was asked for another run, round or task")
    if digests_of(job.prepared_with) != passport.prepared_with:
        raise PassportInvalidError(f"{where}: its input was prepared with other versions")
    asked = asked_digest(job, {"model": one.model_before})
    for said in one.statements:
        if said.asked != asked:
            raise PassportInvalidError(
                f"{where}: {said.site} answered another request than this job with this model"
            )
        if said.mode != job.mode or said.mechanism != job.mechanism:
            raise PassportInvalidError(
                f"{where}: {said.site}: {other_mechanism(said, job.mechanism)}"
            )
