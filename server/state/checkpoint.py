"""The checkpoint of a task: each round is written down when it ends, whole or not at all.

``history.json`` is written last and names the files that belong to it: a crash
before that leaves the round before. Old files go when the new history is there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, ValidationError
from safetensors.numpy import load_file

from server.state.result import CurvePoint, Facts, RoundFacts
from shared.errors import ModelIncompatibleError
from shared.protocol.codec import Arrays
from shared.protocol.passport import RoundPassport
from shared.runtime.files import write_text_atomically
from shared.training.weights import Weights, digest_arrays, load_weights, save_tensors, save_weights

HISTORY: Final = "history.json"
FINAL: Final = "final.safetensors"
#: Raised by one with every change of what a checkpoint holds or means.
VERSION: Final = 2


class Progress(Facts):
    """What the finished rounds of a task have brought, besides the model."""

    rounds: list[RoundFacts] = Field(default_factory=list)
    curve: list[CurvePoint] = Field(default_factory=list)
    start_sums: dict[str, dict[str, float]] = Field(default_factory=dict)
    epsilon_spent: dict[str, float] = Field(default_factory=dict)
    passports: list[RoundPassport] = Field(default_factory=list)


class History(Progress):
    """What a task's run has done so far, and the file of the model it has reached.

    `weights` and `strategy_state` are names of files beside ``history.json``;
    `digest` is that of the weights, which are the coordinator's own and not rounded as
    what is sent.
    """

    checkpoint: Literal[2]
    run: str
    task: str
    round: int
    weights: str
    digest: str
    strategy_state: str | None

    @property
    def progress(self) -> Progress:
        """The part that the round loop goes on with."""
        return Progress.model_validate(self.model_dump(include=set(Progress.model_fields)))


@dataclass(frozen=True)
class Standing:
    """A checkpoint as it was read."""

    progress: Progress
    weights: Weights
    state: Arrays


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoints of one task of one run, in a folder of their own."""

    folder: Path
    run: str
    task: str

    def write(
        self,
        weights: Weights,
        state: Arrays,
        progress: Progress,
    ) -> History:
        """Write a finished round.

        Parameters
        ----------
        weights : Weights
            The coordinator's model after the round, not rounded.
        state : dict of str to ndarray
            What the strategy keeps.
        progress : Progress
            Facts of all rounds so far.
        """
        number = progress.rounds[-1].round if progress.rounds else 0
        name = f"round-{number:04d}.safetensors"
        save_weights(self.folder / name, weights)
        state_name = None
        if state:
            state_name = f"state-{number:04d}.safetensors"
            save_tensors(self.folder / state_name, state)
        history = History(
            checkpoint=VERSION,
            run=self.run,
            task=self.task,
            round=number,
            weights=name,
            digest=digest_arrays(weights.arrays),
            strategy_state=state_name,
            **{name: getattr(progress, name) for name in Progress.model_fields},
        )
        write_text_atomically(self.folder / HISTORY, history.model_dump_json(indent=1))
        for old in [*self.folder.glob("round-*"), *self.folder.glob("state-*")]:
            if old.name not in (name, state_name):
                old.unlink()
        return history

    def read(self) -> Standing | None:
        """Read the last finished round; None if there is none.

        Raises
        ------
        VersionMissingError, ModelIncompatibleError
            If its files are missing or damaged; the run must then begin anew.
        """
        path = self.folder / HISTORY
        if not path.is_file():
            return None
        history = _read_history(path)
        weights = load_weights(self.folder / history.weights)
        if digest_arrays(weights.arrays) != history.digest:
            raise ModelIncompatibleError(
                f"{self.folder / history.weights}: is not the model that {HISTORY} names; "
                "begin anew with --fresh"
            )
        kept = history.strategy_state
        return Standing(history.progress, weights, load_file(self.folder / kept) if kept else {})

    def rounds_done(self) -> int:
        """Number of finished rounds, without reading the model."""
        try:
            return int(json.loads((self.folder / HISTORY).read_text(encoding="utf-8"))["round"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0

    def finish(self, weights: Weights) -> Path:
        """Write the model that the run ends with; return its path."""
        save_weights(self.folder / FINAL, weights)
        return self.folder / FINAL


def _read_history(path: Path) -> History:
    text = path.read_text(encoding="utf-8")
    try:
        return History.model_validate_json(text)
    except ValidationError:
        if _is_older(text):
            raise ModelIncompatibleError(
                f"{path}: is a checkpoint of an older OsteoFed; finish the run with the version "
                "that began it, or begin anew with --fresh"
            ) from None
        raise ModelIncompatibleError(
            f"{path}: is not a checkpoint of this version; begin anew with --fresh"
        ) from None


def _is_older(text: str) -> bool:
    """Whether it says so, or says nothing: the first checkpoints had no number."""
    try:
        read = json.loads(text)
        return "rounds" in read and int(read.get("checkpoint", 1)) < VERSION
    except (ValueError, TypeError, AttributeError, RecursionError):
        return False
