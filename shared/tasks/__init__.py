"""The trainable tasks, in an explicit list: no name in a settings file is ever imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

from shared.errors import UnknownTaskError

if TYPE_CHECKING:
    from shared.settings.task import TaskSettings
    from shared.tasks.base import Task

#: Every task: its name, and what imports it. Names are known without importing torch. Of
#: tasks that do not need one another's findings, the earlier stands first in a report.
LISTED: Final[dict[str, Callable[[], type[Task]]]] = {
    "dxa-segmentation": lambda: import_module("shared.tasks.dxa_segmentation").DxaSegmentation,
    "dxa-bmd": lambda: import_module("shared.tasks.dxa_bmd").DxaBmd,
    "vfa-fracture": lambda: import_module("shared.tasks.vfa_fracture").VfaFracture,
    "ct-bmd": lambda: import_module("shared.tasks.ct.bmd").CtBmd,
    "xray-vertebrae": lambda: import_module("shared.tasks.xray.vertebrae").XrayVertebrae,
    "xray-bmd": lambda: import_module("shared.tasks.xray.bmd").XrayBmd,
    "ct-localisation": lambda: import_module("shared.tasks.ct.localisation").CtLocalisation,
    "ct-segmentation": lambda: import_module("shared.tasks.ct.segmentation").CtSegmentation,
    "chest-ct-regions": lambda: import_module("shared.tasks.chest.regions").ChestCtRegions,
    "chest-ct-osteoporosis": lambda: (
        import_module("shared.tasks.chest.osteoporosis").ChestCtOsteoporosis
    ),
    "chest-ct-smi": lambda: import_module("shared.tasks.chest.muscle_index").ChestCtSmi,
}
#: What a new site's policy permits until its engineer says otherwise. A task is not permitted
#: by being on the list above: sites that exist keep what their site.yaml names.
PERMITTED_AT_FIRST: Final[tuple[str, ...]] = ("dxa-segmentation", "dxa-bmd", "vfa-fracture")


class TaskList(Mapping[str, "type[Task]"]):
    """The tasks of `LISTED` by name; one is imported when it is asked for."""

    def __getitem__(self, name: str) -> type[Task]:
        return LISTED[name]()

    def __contains__(self, name: object) -> bool:
        return name in LISTED

    def __iter__(self) -> Iterator[str]:
        return iter(LISTED)

    def __len__(self) -> int:
        return len(LISTED)


#: Every task by its name.
TASKS: Final = TaskList()


def task_name(name: str) -> str:
    """Check that there is a task of a name, and give the name back.

    Raises
    ------
    UnknownTaskError
        If there is none; the sentence names those there are.
    """
    if name not in TASKS:
        raise UnknownTaskError(f"task: {name!r} (must be one of {', '.join(sorted(TASKS))})")
    return name


def task_class(name: str) -> type[Task]:
    """Give a task by its name; errors as `task_name`."""
    return TASKS[task_name(name)]


def make_task(settings: TaskSettings) -> Task:
    """Make the task that settings name; errors as `task_class`."""
    return task_class(settings.task)(settings)


def reporting_tasks() -> dict[str, type[Task]]:
    """Give the tasks that stand in reports, each after those whose findings it needs.

    Raises
    ------
    CycleError
        If tasks need one another's findings in a circle.
    """
    from graphlib import TopologicalSorter

    known = {name: task for name, task in TASKS.items() if task.reports}
    sorter = TopologicalSorter({name: task.after for name, task in known.items()})
    places = {name: place for place, name in enumerate(known)}
    found: dict[str, type[Task]] = {}
    sorter.prepare()
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=places.__getitem__)
        found |= {name: known[name] for name in ready}
        sorter.done(*ready)
    return found
