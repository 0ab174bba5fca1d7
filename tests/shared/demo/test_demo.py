"""What the demo promises without being run: its shape, its patients, its refusals."""

import csv
import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner

from shared.demo.check import promises
from shared.demo.cli import demo_command
from shared.demo.commands import MARK as COMMANDS_MARK
from shared.demo.commands import Commands, DemoStepError
from shared.demo.curves import draw_curves
from shared.demo.display import Display
from shared.demo.headlines import against_start
from shared.demo.overview import render_overview
from shared.demo.patient import patient_with_worst_fracture
from shared.demo.report import stages_table, task_summary
from shared.demo.run import PLAN, Step, run_demo
from shared.demo.settings import (
    CT_ABDOMEN,
    MODALITIES,
    DemoSettings,
    read_demo_settings,
    settings_file,
)
from shared.demo.state import DemoState
from shared.demo.summary import DemoSummary
from shared.errors import ConfigError, InputEmptyError, InputMissingError
from shared.phantom.imaging.scanner import SCANNERS
from shared.phantom.population import POPULATIONS
from shared.runtime.processes import marked
from shared.settings.files import LabelColumns, load_settings
from shared.settings.task import TaskSettings
from shared.tasks import TASKS

CONFIGS = Path("configs")
SETTINGS = read_demo_settings(CONFIGS)
HOSPITALS = SETTINGS.hospitals
HEADLINES = {name: TASKS[name].headline for name in SETTINGS.rounds}


def summary() -> dict[str, Any]:
    hospital = {
        "scanner": "lunar", "patients": 120, "train": 84, "validation": 18, "test": 18,
        "epsilon_spent": 7.7, "epsilon_budget": 8.0, "delta": 1e-4,
    }  # fmt: skip
    task = {
        "version": 1, "rounds": 5, "epsilon": {"riverside": 4.0}, "bytes_up": 1, "bytes_down": 1,
        "seconds": 1.0, "start": 0.8, "against_start": "better",
    }  # fmt: skip
    metrics = {
        "dxa-segmentation": {"dice": 0.9, "n": 120},
        "dxa-bmd": {"mae_lumbar": 0.06, "mae_lumbar_training_mean": 0.12, "n": 120},
        "vfa-fracture": {"auc_grade2": 0.9, "n": 120},
    }
    places = ["unseen", *(h.name for h in SETTINGS.members)]
    return {
        "schema": 1, "seconds": 300.0, "peak_rss_mb": 3000.0,
        "stages": {"Public pretraining": 120.4, "Tests": 200.0},
        "hospitals": {
            h.name: hospital if h.takes_part else hospital | {"epsilon_spent": 0.0}
            for h in HOSPITALS
        },
        "tasks": {
            name: task | {"metrics": {place: dict(m) for place in places}}
            for name, m in metrics.items()
        },
        "comparison": {"dxa-segmentation": {
            "pretrained": 0.8, "alone": {"riverside": 0.85}, "federated": 0.92,
            "federated_private": 0.9, "pooled": 0.93}},
        "report": "report/index.html",
        "champions": {"dxa-segmentation": 1},
    }  # fmt: skip


def demo_folder(tmp_path: Path) -> Path:
    (tmp_path / "report").mkdir()
    for name in ("overview.html", "curves.png", "report/index.html"):
        (tmp_path / name).write_bytes(b"x" * 2000)
    return tmp_path


def broken(data: dict[str, Any], folder: Path) -> list[str]:
    rows = promises(DemoSummary.model_validate(data), read_demo_settings(CONFIGS), folder)
    return [
        what
        for what, found, relation, bound in rows
        if not (found <= bound if relation == "<=" else found >= bound)
    ]


def test_a_good_demo_breaks_no_promise(tmp_path: Path) -> None:
    assert broken(summary(), demo_folder(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (lambda d: d.update(seconds=601.0), "seconds"),
        (lambda d: d["tasks"]["dxa-segmentation"]["metrics"]["unseen"].update(dice=0.79), "Dice"),
        (lambda d: d["tasks"]["dxa-bmd"]["metrics"]["unseen"].update(mae_lumbar=0.09), "MAE"),
        (
            lambda d: d["tasks"]["vfa-fracture"]["metrics"]["unseen"].update(auc_grade2=None),
            "AUC",
        ),
        (
            lambda d: d["comparison"]["dxa-segmentation"].update(federated_private=0.7),
            "joining",
        ),
    ],
)
def test_a_worse_demo_breaks_its_promise(tmp_path: Path, change: Any, promise: str) -> None:
    data = json.loads(json.dumps(summary()))
    change(data)
    assert any(promise in what for what in broken(data, demo_folder(tmp_path)))


def test_the_summary_has_no_key_that_is_not_documented() -> None:
    with pytest.raises(ValidationError, match="surprise"):
        DemoSummary.model_validate(summary() | {"surprise": 1})


