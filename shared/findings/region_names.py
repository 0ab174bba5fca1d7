"""What regions, views and vertebrae are called, the same in findings and reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.phrases import listed
from shared.records import View
from shared.regions import HIP, HIP_REPORTED, VERTEBRAE, right_of

REGION_WORDS = {
    "L1-L4": "lumbar spine L1-L4",
    "femoral_neck": "femoral neck",
    "total_hip": "total hip",
    "trochanter": "trochanter",
    "intertrochanteric": "intertrochanteric region",
}
REGION_WORDS |= {right_of(name): f"right {REGION_WORDS[name]}" for name in (*HIP, *HIP_REPORTED)}
VIEW_WORDS = {
    View.SPINE_PA: "posteroanterior lumbar spine",
    View.HIP_LEFT: "left proximal femur",
    View.HIP_RIGHT: "right proximal femur",
    View.SPINE_LATERAL: "lateral spine (VFA)",
    View.LUMBAR_AP: "anteroposterior lumbar radiograph",
}


def region_words(region: str) -> str:
    """Name of a region, or of a whole image, as a reader says it."""
    views = {view.value: f"the {words}" for view, words in VIEW_WORDS.items()}
    return REGION_WORDS.get(region) or views.get(region, region)


def levels_by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Put vertebrae with the same reason together, from the head down."""
    found: dict[str, list[str]] = {}
    for level in VERTEBRAE:
        if level in reasons:
            found.setdefault(reasons[level], []).append(level)
    return found


def levels(names: Sequence[str]) -> str:
    """Vertebrae as a reader says them: ``T4 to T7 and L1``; runs of three or more."""
    places = sorted(VERTEBRAE.index(name) for name in names)
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    words: list[str] = []
    for run in runs:
        if len(run) > 2:
            words.append(f"{VERTEBRAE[run[0]]} to {VERTEBRAE[run[-1]]}")
        else:
            words += [VERTEBRAE[place] for place in run]
    return listed(words)
