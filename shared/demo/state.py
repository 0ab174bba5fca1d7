"""What the demo has found out so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from shared.demo.commands import Commands
from shared.demo.settings import DemoSettings, Hospital, read_demo_settings
from shared.tasks import task_class


def start_label(task: str) -> str:
    """What the demo's tests call the public weights that a task started from."""
    return f"start-{task}"


@dataclass
class DemoState:
    """What the demo has found out so far; every value comes from a command's output."""

    out: Path
    configs: Path
    commands: Commands
    started: float = field(default_factory=time.monotonic)
    sites: dict[str, Any] = field(default_factory=dict)
    federation: dict[str, Any] = field(default_factory=dict)
    plain: dict[str, Any] = field(default_factory=dict)
    plain_test: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    ledgers: dict[str, Any] = field(default_factory=dict)
    prediction: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    @cached_property
    def settings(self) -> DemoSettings:
        """Who takes part, which tasks are trained, and which of them is compared."""
        return read_demo_settings(self.out)

    @property
    def members(self) -> list[Hospital]:
        """The hospitals that take part."""
        return self.settings.members

    @property
    def outsider(self) -> Hospital:
        """The hospital that only tests."""
        return self.settings.outsider

    def site(self, hospital: Hospital) -> Path:
        """A hospital's site folder."""
        return self.out / "sites" / hospital.name

    def copy_of_site(self, hospital: Hospital) -> Path:
        """The copy on which training without privacy is compared."""
        return self.out / "comparison" / "sites" / hospital.name

    def task_files(self) -> dict[str, Path]:
        """Task name -> settings file, in order of training; the demo's own where it has any."""
        own = self.out / "tasks"
        folder = own if own.is_dir() else self.configs / "tasks"
        return {name: folder / f"{name}.yaml" for name in self.settings.rounds}

    def public_weights(self, task: str) -> Path:
        """What public pretraining wrote for a task."""
        return self.out / "pretrained" / f"{task}.safetensors"

    def preparing(self, task: str) -> dict[str, Path]:
        """Weights, by task, whose findings complete the studies that a task is trained on."""
        if task not in self.settings.prepared:
            return {}
        return {name: self.public_weights(name) for name in task_class(task).after}
