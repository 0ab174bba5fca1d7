"""Patients as batches: prepared once, varied and drawn by generators of one round's key."""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch

from shared.records import PatientSource
from shared.seeds import derive_seed, key_bytes, numpy_generator
from shared.tasks.base import Task
from shared.tasks.sample import Sample, bytes_of, collate, fold
from shared.training.compute import Compute
from shared.training.noise import KeyStream

#: Prepared samples are kept in memory up to this many bytes; beyond it they are
#: made anew each time, which is slower and changes nothing else.
CACHE_BYTES = 3 * 2**30


@dataclass(frozen=True)
class RoundKey:
    """What all randomness of one local round is derived from.

    Attributes
    ----------
    secret : bytes or int
        The site's secret (or the public seed of an experiment).
    run : str
        Name of the run.
    round : int
        Round, from 1.
    model_digest : str
        Digest of the model received: another model, other random numbers.
    attempt : int
        Which release of this request it is, from 1. Every release that counts
        in the ledger has noise of its own.
    device : str
        Where gradients are computed: two devices round differently, so they
        never share noise.
    fresh : bytes
        A key that only this release has and that is erased after it, so that whoever
        knows the secret later cannot make its noise again; empty = none.
    """

    secret: bytes | int = field(repr=False)
    run: str
    round: int
    model_digest: str
    attempt: int = 1
    device: str = "cpu"
    fresh: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse a round that is none: a falling rate would rise before the first."""
        if self.round < 1:
            raise ValueError(f"round {self.round}: rounds count from 1")

    @property
    def _own(self) -> bytes | int:
        """The secret, with the erased key of this release where there is one.

        Whoever has the secret later could else make anew what varied each patient's images, and
        the variation follows from who was there.
        """
        if not self.fresh:
            return self.secret
        return hmac.new(key_bytes(self.secret), self.fresh, hashlib.sha256).digest()

    def seed(self, *purpose: str | int) -> int:
        """Derive a 63-bit seed for one purpose of this round."""
        return derive_seed(self._own, self.run, self.round, self.model_digest, *purpose)

    def generator(self, *purpose: str | int) -> np.random.Generator:
        """Make a NumPy generator (PCG64) for one purpose of this round."""
        return numpy_generator(self._own, self.run, self.round, self.model_digest, *purpose)

    def stream(self, *purpose: str | int) -> KeyStream:
        """Make the strong stream of what the privacy of a release rests on.

        Its key is all 256 bits of HMAC-SHA256 over everything this key holds, so
        streams of two purposes, attempts or devices are independent.
        """
        parts = (self.run, self.round, self.model_digest, self.attempt, self.device, *purpose)
        message = "\x1f".join(["release", *map(str, parts)]).encode() + b"\x1f" + self.fresh
        return KeyStream(hmac.new(key_bytes(self.secret), message, hashlib.sha256).digest())


class KeptSamples(Protocol):
    """Where samples outlive a training: each is what `Task.sample` made of the study."""

    def find(self, patient: str, study: int) -> Sample | None:
        """Give the sample of a patient's study, by its number; None if it is not kept."""
        ...

    def keep(self, patient: str, study: int, sample: Sample) -> None:
        """Keep a sample, if there is room."""
        ...


class Patients:
    """The patients of a source that a task can use, as prepared samples.

    A patient with several usable studies gives one of them to each step.

    Parameters
    ----------
    task : Task
        Which prepares them.
    source : PatientSource
        Whose they are.
    kept : KeptSamples, optional
        Where samples are from round to round; without, each is made anew.
    """

    def __init__(self, task: Task, source: PatientSource, kept: KeptSamples | None = None) -> None:
        self.task = task
        self.source = source
        self._kept = kept
        usable = {
            patient: tuple(
                number for number, study in enumerate(source.studies(patient)) if task.uses(study)
            )
            for patient in source.patients
        }
        self.studies = {patient: numbers for patient, numbers in usable.items() if numbers}
        self.names: tuple[str, ...] = tuple(self.studies)
        self._prepared: dict[tuple[str, int], Sample] = {}
        self._bytes = 0

    @classmethod
    def of(cls, task: Task, source: PatientSource | Patients) -> Patients:
        """Prepare the patients of a source; what is prepared already is given back."""
        return source if isinstance(source, Patients) else cls(task, source)

    def __len__(self) -> int:
        """Count the usable patients; no array is read for it."""
        return len(self.names)

    def prepared(self, patient: str, study: int) -> Sample:
        """Give the deterministic sample of one study, from memory or where it is kept."""
        known = self._prepared.get((patient, study))
        if known is not None:
            return known
        sample = None if self._kept is None else self._kept.find(patient, study)
        if sample is None:
            sample = self.task.sample(self.source.studies(patient)[study])
            if self._kept is not None:
                self._kept.keep(patient, study, sample)
        size = bytes_of(sample)
        if self._bytes + size <= CACHE_BYTES:
            self._prepared[patient, study] = sample
            self._bytes += size
        return sample

    def newest(self, patient: str) -> Sample:
        """Give the sample of a patient's newest usable study."""
        return self.prepared(patient, self.studies[patient][-1])

    def drawn(
        self, patient: str, step: int, key: RoundKey, *, augment: bool
    ) -> tuple[Sample, np.random.Generator | None]:
        """Give a patient's sample for one step, and what `Task.augment` is to vary it with.

        Both depend on the key, the patient and the step only, not on who else is
        in the batch.
        """
        studies = self.studies[patient]
        generator = key.generator("patient", patient, step)
        study = studies[int(generator.integers(len(studies)))] if len(studies) > 1 else studies[0]
        return self.prepared(patient, study), generator if augment else None


