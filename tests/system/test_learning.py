"""A changed default that makes a model worse does not go unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.learning.held import compared, small_bench

TASKS = ["dxa-segmentation", "dxa-bmd", "vfa-fracture"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients of all three tasks, rendered once; each pool of workers would import anew."""
    folder = tmp_path_factory.mktemp("learning")
    for task in TASKS:
        small_bench(task, folder, workers=1)
    return folder


@pytest.mark.system
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("task", TASKS)
def test_no_headline_figure_is_worse_by_more_than_its_interval(task: str, cache: Path) -> None:
    """`python -m tests.learning.held TASK` accepts new figures; say why in the commit."""
    worse = {
        arm: f"{now:.3f}, was {held}"
        for arm, (now, held) in compared(task, cache).items()
        if now < held.low
    }
    assert not worse
