"""The task of docs/write-a-task.md does what the page says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from shared.findings.findings import Findings
from shared.metrics.released import MOMENTS
from shared.settings.task import OptimiserSettings, PrivateSettings, TaskSettings
from shared.tasks import LISTED, TASKS, make_task, reporting_tasks
from shared.tasks.base import Task
from shared.tasks.reading import Reading
from shared.training.batches import RoundKey
from shared.training.compute import Compute
from shared.training.local_round import evaluate, train_plain, train_private
from tests.shared.standins import Standins

PAGE = Path(__file__).resolve().parents[3] / "docs" / "write-a-task.md"
SOURCE = Standins(6, 1)


@pytest.fixture(scope="module")
def task() -> Iterator[Task]:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = ModuleType("hip_bmd")
    sys.modules["hip_bmd"] = module
    exec(compile(code, str(PAGE), "exec"), module.__dict__)  # noqa: S102
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LISTED, "hip-bmd", lambda: module.HipBmd)
        yield make_task(TaskSettings(task="hip-bmd"))
    del sys.modules["hip_bmd"]


def test_it_learns_without_and_with_privacy(task: Task) -> None:
    torch.manual_seed(0)
    network, compute = task.network(), Compute(physical_batch_patients=4)
    before = evaluate(task, network, SOURCE, compute)
    key = RoundKey(1, "test", 1, "digest")
    settings = OptimiserSettings(learning_rate=1e-2, batch_patients=4, augment=True)
    train_plain(task, network, SOURCE, settings, key, compute, steps=12)
    after = evaluate(task, network, SOURCE, compute)
    assert after["loss_sum"] < 0.7 * before["loss_sum"]
    assert set(task.metrics(after)) == {"mae_hip", "r2_hip", "loss"}
    private = PrivateSettings(trainable="all", learning_rate=0.1, steps_per_round=2)
    done = train_private(task, network, SOURCE, private, 1.0, key, compute)
    assert done.patients == 6


def test_it_finds_a_density_and_says_why_not(task: Task) -> None:
    study = SOURCE.studies(SOURCE.patients[0])[0]
    reading = Reading(task.network().eval(), study, study.labels, Findings())
    [found] = task.find(reading).measurements
    assert (found.region, found.reported) == ("total_hip", study.labels.bmd["total_hip"])
    [gap] = task.find(replace(reading, study=replace(study, images={}))).not_assessed
    assert "no left hip" in gap.why


def test_it_is_on_the_list_and_in_reports_by_its_line_alone(task: Task) -> None:
    assert "hip-bmd" in reporting_tasks()
    moments = {f"hip:{moment}" for moment in MOMENTS}
    assert TASKS["hip-bmd"].released.keys == {"patients", "loss_sum", *moments}
    assert '"hip-bmd": lambda: import_module' in PAGE.read_text(encoding="utf-8")
