"""The demo: three hospitals train three models together, and a fourth is read by them.

It types the commands a user would type, and computes nothing that a command
does not say.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shared.demo.commands import Commands
from shared.demo.display import Display
from shared.demo.patient import patient_with_worst_fracture
from shared.demo.settings import DXA, FILE, DemoSettings, Hospital, settings_file
from shared.demo.state import DemoState, start_label
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
from shared.tasks import PERMITTED_AT_FIRST

MARKER = ".osteofed-demo"
DELTA = 1e-4


def run_demo(out: Path, configs: Path, modality: str = DXA, *, smallest: bool = False) -> Path:
    """Run the whole demo into a folder that it owns.

    Parameters
    ----------
    out : Path
        Folder of the demo; what an earlier demo left there is replaced.
    configs : Path
        The project's ``configs`` folder.
    modality : str
        One of `shared.demo.settings.MODALITIES`.
    smallest : bool
        Only take every step, in a few minutes: the models are of no use.

    Returns
    -------
    Path
        ``summary.json``.

    Raises
    ------
    ConfigError
        If `out` holds something that is not a demo, or there is no such modality or size.
    InputMissingError
        If `configs` is not there.
    """
    from shared.demo.report import write_results

    _take_over(out, configs, modality, smallest=smallest)
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


def _take_over(out: Path, configs: Path, modality: str, *, smallest: bool) -> None:
    """Make the demo's folder, with its own settings and those of the tasks that it trains."""
    file = settings_file(configs, modality)
    if not (configs / "tasks").is_dir() or not file.is_file():
        raise InputMissingError(
            f"{configs}: no task settings there; run the demo from the project's folder"
        )
    settings = load_settings(file, DemoSettings)
    if smallest:
        settings = settings.at_smallest_size()
    if out.exists() and any(out.iterdir()):
        if not (out / MARKER).exists():
            raise ConfigError(f"{out}: is not empty and not a demo; give another --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    save_settings(settings, out / FILE)
    if smallest and settings.smallest is not None:
        (out / "tasks").mkdir()
        for name in settings.rounds:
            task = load_settings(configs / "tasks" / f"{name}.yaml", TaskSettings)
            save_settings(_shorter(task, settings.smallest.steps), out / "tasks" / f"{name}.yaml")
    (out / MARKER).write_text("This folder belongs to `osteofed demo` and is replaced by it.\n")


def _shorter(task: TaskSettings, steps: int) -> TaskSettings:
    """Take no more steps than so many, in a pretraining and in a round."""

    def cut(one: Any) -> Any:
        return one.model_copy(update={"steps_per_round": min(steps, one.steps_per_round)})

    parts = ("plain", "private", "pretrain")
    return task.model_copy(update={part: cut(getattr(task, part)) for part in parts})


def make_hospitals(state: DemoState) -> None:
    """Digital patients of four hospitals, as DICOM studies of two vendors."""
    made = state.settings.examinations
    options = [] if made.anatomy == "points" else ["--anatomy", made.anatomy]
    options += ["--ct"] if made.ct else []
    options += ["--film"] if made.film else []
    for hospital in state.settings.hospitals:
        state.commands.run(
            "phantom", "make", "--out", state.out / "pacs" / hospital.name,
            "--scanner", hospital.scanner, "--population", hospital.population,
            "--patients", str(hospital.patients), "--seed", str(hospital.seed), "--workers", "2",
            *options,
        )  # fmt: skip


def ingest(state: DemoState) -> None:
    """Each hospital makes its site and takes its own studies in."""
    hospitals = state.settings.hospitals
    state.commands.run_together([_new_site(state, hospital) for hospital in hospitals])
    for hospital in hospitals:
        _set_policy(state, hospital)
    reports = state.commands.run_together(
        [("site", "ingest", state.site(h), state.out / "pacs" / h.name) for h in hospitals]
    )
    counts = state.commands.run_together([("site", "studies", state.site(h)) for h in hospitals])
    for hospital, report, count in zip(hospitals, reports, counts, strict=True):
        state.sites[hospital.name] = {"ingest": report, "studies": count}
    # As the data came, before any training, so that trainings need not wait for each other.
    for hospital in state.members:
        _copy_site(state.site(hospital), state.copy_of_site(hospital), state.commands.display)


def _new_site(state: DemoState, hospital: Hospital) -> list[str | Path]:
    """Put together the command that makes a site; it permits what is new only where told."""
    words: list[str | Path] = ["site", "init", state.site(hospital), "--name", hospital.name]
    if not set(state.settings.rounds) <= set(PERMITTED_AT_FIRST):
        for task in state.settings.rounds:
            words += ["--task", task]
    return words


def _set_policy(state: DemoState, hospital: Hospital) -> None:
    """Write what the hospital allows other than a new site does into its settings."""
    changed = state.settings.policy.model_dump(exclude_defaults=True)
    if not changed:
        return
    said = ", ".join(f"{key}: {value}" for key, value in changed.items())
    site = state.site(hospital)
    state.commands.display.say(f"# in {site / 'site.yaml'}: policy: {{{said}}}")
    _change_settings(site, "policy", changed)


def _change_settings(
    site: Path, part: Literal["policy", "privacy"], changed: dict[str, Any]
) -> None:
    """Change keys of one part of a site's settings, as its engineer would by hand."""
    path = site / "site.yaml"
    config = load_settings(path, SiteConfig)
    whole = getattr(config, part).model_copy(update=changed)
    save_settings(config.model_copy(update={part: whole}), path)


def pretrain(state: DemoState) -> None:
    """Public weights from digital patients of a made-up scanner: they cost no privacy."""
    # The longest first, so that two workers end together.
    files = reversed(state.task_files().values())
    number = state.settings.public_patients
    state.commands.run(
        "server", "pretrain", *files,
        "--out", state.out / "pretrained", "--seed", "1", "--workers", "2",
        *([] if number is None else ["--patients", str(number)]),
    )  # fmt: skip


def train_privately(state: DemoState) -> None:
    """Three tasks, one after another, over the three hospitals, under privacy."""
    path = state.out / "federation.yaml"
    _agree(state, "private", list(state.settings.rounds), path)
    state.federation = state.commands.run("server", "run", path)
    statements = state.commands.run_together(
        [("site", "ledger", state.site(h)) for h in state.members]
    )
    state.ledgers = {h.name: one for h, one in zip(state.members, statements, strict=True)}


def _agree(state: DemoState, mode: str, tasks: list[str], path: Path) -> None:
    """Write what is agreed; each hospital declares its numbers, and checks what is prepared."""
    save_settings(_agreement(state, mode, tasks), path)
    state.commands.run_together(
        [("site", "declare", site, "--agreement", path, "--yes") for site in _sites(state, mode)]
    )
    prepared = [task for task in tasks if state.preparing(task)]
    state.commands.run_together(
        [("site", "check", site, task, "--agreement", path)
         for site in _sites(state, mode) for task in prepared]
    )  # fmt: skip


def _sites(state: DemoState, mode: str) -> list[Path]:
    """Folders of those that take part: the copies, where privacy is left out."""
    folder = state.copy_of_site if mode == "plain" else state.site
    return [folder(hospital) for hospital in state.members]


def train_alone(state: DemoState) -> None:
    """What joining brings: the same task at each hospital alone, and pooled in one place."""
    settings = state.task_files()[state.settings.compared]
    steps = (
        state.settings.rounds[state.settings.compared]
        * load_settings(settings, TaskSettings).plain.steps_per_round
    )
    start = state.public_weights(state.settings.compared)
    common: list[str | Path] = ["--settings", settings, "--start-from", start]
    common += _prepared_with(state, [state.settings.compared])
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
    _agree(state, "plain", [state.settings.compared], path)
    state.plain = state.commands.run("server", "run", path)


def test(state: DemoState) -> None:
    """Every hospital tests the champions on its test patients, the fourth on all of its own."""
    folder = state.out / "comparison"
    champions = {name: Path(task["weights"]) for name, task in state.federation["tasks"].items()}
    others = {
        **{start_label(name): state.public_weights(name) for name in state.settings.rounds},
        "pooled": folder / "pooled.safetensors",
        **{f"alone-{h.name}": folder / f"alone-{h.name}.safetensors" for h in state.members},
    }
    # What the training patients' mean is, to hold the error against.
    task = state.settings.training_mean.task
    mean = {task: champions[task]}
    commands = [
        _evaluation(state, state.outsider, champions | others, "all"),
        *(_evaluation(state, h, champions, "test") for h in state.members),
        *(_evaluation(state, h, mean, "train") for h in state.members),
    ]
    results = iter(state.commands.run_together(commands))
    state.tests = {name: next(results) for name in ["unseen", *(h.name for h in state.members)]}
    state.training = {h.name: next(results) for h in state.members}


def test_plain(state: DemoState) -> None:
    """The fourth hospital tests the model that was federated without privacy, too."""
    model = {"federated": Path(state.plain["tasks"][state.settings.compared]["weights"])}
    state.plain_test = state.commands.run(*_evaluation(state, state.outsider, model, "all"))


def _evaluation(
    state: DemoState, hospital: Hospital, models: Mapping[str, Path], split: str
) -> list[str | Path]:
    """Put together the command that tests models at a hospital."""
    words: list[str | Path] = ["site", "evaluate", state.site(hospital)]
    for name, path in models.items():
        words += ["--weights", f"{name}={path}"]
    return [*words, "--split", split, *_prepared_with(state, state.settings.rounds)]


def _prepared_with(state: DemoState, tasks: Iterable[str]) -> list[str | Path]:
    """Name the weights whose findings complete the studies that tasks read."""
    files = {path for task in tasks for path in state.preparing(task).values()}
    return [word for path in sorted(files) for word in ("--prepare-with", path)]


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


def _agreement(state: DemoState, mode: str, tasks: list[str]) -> FederationConfig:
    plain = mode == "plain"
    contracts = _contracts(state)
    return FederationConfig(
        name=f"demo-{mode}",
        workspace=(state.out / ("comparison/server" if plain else "server")).resolve(),
        runtime=SimulationRuntime(sites=tuple(site.resolve() for site in _sites(state, mode))),
        privacy=PrivacyTarget(
            mode="plain" if plain else "private",
            epsilon_per_run=state.settings.epsilon_per_run,
            delta=DELTA,
        ),
        register_versions=not plain,
        tasks=tuple(
            TaskRun(
                settings=state.task_files()[name].resolve(),
                rounds=state.settings.rounds[name],
                start_from=state.public_weights(name).resolve(),
                strategy=StrategySettings(name="FedAvg"),
                contract=contracts.get(name),
                prepare_with={task: path.resolve() for task, path in state.preparing(name).items()},
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
    _change_settings(copy, "privacy", {"allow_plain_runs": True})


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
