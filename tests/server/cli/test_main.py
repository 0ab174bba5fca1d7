"""The coordinator's and the trainer's commands: they parse, call one function and print facts."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.text import Text
from typer.testing import CliRunner

from client.cli.main import app as site
from client.cli.training import labelled
from server.cli.main import _show_result, _show_versions, _Shown, app, registry_uri
from shared.errors import ConfigError, RegistryUnavailableError, UnknownTaskError
from shared.settings.files import SitePrivacy, save_settings
from tests.server.tiny_sites import TINY_TASK, tiny_site


def test_weights_are_labelled_by_name_or_stem_and_never_twice() -> None:
    assert labelled(["a=x/y.safetensors", "z/b.safetensors"]) == {
        "a": Path("x/y.safetensors"), "b": Path("z/b.safetensors")
    }  # fmt: skip
    with pytest.raises(ConfigError, match="two files are called 'b'"):
        labelled(["x/b.safetensors", "y/b.safetensors"])


def test_a_registry_is_named_once(tmp_path: Path) -> None:
    assert registry_uri(tmp_path, None) == f"sqlite:///{tmp_path}/mlflow.sqlite"
    assert registry_uri(None, "http://h:1") == "http://h:1"
    for workspace, uri in ((None, None), (tmp_path, "http://h:1")):
        with pytest.raises(ConfigError, match="either"):
            registry_uri(workspace, uri)


def test_versions_of_nowhere_is_an_error_of_the_registry(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["versions", "--workspace", str(tmp_path), "--json"])
    assert isinstance(done.exception, RegistryUnavailableError)
    assert list(tmp_path.iterdir()) == []


def test_pretraining_an_unknown_task_writes_nothing(tmp_path: Path) -> None:
    save_settings(TINY_TASK.model_copy(update={"task": "mri"}), tmp_path / "task.yaml")
    arguments = ["pretrain", str(tmp_path / "task.yaml"), "--out", str(tmp_path / "out")]
    assert isinstance(CliRunner().invoke(app, arguments).exception, UnknownTaskError)
    assert not (tmp_path / "out").exists()


def test_words_of_sites_and_registries_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    words = "[bold red]champion[/] [link=http://x]y[/link] [/]"
    _show_versions(
        [{"task": words, "version": 1, "aliases": (words,), "created": 0.0, "run": words,
          "verdict": words}]
    )  # fmt: skip
    absent = {"site": words, "kind": "refused", "reason": words}
    task = {
        "epsilon": {words: 1.0}, "verdict": {"metric": words, "reason": words}, "version": 1,
        "curve": [{"pooled": {"loss": 1.0, "metrics": {}}}], "champion": True,
        "rounds": [{"absent": [absent]}], "plain_rounds": {words: 2},
    }  # fmt: skip
    _show_result({"run": words, "seconds": 1.0, "tasks": {words: task}, "workspace": words,
                  "tracking_uri": words})  # fmt: skip
    with Progress(console=Console(file=io.StringIO())) as bar:
        shown = _Shown(bar)
        shown({"event": "task", "task": words, "rounds": 1, "metric": "loss"})
        point: dict[str, Any] = {"pooled": {"metrics": {}}}
        facts = {"absent": [{"site": words}]}
        shown({"event": "round", "task": words, "point": point, "facts": facts})
        assert Text.from_markup(bar.tasks[-1].description).plain == f"{words} (without {words})"
    printed = "".join(capsys.readouterr().out.split())
    # Table cells wrap, so words are looked for whole only where lines are free.
    assert printed.count("[bold") + printed.count("[/link]") >= 10
    assert "".join(f"{words} refused: {words}".split()) in printed
    assert "".join(f"{words} trained 2 rounds without privacy".split()) in printed
    assert "".join(f"result: {words}/result.json; registry: {words}".split()) in printed


def test_versions_fit_a_terminal_of_a_hundred_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = "its mae_lumbar of 0.04 is better than the 0.05 of the champion (version 1), " * 3
    for columns in ("80", "100", "300"):
        monkeypatch.setenv("COLUMNS", columns)
        _show_versions(
            [{"task": "dxa-segmentation", "version": 12, "aliases": ("candidate", "champion"),
              "created": 0.0, "run": "a-rather-long-name-of-a-run-01234567",
              "verdict": verdict}]
        )  # fmt: skip
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= min(int(columns), 100)
        assert " ".join(verdict.split()) in " ".join(shown.split())
        assert "candidate, champion" in " ".join(shown.split()) or columns == "80"
    _show_versions([])
    assert capsys.readouterr().out == "no version is registered yet\n"


def test_every_epsilon_of_a_run_has_its_delta(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rounds = [{"absent": [], "delta": {"alpha": 1e-3}}, {"absent": [], "delta": {"alpha": 1e-4}}]
    task = {
        "epsilon": {"alpha": 1.5, "beta": 2.0}, "verdict": None, "version": 1, "rounds": rounds,
        "curve": [{"pooled": {"loss": 1.0, "metrics": {}}}], "champion": True,
        "plain_rounds": {"beta": 1},
    }  # fmt: skip
    _show_result({"run": "r", "seconds": 1.0, "tasks": {"bmd": task}, "workspace": "w",
                  "tracking_uri": "u"})  # fmt: skip
    shown = " ".join(capsys.readouterr().out.split())
    assert "alpha 1.50 at delta 0.0001; beta 2.00 delta not kept" in shown
    assert "beta trained 1 round without privacy: no epsilon covers it" in shown


@pytest.mark.parametrize(("quiet", "terminal"), [(False, False), (False, True), (True, True)])
def test_a_run_says_for_whom_it_waits_on_standard_error(quiet: bool, terminal: bool) -> None:
    said = io.StringIO()
    shown_on = Console(file=said, force_terminal=terminal, width=200)
    waiting: dict[str, Any] = {"event": "waiting", "minimum": 2, "until": time.time() + 100}
    with Progress(console=shown_on, disable=not terminal) as bar:
        shown = _Shown(bar, quiet=quiet)
        shown(waiting | {"there": ["alpha"], "missing": ["beta", "gamma"]})
        shown(waiting | {"there": ["alpha", "beta"], "missing": ["gamma"]})
        shown({"event": "task", "task": "bmd", "rounds": 1, "metric": "mae"})
    until = time.strftime("%H:%M:%S", time.localtime(waiting["until"]))
    lines = [
        f"waiting until {until} for beta, gamma to connect; connected: alpha (at least 2 needed)",
        f"waiting until {until} for gamma to connect; connected: alpha, beta (at least 2 needed)",
        "going on without gamma; asked if they come",
    ]
    assert [line in said.getvalue() for line in lines] == [not quiet] * 3


def test_training_testing_and_the_ledger_print_pure_json(tmp_path: Path) -> None:
    privacy = SitePrivacy(delta=1e-3, allow_plain_runs=True)
    folder = str(tiny_site(tmp_path / "alpha", "alpha", privacy=privacy))
    save_settings(TINY_TASK, tmp_path / "task.yaml")
    weights = str(tmp_path / "w.safetensors")

    def run(*arguments: str) -> dict[str, object]:
        done = CliRunner().invoke(site, [*arguments, "--json"], catch_exceptions=False)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    trained = run(
        "train", folder, "--settings", str(tmp_path / "task.yaml"), "--steps", "1", "--out", weights
    )
    assert (trained["steps"], trained["patients"], trained["sites"]) == (1, 16, ["alpha"])
    tested = run("evaluate", folder, "--weights", f"mine={weights}", "--split", "test")
    models = tested["models"]
    assert isinstance(models, dict)
    assert models["mine"]["patients"] == 4
    raw = models["mine"]["metrics"]
    arguments = ["evaluate", folder, "--weights", f"mine={weights}", "--split", "test"]
    shown = CliRunner().invoke(site, arguments, env={"COLUMNS": "100"}).stdout
    assert "4 patients of alpha (test)" in shown
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert {one["metric"] for one in models["mine"]["told"]} == set(raw)
    assert not any(name in shown for name in raw if "_" in name)
    spent = run("ledger", folder)
    assert (spent["epsilon_spent"], spent["unbounded"], spent["plain_rounds"]) == (None, True, 1)