def test_a_summary_of_before_stages_were_shown_can_be_read() -> None:
    older = {key: value for key, value in summary().items() if key != "stages"}
    assert DemoSummary.model_validate(older).stages == {}


def test_the_seconds_of_each_stage_are_shown_and_those_of_the_whole() -> None:
    said = io.StringIO()
    Console(file=said, width=80).print(stages_table(summary()))
    rows = [line.strip(" │").split("│") for line in said.getvalue().splitlines() if "│" in line]
    shown = [(row[0].strip(), row[-1].strip()) for row in rows]
    assert shown == [("Public pretraining", "120"), ("Tests", "200"), ("all", "300")]


def test_every_stage_is_timed_under_the_title_it_is_shown_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2, timeout=30)
    done: list[str] = []

    def work(title: str, *, wait: bool) -> Step:
        def do(state: DemoState) -> None:
            if wait:
                together.wait()
            done.append(title)

        return Step(title, do)

    plan = (
        ((work("a", wait=True), work("b", wait=False)), (work("c", wait=True),)),
        ((work("d", wait=False),),),
    )
    stages: dict[str, float] = {}

    def finished(state: DemoState) -> Path:
        stages.update(state.stages)
        return state.out

    monkeypatch.setattr("shared.demo.run.PLAN", plan)
    monkeypatch.setattr("shared.demo.report.write_results", finished)
    run_demo(tmp_path, Path("configs"))
    assert list(stages) == ["a", "b", "c", "d"]  # in the order of the plan, not of their ends
    assert sorted(done) == list(stages)
    assert done.index("a") < done.index("b")
    assert done[-1] == "d"


def test_no_two_steps_have_one_title() -> None:
    titles = [step.title for lanes in PLAN for lane in lanes for step in lane]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("metric", "start", "trained", "stands"),
    [
        ("dice", 0.842, 0.847, "better"), ("dice", 0.847, 0.842, "worse"),
        ("dice", 0.8421, 0.8424, "equal"), ("dice", 0.8424, 0.8426, "better"),
        ("mae_lumbar", 0.056, 0.064, "worse"), ("mae_lumbar", 0.064, 0.056, "better"),
        ("mae_lumbar", 0.0561, 0.0559, "equal"), ("auc_grade2", 0.967, 0.956, "worse"),
        ("auc_grade2", None, 0.9, None), ("auc_grade2", 0.9, None, None),
    ],
)  # fmt: skip
def test_a_model_stands_against_its_start_as_the_figures_that_are_shown(
    metric: str, start: float | None, trained: float | None, stands: str | None
) -> None:
    headline = next(one for one in HEADLINES.values() if one.metric == metric)
    assert against_start(start, trained, more_is_better=headline.more_is_better) == stands


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_the_demo_trains_and_promises_is_of_tasks_that_there_are(modality: str) -> None:
    settings = load_settings(settings_file(CONFIGS, modality), DemoSettings)
    assert settings.compared in settings.rounds
    assert set(settings.prepared) <= set(settings.rounds)
    assert all((CONFIGS / "tasks" / f"{name}.yaml").is_file() for name in settings.rounds)
    assert (
        settings.training_mean.regression in TASKS[settings.training_mean.task].released.regressions
    )
    for promise in settings.promises:
        better = TASKS[promise.task].headline.more_is_better
        assert promise.task in settings.rounds
        assert (promise.at_least is not None) == better


def test_a_task_is_prepared_by_the_public_weights_of_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_bytes(settings_file(CONFIGS, CT_ABDOMEN).read_bytes())
    with Commands(tmp_path) as commands:
        state = DemoState(tmp_path, CONFIGS, commands)
    assert state.preparing("ct-segmentation") == {}
    assert state.preparing("ct-bmd") == {
        name: tmp_path / "pretrained" / f"{name}.safetensors"
        for name in ("ct-localisation", "ct-segmentation")
    }


def test_the_start_is_measured_at_the_unseen_hospital(tmp_path: Path) -> None:
    def model(value: float) -> dict[str, Any]:
        return {"metrics": {"mae_lumbar": value}, "patients": 90}

    with Commands(tmp_path) as commands:
        state = DemoState(tmp_path, CONFIGS, commands)
    state.tests = {
        "unseen": {"models": {"dxa-bmd": model(0.051), "start-dxa-bmd": model(0.039)}},
        "riverside": {"models": {"dxa-bmd": model(0.030)}},
    }
    run = {"version": 1, "rounds": [1, 2], "epsilon": {}, "bytes_up": 1, "bytes_down": 1,
           "seconds": 1.0}  # fmt: skip
    found = task_summary(state, "dxa-bmd", run)
    assert (found["start"], found["against_start"]) == (0.039, "worse")
    assert found["metrics"]["riverside"] == {"mae_lumbar": 0.030, "n": 90}


