"""Blocks cover a lattice once, whole or in parts."""

from __future__ import annotations

import numpy as np

from shared.phantom.solids import lattice as lattices
from shared.phantom.solids.distance import floats
from shared.phantom.solids.lattice import block_centres, blocks_at, straight


def test_parts_of_blocks_are_the_blocks() -> None:
    row = floats(np.arange(0, 70.5, 0.7))
    lattice = straight(row, row, row)
    places, *_ = block_centres(lattice)
    blocks = blocks_at(lattice, places)
    assert len(places) > lattices.PART
    parts = list(blocks.parts())
    assert all(len(part.i) <= lattices.PART for part in parts)
    counted = np.zeros(lattice.shape, int)
    for part in parts:
        counted[part.i, part.j, part.k] += 1
    assert (counted >= 1).all()
    points = np.concatenate([np.stack(part.points(lattice), axis=1) for part in parts])
    assert np.array_equal(points, np.stack(blocks.points(lattice), axis=1))


def test_smaller_blocks_are_the_same_samples_cut_finer() -> None:
    lattice = straight(
        *(floats(np.arange(0, n * step, step)) for n, step in ((30, 0.6), (17, 1.0), (9, 3.0)))
    )
    sides = lattices.compact_sides(lattice.step)
    assert sides == (8, 4, 1)
    places, *_ = block_centres(lattice)
    counted = np.zeros(lattice.shape, int)
    divided = blocks_at(lattice, places).divided(sides)
    assert divided.shape[1:] == sides
    counted[divided.i, divided.j, divided.k] += 1
    assert (counted >= 1).all()
    some = divided.inner()
    assert some.shape == (len(divided.i), 2, 2, 1)
