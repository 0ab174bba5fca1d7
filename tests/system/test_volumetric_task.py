"""A task that learns from CT, in one file: everything else about it follows from what it says.

A series of 16 x 32 x 32 voxels in, one bone density out; the label is the line of a DXA table of
another day; the vertebra that is looked at is drawn by a version of a second task. Both are put
on the list of tasks by a fixture, and go from DICOM files to a report.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Iterator, Mapping
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from torch import Tensor, nn
from torch.nn import functional
from typer.testing import CliRunner

from client.cli.main import app
from client.contract.data_contract import check
from client.contract.declaring import declare, propose
from client.ingest.folder import ingest
from client.node.ledger_summary import ledger_statement
from client.store.site_store import SiteStore, init_site
from server.rounds.plan import PLAN_FILE
from server.runtime import simulated, simulation
from server.runtime.run import run_federation
from shared.clinical.cross_calibration import standardised_bmd
from shared.errors import NoChampionError, PhantomError
from shared.findings.completion import completed
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings, bmd_measurement
from shared.inference.predict import predict_folder
from shared.metrics import regression
from shared.metrics.named import sums_of
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.records import StudyRecord, Vendor, View, VolumeRecord
from shared.settings.contract import CompletenessRule, CountRule, DataContract
from shared.settings.files import (
    FederationConfig,
    LabelColumns,
    PrivacyTarget,
    Quorum,
    SimulationRuntime,
    SiteCompute,
    SiteConfig,
    SitePolicy,
    SitePrivacy,
    TaskRun,
    load_settings,
    save_settings,
)
from shared.settings.task import PrivateSettings, TaskSettings
from shared.tasks import LISTED, make_task
from shared.tasks.base import Headline, Task
from shared.tasks.inputs import TaskInputs
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample
from shared.training.arrays import get_arrays
from shared.training.weights import Weights, digest_arrays, load_weights, save_weights
from tests.shared.ct_samples import write_ct

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

SHAPE = (16, 32, 32)
L1 = 20
REGION = "L1-L4"
VIEWED = TaskInputs(series=True)


def only_volume(study: StudyRecord) -> VolumeRecord | None:
    """The study's one series; None if it has none."""
    return next(iter(study.volumes.values()), None)


def voxels(volume: VolumeRecord | None) -> Tensor:
    """Hounsfield units in thousands, (16, 32, 32)."""
    if volume is None:
        return torch.zeros(SHAPE)
    whole = torch.as_tensor(np.array(volume.hu, np.float32))[None, None] / 1000
    return functional.interpolate(whole, SHAPE, mode="trilinear")[0, 0]