def test_the_overview_says_in_words_how_each_private_model_stands(tmp_path: Path) -> None:
    facts = summary()
    facts["tasks"]["dxa-bmd"] |= {"start": 0.056, "against_start": "worse"}
    facts["tasks"]["dxa-bmd"]["metrics"]["unseen"]["mae_lumbar"] = 0.064
    facts["tasks"]["vfa-fracture"] |= {"start": None, "against_start": None}
    result = {"sites": ["riverside"], "tasks": {}}
    page = render_overview(facts, result, "data:,", Path("report/index.html"))
    assert "dxa-segmentation: the private model is better than the public weights" in page
    assert "dxa-bmd: the private model is worse than the public weights" in page
    assert "0.056 before, 0.064 after" in page
    assert "vfa-fracture: cannot be compared with its start" in page


def run_result(sites: list[str]) -> dict[str, Any]:
    """A run's ``result.json`` whose curves fill their panels from corner to corner."""
    curve = [
        {
            "after_round": r,
            "pooled": {"loss": 0.1, "metrics": {"dice": 0.8, "mae_lumbar": 0.05}},
            "sites": {
                site: {"loss": 0.1 * n + r, "metrics": {"dice": r * n, "mae_lumbar": n - r}}
                for n, site in enumerate(sites)
            },
        }
        for r in range(4)
    ]
    rounds = [{"round": r, "epsilon": dict.fromkeys(sites, float(r))} for r in (1, 2, 3)]
    return {"sites": sites, "tasks": {n: {"curve": curve, "rounds": rounds} for n in HEADLINES}}


def test_the_legends_of_the_curves_cover_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib import pyplot as plt

    result = run_result(["hillcrest", "lakeside", "riverside"])
    with monkeypatch.context() as patched:
        patched.setattr(plt, "close", lambda figure: None)
        draw_curves(result, result, HEADLINES, tmp_path / "curves.png")
    figure = plt.gcf()
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert len(figure.axes) == 4
    for axis in figure.axes:
        legend = axis.get_legend().get_window_extent()
        assert legend.y1 < axis.xaxis.label.get_window_extent().y0
        assert figure.bbox.y0 <= legend.y0
        assert axis.get_window_extent().x0 <= legend.x0 < legend.x1 <= axis.get_window_extent().x1
    plt.close(figure)


def test_the_cast_is_three_members_of_two_vendors_and_one_outsider() -> None:
    members = SETTINGS.members
    assert len(members) == 3
    assert len(HOSPITALS) == 4
    assert {SCANNERS[h.scanner].vendor.value for h in members} == {"lunar", "hologic"}
    assert len({h.population for h in members}) == 3
    assert all(120 <= h.patients <= 240 for h in members)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_hospital_is_of_a_population_and_a_scanner_there_are(modality: str) -> None:
    hospitals = load_settings(settings_file(CONFIGS, modality), DemoSettings).hospitals
    assert all(h.population in POPULATIONS for h in hospitals)
    assert all(h.scanner in SCANNERS for h in hospitals)
    assert len({h.seed for h in hospitals}) == len({h.name for h in hospitals}) == 4


def test_an_unknown_demo_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ct-heads.*known: dxa, ct-abdomen"):
        run_demo(tmp_path / "out", CONFIGS, "ct-heads")
    assert not (tmp_path / "out").exists()


def test_the_smallest_demo_takes_few_steps_on_few_patients_and_promises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.demo.run.PLAN", ())
    monkeypatch.setattr("shared.demo.report.write_results", lambda state: state)
    run_demo(tmp_path, CONFIGS, CT_ABDOMEN, smallest=True)
    found = read_demo_settings(tmp_path)
    assert {hospital.patients for hospital in found.hospitals} == {5}
    assert set(found.rounds.values()) == {1}
    assert found.promises == ()
    with Commands(tmp_path) as commands:
        files = DemoState(tmp_path, CONFIGS, commands).task_files()
    for name, path in files.items():
        task, given = (load_settings(one, TaskSettings)
                       for one in (path, CONFIGS / "tasks" / f"{name}.yaml"))  # fmt: skip
        assert max(task.plain.steps_per_round, task.pretrain.steps_per_round) == 3
        assert task.private.steps_per_round <= 3
        assert task.network == given.network


def test_a_demo_of_one_size_has_no_smallest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--smallest: this demo has one size"):
        run_demo(tmp_path / "out", CONFIGS, smallest=True)
    assert not (tmp_path / "out").exists()


def test_a_demo_without_a_hospital_that_only_tests_is_refused() -> None:
    given = SETTINGS.model_dump()
    given["hospitals"] = given["hospitals"][:3]
    with pytest.raises(ValidationError, match="one hospital that takes no part"):
        DemoSettings.model_validate(given)


