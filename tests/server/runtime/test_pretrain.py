"""Public pretraining: the weights depend on the seed, not on how the work was spread."""

from pathlib import Path

import pytest

from server.runtime.pretrain import pretrain
from shared.errors import ConfigValueError, UnknownTaskError
from shared.settings.files import load_settings, save_settings
from shared.settings.task import TaskSettings

TASKS = Path(__file__).resolve().parents[3] / "configs" / "tasks"


def short(folder: Path, name: str) -> Path:
    settings = load_settings(TASKS / f"{name}.yaml", TaskSettings)
    few = settings.pretrain.model_copy(update={"steps_per_round": 1, "batch_patients": 2})
    path = folder / f"{name}.yaml"
    save_settings(settings.model_copy(update={"pretrain": few}), path)
    return path


@pytest.mark.system
def test_the_weights_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    files = [short(tmp_path, name) for name in ("dxa-bmd", "dxa-segmentation")]
    told: list[tuple[str, int, int]] = []
    one = pretrain(files, tmp_path / "one", patients=3, workers=1)
    two = pretrain(
        files, tmp_path / "two", patients=3, workers=2,
        progress=lambda task, done, total, loss: told.append((task, done, total)),
    )  # fmt: skip
    assert {n: t["digest"] for n, t in one["tasks"].items()} == {
        n: t["digest"] for n, t in two["tasks"].items()
    }
    assert sorted(told) == [("dxa-bmd", 1, 1), ("dxa-segmentation", 1, 1)]
    assert (tmp_path / "one" / "dxa-bmd.safetensors").read_bytes() == (
        tmp_path / "two" / "dxa-bmd.safetensors"
    ).read_bytes()


def test_a_task_named_twice_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    file = short(tmp_path, "dxa-bmd")
    with pytest.raises(ConfigValueError, match="each task once"):
        pretrain([file, file], tmp_path / "out", patients=1000)
    assert not (tmp_path / "out").exists()


def test_an_unknown_task_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    save_settings(TaskSettings(task="hair-colour"), tmp_path / "t.yaml")
    with pytest.raises(UnknownTaskError, match="hair-colour"):
        pretrain([tmp_path / "t.yaml"], tmp_path / "out", patients=1000)
