"""The updates of a round, read block by block: memory does not grow with the sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.rounds.aggregation.update_store import SpooledUpdate
from shared.protocol.codec import Arrays

#: Numbers held at once while blocks are aggregated, over all sites (float64: 64 MB).
BLOCK_NUMBERS: Final = 8_000_000

Floats = NDArray[np.float64]


class Block(NamedTuple):
    """Some numbers of a tensor, counted from 0 in C order."""

    name: str
    begin: int
    end: int

    @property
    def size(self) -> int:
        """How many they are."""
        return self.end - self.begin


@dataclass(frozen=True)
class Contribution:
    """A site's update as it counts: shortened by `scale`, weighed by `patients`."""

    update: SpooledUpdate
    scale: float
    patients: int

    @contextmanager
    def opened(self) -> Iterator[Callable[[Block], Floats]]:
        """Open the update; what comes gives what it changes of a block, shape (size,)."""
        with self.update.opened() as file:
            yield lambda block: np.asarray(self.scale * file.numbers(*block).astype(np.float64))


def blocks(before: Arrays, sites: int) -> Iterator[Block]:
    """Cut tensors into blocks, of which every site's share is held at once."""
    step = _share(sites)
    for name in sorted(before):
        for begin in range(0, before[name].size, step):
            yield Block(name, begin, min(begin + step, before[name].size))


def changes(sites: Sequence[Contribution], before: Arrays) -> Iterator[tuple[Block, Floats]]:
    """Give each block, and what every site changes of it, shape (sites, size)."""
    for together in _batches(blocks(before, len(sites)), _share(len(sites))):
        values = [np.empty((len(sites), block.size)) for block in together]
        for row, one in enumerate(sites):
            with one.opened() as change:
                for block, of_block in zip(together, values, strict=True):
                    of_block[row] = change(block)
        yield from zip(together, values, strict=True)


def _share(sites: int) -> int:
    """Numbers of each site that are held at once."""
    return max(1, BLOCK_NUMBERS // sites)


def _batches(all_blocks: Iterable[Block], most: int) -> Iterator[list[Block]]:
    """Put small blocks together, so that a file is not opened for each."""
    batch: list[Block] = []
    for block in all_blocks:
        if batch and sum(one.size for one in batch) + block.size > most:
            yield batch
            batch = []
        batch.append(block)
    if batch:
        yield batch
