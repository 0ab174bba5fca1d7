"""The list of tasks, what each says about itself, and that nobody else says it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from shared.errors import UnknownTaskError
from shared.metrics.released import ReleasedSums
from shared.regions import REGION_CODES
from shared.settings.task import TaskSettings
from shared.tasks import LISTED, PERMITTED_AT_FIRST, TASKS, make_task, task_class

ROOT = Path(__file__).resolve().parents[3]
#: Reviewed: what of each task's sums may leave a hospital. A change here is a change of what
#: leaves, and needs the eyes of whoever answers for the hospitals' privacy (docs/privacy.md).
REVIEWED = {
    "dxa-segmentation": ReleasedSums(
        means=(
            "dice", "dice_lateral", "dice_lateral_any", "dice_total_hip",
            *(f"dice_{region}" for region in REGION_CODES),
        )
    ),
    "dxa-bmd": ReleasedSums(regressions=("lumbar", "femoral_neck", "total_hip")),
    "vfa-fracture": ReleasedSums(),
    "ct-bmd": ReleasedSums(regressions=("l1", "l2", "l3", "l4", "spine")),
    "xray-vertebrae": ReleasedSums(means=("dice",)),
    "xray-bmd": ReleasedSums(regressions=("lumbar", "femoral_neck", "total_hip")),
    "ct-localisation": ReleasedSums(means=("error_mm",)),
    "chest-ct-regions": ReleasedSums(means=("error_mm",)),
    "chest-ct-osteoporosis": ReleasedSums(),
    "chest-ct-smi": ReleasedSums(),
    "ct-segmentation": ReleasedSums(means=("dice", "dice_L1", "dice_L2", "dice_L3", "dice_L4")),
}  # fmt: skip


def test_what_may_leave_is_what_was_reviewed() -> None:
    assert {name: task.released for name, task in TASKS.items()} == REVIEWED


def test_a_task_is_listed_by_its_own_name() -> None:
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in LISTED}
    assert set(PERMITTED_AT_FIRST) <= set(LISTED)


def test_a_task_that_is_not_listed_is_one_sentence() -> None:
    with pytest.raises(
        UnknownTaskError, match=r"'os\.system' \(must be one of chest-ct-osteoporosis, "
    ):
        task_class("os.system")


def test_names_are_known_without_importing_any_task() -> None:
    program = (
        "import sys; from shared.tasks import TASKS; assert 'dxa-bmd' in TASKS and list(TASKS);"
        "assert not {'torch', 'shared.tasks.base', 'shared.tasks.dxa_bmd'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", sorted(LISTED))
def test_an_example_shows_the_shape_of_the_input(name: str) -> None:
    settings = TaskSettings(task=name)
    task = make_task(settings)
    sample = task.sample(task.example())
    assert sample["image"].shape[0] == sample["covariates"].shape[0] == task.units
    assert float(sample["weight"].sum()) == 0.0  # nobody's, and without any label
    assert not task.uses(task.example())


def spellings(name: str) -> set[str]:
    """A task's name, and those of its module and its class."""
    kind = TASKS[name]
    return {name, kind.__module__, kind.__name__}


def test_no_task_of_today_is_named_outside_the_folder_of_tasks() -> None:
    words = re.compile("|".join(re.escape(w) for name in LISTED for w in spellings(name)))
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for room in ("client", "server", "shared")
        for path in (ROOT / room).rglob("*")
        if path.suffix in {".py", ".j2", ".html", ".js"}
        and ROOT / "shared" / "tasks" not in path.parents
        for match in words.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []
    assert words.search("the task dxa-bmd")
