"""Samples of digital patients, made once: a series is rendered, read by each task, and dropped.

A hospital's patients are drawn on the middle slices only. What nobody drew is outlined by one
named version, the public weights, as an agreement's `prepare_with` has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shared.findings.attenuation import read_attenuation
from shared.findings.completion import blind, completed
from shared.findings.findings import Findings, found_in_order
from shared.phantom.solid_ct_source import SERIES, CtOrder, ct_patient
from shared.records import StudyLabels, StudyRecord
from shared.regions import LUMBAR
from shared.runtime.files import appearing
from shared.tasks import make_task
from shared.tasks.base import Task
from shared.tasks.ct.bone_images import level_labels
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample
from shared.training.batches import Patients
from tests.verify.abdomen.cast import TASKS, settings_of

#: What a file's header holds.
FACTS: Final = "facts"
#: Samples of a hospital's patient as if somebody had drawn every slice.
WHOLLY: Final = "wholly drawn/"
Networks = Mapping[str, nn.Module]


def made_patient(number: int, order: CtOrder, path: Path, version: Networks | None) -> None:
    """Render a patient, keep what each task sees and what is known besides, and drop the series.

    Parameters
    ----------
    number, order
        Whom.
    path : Path
        The file; it appears whole or not at all.
    version : mapping of str to Module, optional
        What outlines a hospital's patients beyond the middle slices. Without it everything is
        drawn, as of public patients.
    """
    study = ct_patient(number, order)
    facts = facts_of(study)
    if version is None:
        kept = _samples(dict.fromkeys(TASKS, study))
    else:
        kept = _samples(dict.fromkeys(TASKS[1:], study), WHOLLY)
        drawn = drawn_in_the_middles(study)
        outlined = completed(drawn, read(drawn, version)["ct-segmentation"])
        kept |= _samples({**dict.fromkeys(TASKS, drawn), TASKS[-1]: outlined})
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path, durably=False, alone=True) as part:
        save_file(kept, part, metadata={FACTS: json.dumps(facts)})


def _samples(studies: Mapping[str, StudyRecord], begin: str = "") -> dict[str, Tensor]:
    """Samples of the tasks that can use the study, by task and name."""
    kept: dict[str, Tensor] = {}
    for name, study in studies.items():
        task = make_task(settings_of(name))
        if task.uses(study):
            sample = task.sample(study)
            kept |= {f"{begin}{name}/{key}": _small(value) for key, value in sample.items()}
    return kept


def read(study: StudyRecord, networks: Networks) -> dict[str, Findings]:
    """What each network finds in a study, in their order, each with what those before it found."""
    seen = blind(study)

    def find(task: Task, network: nn.Module, before: Findings) -> Findings:
        return task.find(Reading(network, seen, StudyLabels(), before))

    tasks = [(make_task(settings_of(name)), network) for name, network in networks.items()]
    return found_in_order((task.name, task.after, partial(find, task, one)) for task, one in tasks)


def drawn_in_the_middles(study: StudyRecord) -> StudyRecord:
    """A study as a hospital has it: the middle slices are marked and drawn, nothing else."""
    volume = study.volumes[SERIES]
    regions = np.zeros(volume.hu.shape, np.uint8)
    for place in volume.marked_slices.values():
        regions[place] = np.asarray(volume.regions)[place]
    return replace(study, volumes={SERIES: replace(volume, regions=regions)})


def facts_of(study: StudyRecord) -> dict[str, Any]:
    """What is known of a patient besides the pictures.

    Returns
    -------
    dict
        ``labels`` sBMD by level, g/cm²; ``hu`` median attenuation of each true level's core at
        120 kV; ``age``, ``sex``, ``height_cm``, ``weight_kg``; ``kvp``, ``contrast``,
        ``thickness``; ``levels`` that lie in the series as a whole.
    """
    volume, who = study.volumes[SERIES], study.covariates
    return {
        "labels": level_labels(study),
        "hu": true_attenuation(study),
        "age": who.age_years,
        "sex": who.sex,
        "height_cm": who.height_cm,
        "weight_kg": who.weight_kg,
        "kvp": volume.kvp,
        "contrast": volume.contrast,
        "thickness": volume.slice_thickness_mm,
        "levels": sorted(volume.marked_slices),
    }


def true_attenuation(study: StudyRecord) -> dict[str, float]:
    """Median HU of the core of each true level at 120 kV; levels that have none are absent."""
    found = read_attenuation(study.volumes[SERIES]).levels
    return {one.level: one.at_120.hu for one in found if one.at_120 and one.level in LUMBAR}


class ReadyPatients(Patients):
    """Patients of one task, from their files.

    Parameters
    ----------
    task : Task
    paths : sequence of Path
        Of `made_patient`; those that the task cannot use are left out.
    wholly : bool
        As if somebody had drawn every slice of a hospital's patients.
    """

    def __init__(self, task: Task, paths: Sequence[Path], *, wholly: bool = False) -> None:
        self.task = task
        self._prefix = f"{WHOLLY if wholly else ''}{task.name}/"
        self._paths = {
            f"{path.parent.name}/{path.stem}": path
            for path in paths
            if _is_used(path, self._prefix)
        }
        self.names = tuple(self._paths)
        self.studies = dict.fromkeys(self.names, (0,))
        self._held: dict[str, Sample] = {}

    def prepared(self, patient: str, study: int) -> Sample:
        """Give the sample of a patient's only study."""
        if patient not in self._held:
            self._held[patient] = _sample(self._paths[patient], self._prefix)
        return self._held[patient]


def kept_facts(path: Path) -> dict[str, Any]:
    """Facts of a patient that was made."""
    with safe_open(path, framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()[FACTS])
    return found


def _is_used(path: Path, prefix: str) -> bool:
    with safe_open(path, framework="pt") as file:
        return f"{prefix}image" in file.keys()  # noqa: SIM118


def _sample(path: Path, prefix: str) -> Sample:
    with safe_open(path, framework="pt") as file:
        return {
            key.removeprefix(prefix): _large(file.get_tensor(key))
            for key in file.keys()  # noqa: SIM118
            if key.startswith(prefix)
        }


def _small(value: Tensor) -> Tensor:
    """Class numbers of pixels as bytes."""
    return (value.to(torch.uint8) if value.dtype == torch.int64 else value).contiguous()


def _large(value: Tensor) -> Tensor:
    return value.to(torch.int64) if value.dtype == torch.uint8 else value
