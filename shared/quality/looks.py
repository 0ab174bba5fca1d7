"""What each DXA view looks like: mean pictures of digital patients of both generators.

``looks.npz`` is made by ``python -m tests.verify.looks``, which says of which patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from shared.quality.likeness import Floats, Pattern, along_rows, stretched
from shared.records import View

FILE: Final = Path(__file__).parent / "looks.npz"
#: What positions are told by: the middle of these regions.
ANCHORS: Final[Mapping[View, tuple[str, ...]]] = MappingProxyType(
    {
        View.SPINE_PA: ("L1", "L2", "L3", "L4"),
        View.HIP_LEFT: ("femoral_neck",),
        View.SPINE_LATERAL: ("T12", "L1"),
    }
)
#: Cells above, below, before and behind the anchor that a picture reaches.
REACH: Final[Mapping[View, tuple[int, int, int, int]]] = MappingProxyType(
    {
        View.SPINE_PA: (20, 28, 22, 22),
        View.HIP_LEFT: (17, 17, 17, 17),
        View.SPINE_LATERAL: (56, 44, 26, 22),
    }
)
#: Sizes that adults have, over the usual one.
SIZES: Final = (0.8, 0.86, 0.93, 1.0, 1.08, 1.16, 1.25)
#: Sizes that none has, down and across: they come from a wrong spacing.
WRONG_SIZES: Final = (
    *((size, size) for size in (0.42, 0.5, 0.58, 0.67, 0.73, 1.37, 1.5, 1.7, 2.0)),
    *((size, 1.0) for size in (0.57, 0.67, 1.5, 1.75)),
    *((1.0, size) for size in (0.57, 0.67, 1.5, 1.75)),
)


@cache
def _pictures(view: View) -> tuple[Floats, ...]:
    with np.load(FILE, allow_pickle=False) as found:
        names = sorted(name for name in found.files if name.startswith(f"{view.value}:"))
        return tuple(found[name].astype(np.float32) for name in names)


@cache
def patterns(view: View) -> tuple[Pattern, ...]:
    """What a view looks like in adults of every size."""
    return _made(view, tuple((size, size) for size in SIZES))


@cache
def patterns_along_rows(view: View) -> tuple[Pattern, ...]:
    """What of a view changes from row to row, of every size."""
    changing = [(along_rows(one.cells), one) for one in patterns(view)]
    return tuple(
        Pattern(cells / np.linalg.norm(cells), one.anchor, one.stretch) for cells, one in changing
    )


@cache
def wrong_patterns(view: View) -> tuple[Pattern, ...]:
    """What a view looks like where the size of a pixel is wrong."""
    return _made(view, WRONG_SIZES)


def _made(view: View, sizes: tuple[tuple[float, float], ...]) -> tuple[Pattern, ...]:
    above, _, before, _ = REACH[view]
    return tuple(
        stretched(picture, (above, before), size) for picture in _pictures(view) for size in sizes
    )
