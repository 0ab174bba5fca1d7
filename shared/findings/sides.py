"""Names findings of a right hip, which a task found in the left one's place (`shared.hips`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings
from shared.findings.region_names import REGION_WORDS, VIEW_WORDS
from shared.records import View
from shared.regions import HIP, HIP_REPORTED, right_of

#: Names of a hip's regions, and how a sentence calls them and the hip.
_REGIONS: Final = (*HIP, *HIP_REPORTED)
_WORDS: Final = tuple(dict.fromkeys(REGION_WORDS[name] for name in _REGIONS))
_VIEW: Final = (VIEW_WORDS[View.HIP_LEFT], VIEW_WORDS[View.HIP_RIGHT])


def hip_alone(found: Findings) -> Findings:
    """Keep what was found in a hip, and nothing of other views."""
    of_hip = (*_WORDS, _VIEW[0])
    return Findings(
        measurements=tuple(one for one in found.measurements if one.region in _REGIONS),
        regions=tuple(one for one in found.regions if one.view == View.HIP_LEFT),
        quality=tuple(one for one in found.quality if one.subject in (*_REGIONS, View.HIP_LEFT)),
        not_assessed=tuple(
            gap for gap in found.not_assessed if any(word in gap.what for word in of_hip)
        ),
        region_maps={v: one for v, one in found.region_maps.items() if v is View.HIP_LEFT},
    )


def named_right(found: Findings) -> Findings:
    """Call what was found in the left hip's place by the names of a right hip."""
    return replace(
        found,
        measurements=tuple(
            one.model_copy(update={"region": right_of(one.region)}) for one in found.measurements
        ),
        regions=tuple(one.model_copy(update={"view": _view(one.view)}) for one in found.regions),
        quality=tuple(
            one.model_copy(update={"subject": _view(right_of(one.subject))})
            for one in found.quality
        ),
        not_assessed=tuple(
            NotAssessed(what=_said(gap.what), why=_said(gap.why)) for gap in found.not_assessed
        ),
        region_maps={View(_view(view)): one for view, one in found.region_maps.items()},
    )


def _view(name: str) -> str:
    return View.HIP_RIGHT.value if name == View.HIP_LEFT else name


def _said(words: str) -> str:
    """Say right of a hip and its regions."""
    words = words.replace(*_VIEW)
    for region in _WORDS:
        words = words.replace(region, f"right {region}")
    return words
