"""The answers a hospital keeps, so that the same question gets the same bytes.

An answer is two files: the update (safetensors) and then its JSON, which names
the update's digest. Without the JSON there is no answer.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from shared.protocol import Account, Job, TrainAnswer
from shared.weights import digest_arrays

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
        `shared.protocol.request_digest` of the question.
    answer : TrainAnswer
        What will be sent.
    """
    tensors, facts = _paths(folder, job, request)
    if not tensors.parent.is_dir():
        _forget_oldest(tensors.parent.parent)
        tensors.parent.mkdir(parents=True, mode=0o700)
    temporary = tensors.with_suffix(".part")
    save_file(answer.update, temporary)
    _settle(temporary, tensors)
    text = json.dumps(
        {
            "update": digest_arrays(answer.update),
            "patients": answer.patients,
            "statistics": answer.statistics,
            "account": answer.account.model_dump(mode="json"),
        }
    )
    temporary.write_text(text, encoding="utf-8")
    _settle(temporary, facts)


def kept_answer(folder: Path, job: Job, request: str) -> TrainAnswer | None:
    """Find the answer to a question that was answered before; None if there is none.

    A damaged answer counts as none: a repeat is then a new release (`client.ledger`).
    """
    tensors, facts = _paths(folder, job, request)
    try:
        read = json.loads(facts.read_text(encoding="utf-8"))
        update = load_file(tensors)
        account = Account.model_validate(read["account"])
    except (OSError, ValueError, KeyError, ValidationError, SafetensorError):
        return None
    if digest_arrays(update) != read["update"] or account.request != request:
        return None
    return TrainAnswer(update, int(read["patients"]), dict(read["statistics"]), account)


def _paths(folder: Path, job: Job, request: str) -> tuple[Path, Path]:
    stem = folder / "answers" / job.run / f"{job.task}-{job.round:04d}-{request[:32]}"
    return stem.with_name(stem.name + ".safetensors"), stem.with_name(stem.name + ".json")


def _settle(temporary: Path, final: Path) -> None:
    """Move a file into place once its bytes are on the disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(final)


def _forget_oldest(runs: Path) -> None:
    if not runs.is_dir():
        return
    known = sorted((p for p in runs.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime)
    for run in known[: max(0, len(known) - RUNS_KEPT + 1)]:
        shutil.rmtree(run, ignore_errors=True)
