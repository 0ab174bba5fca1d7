"""What the demo has found out so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from shared.demo.commands import Commands
from shared.demo.hospitals import HOSPITALS, Hospital
from shared.demo.settings import DemoSettings, read_demo_settings


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
        """Which tasks are trained, and which of them is compared."""
        return read_demo_settings(self.configs)

    @property
    def members(self) -> list[Hospital]:
        """The hospitals that take part."""
        return [hospital for hospital in HOSPITALS if hospital.takes_part]

    @property
    def outsider(self) -> Hospital:
        """The hospital that only tests."""
        return next(hospital for hospital in HOSPITALS if not hospital.takes_part)

    def site(self, hospital: Hospital) -> Path:
        """A hospital's site folder."""
        return self.out / "sites" / hospital.name

    def copy_of_site(self, hospital: Hospital) -> Path:
        """The copy on which training without privacy is compared."""
        return self.out / "comparison" / "sites" / hospital.name

    def task_files(self) -> dict[str, Path]:
        """Task name -> settings file, in order of training."""
        return {name: self.configs / "tasks" / f"{name}.yaml" for name in self.settings.rounds}
