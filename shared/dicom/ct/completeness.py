"""Whether all slices of a CT series are there, as far as the series itself can say.

*Whole* is only what the scanner counted (ImagesInAcquisition). That an archive holds as many as
were fetched proves nothing, as it may have lost some itself; so does an unbroken numbering, as a
lost end shows nowhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Literal

from shared.phrases import counted

Completeness = Literal["whole", "incomplete", "unknown"]
WHOLE: Final[Completeness] = "whole"
INCOMPLETE: Final[Completeness] = "incomplete"
UNKNOWN: Final[Completeness] = "unknown"
#: In words, for tables and reports.
COMPLETENESS_WORDS: Final[dict[str, str]] = {
    WHOLE: "whole",
    INCOMPLETE: "incomplete",
    UNKNOWN: "as received, completeness unknown",
}
#: Slices that lie so many declared distances apart: every second one is missing.
DOUBLED: Final = 1.9
#: Positions that were rounded make distances differ by no more, mm.
ROUNDED_MM: Final = 0.25
#: A distance that is a thickness and a gap, to this share, was written as the gap alone.
SAME_SHARE: Final = 0.05


@dataclass(frozen=True)
class SliceTold:
    """What the header of a slice says of the series it belongs to; None = nothing.

    Attributes
    ----------
    number : int or None
        InstanceNumber.
    acquisition : int or None
        AcquisitionNumber.
    said : int or None
        ImagesInAcquisition: how many slices its acquisition has.
    apart_mm : float or None
        How far apart slices lie: SpacingBetweenSlices, or else SliceThickness.
    """

    number: int | None = None
    acquisition: int | None = None
    said: int | None = None
    apart_mm: float | None = None


@dataclass(frozen=True)
class SeriesCompleteness:
    """Completeness of a series, and why, in words without a patient's values."""

    completeness: Completeness
    why: str = ""


def of_frames(told: SliceTold, frames: int) -> list[SliceTold]:
    """Give each frame of a file what the file says; its number is the file's, not a frame's."""
    return [told] if frames == 1 else [replace(told, number=None, said=None)] * frames


def judge_completeness(
    told: Sequence[SliceTold], offsets_mm: Sequence[float], thickness_mm: float | None = None
) -> SeriesCompleteness:
    """Say whether slices are a whole series, as far as their headers and places can say it.

    Parameters
    ----------
    told : sequence of SliceTold
        Of each slice.
    offsets_mm : sequence of float
        Where the slices lie along their normal, ascending.
    thickness_mm : float or None
        Nominal thickness of a slice.
    """
    by_acquisition: dict[int | None, list[SliceTold]] = defaultdict(list)
    for one in told:
        by_acquisition[one.acquisition].append(one)
    for mine in by_acquisition.values():
        said = max((one.said for one in mine if one.said is not None), default=0)
        if len(mine) < said:
            return SeriesCompleteness(
                INCOMPLETE, f"{counted(len(mine), 'slice')} of {said} that its acquisition counts"
            )
    if len(by_acquisition) == 1 and all(one.said == len(told) for one in told):
        return SeriesCompleteness(WHOLE, "as many slices as its acquisition counts")
    why = _by_numbers(told) or _by_places(told, offsets_mm, thickness_mm)
    return SeriesCompleteness(INCOMPLETE, why) if why else SeriesCompleteness(UNKNOWN)


def _by_numbers(told: Sequence[SliceTold]) -> str:
    """What the numbers of slices show to be missing; numbers given twice show nothing."""
    numbers = [one.number for one in told if one.number is not None]
    if len(numbers) < len(told) or len(set(numbers)) < len(numbers):
        return ""
    low, high = min(numbers), max(numbers)
    missing = high - low + 1 - len(numbers)
    if missing:
        return f"its numbers run from {low} to {high} and {missing} of them are missing"
    return f"its numbers begin at {low}" if low > 1 else ""


def _by_places(
    told: Sequence[SliceTold], offsets_mm: Sequence[float], thickness_mm: float | None
) -> str:
    """What the distances between slices show to be missing."""
    steps = [high - low for low, high in pairwise(offsets_mm)]
    if not steps or min(steps) <= 0:
        return ""
    if max(steps) >= DOUBLED * min(steps) and max(steps) - min(steps) > ROUNDED_MM:
        return f"its slices lie {min(steps):.2f} to {max(steps):.2f} mm apart"
    apart = sorted(one.apart_mm for one in told if one.apart_mm)
    if not apart:
        return ""
    usual, step = apart[len(apart) // 2], sorted(steps)[len(steps) // 2]
    if step < DOUBLED * usual or _is_gap(usual, step, thickness_mm):
        return ""
    return f"its slices lie {step:.2f} mm apart where {usual:.2f} mm are declared"


def _is_gap(declared: float, step: float, thickness_mm: float | None) -> bool:
    """Whether the gap beside a slice was declared where the distance belongs."""
    if thickness_mm is None or abs(declared - thickness_mm) <= SAME_SHARE * thickness_mm:
        return False
    return abs(step - thickness_mm - declared) <= SAME_SHARE * step
