"""Which series of a study a CT task uses, where several are eligible."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.clinical.ct_gates import why_not_measured
from shared.records import StudyRecord, VolumeRecord
from shared.tasks.ct.slabs import SLAB_MM

#: Before an injection first, then what nobody says anything about.
CONTRAST_LAST: Final[Mapping[bool | None, int]] = {False: 0, None: 1, True: 2}
NO_SERIES: Final = "the study has no CT series"


def chosen_series(study: StudyRecord) -> tuple[str, VolumeRecord] | None:
    """Choose the series that a CT task uses.

    Of those that no rule refuses (`shared.clinical.ct_gates`): one before an injection, nearest to
    `SLAB_MM` thick, and the highest.

    Returns
    -------
    (str, VolumeRecord) or None
        The series' name in the study and itself; None if there is none.
    """

    def place(one: tuple[str, VolumeRecord]) -> tuple[int, float, float, str]:
        name, volume = one
        return (
            CONTRAST_LAST[volume.contrast],
            abs(volume.thickest_mm - SLAB_MM),
            -len(volume.hu) * volume.spacing_mm[0],
            name,
        )

    eligible = [one for one in study.volumes.items() if not why_not_measured(one[1])]
    return min(eligible, key=place, default=None)


def why_none(study: StudyRecord) -> str:
    """Say why no series of a study is used, as part of a sentence."""
    reasons = dict.fromkeys(why_not_measured(volume) for volume in study.volumes.values())
    return "; ".join(one for one in reasons if one) or NO_SERIES
