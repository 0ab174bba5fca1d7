"""The trainable tasks, in an explicit list: no name in a settings file is ever imported."""

from __future__ import annotations

from typing import Final

from shared.errors import UnknownTaskError
from shared.settings.task import TaskSettings
from shared.tasks.base import Task
from shared.tasks.dxa_bmd import DxaBmd
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.tasks.vfa_fracture import VfaFracture
from shared.tasks.xray_vertebrae import XrayVertebrae

#: Every task by its name.
TASKS: Final[dict[str, type[Task]]] = {
    task.name: task for task in (DxaSegmentation, DxaBmd, VfaFracture, XrayVertebrae)
}


def make_task(settings: TaskSettings) -> Task:
    """Make the task that settings name.

    Raises
    ------
    UnknownTaskError
        If there is no such task; the sentence names those there are.
    """
    if settings.task not in TASKS:
        raise UnknownTaskError(
            f"task: {settings.task!r} (must be one of {', '.join(sorted(TASKS))})"
        )
    return TASKS[settings.task](settings)
