"""The part of a slab in which a spine can be, as the picture that a network sees, and back."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from shared.tasks.ct.slabs import FRAME, PIXEL_MM

#: Rows and columns of the part, mm: from the frame's back towards the front, and about its
#: middle. L1 to L4 of 48 digital patients, 24 of them near to life, reach 138 mm from the back
#: and 52 mm from the middle; the rest is for those who are heavier or whose spine is bent.
FIELD_MM: Final = (192.0, 144.0)
#: The same in pixels of a slab.
FIELD: Final = (round(FIELD_MM[0] / PIXEL_MM), round(FIELD_MM[1] / PIXEL_MM))
#: HU below and above are one: fat and air, and what is denser than bone of a spine.
WINDOW: Final = (-200.0, 1000.0)
#: HU that become one, so that tissue and bone are apart by about one.
SCALE_HU: Final = 250.0


def inside() -> tuple[slice, slice]:
    """Rows and columns of the slab's frame that the part takes."""
    left = (FRAME[1] - FIELD[1]) // 2
    return slice(FRAME[0] - FIELD[0], FRAME[0]), slice(left, left + FIELD[1])


def is_cut(bone: NDArray[np.bool_]) -> bool:
    """Say whether masks, (..., 392, 392), reach the part's border: what lies beyond is lost."""
    rows, columns = inside()
    part = bone[..., rows, columns]
    borders = (part[..., 0, :], part[..., -1, :], part[..., 0], part[..., -1])
    return any(bool(one.any()) for one in borders)


def picture(hu: NDArray[np.float32], size: tuple[int, int]) -> Tensor:
    """Bring a slab's part to a picture; water is 0.

    Parameters
    ----------
    hu : ndarray of float32, shape (392, 392)
        One slab.
    size : (int, int)
        Rows and columns of the picture.

    Returns
    -------
    Tensor of float32, shape `size`
    """
    part = np.clip(hu[inside()], *WINDOW) / SCALE_HU
    return _resized(torch.as_tensor(part, dtype=torch.float32), size)


def mask(bone: NDArray[np.bool_], size: tuple[int, int]) -> Tensor:
    """Bring a slab's mask, (392, 392), to the picture's pixels that it covers half of; int64."""
    part = np.ascontiguousarray(bone[inside()])
    return (_resized(torch.as_tensor(part, dtype=torch.float32), size) >= 0.5).long()


def on_slab(chance: Tensor) -> NDArray[np.bool_]:
    """Bring probabilities, (H, W), to a slab's mask, (392, 392): where they are at least 0.5."""
    whole = np.zeros(FRAME, bool)
    fine = functional.interpolate(chance[None, None], FIELD, mode="bilinear", align_corners=False)
    whole[inside()] = fine[0, 0].numpy() >= 0.5
    return whole


def _resized(part: Tensor, size: tuple[int, int]) -> Tensor:
    """Take means of pixels where the picture is coarser."""
    return functional.interpolate(part[None, None], size, mode="area")[0, 0]
