"""The demo: three hospitals train three models together, and a fourth is read by them.

It types the commands a user would type, and computes nothing that a command
does not say.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from shared.demo.commands import Commands
from shared.demo.display import Display
from shared.demo.hospitals import HOSPITALS, start_label
from shared.demo.patient import patient_with_worst_fracture
from shared.demo.settings import FILE
from shared.demo.state import DemoState
from shared.errors import ConfigError, InputMissingError
from shared.runtime.processes import termination_as_interrupt
from shared.settings.contract import DataContract
from shared.settings.files import (
    FederationConfig,
    PrivacyTarget,
    SimulationRuntime,
    SiteConfig,
    StrategySettings,
    TaskRun,
    load_settings,
    save_settings,
)
from shared.settings.task import TaskSettings

MARKER = ".osteofed-demo"
EPSILON_PER_RUN = 4.0
DELTA = 1e-4


def run_demo(out: Path, configs: Path) -> Path:
    """Run the whole demo into a folder that it owns.

    Parameters
    ----------
    out : Path
        Folder of the demo; what an earlier demo left there is replaced.
    configs : Path
        The project's ``configs`` folder.

    Returns
    -------
    Path
        ``summary.json``.

    Raises
    ------
    ConfigError
        If `out` holds something that is not a demo.
    InputMissingError
        If `configs` is not there.
    """
    from shared.demo.report import write_results

    _take_over(out, configs)
    with termination_as_interrupt(), Commands(out) as commands:
        state = DemoState(out=out, configs=configs, commands=commands)
        for lanes in PLAN:
            commands.side_by_side([partial(_take, state, lane) for lane in lanes], len(lanes))
        titles = [step.title for lanes in PLAN for lane in lanes for step in lane]
        state.stages = {title: state.stages[title] for title in titles}
        return write_results(state)


def _take(state: DemoState, lane: Sequence[Step]) -> None:
    """Take the steps of one lane, one after another; note how long each took."""
    steps = [step for lanes in PLAN for one in lanes for step in one]
    for step in lane:
        display, began = state.commands.display, time.monotonic()
        line = display.step(steps.index(step) + 1, len(steps), step.title)
        step.work(state)
        display.end_step(line)
        state.stages[step.title] = round(time.monotonic() - began, 1)


def _take_over(out: Path, configs: Path) -> None:
    if not (configs / "tasks").is_dir() or not (configs / FILE).is_file():
        raise InputMissingError(
            f"{configs}: no task settings there; run the demo from the project's folder"
        )
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise ConfigError(f"{out}: is not empty and not a demo; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(configs / FILE, out / FILE)
    (out / MARKER).write_text("This folder belongs to `osteofed demo` and is replaced by it.\n")


def make_hospitals(state: DemoState) -> None:
    """Digital patients of four hospitals, as DICOM studies of two vendors."""
    for hospital in HOSPITALS:
        state.commands.run(
            "phantom", "make", "--out", state.out / "pacs" / hospital.name,
            "--scanner", hospital.scanner, "--population", hospital.population,
            "--patients", str(hospital.patients), "--seed", str(hospital.seed), "--workers", "2",
        )  # fmt: skip


def ingest(state: DemoState) -> None:
    """Each hospital makes its site and takes its own studies in."""
    state.commands.run_together(
        [("site", "init", state.site(h), "--name", h.name) for h in HOSPITALS]
    )
    reports = state.commands.run_together(
        [("site", "ingest", state.site(h), state.out / "pacs" / h.name) for h in HOSPITALS]
    )
    counts = state.commands.run_together([("site", "studies", state.site(h)) for h in HOSPITALS])
    for hospital, report, count in zip(HOSPITALS, reports, counts, strict=True):
        state.sites[hospital.name] = {"ingest": report, "studies": count}
    # As the data came, before any training, so that trainings need not wait for each other.
    for hospital in state.members:
        _copy_site(state.site(hospital), state.copy_of_site(hospital), state.commands.display)


def pretrain(state: DemoState) -> None:
    """Public weights from digital patients of a made-up scanner: they cost no privacy."""
    # The longest first, so that two workers end together.
    files = reversed(state.task_files().values())
    state.commands.run(
        "server", "pretrain", *files,
        "--out", state.out / "pretrained", "--seed", "1", "--workers", "2",
    )  # fmt: skip


def train_privately(state: DemoState) -> None:
    """Three tasks, one after another, over the three hospitals, under privacy."""
    path = state.out / "federation.yaml"
    save_settings(_agreement(state, "private", list(state.settings.rounds)), path)
    state.federation = state.commands.run("server", "run", path)
    statements = state.commands.run_together(
        [("site", "ledger", state.site(h)) for h in state.members]
    )
    state.ledgers = {h.name: one for h, one in zip(state.members, statements, strict=True)}


def train_alone(state: DemoState) -> None:
    """What joining brings: the same task at each hospital alone, and pooled in one place."""
    settings = state.task_files()[state.settings.compared]
    steps = (
        state.settings.rounds[state.settings.compared]
        * load_settings(settings, TaskSettings).plain.steps_per_round
    )
    start = _pretrained(state, state.settings.compared)
    common: list[str | Path] = ["--settings", settings, "--start-from", start]
    folder = state.out / "comparison"
    trainings: list[list[str | Path]] = [
        # Pooled training takes as many steps as the three hospitals together.
        ["site", "train", *(state.copy_of_site(h) for h in state.members), *common,
         "--steps", str(steps * len(state.members)), "--out", folder / "pooled.safetensors"]
    ]  # fmt: skip
    for h in state.members:
        trainings.append(
            ["site", "train", state.copy_of_site(h), *common, "--steps", str(steps),
             "--out", folder / f"alone-{h.name}.safetensors"]
        )  # fmt: skip
    state.commands.run_together(trainings)


def train_plainly(state: DemoState) -> None:
    """What privacy costs: the same task, federated without it."""
    path = state.out / "comparison" / "federation.yaml"
    save_settings(_agreement(state, "plain", [state.settings.compared]), path)
    state.plain = state.commands.run("server", "run", path)


def test(state: DemoState) -> None:
    """Every hospital tests the champions on its test patients, the fourth on all of its own."""
    folder = state.out / "comparison"
    champions = {name: Path(task["weights"]) for name, task in state.federation["tasks"].items()}
    others = {
        **{start_label(name): _pretrained(state, name) for name in state.settings.rounds},
        "pooled": folder / "pooled.safetensors",
        **{f"alone-{h.name}": folder / f"alone-{h.name}.safetensors" for h in state.members},
    }
    # What the training patients' mean is, to hold the error against.
    task = state.settings.training_mean.task
    mean = {task: champions[task]}
    commands = [
        _evaluation(state.site(state.outsider), champions | others, "all"),
        *(_evaluation(state.site(h), champions, "test") for h in state.members),
        *(_evaluation(state.site(h), mean, "train") for h in state.members),
    ]
    results = iter(state.commands.run_together(commands))
    state.tests = {name: next(results) for name in ["unseen", *(h.name for h in state.members)]}
    state.training = {h.name: next(results) for h in state.members}


def test_plain(state: DemoState) -> None:
    """The fourth hospital tests the model that was federated without privacy, too."""
    model = {"federated": Path(state.plain["tasks"][state.settings.compared]["weights"])}
    state.plain_test = state.commands.run(*_evaluation(state.site(state.outsider), model, "all"))


def _evaluation(site: Path, models: Mapping[str, Path], split: str) -> list[str | Path]:
    """Put together the command that tests models at a hospital."""
    words: list[str | Path] = ["site", "evaluate", site]
    for name, path in models.items():
        words += ["--weights", f"{name}={path}"]
    return [*words, "--split", split]


def predict(state: DemoState) -> None:
    """One patient of the fourth hospital is read by the champions."""
    study = patient_with_worst_fracture(state.out / "pacs" / state.outsider.name)
    state.prediction = state.commands.run(
        "predict", study, "--out", state.out / "report",
        "--labels", state.out / "pacs" / state.outsider.name / "labels",
        "--registry", state.federation["tracking_uri"],
    )  # fmt: skip


class Step(NamedTuple):
    """One step of the demo, by the title that it is shown with."""

    title: str
    work: Callable[[DemoState], None]


#: What is done one after another; in each, lanes of steps that do not need one another, at
#: the same time: a command that starts, or waits for its slowest part, leaves a core idle.
PLAN: tuple[tuple[tuple[Step, ...], ...], ...] = (
    (
        (
            Step("Four digital hospitals", make_hospitals),
            Step("Each takes its own studies in", ingest),
        ),
        (Step("Public pretraining", pretrain),),
    ),
    (
        (Step("Three hospitals train under privacy", train_privately),),
        (Step("The same without privacy, alone, and pooled", train_alone),),
    ),
    (
        (
            Step("The same without privacy, together", train_plainly),
            Step("Its test at the fourth hospital", test_plain),
        ),
        (Step("Tests", test), Step("A new patient's report", predict)),
    ),
)


def _pretrained(state: DemoState, task: str) -> Path:
    return state.out / "pretrained" / f"{task}.safetensors"


def _agreement(state: DemoState, mode: str, tasks: list[str]) -> FederationConfig:
    plain = mode == "plain"
    contracts = _contracts(state)
    folder = state.copy_of_site if plain else state.site
    return FederationConfig(
        name=f"demo-{mode}",
        workspace=(state.out / ("comparison/server" if plain else "server")).resolve(),
        runtime=SimulationRuntime(sites=tuple(folder(h).resolve() for h in state.members)),
        privacy=PrivacyTarget(
            mode="plain" if plain else "private", epsilon_per_run=EPSILON_PER_RUN, delta=DELTA
        ),
        register_versions=not plain,
        tasks=tuple(
            TaskRun(
                settings=state.task_files()[name].resolve(),
                rounds=state.settings.rounds[name],
                start_from=_pretrained(state, name).resolve(),
                strategy=StrategySettings(name="FedAvg"),
                contract=contracts.get(name),
            )
            for name in tasks
        ),
    )


def _contracts(state: DemoState) -> dict[str, DataContract]:
    """What the example agreement requires of the data, by task."""
    example = load_settings(state.configs / "federation.yaml", FederationConfig)
    return {run.settings.stem: run.contract for run in example.tasks if run.contract is not None}


def _copy_site(site: Path, copy: Path, display: Display) -> None:
    """Copy a site and allow training without privacy on the copy, never on the site."""
    display.say(f"cp -r {site} {copy}   # and allow_plain_runs: true in it")
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(site, copy, ignore=shutil.ignore_patterns("answers"))
    config = load_settings(copy / "site.yaml", SiteConfig)
    privacy = config.privacy.model_copy(update={"allow_plain_runs": True})
    save_settings(config.model_copy(update={"privacy": privacy}), copy / "site.yaml")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
