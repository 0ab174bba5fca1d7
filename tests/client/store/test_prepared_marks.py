"""Slices that a version marks: kept once, given to the versions after it, and to no study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from client.store.prepared_source import PreparedSource
from client.store.preparing_version import HOLDING, MARKS, PreparingVersion, undrawn
from shared.errors import PolicyRefusedError
from shared.findings.findings import Findings
from shared.protocol.preparation import Preparation
from shared.records import Covariates, StudyLabels, StudyRecord, Vendor
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.inputs import TaskInputs
from shared.training.arrays import get_arrays
from shared.training.compute import Compute
from shared.training.weights import digest_arrays
from tests.shared.ct_standins import lumbar_ct

SETTINGS = TaskSettings(task="ct-localisation")
FOUND = {"ct": {"L1": 40, "L2": 29}}
READS_CT = TaskInputs(series=True)


@pytest.fixture
def study() -> StudyRecord:
    bare = replace(lumbar_ct(np.random.default_rng(1)), regions=None, marked_slices={})
    return StudyRecord(
        "p", "s1", Vendor.OTHER, {}, StudyLabels(), Covariates(), volumes={"ct": bare}
    )


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    one = make_task(SETTINGS)
    monkeypatch.setattr(type(one), "find", lambda task, reading: Findings(marked_slices=FOUND))
    return one


@pytest.fixture
def version(tmp_path: Path, task: Task) -> PreparingVersion:
    arrays = get_arrays(task.network())
    named = Preparation(settings=SETTINGS, digest=digest_arrays(arrays))
    made = PreparingVersion(tmp_path, named, Compute(), arrays)
    made.keep()
    (made.folder / HOLDING).write_text("{}")
    return made


def test_a_study_is_read_once(
    version: PreparingVersion, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert version.findings(study, Findings()).marked_slices == FOUND
    assert json.loads((version.folder / "s1" / MARKS).read_text()) == FOUND
    assert list((version.folder / "s1").iterdir()) == [version.folder / "s1" / MARKS]  # no map

    def never(task: Any, reading: Any) -> Findings:
        raise AssertionError("read again")

    monkeypatch.setattr(type(version.task), "find", never)
    assert version.findings(study, Findings()).marked_slices == FOUND


def test_marks_that_are_not_whole_are_made_again(
    version: PreparingVersion, study: StudyRecord
) -> None:
    version.findings(study, Findings())
    for damage in ('{"ct": {"L1"', '{"ct": 3}', '{"ct": {"L1": "x"}}', '{"ct": {"L1": Infinity}}'):
        (version.folder / "s1" / MARKS).write_text(damage)
        assert version.findings(study, Findings()).marked_slices == FOUND


def test_only_slices_of_the_series_are_kept(
    version: PreparingVersion, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = {"ct": {"L1": 40, "L2": 4000, "L3": -1, "the patient's name": 3}, "other": {"L1": 1}}
    monkeypatch.setattr(
        type(version.task), "find", lambda task, reading: Findings(marked_slices=odd)
    )
    assert version.findings(study, Findings()).marked_slices == {"ct": {"L1": 40}}


def test_a_network_that_fails_marks_nothing(
    version: PreparingVersion, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(task: Any, reading: Any) -> Findings:
        raise ValueError("of this patient")

    monkeypatch.setattr(type(version.task), "find", fails)
    assert version.findings(study, Findings()).marked_slices == {}


def test_a_version_that_had_to_go_marks_nothing_any_more(
    version: PreparingVersion, study: StudyRecord
) -> None:
    (version.folder / HOLDING).unlink()
    with pytest.raises(PolicyRefusedError, match="was removed meanwhile"):
        version.findings(study, Findings())
    assert not (version.folder / "s1").exists()


def test_found_marks_reach_later_versions_and_no_study(
    version: PreparingVersion, study: StudyRecord
) -> None:
    """Who is counted may follow from marks, and so must not follow from found ones."""
    given: list[Findings] = []

    def outlined(seen: StudyRecord, before: Findings) -> Findings:
        given.append(before)
        return Findings(volume_maps={"ct": np.full(study.volumes["ct"].hu.shape, 20, np.uint8)})

    second = SimpleNamespace(
        task=SimpleNamespace(name="second", inputs=READS_CT, outlines=True, after=(SETTINGS.task,)),
        findings=outlined,
        key="k",
    )
    store = SimpleNamespace(studies=lambda patient: [study], patients=("p",))
    source = PreparedSource(store, READS_CT, (version, second))  # type: ignore[arg-type]
    [prepared] = source.studies("p")
    assert given[0].marked_slices == FOUND
    assert prepared.volumes["ct"].marked_slices == {}
    assert np.all(np.asarray(prepared.volumes["ct"].regions) == 20)
    alone = PreparedSource(store, READS_CT, (version,))  # type: ignore[arg-type]
    assert alone.studies("p")[0].volumes["ct"].regions is None


def test_a_series_of_which_middles_were_drawn_is_outlined_by_a_version(study: StudyRecord) -> None:
    """Otherwise a task of whole vertebrae would take what nobody drew for no bone."""
    volume = study.volumes["ct"]
    drawn = np.zeros(volume.hu.shape, np.uint8)
    drawn[40, 50:60, 50:60] = 20
    partly = replace(study, volumes={"ct": replace(volume, regions=drawn)})
    assert set(undrawn(partly, READS_CT)) == {"ct"}
    whole = np.repeat(drawn[40][None], len(drawn), axis=0)
    drawn_whole = replace(study, volumes={"ct": replace(volume, regions=whole)})
    assert undrawn(drawn_whole, READS_CT) == {}
