"""The updates of a round, read block by block: memory does not grow with the sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.rounds.aggregation.update_store import SpooledUpdate
from shared.protocol.codec import Arrays

#: Numbers held at once while one block is aggregated, over all sites (float64: 64 MB).
BLOCK_NUMBERS: Final = 8_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Contribution:
    """A site's update as it counts: shortened by `scale`, weighed by `patients`."""

    update: SpooledUpdate
    scale: float
    patients: int

    def change(self, name: str) -> Floats:
        """Give what it changes of a tensor, in the tensor's shape."""
        return self._scaled(self.update.tensor(name))

    def numbers(self, block: Block) -> Floats:
        """Give what it changes of a block, shape (end - begin,)."""
        return self._scaled(self.update.tensor(block.name).reshape(-1)[block.begin : block.end])

    def _scaled(self, change: NDArray[np.float32]) -> Floats:
        return np.asarray(self.scale * change.astype(np.float64))


class Block(NamedTuple):
    """Some numbers of a tensor, counted from 0 in C order."""

    name: str
    begin: int
    end: int


def blocks(before: Arrays, sites: int) -> Iterator[Block]:
    """Cut tensors into blocks, of which every site's share is held at once."""
    step = max(1, BLOCK_NUMBERS // sites)
    for name in sorted(before):
        for begin in range(0, before[name].size, step):
            yield Block(name, begin, min(begin + step, before[name].size))


def changes(sites: Sequence[Contribution], block: Block) -> Floats:
    """Read what every site changes of a block, shape (sites, end - begin)."""
    values = np.empty((len(sites), block.end - block.begin))
    for row, one in enumerate(sites):
        values[row] = one.numbers(block)
    return values
