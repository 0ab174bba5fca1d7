"""What a task is given when it reads one study with a trained network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.findings.findings import Findings
from shared.records import StudyLabels, StudyRecord
from shared.tasks.sample import Sample


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
        """Run the network on the units of one patient, (K, C, ...) -> (K, ...), on the CPU."""
        with torch.inference_mode():
            image = sample["image"].to(self.device)
            output: Tensor = self.network(image, sample["covariates"].to(self.device))
        return output.detach().float().cpu()
