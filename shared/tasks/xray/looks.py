"""Gate before every number of a film: what was cut out must look like L1 to L4, upright.

Nothing here comes from a trained network. The local contrast of the crop is held against a mean
picture of lumbar spines from the front, against that upside down and with dark and bright
exchanged, and against one from the side (``looks.npz``, made by
``python -m tests.verify.film_looks``). Since the picture has a vertebra of each level in its own
place, a field that is a level off is refused as well as another part of the body.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

LOOKS: Final = Path(__file__).parent / "looks.npz"
#: Least correlation with a lumbar spine from the front; of 26 films of digital patients of both
#: generators, seeds of their own, at least 0.42; upside down, from the side, inverted and turned
#: by a right angle at most 0.41, and a level too high or low, chest and pelvis at most 0.48.
LEAST: Final = 0.40
#: Least advantage over the same upside down: those had at least 0.17, all others at most 0.12.
UPRIGHT: Final = 0.145
#: How far the picture is moved over the crop, rows and columns of 96 x 64, by `STEP`.
REACH: Final = (10, 5)
STEP: Final = 2

Floats = NDArray[np.float32]


def why_not_lumbar(crop: Tensor) -> str:
    """Say why a crop is no lumbar spine from the front; empty where it is one.

    Parameters
    ----------
    crop : Tensor, shape (2, 96, 64)
        As `shared.tasks.xray.crop.crop_lumbar` gives it at the small size.

    Returns
    -------
    str
        Half a sentence after "because".
    """
    seen = crop[1].numpy() - np.float32(0.5)
    front, side = pictures()
    own, dark = likeness(seen, front)
    down, _ = likeness(seen[::-1], front)
    lateral = max(likeness(seen, one)[0] for one in (side, side[:, ::-1]))
    if own >= LEAST and own - down >= UPRIGHT and own > lateral:
        return ""
    if dark >= LEAST:
        return "bone looks darker in it than what lies beside it: it looks inverted"
    if down >= LEAST and down - own >= UPRIGHT:
        return "it looks upside down: the head is at the lower edge"
    if lateral >= LEAST and lateral > own:
        return "it looks like a lateral film, not like a frontal one of the lumbar spine"
    return "what is in it does not look like L1 to L4 of a lumbar spine from the front"


def likeness(seen: Floats, picture: Floats) -> tuple[float, float]:
    """Highest correlation with a picture moved over the crop, and with it dark for bright."""
    best, worst = -1.0, 1.0
    for down in range(-REACH[0], REACH[0] + 1, STEP):
        for across in range(-REACH[1], REACH[1] + 1, STEP):
            one, other = (
                _part(array, sign * down, sign * across)
                for array, sign in ((seen, 1), (picture, -1))
            )
            norm = float(np.linalg.norm(one) * np.linalg.norm(other))
            found = float((one * other).sum()) / max(norm, 1e-9)
            best, worst = max(best, found), min(worst, found)
    return best, -worst


def _part(array: Floats, down: int, across: int) -> Floats:
    """Rows from `down` and columns from `across` on, or up to them where negative, about 0."""
    rows = slice(down, None) if down > 0 else slice(None, down or None)
    columns = slice(across, None) if across > 0 else slice(None, across or None)
    part = array[rows, columns]
    return np.asarray(part - part.mean(), np.float32)


@cache
def pictures() -> tuple[Floats, Floats]:
    """Mean pictures from the front and from the side, (96, 64)."""
    with np.load(LOOKS, allow_pickle=False) as found:
        return found["front"].astype(np.float32), found["side"].astype(np.float32)
