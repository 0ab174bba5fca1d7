"""Who trains, who validates, who tests: by patient, settled once, by the site's secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from shared.dicom.phi.deidentify import keyed_digest
from shared.settings.files import SplitFractions

Split = Literal["train", "validation", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")


def assign(
    newcomers: Iterable[str], counts: Mapping[str, int], fractions: SplitFractions, secret: bytes
) -> dict[str, str]:
    """Assign patients who have no split yet.

    Newcomers are put in an order that only the secret knows, and each goes where
    most patients are missing. So a hospital of any size gets the agreed fractions
    to within one patient, and nobody who is assigned is ever moved. The price: where a
    patient goes depends on who came before, so the guarantee of private training holds
    the split fixed (docs/privacy.md).

    Parameters
    ----------
    newcomers : iterable of str
        Pseudonyms without a split.
    counts : mapping of str to int
        Patients per split so far.
    fractions : SplitFractions
        What is agreed.
    secret : bytes
        The site's secret.

    Returns
    -------
    dict of str to str
        Split by pseudonym.
    """
    target = {
        "train": fractions.train,
        "validation": fractions.validation,
        "test": fractions.test,
    }
    have = {split: counts.get(split, 0) for split in target}
    order = sorted(newcomers, key=lambda patient: keyed_digest(secret, "split", patient))
    assigned = {}
    for patient in order:
        total = sum(have.values()) + 1
        # max takes the first of equals, so ties go to training.
        split = max(target, key=lambda name: target[name] * total - have[name])
        have[split] += 1
        assigned[patient] = split
    return assigned
