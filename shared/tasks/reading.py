"""What a task is given when it reads one study with a trained network, and who reads what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Final, Protocol

import torch
from torch import Tensor, nn

from shared.findings.findings import Findings, found_in_order, join
from shared.findings.sides import hip_alone, named_right
from shared.hips import as_left, hip_of, labels_as_left
from shared.records import StudyLabels, StudyRecord, View
from shared.tasks.inputs import TaskInputs
from shared.tasks.sample import Sample

#: Numbers of images that a CPU computes at a time. What a network makes of more is as large as
#: the memory that the system gives and takes page by page at every layer.
AT_A_TIME: Final = 2**16


@dataclass(frozen=True)
class Reading:
    """One study to read.

    Parameters
    ----------
    network : Module
        The task's, trained, in evaluation mode.
    study : StudyRecord
        Without labels and drawn regions: the network sees neither.
    labels : StudyLabels
        The hospital's, for comparison only.
    before : Findings
        What the tasks found that this one names in `Task.after`.
    device : str
        Where the network is.
    """

    network: nn.Module
    study: StudyRecord
    labels: StudyLabels
    before: Findings
    device: str = "cpu"

    def run(self, sample: Sample) -> Tensor:
        """Run the network on the units of one patient, (K, C, ...) -> (K, ...), on the CPU.

        A CPU takes a few units at a time, which no network mixes.
        """
        image, covariates = sample["image"], sample["covariates"]
        many = len(image)
        if self.device == "cpu":
            many = max(1, AT_A_TIME * many // image.numel())
        with torch.inference_mode():
            outputs = [
                self.network(some.to(self.device), told.to(self.device)).float().cpu()
                for some, told in zip(image.split(many), covariates.split(many), strict=True)
            ]
        return torch.cat(outputs)


class Finder(Protocol):
    """What reads a study: a task, of which this module knows no more."""

    name: ClassVar[str]
    after: ClassVar[tuple[str, ...]]
    inputs: ClassVar[TaskInputs]

    def find(self, reading: Reading) -> Findings:
        """Read a study with a trained network."""
        ...


#: Tasks with their networks.
Readers = Sequence[tuple[Finder, nn.Module]]


def found_in_study(
    seen: StudyRecord, labels: StudyLabels, readers: Readers, device: str
) -> dict[str, Findings]:
    """Read a study with every task that it concerns; of two hips each by itself, the right last.

    Parameters
    ----------
    seen : StudyRecord
        As networks see it.
    labels : StudyLabels
        The hospital's.
    readers : sequence of (Finder, Module)
        Those that may read it.
    device : str
        Where the networks are.

    Returns
    -------
    dict of str to Findings
        By the task's name. What was found in a right hip has its names.
    """
    first = hip_of(seen.images)
    found = _found(seen, labels, readers, device, first)
    if first is View.HIP_RIGHT:
        return {name: named_right(one) for name, one in found.items()}
    if first is None or View.HIP_RIGHT not in seen.images:
        return found
    of_hips = [one for one in readers if View.HIP_LEFT in one[0].inputs.views]
    more = _found(seen, labels, of_hips, device, View.HIP_RIGHT)
    right = {name: named_right(hip_alone(one)) for name, one in more.items()}
    return {name: join([one, right[name]]) if name in right else one for name, one in found.items()}


def _found(
    seen: StudyRecord, labels: StudyLabels, readers: Readers, device: str, hip: View | None
) -> dict[str, Findings]:
    """What each task finds in a study that has one hip, in the left one's place."""
    study = replace(seen, images=as_left(seen.images, hip))
    own = labels_as_left(labels, hip)

    def find(task: Finder, network: nn.Module, before: Findings) -> Findings:
        return task.find(Reading(network, study, own, before, device))

    return found_in_order(
        (task.name, task.after, partial(find, task, network))
        for task, network in readers
        if task.inputs.concern(seen.modalities)
    )
