"""Which series of a study is read."""

from __future__ import annotations

from shared.records import StudyRecord, VolumeRecord


def chosen_series(study: StudyRecord) -> tuple[str, VolumeRecord] | None:
    """Give the series that is read, by its UID and as a record; None if the study has none."""
    return next(iter(study.volumes.items()), None)
