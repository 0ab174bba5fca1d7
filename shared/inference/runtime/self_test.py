"""Whether versions read at all, tried on a digital patient before they read a real one.

It says that networks run, that their numbers are finite and that the same study gives the same
result twice. It is no measure of how well a version reads: that is what promotion is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.errors import OsteofedError, SelfTestFailedError
from shared.inference.runtime.held import HeldVersions, ReadingManner
from shared.inference.runtime.study_reading import answer_study
from shared.records import Modality

if TYPE_CHECKING:
    from shared.inference.predict import ReadyModel

#: The digital patient: scanner and seed, so that it is the same at every hospital.
SCANNER: Final = "hologic"
SEED: Final = 20260
DICOM: Final = "DICOM"


def stored_study(folder: Path) -> Path:
    """Give the folder of the stored digital DXA study; it is made the first time."""
    from shared.phantom.make import make_hospital

    if not (folder / DICOM).is_dir():
        make_hospital(folder, SCANNER, 1, SEED)
    return folder / DICOM


def self_test(versions: HeldVersions, manner: ReadingManner, study: Path) -> None:
    """Try versions.

    Every network is run on its task's example, and those that read DXA read the stored study
    twice. Of a network for films or CT nothing but its numbers on the example is known then.

    Raises
    ------
    SelfTestFailedError
        Named by task and version.
    """
    for one in versions.ready.values():
        _try_network(one, manner.device)
    if not any(Modality.DXA in one.task.inputs.modalities for one in versions.ready.values()):
        return
    try:
        first, again = (answer_study(study, versions, manner) for _ in range(2))
    except OsteofedError as error:
        raise SelfTestFailedError(f"the digital test study cannot be read: {error}") from None
    except Exception as error:
        raise SelfTestFailedError(
            f"reading the digital test study failed ({type(error).__name__}: {error})"
        ) from error
    if first.prediction != again.prediction:
        raise SelfTestFailedError("the digital test study was read in two ways one after another")


def _try_network(one: ReadyModel, device: str) -> None:
    """Run a network on an example that is of nobody."""
    from shared.findings.findings import Findings
    from shared.records import StudyLabels
    from shared.tasks.reading import Reading

    facts = one.champion.facts
    name = f"{facts.task} version {facts.version} ({facts.digest[:12]})"
    example = one.task.example()
    try:
        reading = Reading(one.network, example, StudyLabels(), Findings(), device)
        output = reading.run(one.task.sample(example))
    except Exception as error:
        raise SelfTestFailedError(
            f"{name}: its network cannot be run ({type(error).__name__})"
        ) from error
    if not bool(output.isfinite().all()):
        raise SelfTestFailedError(f"{name}: its network gives what is no number")
