"""When a study is complete: by the archive's count, by the views a scanner makes, or by quiet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from shared.phrases import counted
from shared.records import ALL_DXA_VIEWS, View
from shared.settings.bedside import BedsideSettings

from .database import WorkInstance

DXA: Final = frozenset(view.value for view in ALL_DXA_VIEWS)


class WhenComplete(StrEnum):
    """What is to be done with a study that is being received."""

    COMPLETE = "complete"
    WAIT = "wait"
    ASK = "ask a person"


@dataclass(frozen=True)
class CameSoFar:
    """What came of a study.

    Attributes
    ----------
    instances : int
        How many, those that no rule wants and our own results included.
    views : frozenset of str
        Views of its projections.
    slices : mapping of (str, int or None) to (int, int)
        Of each acquisition of a CT series, how many slices came and how many it says it has
        (0: unsaid).
    maker, model : str
        Of its first image.
    """

    instances: int
    views: frozenset[str] = frozenset()
    slices: Mapping[tuple[str, int | None], tuple[int, int]] = field(default_factory=dict)
    maker: str = ""
    model: str = ""


@dataclass(frozen=True)
class HowComplete:
    """A verdict, why, and for how many seconds of quiet it is to be waited in all."""

    verdict: WhenComplete
    why: str = ""
    seconds: float = 0.0


def came(instances: Iterable[WorkInstance], results: int = 0) -> CameSoFar:
    """Say what came of a study, by its lines in the work list and the results it was sent."""
    lines = list(instances)
    slices: dict[tuple[str, int | None], tuple[int, int]] = {}
    for one in lines:
        if one.kind == "slice":
            count, said = slices.get((one.series_uid, one.acquisition), (0, 0))
            slices[one.series_uid, one.acquisition] = count + 1, max(said, one.said or 0)
    images = [one for one in lines if one.kind == "image"]
    return CameSoFar(
        len(lines) + results,
        frozenset(one.view for one in images),
        slices,
        images[0].maker if images else "",
        images[0].model if images else "",
    )


def judge_complete(
    so_far: CameSoFar,
    settings: BedsideSettings,
    *,
    quiet: float,
    released: bool,
    told: int | None,
) -> HowComplete:
    """Say whether a study is complete.

    Parameters
    ----------
    so_far : CameSoFar
        What came.
    settings : BedsideSettings
        Quiet times, patience, and which views are expected.
    quiet : float
        Seconds since something of it came.
    released : bool
        Whether the association that brought the last of it ended in order.
    told : int or None
        How many instances the archive says that it has.
    """
    if told is not None:
        return _by_count(so_far, settings, quiet, told)
    expected = settings.expected_of(so_far.maker, so_far.model)
    views = frozenset(View(view).value for view in expected)
    only_dxa = not so_far.slices and so_far.views and so_far.views <= DXA
    if only_dxa and released and views and views <= so_far.views:
        return HowComplete(WhenComplete.COMPLETE)
    seconds, why = _quiet_seconds(so_far, settings)
    if quiet >= seconds:
        return HowComplete(WhenComplete.COMPLETE)
    return HowComplete(WhenComplete.WAIT, why, seconds)


def _by_count(so_far: CameSoFar, settings: BedsideSettings, quiet: float, told: int) -> HowComplete:
    """Hold what came against the archive's count, which no quiet overrules."""
    if so_far.instances >= told:
        return HowComplete(WhenComplete.COMPLETE)
    why = f"{so_far.instances} of {counted(told, 'instance')} came, as the archive counts them"
    if quiet < settings.patience_seconds:
        return HowComplete(WhenComplete.WAIT, why, settings.patience_seconds)
    return HowComplete(WhenComplete.ASK, f"{why} (send the rest, or go on with what is there)")


def _quiet_seconds(so_far: CameSoFar, settings: BedsideSettings) -> tuple[float, str]:
    """How long a study must be quiet, and what is waited for meanwhile."""
    listen = settings.listen
    if not so_far.slices:
        return listen.quiet_seconds, "quiet"
    short = [(count, said) for count, said in so_far.slices.values() if said > count]
    if short:
        count, said = short[0]
        return settings.patience_seconds, f"{count} of {said} slices of an acquisition came"
    if all(said for _, said in so_far.slices.values()):
        return listen.quiet_seconds, "quiet"
    return max(listen.quiet_seconds, listen.quiet_seconds_ct), "quiet, as slices may come late"
