"""Reading a folder of DICOM studies with the champions: JSON, masks, pictures, report.

One study gives ``prediction.json``, ``report.html``, ``masks.npz`` and an overlay
per view in one folder, which appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.clinical.whose_reference import HipReference
from shared.errors import InputUnreadableError, ModelIncompatibleError, OsteofedError
from shared.findings.completion import blind
from shared.findings.findings import Findings
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.champions import Champion, load_champions
from shared.inference.gating import gated, without_champion
from shared.inference.report import ReportInput, render_report
from shared.inference.results import HTML, USUAL, check_out, kinds_of, write_results
from shared.inference.schema import Prediction
from shared.inference.studies.usable import check_folder, usable_studies
from shared.phrases import counted
from shared.records import StudyLabels, StudyRecord
from shared.settings.files import LabelColumns
from shared.settings.pacs import ReadingSettings
from shared.training.compute import choose_device

if TYPE_CHECKING:
    from torch import nn

    from shared.dicom.read_study import ReadStudy
    from shared.dicom.verdicts import FileVerdict
    from shared.inference.outputs.kinds import OutputFile
    from shared.tasks.base import Task


@dataclass(frozen=True)
class ReadyModel:
    """A champion with its task and its network, weights loaded."""

    champion: Champion
    task: Task
    network: nn.Module


@dataclass(frozen=True)
class StudyFailure:
    """A study that could not be read; `sentence` holds nothing of the patient."""

    study: str
    sentence: str


@dataclass(frozen=True)
class FolderResult:
    """What became of a folder: predictions by their folder, failures, files not used."""

    predictions: Mapping[Path, Prediction]
    failures: Sequence[StudyFailure] = ()
    not_taken: Sequence[FileVerdict] = ()

    def facts(self) -> dict[str, object]:
        """Give everything as JSON can hold it (``osteofed predict --json``)."""
        return {
            "studies": [
                {
                    "folder": str(folder),
                    "report": str(folder / prediction.report) if prediction.report else None,
                    "prediction": prediction.model_dump(mode="json", by_alias=True),
                }
                for folder, prediction in self.predictions.items()
            ],
            "failures": [{"study": f.study, "why": f.sentence} for f in self.failures],
            "not_taken": [f"{one.path}: {one.sentence}" for one in self.not_taken],
        }


def predict_folder(
    study_dir: Path,
    out: Path,
    *,
    registry: str | None = None,
    models: Path | None = None,
    labels: Path | None = None,
    columns: LabelColumns | None = None,
    reading: ReadingSettings | None = None,
    trust: str | None = None,
    hip: HipReference = HipReference.NHANES,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
    formats: Collection[str] = USUAL,
) -> FolderResult:
    """Read every study in a folder.

    Parameters
    ----------
    study_dir : Path
        DICOM files of one or several studies, and the hospital's tables.
    out : Path
        One study: its results. Several: one subfolder each. An earlier
        prediction there is replaced; anything else is left alone and refused.
    registry, models
        Where the champions are (`shared.inference.champions.load_champions`).
    labels : Path, optional
        Folder of the hospital's tables, if they are not beside the images; only
        shown for comparison.
    columns : LabelColumns, optional
        Names of the hospital's columns.
    reading : ReadingSettings, optional
        What the hospital says of its makers and scan names.
    trust : str, optional
        The coordinator's public key. Without it the versions are read as they are, and the
        result says that nothing shows where they come from.
    hip : HipReference
        With whom the site has its hips compared.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress : callable, optional
        Called with a sentence before each study.
    formats : collection of str
        Of `shared.inference.results.FORMATS`: what is written besides ``prediction.json``, masks
        and overlays, which always are.

    Returns
    -------
    FolderResult

    Raises
    ------
    InputMissingError, InputEmptyError, InputUnreadableError
        If there is no folder, nothing in it, or nothing of it can be read.
    NoChampionError
        If no task that reads these studies has a champion. Nothing is written then. A single
        task without one is said in the report as not assessed.
    PassportInvalidError
        If a version is not what the key signed. Nothing is written then.
    ConfigError
        If `out` holds something else than a prediction, or there is no such device.
    """
    check_out(out)
    check_folder(study_dir)
    with _importing():
        from shared.dicom import read  # noqa: F401
        from shared.networks import densenet, resnet, unet  # noqa: F401
        from shared.tasks import reporting_tasks

        tasks = reporting_tasks()
    device = choose_device(device)
    champions = load_champions(tasks, registry, models, trust)
    usable = usable_studies(
        study_dir,
        tasks.values(),
        labels=labels,
        columns=columns,
        reading=reading,
        headers=bool(kinds_of(formats)),
    )
    wanted = [name for name, task in tasks.items() if task.inputs.concern(usable.modalities)]
    ready = [prepare(champions.found[name], device) for name in wanted if name in champions.found]
    if not ready:
        raise champions.missing[wanted[0]]
    absent = [tasks[name] for name in wanted if name in champions.missing]
    predictions, failures = _read_each(
        usable.studies, ready, absent, out, device, hip, progress, formats
    )
    if not predictions:
        raise InputUnreadableError(
            f"{study_dir}: none of {counted(len(failures), 'study', 'studies')} could be read: "
            f"{failures[0].sentence}"
        )
    return FolderResult(predictions, failures, usable.not_taken)


@contextlib.contextmanager
def _importing() -> Iterator[None]:
    """Look for no garbage while modules load: they stay, and looking takes a tenth of the time."""
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.enable()


def _read_each(
    studies: Sequence[ReadStudy],
    ready: Sequence[ReadyModel],
    absent: Sequence[type[Task]],
    out: Path,
    device: str,
    hip: HipReference,
    progress: Callable[[str], None] | None,
    formats: Collection[str],
) -> tuple[dict[Path, Prediction], list[StudyFailure]]:
    """Read and write study by study; one bad study never stops the others."""
    predictions: dict[Path, Prediction] = {}
    failures: list[StudyFailure] = []
    several = len(studies) > 1
    for number, study in enumerate(studies, start=1):
        folder = out / _folder_name(number, study) if several else out
        if progress is not None:
            progress(f"study {number} of {len(studies)}")
        try:
            prediction, report, findings = read_study(study, ready, device, absent, hip)
            if HTML not in formats:
                prediction, report = prediction.model_copy(update={"report": ""}), ""
            objects = _objects(study, prediction, findings, formats)
            write_results(folder, prediction, report, study.images, findings, objects)
            predictions[folder] = prediction
        except OsteofedError as error:
            failures.append(StudyFailure(f"study {number}", str(error)))
        except Exception as error:
            if not several:
                raise  # a fault of ours: nothing else would be saved by going on
            # The type only: a message might hold something of the patient.
            failures.append(StudyFailure(f"study {number}", f"failed: {type(error).__name__}"))
    return predictions, failures


def _objects(
    study: ReadStudy, prediction: Prediction, findings: Findings, formats: Collection[str]
) -> list[OutputFile]:
    """Make what goes back of a study, if it is asked for: its libraries take time to load."""
    kinds = kinds_of(formats)
    if not kinds:
        return []
    from shared.inference.outputs import make

    return make(study, prediction, findings, kinds)


def prepare(champion: Champion, device: str = "cpu") -> ReadyModel:
    """Make the network of a champion and load its weights.

    Raises
    ------
    ModelIncompatibleError
        If the weights do not fit the network that their settings describe.
    """
    from shared.tasks import make_task
    from shared.training.arrays import set_arrays

    task = make_task(champion.weights.settings)
    network = task.network()
    try:
        set_arrays(network, champion.weights.arrays, strict=True)
    except ModelIncompatibleError as error:
        facts = champion.facts
        raise ModelIncompatibleError(
            f"{facts.task} version {facts.version} in {facts.source}: {error}; it was made by "
            "another version of OsteoFed or is damaged (promote one that this version trained)"
        ) from None
    return ReadyModel(champion, task, network.eval().to(device))


def read_study(
    study: ReadStudy,
    ready: Sequence[ReadyModel],
    device: str = "cpu",
    absent: Sequence[type[Task]] = (),
    hip: HipReference = HipReference.NHANES,
) -> tuple[Prediction, str, Findings]:
    """Run every task that the study concerns, and put the results together.

    The networks see neither the hospital's labels nor drawn regions, nor images that do not show
    what they are said to (`shared.quality.gates`). What a task in `absent`
    assesses is not assessed, if it concerns the study: no version of it is champion.

    Returns
    -------
    (Prediction, str, Findings)
        For ``prediction.json``, the HTML report, and the findings with their maps.
    """
    from shared.tasks.ct.series import chosen_series
    from shared.tasks.reading import found_in_study

    whole = blind(
        StudyRecord(
            patient="",
            study="",
            vendor=study.vendor,
            images=study.images,
            labels=StudyLabels(),
            covariates=study.covariates,
            volumes={uid: volume.record for uid, volume in study.volumes.items()},
        )
    )
    seen, withheld = gated(whole)

    readers = [(one.task, one.network) for one in ready]
    found = found_in_study(seen, study.labels, readers, device)
    chosen = chosen_series(seen)
    subject = Subject(
        _identity(study),
        study.vendor,
        whole.images,
        study.labels,
        study.covariates,
        seen.volumes,
        {uid: volume.resampled for uid, volume in study.volumes.items()},
        None if chosen is None else chosen[0],
        {uid: one.record.regions for uid, one in study.volumes.items()
         if one.record.regions is not None},
        study.choices,
        study.set_aside,
        hip,
        study.told,
        withheld,
        study.facing,
        {uid: volume.judged for uid, volume in study.volumes.items()},
    )  # fmt: skip
    missed = [task for task in absent if task.always_asked and task.inputs.concern(seen.modalities)]
    prediction, everything = assemble(
        subject,
        [*found.values(), *map(without_champion, missed)],
        [
            model.champion.facts.model_copy(update=_names_of_metrics(model.task))
            for model in ready
            if model.task.name in found
        ],
    )
    given = ReportInput(
        patient_name=subject.identity.patient_name,
        vendor=study.vendor,
        covariates=study.covariates,
        labels=study.labels,
        images=whole.images,
        region_maps=everything.region_maps,
        volumes=seen.volumes,
        volume_maps=everything.volume_maps,
        set_aside=study.set_aside,
        hip=hip,
    )
    return prediction, render_report(prediction, given), everything


def _names_of_metrics(task: Task) -> dict[str, Any]:
    """Say what the metrics of a task's versions are of, as `ModelFacts` has it."""
    estimates = task.metric_names or task.grade_metrics
    shown = () if estimates else (task.headline, *task.beside)
    return {
        "metric_names": dict(task.metric_names),
        "grade_metrics": dict(task.grade_metrics),
        "outline_metrics": {one.metric: one.words for one in shown},
    }


def _identity(study: ReadStudy) -> StudyIdentity:
    header = study.header
    return StudyIdentity(
        patient_id=header.patient_id,
        patient_name=header.patient_name,
        study_uid=header.study_uid,
        study_date="" if header.study_date is None else header.study_date.isoformat(),
        accession=header.accession,
    )


def _folder_name(number: int, study: ReadStudy) -> str:
    """Name of a study's subfolder: its UID's last digits, free of anything odd."""
    tail = "".join(c for c in study.header.study_uid if c.isdigit())[-12:]
    return f"study-{number:03d}-{tail}" if tail else f"study-{number:03d}"
