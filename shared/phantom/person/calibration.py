"""The table that makes projection give the population, and a quick stand-in for projection.

`calibration.yaml` is written by ``python -m tests.verify.calibration``. It holds what projection
makes of each quantity (by small changes of solids) and the means, slopes and spreads that were
chosen so that the areal BMD of a cohort has the figures of `targets`. No person is scaled.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Final

import yaml
from pydantic import BaseModel, ConfigDict

TABLE: Final = Path(__file__).parent / "calibration.yaml"
#: Overall size of a typical spine as a share of the design's men ([U], design/anatomy.md).
TYPICAL_SIZE: Final = {"F": 0.915, "M": 1.0}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LevelProjection(_Part):
    """Areal BMD of one lumbar level by part, g/cm².

    `core` and `arch_core` for 1 g/cm³ of core (the latter times the arch's factor), `wall`,
    `plate` and `arch` for a factor of 1, `rest` whatever they are; `area` in cm².
    """

    core: float
    arch_core: float
    wall: float
    plate: float
    arch: float
    rest: float
    area: float


class HipProjection(_Part):
    """Areal BMD of a femoral region by part, g/cm²: cores for 1 g/cm³, cortices for a factor 1."""

    head_core: float
    neck_core: float
    trochanter_core: float
    neck_cortex: float
    cortex: float
    rest: float


class Slopes(_Part):
    """Mean and spread of an index of bone: mean + age·(age − 65) + bmi·(BMI − 24) ± sd.

    `young` is added up to 40 years and fades until 50; the slope with age begins at 50.
    """

    mean: float
    age: float
    bmi: float
    young: float
    sd: float

    def at(self, age_years: float, bmi: float) -> float:
        """Mean at an age and body mass index."""
        fading = 1 - min(max((age_years - 40) / 10, 0.0), 1.0)
        line = self.mean + self.age * (max(age_years, 50.0) - 65) + self.bmi * (bmi - 24)
        return line + self.young * fading


class Shared(_Part):
    """Weights by which lumbar deviations (in SD) make the factor that femora share with spines."""

    core: float
    wall: float
    plate: float
    arch: float
    degeneration: float


class SexCalibration(_Part):
    """One sex.

    Attributes
    ----------
    levels : dict
        Of L1 to L4 what projection gives.
    exponents : dict
        By which powers of width, depth and height that goes, by part.
    hip : dict
        Of neck and total hip what projection gives.
    shell : Slopes
        Factor on walls, end plates and arch.
    shell_with_core : float
        Correlation of the shell's factor with the lumbar core.
    degeneration : float
        Severity for each unit of liability (`degeneration`).
    shared : Shared
        What of the spine the femur goes with.
    hip_with_spine, neck_with_hip, neck_with_spine : float
        Loadings of the femoral indices.
    total_hip, neck : Slopes
        Of the femoral indices.
    """

    levels: dict[str, LevelProjection]
    exponents: dict[str, tuple[float, float, float]]
    hip: dict[str, HipProjection]
    shell: Slopes
    shell_with_core: float
    degeneration: float
    shared: Shared
    hip_with_spine: float
    neck_with_hip: float
    neck_with_spine: float
    total_hip: Slopes
    neck: Slopes


class Calibration(_Part):
    """Both sexes."""

    F: SexCalibration
    M: SexCalibration

    def of(self, sex: str) -> SexCalibration:
        """Calibration of ``F`` or ``M``."""
        return self.F if sex == "F" else self.M

    @property
    def digest(self) -> str:
        """Digest of the table, so that figures can say what they follow from."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    """The committed table."""
    return Calibration.model_validate(yaml.safe_load(TABLE.read_text(encoding="utf-8")))
