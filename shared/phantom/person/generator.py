"""The two generators: one code under two frozen settings.

`PLAIN` patients are for public pretraining, `NEAR_TO_LIFE` ones stand for those of hospitals.
The gap between the two is an assumption to defend (docs/decisions/0023), not a knob.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final


@dataclass(frozen=True)
class GeneratorSettings:
    """How far persons differ from one another.

    Attributes
    ----------
    name : str
        ``plain`` or ``near_to_life``.
    anatomy_spread : float
        Factor on the spread of sizes, shapes and curves; bone density is not among them.
    rarity : float
        Factor on the rates of variants, deformities, fusions, lesions and implants.
    fractured_at_most : float
        No person's probability of a vertebral fracture is above.
    one_texture : bool
        Trabecular texture has the same grain in everybody (its pattern is each person's own).
    looks_a_vendor : int
        In how many ways the pictures of a vendor look.
    """

    name: str
    anatomy_spread: float
    rarity: float
    fractured_at_most: float
    one_texture: bool
    looks_a_vendor: int

    @property
    def digest(self) -> str:
        """Digest of the settings; stands in every file of results."""
        told = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


#: Variants, fractures and implants in at most 5 % each.
PLAIN: Final = GeneratorSettings("plain", 0.5, 0.35, 0.05, True, 1)
NEAR_TO_LIFE: Final = GeneratorSettings("near_to_life", 1.0, 1.0, 1.0, False, 6)
GENERATORS: Final = {one.name: one for one in (PLAIN, NEAR_TO_LIFE)}