class ToyLevels(Task):
    """Draws what is dense."""

    name: ClassVar[str] = "toy-levels"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = VIEWED
    headline: ClassVar[Headline] = Headline("loss", False, "loss")

    def uses(self, study: StudyRecord) -> bool:
        volume = only_volume(study)
        return volume is not None and volume.regions is not None

    def sample(self, study: StudyRecord) -> Sample:
        volume = only_volume(study)
        drawn = torch.zeros(SHAPE)
        if volume is not None and volume.regions is not None:
            drawn = torch.as_tensor(np.array(volume.regions, np.float32))
        return {
            "image": voxels(volume)[None, None],
            "covariates": torch.zeros(1, 1),
            "weight": torch.tensor([float(self.uses(study))]),
            "drawn": drawn[None],
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        return sample

    def network(self) -> nn.Module:
        return Levels()

    def head_parameters(self) -> tuple[str, ...]:
        return ("last.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        each = functional.binary_cross_entropy_with_logits(
            output[:, 0], batch["drawn"], reduction="none"
        )
        return batch["weight"] * each.flatten(1).mean(1)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        return {"patients": float(len(output)), "loss_sum": float(self.loss(output, batch).sum())}

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        return {"loss": statistics["loss_sum"] / max(statistics["patients"], 1.0)}

    def find(self, reading: Reading) -> Findings:
        maps = {}
        for uid, volume in reading.study.volumes.items():
            output = reading.run(self.sample(reading.study))[0, 0]
            maps[uid] = np.where(output.numpy() > 0, L1, 0).astype(np.uint8)
            assert maps[uid].shape == volume.hu.shape
        return Findings(volume_maps=maps)


class Levels(nn.Module):
    """One convolution: dense voxels are above nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv3d(1, 1, 1)
        nn.init.constant_(self.last.weight, 10.0)
        if self.last.bias is not None:
            nn.init.constant_(self.last.bias, -1.0)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        drawn: Tensor = self.last(image) + 0 * covariates[:, :, None, None, None]
        return drawn


class ToyDensity(Task):
    """Estimates the spine's density from the voxels that the other task drew."""

    name: ClassVar[str] = "toy-density"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = VIEWED
    headline: ClassVar[Headline] = Headline("mae_spine", False, "spine BMD error (MAE), g/cm²")
    released: ClassVar[ReleasedSums] = ReleasedSums(regressions=("spine",))
    after: ClassVar[tuple[str, ...]] = (ToyLevels.name,)
    contract: ClassVar[DataContract] = DataContract(
        counts=(CountRule(at_least=5),),
        completeness=(CompletenessRule(of="sex_known", at_least=0.9, weight="should"),),
    )

    def uses(self, study: StudyRecord) -> bool:
        volume = only_volume(study)
        return volume is not None and volume.regions is not None and self._label(study) is not None

    @staticmethod
    def _label(study: StudyRecord) -> float | None:
        """The paired value on the shared scale, g/cm²."""
        if study.paired is None or REGION not in study.paired.labels.bmd:
            return None
        return standardised_bmd(study.paired.labels.bmd[REGION], study.paired.vendor, REGION)

    def sample(self, study: StudyRecord) -> Sample:
        volume, label = only_volume(study), self._label(study)
        drawn = torch.zeros(SHAPE)
        if volume is not None and volume.regions is not None:
            drawn = torch.as_tensor(np.array(volume.regions == L1, np.float32))
        return {
            "image": torch.stack([voxels(volume), drawn])[None],
            "covariates": torch.zeros(1, 1),
            "weight": torch.tensor([float(label is not None)]),
            "density": torch.tensor([[0.0 if label is None else label]]),
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        return sample

    def network(self) -> nn.Module:
        return Density()

    def head_parameters(self) -> tuple[str, ...]:
        return ("head.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        return batch["weight"] * (output - batch["density"]).square().mean(1)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        known = (batch["weight"] > 0).numpy()
        sums = regression.regression_sums(
            output[:, 0].double().numpy()[known], batch["density"][:, 0].double().numpy()[known]
        )
        loss = float(self.loss(output, batch).sum())
        named = {f"spine:{key}": value for key, value in sums.items()}
        return {"patients": float(len(output)), "loss_sum": loss, **named}

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        sums = sums_of(statistics, "spine")
        found = {"loss": statistics["loss_sum"] / max(statistics["patients"], 1.0)}
        return found | ({"mae_spine": regression.mae(sums)} if sums.get("n") else {})

    def find(self, reading: Reading) -> Findings:
        study = completed(reading.study, reading.before)
        volume = only_volume(study)
        if volume is None or volume.regions is None or not np.any(volume.regions == L1):
            gap = NotAssessed(what="the spine's density", why="no vertebra was found")
            return Findings(not_assessed=(gap,))
        value = float(reading.run(self.sample(study))[0, 0])
        found = bmd_measurement(
            self.name, REGION, value, Vendor.GENERIC, study.covariates, reading.labels
        )
        return Findings(measurements=(found,))


class Density(nn.Module):
    """Two 3-D convolutions, a normalisation, a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(2, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU())
        self.more = nn.Conv3d(8, 8, 3, 2, 1)
        self.head = nn.Linear(8, 1)

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        features = self.more(self.body(image)).relu().mean((2, 3, 4))
        density: Tensor = self.head(features) + 0 * covariates
        return density


SETTINGS = TaskSettings(
    task=ToyDensity.name,
    private=PrivateSettings(
        trainable="all", learning_rate=0.2, max_grad_norm=0.5, steps_per_round=4, augment=False
    ),
)


def body(density: float, seed: int) -> NDArray[np.int16]:
    """A CT of soft tissue with one vertebra whose Hounsfield units follow its density."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(40, 8, SHAPE)
    hu[4:12, 10:22, 10:22] = 150 * density + rng.normal(80, 8, (8, 12, 12))
    return hu.astype(np.int16)


def make_export(folder: Path, patients: int, first: int) -> None:
    """CT studies of a hospital, and its DXA table: one value a patient, of another day."""
    columns = LabelColumns()
    rows = []
    for number in range(first, first + patients):
        density = 0.6 + 0.03 * (number % 20)

        def who(dataset: Dataset, _: int, number: int = number) -> None:
            dataset.PatientID = f"MRN{number:04d}"

        write_ct(folder / f"ct{number}", body(density, number), study=number, change=who)
        rows.append([f"MRN{number:04d}", "2024-05-02", REGION, f"{density:.3f}", "GE Lunar"])
    with (folder / "dxa.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            [columns.patient_id, columns.scan_date, columns.region, columns.bmd,
             columns.manufacturer]
        )  # fmt: skip
        writer.writerows(rows)


def make_site(folder: Path, name: str, patients: int, first: int) -> Path:
    make_export(folder / "export" / name, patients, first)
    config = SiteConfig(
        site=name,
        privacy=SitePrivacy(epsilon_budget=20.0, delta=1e-3),
        policy=SitePolicy(
            tasks=(ToyDensity.name, ToyLevels.name), minimum_patients=5, smallest_cell=1
        ),
        compute=SiteCompute(device="cpu"),
    )
    init_site(folder / name, config)
    ingest(folder / name, folder / "export" / name)
    return folder / name


@pytest.fixture(scope="module")
def listed() -> Iterator[None]:
    """Both tasks on the list, in this process and in those that it forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LISTED, ToyLevels.name, lambda: ToyLevels)
        patch.setitem(LISTED, ToyDensity.name, lambda: ToyDensity)
        patch.setattr(simulation, "_start", forked)
        yield


def forked(plan: Any, runtime: Any, environment: dict[str, str], log: Path) -> Any:
    """Fork the run's program, which a new interpreter would not find the two tasks in."""
    import os
    import sys

    def run() -> None:
        os.environ.update(environment)
        sys.argv = ["simulated", str(plan.folder / PLAN_FILE), "2"]
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        simulated.main()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return SimpleNamespace(poll=lambda: None if process.is_alive() else process.exitcode)


@pytest.fixture(scope="module")
def sites(listed: None, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("toy")
    return [make_site(folder, "alpha", 24, 100), make_site(folder, "beta", 24, 200)]


@pytest.fixture(scope="module")
def levels(sites: list[Path]) -> Path:
    """The version that prepares the input: its weights in a file."""
    task = make_task(TaskSettings(task=ToyLevels.name))
    path = sites[0].parent / "weights" / f"{task.name}.safetensors"
    save_weights(path, Weights(task.settings, get_arrays(task.network()), "made by hand"))
    return path


@pytest.fixture(scope="module")
def agreement(sites: list[Path], levels: Path) -> Path:
    """A private run of two rounds whose input one version of the other task prepares."""
    folder = sites[0].parent
    save_settings(SETTINGS, folder / f"{ToyDensity.name}.yaml")
    agreed = FederationConfig(
        name="toy",
        workspace=folder / "work",
        runtime=SimulationRuntime(sites=tuple(sites)),
        privacy=PrivacyTarget(epsilon_per_run=4.0, delta=1e-3),
        quorum=Quorum(minimum_sites=2, deadline_seconds=300),
        tasks=(
            TaskRun(
                settings=folder / f"{ToyDensity.name}.yaml",
                rounds=2,
                prepare_with={ToyLevels.name: levels},
            ),
        ),
    )
    save_settings(agreed, folder / "federation.yaml")
    for site in sites:
        declare(site, propose(site, {ToyDensity.name: [ToyLevels.name]}))
    return folder / "federation.yaml"


@pytest.fixture(scope="module")
def result(sites: list[Path], agreement: Path) -> Any:
    """Both hospitals' engineers agree, which a version that prepares needs; then the run."""
    for site in sites:
        check(site, ToyDensity.name, agreement)
    return run_federation(agreement)


def test_a_dxa_line_of_another_day_is_the_label_of_a_ct(sites: list[Path]) -> None:
    with_paired = 0
    store = SiteStore.open(sites[0])
    for split in ("train", "validation", "test"):
        source = store.source(split)
        for patient in source.patients:
            scanned = [study for study in source.studies(patient) if study.volumes]
            assert len(scanned) == 1
            assert scanned[0].paired is not None
            assert 1.5 < scanned[0].paired.months < 2.5
            with_paired += REGION in scanned[0].paired.labels.bmd
    store.close()
    assert with_paired == 24


def test_a_contract_looks_at_the_series(sites: list[Path], agreement: Path) -> None:
    """The agreement names none: it is the task's own."""
    checked = check(sites[0], ToyDensity.name, agreement)
    assert len(checked.rows) == 2
    assert all(row.verdict == "met" for row in checked.rows), checked.rows


def test_a_private_round_trains_it_and_the_ledger_knows(sites: list[Path], result: Any) -> None:
    trained = result.tasks[ToyDensity.name]
    assert trained.mode == "private"
    assert [sorted(one.patients) for one in trained.rounds] == [["alpha", "beta"]] * 2
    for site in sites:
        [line] = ledger_statement(site)["lines"]
        assert (line["task"], line["rounds"]) == (ToyDensity.name, 2)
        assert 0 < line["epsilon_after"] <= 4.0
    pooled = trained.curve[-1].pooled
    assert pooled.metrics["mae_spine"] < 1.0


def test_the_input_is_prepared_once_by_the_named_version(
    sites: list[Path], levels: Path, result: Any
) -> None:
    digest = digest_arrays(get_arrays(make_task(TaskSettings(task=ToyLevels.name)).network()))
    passports = list((sites[0].parent / "work").rglob("passport*.json"))
    assert passports
    assert all(digest in path.read_text() for path in passports)


def test_a_version_reads_a_new_patient(
    sites: list[Path], levels: Path, result: Any, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for path in (levels, Path(result.tasks[ToyDensity.name].weights)):
        kind = ToyLevels.name if path == levels else ToyDensity.name
        (models / f"{kind}.safetensors").write_bytes(path.read_bytes())
    write_ct(tmp_path / "study", body(0.9, 7), study=7)
    found = predict_folder(tmp_path / "study", tmp_path / "out", models=models, device="cpu")
    [prediction] = found.predictions.values()
    [measurement] = prediction.measurements
    assert (measurement.task, measurement.region) == (ToyDensity.name, REGION)
    [series] = prediction.series
    assert series.shape == SHAPE
    with np.load(tmp_path / "out" / "masks.npz") as masks:
        [name] = masks.files
        assert np.array_equal(masks[name] == L1, body(0.9, 7) > 100)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "CT study" in report
    assert "Computed tomography: 16 slices" in report
    written = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert written["models"][0]["task"] == ToyLevels.name


class ToyBoth(ToyDensity):
    """Reads a series and a view."""

    inputs: ClassVar[TaskInputs] = TaskInputs((View.SPINE_PA,), series=True)


def test_there_are_no_digital_patients_of_what_nobody_renders() -> None:
    with pytest.raises(PhantomError, match="CT series and views"):
        ToyBoth.digital_patients(1, 1)


def on_site(command: str, site: Path, *words: str | Path) -> Any:
    """Call ``osteofed site COMMAND``."""
    return CliRunner().invoke(app, [command, str(site), *map(str, words), "--json"])


# typer's import of click's old names
@pytest.mark.filterwarnings("ignore:'click:DeprecationWarning")
def test_the_hospital_alone_trains_and_measures_on_prepared_input(
    sites: list[Path], levels: Path, tmp_path: Path
) -> None:
    site = copytree(sites[0], tmp_path / "alpha")
    config = load_settings(site / "site.yaml", SiteConfig)
    willing = config.privacy.model_copy(update={"allow_plain_runs": True})
    save_settings(config.model_copy(update={"privacy": willing}), site / "site.yaml")
    save_settings(SETTINGS, tmp_path / "task.yaml")
    out = tmp_path / "density.safetensors"
    ask = ("--settings", tmp_path / "task.yaml", "--out", out, "--steps", "2")
    refused = on_site("train", site, *ask)
    assert isinstance(refused.exception, NoChampionError)
    assert "no version of toy-levels is named" in str(refused.exception)
    trained = on_site("train", site, *ask, "--prepare-with", levels.parent)
    assert trained.exit_code == 0, trained.exception
    facts = json.loads(trained.stdout)
    digest = digest_arrays(load_weights(levels).arrays)
    assert facts["prepared_with"] == {ToyLevels.name: digest}
    measured = on_site("evaluate", site, "--weights", out, "--prepare-with", levels)
    assert measured.exit_code == 0, measured.exception
    model = json.loads(measured.stdout)["models"]["density"]
    assert model["patients"] > 0
    assert model["prepared_with"] == {ToyLevels.name: digest}
    maps = list((site / "store" / "prepared" / ToyLevels.name).rglob("*.regions.npy"))
    assert len(maps) >= facts["patients"] + model["patients"]
    assert all(np.any(np.load(path) == L1) for path in maps)
