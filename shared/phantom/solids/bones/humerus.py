"""The humeri: a round head on a hollow shaft that widens at the elbow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from shared.phantom.solids.bone import Bone
from shared.phantom.solids.distance import Floats, floats, smoothstep, vector

from .rib import curved

#: Radius of the head, half width of the shaft and of the elbow, mm, men [U].
HEAD: Final = 22.5
SHAFT: Final = 11.0
ELBOW: Final = 27.0
#: From the middle of the head to the elbow, mm, men [U].
LENGTH: Final = 290.0
#: Trabecular mineral, g/cm³.
CORE: Final = 0.09


def place_humerus(
    head: Floats,
    elbow: Floats,
    *,
    left: bool,
    size: float = 1.0,
    cortex: float = 1.0,
    core: float = CORE,
    texture: Callable[[Floats, Floats, Floats], Floats] | None = None,
) -> Bone:
    """One humerus from the middle of its head to the elbow, both in the world, mm.

    `cortex`, `core` and `texture` are as for `Bone`.
    """
    u = floats(np.linspace(0, 1, 33))
    vertices = u[:, None] * floats((elbow - head) * vector(1 if left else -1, 1, 1))
    neck, end = 1 - smoothstep(u, 0.03, 0.2), smoothstep(u, 0.8, 1.0)
    deep = SHAFT + (HEAD - SHAFT) * neck
    halves = np.float32(size) * np.stack([deep + (ELBOW - SHAFT) * end, deep - 2 * end], axis=1)
    shaft = smoothstep(u, 0.12, 0.3) * (1 - smoothstep(u, 0.8, 0.95))
    traits = np.stack([0.7 + 3.2 * shaft, 1 - 0.85 * shaft], axis=1)
    across = np.broadcast_to(vector(1, 0, 0), vertices.shape)
    return curved(
        f"humerus_{'left' if left else 'right'}", floats(vertices), floats(across), floats(halves),
        floats(traits), head, left=left, cortex=cortex, core=core, texture=texture,
    )  # fmt: skip
