"""What every settings file is made of: the frozen base, and the kinds of numbers."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

#: Every number of the settings is finite: a bound of infinity would be none.
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Positive and of a size at which float32 arithmetic still means something.
LEAST_MODERATE: Final = 1e-6
Moderate = Annotated[float, Field(ge=LEAST_MODERATE, le=1e6, allow_inf_nan=False)]
#: Probability with which a patient is drawn into a step.
SampleRate = Annotated[float, Field(ge=1e-6, le=1)]
Fraction = Annotated[float, Field(gt=0, le=1)]
#: A share that may be none.
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
#: Pixels along one side of an image: whoever is asked to train must have the memory.
Side = Annotated[int, Field(ge=1, le=4096)]
#: A TCP port.
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """Frozen settings in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
