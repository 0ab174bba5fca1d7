"""Which series of a study a task looks at."""

from __future__ import annotations

from shared.records import StudyRecord, VolumeRecord


def chosen_series(study: StudyRecord) -> tuple[str, VolumeRecord] | None:
    """Give the study's series with its name; None if it has none."""
    return next(iter(study.volumes.items()), None)