def test_the_last_lines_are_files_that_can_be_opened_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finished(out: Path, configs: Path, modality: str, *, smallest: bool) -> Path:
        demo_folder(out)
        (out / "summary.json").write_text(json.dumps(summary()))
        return out / "summary.json"

    monkeypatch.setattr("shared.demo.run.run_demo", finished)
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    app.command()(demo_command)
    out = "runs/a-folder-with-a-long-name-so-that-lines-would-wrap-if-they-could/demo"
    Path(out).mkdir(parents=True)
    done = CliRunner().invoke(app, ["--out", out], catch_exceptions=False)
    written = [Path(line) for line in done.output.partition("Written:")[2].split()]
    assert Path(out, "report/index.html") in written
    assert all(path.is_file() for path in written)


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="not empty and not a demo"):
        run_demo(tmp_path, Path("configs"))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_missing_settings_are_said_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no task settings"):
        run_demo(tmp_path / "out", tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()


def test_a_failing_command_is_reported_with_its_own_sentence_and_code(tmp_path: Path) -> None:
    with (
        Commands(tmp_path) as commands,
        pytest.raises(DemoStepError, match="absent") as error,
    ):
        commands.run("site", "ingest", tmp_path / "absent", tmp_path / "absent")
    assert error.value.exit_code in {20, 30}


def show(console: Console) -> None:
    with Display(console) as display:
        display.step(2, 7, "Each takes its own [studies] in")
        with display.running("osteofed site ingest " + "A" * 200):
            time.sleep(0.25)
        with pytest.raises(KeyError), display.running("osteofed site studies [B]"):
            raise KeyError


def test_without_a_terminal_a_command_has_a_line_when_it_begins_and_when_it_has_ended() -> None:
    said = io.StringIO()
    show(Console(file=said, width=60))
    lines = said.getvalue().splitlines()
    assert lines[0].startswith("Step 2 of 7: Each takes its own [studies] in")
    assert lines[1] == "$ osteofed site ingest " + "A" * 200
    assert re.fullmatch(r"  0\.[2-9] s: osteofed site ingest A{200}", lines[2])
    assert lines[3] == "$ osteofed site studies [B]"
    assert re.fullmatch(r"  not finished, 0\.\d s: osteofed site studies \[B\]", lines[4])
    assert len(lines) == 5


def test_on_a_terminal_a_command_at_work_shows_its_time_however_long_it_is() -> None:
    said = io.StringIO()
    show(Console(file=said, width=60, force_terminal=True, legacy_windows=False))
    lines = Text.from_ansi(said.getvalue()).plain.splitlines()
    at_work = [line for line in lines if "0:00:00" in line]
    assert any("Step 2 of 7" in line for line in at_work)
    assert any("$ osteofed site ingest AAA" in line for line in at_work)
    assert all(len(line.rstrip()) <= 60 for line in at_work)
    ended = "".join(lines)
    assert re.search(r"\$ osteofed site ingest A{200}   # 0\.[2-9] s", ended)
    assert re.search(r"\$ osteofed site studies \[B\]   # not finished, 0\.\d s", ended)


def write_labels(hospital: Path, rows: list[tuple[str, str, int]]) -> None:
    columns = LabelColumns()
    (hospital / "labels").mkdir(parents=True)
    with (hospital / "labels" / "grades.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([columns.patient_id, columns.vertebra, columns.genant])
        writer.writerows(rows)


def test_the_report_shows_the_patient_with_the_worst_fracture(tmp_path: Path) -> None:
    write_labels(tmp_path, [("A", "L1", 0), ("B", "L1", 3), ("C", "T8", 2)])
    for patient in "ABC":
        (tmp_path / "DICOM" / patient).mkdir(parents=True)
    assert patient_with_worst_fracture(tmp_path).name == "B"


def test_no_labelled_patient_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    write_labels(tmp_path, [])
    with pytest.raises(InputEmptyError, match="no study of a labelled patient"):
        patient_with_worst_fracture(tmp_path)


def test_the_first_command_that_fails_ends_the_others_and_is_the_one_reported(
    tmp_path: Path,
) -> None:
    words = ["phantom", "make", "--out", str(tmp_path / "pacs"), "--scanner", "lunar",
             "--patients", "2000", "--seed", "1"]  # fmt: skip
    with Commands(tmp_path) as commands:

        def lane() -> None:
            commands.run(*words)
            raise AssertionError("a lane that was ended goes on")

        def broken_lane() -> None:
            commands.run("site", "ingest", tmp_path / "absent", tmp_path / "absent")

        with pytest.raises(DemoStepError, match="absent"):
            commands.side_by_side([lane, broken_lane])
        assert marked(COMMANDS_MARK, commands.token) == []
        with pytest.raises(DemoStepError, match="was not begun"):
            commands.run("phantom", "--help")
