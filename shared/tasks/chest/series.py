"""Which series of a study a chest task uses: unenhanced, of a soft kernel, not thick."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shared.records import StudyRecord, VolumeRecord
from shared.tasks.ct import series

ENHANCED: Final = "a contrast agent was given, and only unenhanced series are read for this"


def chosen_unenhanced(study: StudyRecord) -> tuple[str, VolumeRecord] | None:
    """Choose the series that a chest task uses, as `shared.tasks.ct.series.chosen_series` does.

    Those after an injection are left out. One of which the files say nothing is used:
    `shared.tasks.chest.crops.seems_enhanced` looks at its blood.
    """
    return series.chosen_series(_unenhanced(study))


def why_no_unenhanced(study: StudyRecord) -> str:
    """Say why no series of a study is used, as part of a sentence."""
    rest = _unenhanced(study)
    if rest.volumes or not study.volumes:
        return series.why_none(rest)
    return ENHANCED


def _unenhanced(study: StudyRecord) -> StudyRecord:
    volumes = {uid: one for uid, one in study.volumes.items() if one.contrast is not True}
    return replace(study, volumes=volumes)
