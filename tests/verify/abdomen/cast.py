"""Who trains and who tests: digital patients with an abdominal CT, three hospitals and two more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.solid_ct_source import CtOrder
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from tests.learning.arms import DELTA
from tests.verify.stored import ROOT, digest_of

#: As the tasks come one after the other.
TASKS: Final = ("ct-localisation", "ct-segmentation", "ct-bmd")
SEEDS: Final = (1, 2, 3)
EPSILON: Final = 8.0
#: Changes whenever the same settings would give other patients or weights, so that older runs are
#: made anew. 2: a level's arch is outlined where its pedicles lie above the slabs.
METHOD: Final = 2
#: Rounds of a plain and of a private federated run, by task.
ROUNDS: Final[Mapping[str, int]] = {"ct-localisation": 6, "ct-segmentation": 4, "ct-bmd": 20}
PRIVATE_ROUNDS: Final[Mapping[str, int]] = {
    "ct-localisation": 4, "ct-segmentation": 3, "ct-bmd": 10,
}  # fmt: skip
#: Test patients of one run, and of all.
BLOCK: Final = 25
TESTS: Final = 500
CACHE: Final = ROOT / "runs" / "verify" / "abdomen"


@dataclass(frozen=True)
class Cast:
    """Patients of a party.

    Attributes
    ----------
    name : str
        Of the hospital.
    order : CtOrder
        Which patients.
    patients : int
        How many.
    """

    name: str
    order: CtOrder
    patients: int

    @property
    def told(self) -> str:
        """All that they follow from."""
        return f"{self.order.told}|{self.patients}"


def _life(name: str, seed: int, population: str, ct: str, dxa: str, patients: int) -> Cast:
    return Cast(name, CtOrder(seed, NEAR_TO_LIFE.name, population, (ct, dxa)), patients)


#: Plain patients of made-up scanners: as many as the demo pretrains on.
PUBLIC: Final = Cast("public", CtOrder(1), 40)
#: Fewer pairs of CT and DXA than the published system learnt from (268): what two cores can render.
HOSPITALS: Final = (
    _life("riverside", 3101, "urban", "aurora", "lunar", 60),
    _life("hillcrest", 3102, "rural", "boreas", "lunar_prodigy", 60),
    _life("lakeside", 3103, "university", "cirrus", "hologic", 60),
)
#: Two that take no part, with populations of their own: a scanner that nobody trained on, with
#: three protocols of which one has 80 kV, and made-up scanners that are not the public ones.
UNSEEN: Final = (
    _life("northfield", 3104, "northern", "dorado", "lunar", TESTS // 2),
    Cast("eastgate", CtOrder(3105, NEAR_TO_LIFE.name, "community"), TESTS // 2),
)


def settings_of(task: str) -> TaskSettings:
    """The settings that ship, small size."""
    return load_settings(ROOT / "configs" / "tasks" / f"{task}.yaml", TaskSettings)


def training_digest(seed: int) -> str:
    """Digest of everything that trained weights of a seed follow from, besides the code."""
    parties = [one.told for one in (PUBLIC, *HOSPITALS)]
    settings = [settings_of(task).model_dump(mode="json") for task in TASKS]
    rounds = [dict(ROUNDS), dict(PRIVATE_ROUNDS)]
    return digest_of([METHOD, seed, parties, settings, rounds, EPSILON, DELTA])


def kept_in(part: str) -> Path:
    """A folder beside the checkout's runs; not committed."""
    return CACHE / part
