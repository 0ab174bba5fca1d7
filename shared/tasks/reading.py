"""What a task is given when it reads one study with a trained network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from shared.findings.findings import Findings
from shared.records import StudyLabels, StudyRecord
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
