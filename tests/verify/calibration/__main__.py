"""Write the table of calibration anew: ``python -m tests.verify.calibration``.

With ``--keep-projection`` the coefficients of projection are read from the old table and only
the fit is made anew.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from shared.command_line import console
from shared.phantom.person.calibration import (
    TABLE,
    TYPICAL_SIZE,
    Calibration,
    HipProjection,
    LevelProjection,
    SexCalibration,
    calibration,
)
from shared.regions import LUMBAR
from shared.runtime.files import write_text_atomically
from tests.verify.calibration.femur import femoral_parts
from tests.verify.calibration.fit import first_guess, fit
from tests.verify.calibration.projection import exponents_of, parts_of

HEADER = """\
# Written by `python -m tests.verify.calibration`: do not edit. What projection makes of each
# quantity (g/cm2), and the means, slopes and spreads that give the population of
# design/anatomy.md. Names are those of shared/phantom/person/calibration.py.
"""


def projected(sex: str) -> SexCalibration:
    """Coefficients by projection, with a first guess of the rest."""
    size = TYPICAL_SIZE[sex]
    parts = parts_of(size)
    levels = {
        level: LevelProjection(**parts.values[level], area=parts.area[level]) for level in LUMBAR
    }
    hip = {site: HipProjection(**part) for site, part in femoral_parts(size).items()}
    return first_guess(levels, exponents_of(size), hip, sex)


def written(table: Calibration) -> str:
    """The table as text, four digits."""

    def short(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: short(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [short(one) for one in value]
        return float(f"{value:.4g}")

    told = yaml.safe_dump(
        short(table.model_dump()), sort_keys=False, width=100, default_flow_style=None
    )
    return HEADER + told


def main() -> None:
    """Project, fit, write."""
    if "--keep-projection" in sys.argv:
        old = calibration()
        start = {
            sex: first_guess(law.levels, law.exponents, law.hip, sex)
            for sex, law in (("F", old.F), ("M", old.M))
        }
    else:
        start = {sex: projected(sex) for sex in ("F", "M")}
    write_text_atomically(TABLE, written(fit(start, console().print)))


if __name__ == "__main__":
    main()
