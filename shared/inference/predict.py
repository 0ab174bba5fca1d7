"""Reading a folder of DICOM studies with the champions: JSON, masks, pictures, report.

One study gives ``prediction.json``, ``report.html``, ``masks.npz`` and an overlay
per view in one folder, which appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.clinical.whose_reference import HipReference
from shared.errors import (
    InputEmptyError,
    InputMissingError,
    InputUnreadableError,
    ModelIncompatibleError,
    OsteofedError,
)
from shared.findings.completion import blind
from shared.findings.findings import Findings
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.champions import Champion, load_champions
from shared.inference.gating import gated, without_champion
from shared.inference.report import ReportInput, render_report
from shared.inference.results import REPORT, check_out, write_results
from shared.inference.schema import Prediction
from shared.phrases import counted, listed
from shared.records import Modality, StudyLabels, StudyRecord, modality_of
from shared.settings.files import LabelColumns
from shared.training.compute import choose_device

if TYPE_CHECKING:
    from torch import nn

    from shared.dicom.read import ReadResult
    from shared.dicom.read_study import ReadStudy
    from shared.dicom.verdicts import FileVerdict
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
                    "report": str(folder / REPORT),
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
    hip: HipReference = HipReference.NHANES,
    device: str = "auto",
    progress: Callable[[str], None] | None = None,
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
    hip : HipReference
        With whom the site has its hips compared.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    progress : callable, optional
        Called with a sentence before each study.

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
    ConfigError
        If `out` holds something else than a prediction, or there is no such device.
    """
    check_out(out)
    _check_input(study_dir)
    with _importing():
        from shared.dicom.read import read_study_folder
        from shared.networks import densenet, resnet, unet  # noqa: F401
        from shared.tasks import reporting_tasks

        tasks = reporting_tasks()
    device = choose_device(device)
    champions = load_champions(tasks, registry, models)
    result = read_study_folder(study_dir, columns)
    readable = frozenset(one for task in tasks.values() for one in task.inputs.modalities)
    usable = _with(readable, result.studies)
    if not usable:
        raise _nothing_usable(study_dir, result, readable)
    studies = _with_tables(usable, labels, columns)
    seen = frozenset(one for study in studies for one in study.modalities)
    wanted = [name for name, task in tasks.items() if task.inputs.concern(seen)]
    ready = [prepare(champions.found[name], device) for name in wanted if name in champions.found]
    if not ready:
        raise champions.missing[wanted[0]]
    absent = [tasks[name] for name in wanted if name in champions.missing]
    predictions, failures = _read_each(studies, ready, absent, out, device, hip, progress)
    if not predictions:
        raise InputUnreadableError(
            f"{study_dir}: none of {counted(len(failures), 'study', 'studies')} could be read: "
            f"{failures[0].sentence}"
        )
    not_taken = [verdict for verdict in result.files if verdict.verdict != "taken"]
    return FolderResult(predictions, failures, not_taken)


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
            write_results(folder, prediction, report, study.images, findings)
            predictions[folder] = prediction
        except OsteofedError as error:
            failures.append(StudyFailure(f"study {number}", str(error)))
        except Exception as error:
            if not several:
                raise  # a fault of ours: nothing else would be saved by going on
            # The type only: a message might hold something of the patient.
            failures.append(StudyFailure(f"study {number}", f"failed: {type(error).__name__}"))
    return predictions, failures


def _check_input(study_dir: Path) -> None:
    """Refuse a folder that is not there or has no file."""
    if not study_dir.is_dir():
        raise InputMissingError(f"{study_dir}: no such folder (a folder of DICOM files expected)")
    if not any(path.is_file() for path in study_dir.rglob("*")):
        raise InputEmptyError(f"{study_dir}: holds no files (DICOM files of a study expected)")


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
    missed = [task for task in absent if task.inputs.concern(seen.modalities)]
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


def _with_tables(
    studies: list[ReadStudy], labels: Path | None, columns: LabelColumns | None
) -> list[ReadStudy]:
    """Join the tables of a folder apart to the studies, by patient and day."""
    if labels is None:
        return studies
    from shared.dicom.read import join_labels
    from shared.dicom.scan import scan_folder

    joined, _, _ = join_labels(studies, scan_folder(labels, columns or LabelColumns()).rows)
    return joined


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


def _with(readable: frozenset[Modality], studies: Sequence[ReadStudy]) -> list[ReadStudy]:
    """Keep of the studies what some task reads, for example DXA scans and no CT beside them."""
    kept = []
    for study in studies:
        images = {v: image for v, image in study.images.items() if modality_of(v) in readable}
        volumes = study.volumes if Modality.CT in readable else {}
        if images or volumes:
            kept.append(replace(study, images=images, volumes=volumes))
    return kept


def _nothing_usable(
    study_dir: Path, result: ReadResult, readable: frozenset[Modality]
) -> OsteofedError:
    """Say why no study came out of a folder: nothing of ours, or all of it damaged."""
    if result.studies:
        volumes = sum(len(study.volumes) for study in result.studies)
        images = sum(len(study.images) for study in result.studies)
        wanted = listed(sorted(readable))
        return InputEmptyError(
            f"{study_dir}: holds {volumes} CT series and {counted(images, 'radiograph')} but no "
            f"{wanted} "
            f"(the models read {wanted}; give the folder of such an export)"
        )
    reasons: dict[str, int] = {}
    for verdict in result.files:
        reasons[verdict.sentence] = reasons.get(verdict.sentence, 0) + 1
    most = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    words = "; ".join(f"{count} × {sentence}" for sentence, count in most) or "no file"
    text = f"{study_dir}: no study could be read ({words})"
    damaged = any(
        verdict.verdict == "refused" and verdict.reason not in ("not_dicom", "media_index")
        for verdict in result.files
    )
    return InputUnreadableError(text) if damaged else InputEmptyError(text)