@dataclass(frozen=True)
class Microbatch:
    """Patients of one step (from 0) that are computed at a time.

    Attributes
    ----------
    step : int
        Which.
    names : sequence of str
        The patients; none in the only piece of a step in which nobody was drawn.
    patients : int
        Of the whole step.
    first, last : bool
        Of its step.
    """

    step: int
    names: Sequence[str]
    patients: int
    first: bool
    last: bool


def pieces_of(steps: Iterable[Sequence[str]], size: int) -> Iterator[Microbatch]:
    """Cut the patients of every step into pieces of at most `size`."""
    for step, names in enumerate(steps):
        parts = list(pieces(names, size)) or [names]
        for place, part in enumerate(parts):
            yield Microbatch(step, part, len(names), place == 0, place + 1 == len(parts))


def batches_of(
    patients: Patients,
    wanted: Iterable[Microbatch],
    key: RoundKey,
    compute: Compute,
    *,
    augment: bool,
) -> Generator[tuple[Microbatch, Sample]]:
    """Make the batch of every piece, an empty one for a piece without patients.

    While a GPU computes, `compute.threads` threads vary and stack the patients of the
    next pieces; studies are read by the caller's thread alone. What comes out is the same
    with any number of threads. Close the iterator if it is not used up.
    """

    def read(piece: Microbatch) -> list[tuple[Sample, np.random.Generator | None]]:
        return [patients.drawn(name, piece.step, key, augment=augment) for name in piece.names]

    def make(drawn: list[tuple[Sample, np.random.Generator | None]]) -> Sample:
        return _stacked(
            [
                sample if generator is None else patients.task.augment(sample, generator)
                for sample, generator in drawn
            ]
        )

    if compute.device == "cpu":
        for piece in wanted:
            yield piece, make(read(piece))
        return

    waiting: deque[tuple[Microbatch, Future[Sample]]] = deque()
    with ThreadPoolExecutor(
        compute.threads, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        try:
            for piece in wanted:
                waiting.append((piece, pool.submit(make, read(piece))))
                if len(waiting) > compute.threads:
                    yield _moved(*waiting.popleft(), compute.device)
            while waiting:
                yield _moved(*waiting.popleft(), compute.device)
        finally:
            pool.shutdown(cancel_futures=True)


def _moved(piece: Microbatch, batch: Future[Sample], device: str) -> tuple[Microbatch, Sample]:
    return piece, _on(batch.result(), device)


def pieces(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut a batch into pieces of at most `size` patients; none for an empty batch."""
    for first in range(0, len(names), size):
        yield names[first : first + size]


def to_batch(samples: list[Sample], device: str) -> Sample:
    """Stack patients, fold their units, move to the device: (N·K, ...)."""
    return _on(_stacked(samples), device)


def _stacked(samples: list[Sample]) -> Sample:
    return fold(collate(samples)) if samples else {}


def _on(batch: Sample, device: str) -> Sample:
    if device == "cpu":
        return batch
    return {key: value.pin_memory().to(device, non_blocking=True) for key, value in batch.items()}


def poisson_draw(names: Sequence[str], sample_rate: float, key: RoundKey, step: int) -> list[str]:
    """Draw every patient independently with the same probability.

    Parameters
    ----------
    names : sequence of str
        All patients.
    sample_rate : float
        In (0, 1]; 1 draws everyone.
    key : RoundKey
        Key of the round.
    step : int
        Step of the round, from 0.

    Returns
    -------
    list of str
        In the order given; it may be empty.
    """
    chance = key.stream("poisson", step).uniform(len(names))
    return [name for name, value in zip(names, chance, strict=True) if value < sample_rate]


def shuffled_batches(names: Sequence[str], size: int, key: RoundKey) -> Iterator[list[str]]:
    """Go through all patients in random order, again and again, for ever.

    Batches have `size` patients (all of them if there are fewer) and run on over
    the end of a pass.
    """
    size = min(size, len(names))
    waiting: list[str] = []
    number = 0
    while True:
        while len(waiting) < size:
            order = key.generator("order", number).permutation(len(names))
            waiting += [names[place] for place in order]
            number += 1
        yield waiting[:size]
        waiting = waiting[size:]
