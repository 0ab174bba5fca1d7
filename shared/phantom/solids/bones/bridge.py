"""The bone that joins a transitional vertebra's transverse process to the sacrum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from shared.phantom.solids.bone import Bone
from shared.phantom.solids.distance import Floats, floats, vector

from .rib import curved

#: Half height and half depth of the bridge at the vertebra, in the middle, at the sacrum, mm,
#: men [U]: as a fan that widens downwards.
HALVES: Final = ((7.0, 6.0), (9.0, 7.0), (12.0, 9.0))
CORTEX: Final = 0.8


def place_bridge(
    process: Floats,
    wing: Floats,
    *,
    left: bool,
    size: float,
    cortex: float,
    core: float,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """One side's bridge from the transverse process to the wing of the sacrum, world, mm.

    `cortex`, `core` and `texture` are as for `Bone`.
    """
    u = floats(np.linspace(0, 1, 13))
    vertices = u[:, None] * floats((wing - process) * vector(1 if left else -1, 1, 1))
    halves = np.stack([np.interp(u, [0, 0.5, 1], side) for side in zip(*HALVES, strict=True)], 1)
    traits = np.broadcast_to(vector(CORTEX, 1.0), (len(u), 2))
    across = np.broadcast_to(vector(1, 0, 0), vertices.shape)
    return curved(
        f"bridge_{'left' if left else 'right'}", floats(vertices), floats(across),
        floats(halves * size), floats(traits), process, left=left, cortex=cortex, core=core,
        texture=texture,
    )  # fmt: skip
