"""Which series of a study a CT task uses, where several are eligible."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from shared.records import StudyRecord, VolumeRecord
from shared.tasks.ct.slabs import SLAB_MM, THICKEST_MM

#: Kernels for bone and lung as makers name them: they sharpen edges, and with them noise.
#: GE, Siemens (B or Br, Bv, Hr, Qr with 55 and more), Philips, Canon.
SHARP: Final = re.compile(
    r"(BONE|EDGE|LUNG|DETAIL|Y[A-D]|[DEL]|[BHIQ][A-Z]{0,2}(5[5-9]|[6-9]\d)[A-Z]?|FC(3\d|[5-8]\d))"
    r"(PLUS|[\s\\].*)?",
    re.IGNORECASE,
)


#: Before an injection first, then what nobody says anything about.
CONTRAST_LAST: Final[Mapping[bool | None, int]] = {False: 0, None: 1, True: 2}


def is_sharp(kernel: str) -> bool:
    """Say whether a kernel, as its maker names it, is for bone or lung; unknown ones are not."""
    return SHARP.fullmatch(kernel.strip()) is not None


def chosen_series(study: StudyRecord) -> tuple[str, VolumeRecord] | None:
    """Choose the series that a CT task uses.

    One that is thin enough, if there is any; of these one with a soft kernel, before an
    injection, nearest to `SLAB_MM` thick, and the highest.

    Returns
    -------
    (str, VolumeRecord) or None
        The series' name in the study and itself; None if there is none.
    """

    def place(one: tuple[str, VolumeRecord]) -> tuple[bool, bool, int, float, float, str]:
        name, volume = one
        thick = volume.thickest_mm
        return (
            thick > THICKEST_MM,
            is_sharp(volume.kernel),
            CONTRAST_LAST[volume.contrast],
            abs(thick - SLAB_MM),
            -len(volume.hu) * volume.spacing_mm[0],
            name,
        )

    return min(study.volumes.items(), key=place, default=None)
