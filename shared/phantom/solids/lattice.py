"""Where a picture or a volume samples the world: coordinates that broadcast, cut into blocks.

One lattice serves every modality. Its last axis runs along the rays. The beams of DXA are
parallel, so each coordinate varies along one axis only; a point source makes x and z grow with
the way along the ray; a tilted gantry makes z depend on y. World frame, mm: x to the patient's
left, y to the back, z to the feet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from .distance import Floats, floats

#: Samples along each side of a block; what a solid is nowhere near is left out block by block.
BLOCK: Final = 8
#: Blocks computed at once: as many samples as stay in a core's cache halve the time.
PART: Final = 256


@dataclass(frozen=True)
class Lattice:
    """Sample points in space.

    Attributes
    ----------
    x, y, z : ndarray of float32
        World coordinates in mm, three axes each, that broadcast to `shape`.
    shape : (int, int, int)
        Rows, columns, samples along the ray.
    step : (float, float, float)
        Distance of neighbours along each axis in mm, where it is largest.
    """

    x: Floats
    y: Floats
    z: Floats
    shape: tuple[int, int, int]
    step: tuple[float, float, float]
    lateral: bool = False

    @property
    def sides(self) -> tuple[float, float, float]:
        """Sides of the box that a sample stands for, along x, y, z of the world, mm."""
        row, column, way = self.step
        return (way, column, row) if self.lateral else (column, way, row)


def straight(rows: Floats, columns: Floats, ways: Floats, *, lateral: bool = False) -> Lattice:
    """Lattice of parallel rays.

    Parameters
    ----------
    rows, columns, ways : ndarray of float32, one axis each
        Evenly spaced z of the rows, x of the columns and y along the ray; with `lateral`
        the columns are y and the ray runs along x.
    """
    z, across, along = rows[:, None, None], columns[None, :, None], ways[None, None, :]
    x, y = (along, across) if lateral else (across, along)
    step = tuple(float(abs(v[1] - v[0])) if len(v) > 1 else 1.0 for v in (rows, columns, ways))
    shape = (len(rows), len(columns), len(ways))
    return Lattice(x, y, z, shape, (step[0], step[1], step[2]), lateral)


def diverging(
    rows: Floats, columns: Floats, ways: Floats, source: tuple[float, float, float], film_y: float
) -> Lattice:
    """Lattice of rays from a point to the pixels of a film that stands at `film_y`.

    `rows` and `columns` are z and x of the pixels on the film, `ways` the planes between source
    and film, mm.
    """
    share = ((ways - source[1]) / (film_y - source[1]))[None, None, :]
    x = source[0] + (columns[None, :, None] - source[0]) * share
    z = source[2] + (rows[:, None, None] - source[2]) * share
    steps = tuple(float(abs(v[1] - v[0])) if len(v) > 1 else 1.0 for v in (rows, columns, ways))
    return Lattice(
        floats(x), floats(ways[None, None, :]), floats(z), (len(rows), len(columns), len(ways)),
        (steps[0], steps[1], steps[2]),
    )  # fmt: skip


@dataclass(frozen=True)
class Blocks:
    """Samples of some blocks of a lattice: index arrays (B, 8, 1, 1), (B, 1, 8, 1), (B, 1, 1, 8).

    Blocks at the far border would reach beyond the lattice; their indices are held inside it,
    so that the last samples are computed more than once, always alike. Parts of blocks have
    fewer samples a side.
    """

    i: np.ndarray
    j: np.ndarray
    k: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Blocks, and samples of each along the three axes."""
        return np.broadcast_shapes(self.i.shape, self.j.shape, self.k.shape)

    def points(self, lattice: Lattice) -> tuple[Floats, Floats, Floats]:
        """World coordinates of all samples, each flat."""
        shape = self.shape
        found = []
        for values in (lattice.x, lattice.y, lattice.z):
            index = tuple(
                axis if size > 1 else 0
                for axis, size in zip((self.i, self.j, self.k), values.shape, strict=True)
            )
            found.append(np.broadcast_to(values[index], shape).reshape(-1))
        return found[0], found[1], found[2]

    def parts(self) -> Iterator[Blocks]:
        """The same blocks, a few at a time."""
        _, a, b, c = self.shape
        count = PART * BLOCK**3 // (a * b * c)
        for start in range(0, len(self.i), count):
            yield self.chosen(slice(start, start + count))

    def chosen(self, which: slice | np.ndarray) -> Blocks:
        """Some of the blocks."""
        return Blocks(self.i[which], self.j[which], self.k[which])

    def divided(self, sides: tuple[int, int, int]) -> Blocks:
        """The same samples in smaller blocks; `sides` are divisors of the sides these have."""
        a, b, c = sides
        count, *whole_sides = self.shape
        shape = (count, *(n // one for n, one in zip(whole_sides, sides, strict=True)))

        def axis(index: np.ndarray, place: int, side: int) -> np.ndarray:
            cut = [count, 1, 1, 1, side]
            cut[1 + place] = shape[1 + place]
            whole = np.broadcast_to(index.reshape(cut), (*shape, side)).reshape(-1, side)
            sample = [len(whole), 1, 1, 1]
            sample[1 + place] = side
            return whole.reshape(sample)

        return Blocks(axis(self.i, 0, a), axis(self.j, 1, b), axis(self.k, 2, c))

    def inner(self) -> Blocks:
        """A few samples of each block: two along each axis that has four or more, else one."""

        def axis(index: np.ndarray, place: int) -> np.ndarray:
            side = index.shape[1 + place]
            at = [side // 4, (3 * side) // 4] if side > 2 else [side // 2]
            return index.take(at, axis=1 + place)

        return Blocks(axis(self.i, 0), axis(self.j, 1), axis(self.k, 2))


def compact_sides(step: tuple[float, float, float], length: float = 4.0) -> tuple[int, int, int]:
    """Samples a side of blocks that are about as long along each axis, `length` mm."""
    sides = [2 ** int(np.clip(np.rint(np.log2(length / one)), 0, 3)) for one in step]
    return sides[0], sides[1], sides[2]


def blocks_at(lattice: Lattice, places: np.ndarray) -> Blocks:
    """Blocks by their numbers (B, 3)."""
    inside = np.arange(BLOCK)
    axes = []
    for axis, size in enumerate(lattice.shape):
        index = np.minimum(places[:, axis, None] * BLOCK + inside, size - 1)
        shape = [len(places), 1, 1, 1]
        shape[axis + 1] = BLOCK
        axes.append(index.reshape(shape))
    return Blocks(*axes)


def block_centres(lattice: Lattice) -> tuple[np.ndarray, Floats, Floats, Floats]:
    """Numbers (B, 3) and middle points of all blocks."""
    counts = [-(-size // BLOCK) for size in lattice.shape]
    places = np.stack(
        np.meshgrid(*(np.arange(count) for count in counts), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    middles = np.minimum(places * BLOCK + BLOCK // 2, np.array(lattice.shape) - 1)
    found = []
    for values in (lattice.x, lattice.y, lattice.z):
        index = tuple(
            middles[:, axis] if size > 1 else np.zeros(len(middles), int)
            for axis, size in enumerate(values.shape)
        )
        found.append(values[index])
    return places, found[0], found[1], found[2]
