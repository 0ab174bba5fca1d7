"""The answers a hospital keeps, so that the same question gets the same bytes.

An answer to training is two files: the update (safetensors) and then its JSON, which
names the update's digest. Without the JSON there is no answer. An answer to an
evaluation is one JSON file. Beside them lies, one file a run and task, what later rounds
do not bring again of the model; it goes when the answers of its run go.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from shared.protocol.account import Account
from shared.protocol.codec import Arrays
from shared.protocol.messages import EvaluateAnswer, EvaluateJob, Job, TrainAnswer
from shared.protocol.signatures import Statement
from shared.runtime.files import appearing
from shared.training.weights import digest_arrays, kept_tensors, save_tensors

#: Runs whose answers are kept; a repeat of an older one is a new release, and counts.
RUNS_KEPT: Final = 8


def keep_answer(folder: Path, job: Job, request: str, answer: TrainAnswer) -> None:
    """Write an answer whole or not at all, before it is sent.

    Parameters
    ----------
    folder : Path
        The site folder.
    job : Job
        What was asked.
    request : str
        `shared.protocol.messages.request_digest` of the question.
    answer : TrainAnswer
        What will be sent, signed.
    """
    tensors, facts = _paths(folder, job, request)
    _make_room(tensors.parent)
    save_tensors(tensors, answer.update)
    _write(facts, {"update": digest_arrays(answer.update)} | _facts(answer, request))


def kept_answer(folder: Path, job: Job, request: str) -> TrainAnswer | None:
    """Find the answer to a question that was answered before; None if there is none.

    A damaged answer counts as none: a repeat is then a new release (`client.privacy.ledger`).
    """
    tensors, facts = _paths(folder, job, request)
    try:
        read = json.loads(facts.read_text(encoding="utf-8"))
        update = load_file(tensors)
        account = Account.model_validate(read["account"])
        statement = Statement.model_validate(read["statement"])
    except (OSError, ValueError, KeyError, ValidationError, SafetensorError):
        return None
    if digest_arrays(update) != read["update"] or read.get("request", account.request) != request:
        return None
    statistics = dict(read["statistics"])
    return TrainAnswer(update, int(read["patients"]), statistics, account, statement)


def keep_evaluation(folder: Path, job: EvaluateJob, request: str, answer: EvaluateAnswer) -> None:
    """Write the answer to an evaluation, before it is sent; see `keep_answer`."""
    path = _evaluation_path(folder, job, request)
    _make_room(path.parent)
    _write(path, _facts(answer, request))


def kept_evaluation(folder: Path, job: EvaluateJob, request: str) -> EvaluateAnswer | None:
    """Find the answer to an evaluation; None if there is none or it is damaged."""
    try:
        read = json.loads(_evaluation_path(folder, job, request).read_text(encoding="utf-8"))
        account = Account.model_validate(read["account"])
        statement = Statement.model_validate(read["statement"])
        statistics = {label: dict(sums) for label, sums in read["statistics"].items()}
    except (OSError, ValueError, KeyError, AttributeError, ValidationError):
        return None
    if read.get("request", account.request) != request:
        return None
    return EvaluateAnswer(int(read["patients"]), statistics, account, statement)


def keep_rest(folder: Path, job: Job, rest: Arrays) -> None:
    """Write the tensors that the rounds of a run's task do not train, whole or not at all."""
    path = _rest_path(folder, job)
    _make_room(path.parent)
    save_tensors(path, rest)


def kept_rest(folder: Path, job: Job) -> Arrays:
    """Find what was kept by `keep_rest`; nothing if it is not there or damaged.

    Whoever uses it must hold its digest against what is signed.
    """
    return kept_tensors(_rest_path(folder, job)) or {}


def _rest_path(folder: Path, job: Job) -> Path:
    return folder / "answers" / job.run / f"{job.task}-model.safetensors"


def _facts(answer: TrainAnswer | EvaluateAnswer, request: str) -> dict[str, Any]:
    """What is kept of an answer; `request`, which covers patients' data, stays at the site.

    An answer that an older version kept has it in its account.
    """
    return {
        "request": request,
        "patients": answer.patients,
        "statistics": answer.statistics,
        "account": answer.account.model_dump(mode="json"),
        "statement": answer.statement.model_dump(mode="json"),
    }


def _write(path: Path, facts: Mapping[str, Any]) -> None:
    with appearing(path, alone=True) as part:
        part.write_text(json.dumps(facts), encoding="utf-8")


def _paths(folder: Path, job: Job, request: str) -> tuple[Path, Path]:
    stem = folder / "answers" / job.run / f"{job.task}-{job.round:04d}-{request[:32]}"
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def _evaluation_path(folder: Path, job: EvaluateJob, request: str) -> Path:
    return folder / "answers" / job.run / f"{job.task}-evaluate-{request[:32]}.json"


def _make_room(run: Path) -> None:
    """Make a run's folder; answers of the oldest runs go."""
    if run.is_dir():
        return
    if run.parent.is_dir():
        known = sorted((p for p in run.parent.iterdir() if p.is_dir()), key=_modified)
        for old in known[: max(0, len(known) - RUNS_KEPT + 1)]:
            shutil.rmtree(old, ignore_errors=True)
    run.mkdir(parents=True, mode=0o700)


def _modified(path: Path) -> float:
    return path.stat().st_mtime
