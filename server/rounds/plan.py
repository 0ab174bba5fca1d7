"""What a run will do: federation.yaml with everything it names read and checked.

A run's name follows from what was agreed (not from the time), so the same
agreement is the same run: asked again, the hospitals give the same answers and
spend nothing new.
"""

from __future__ import annotations

import hashlib
import re
from operator import not_
from pathlib import Path
from typing import Final

from pydantic import Field

from server.rounds.aggregation.flower_strategy import check_strategy
from server.state.home import COORDINATOR, IDENTITY, Home, Member
from shared.audit.keys import read_key
from shared.errors import ConfigValueError, StoreMissingError, UnknownTaskError
from shared.inference.registry_file import registry_of
from shared.phrases import counted
from shared.protocol.preparation import Preparation, Preparations
from shared.runtime.files import write_text_atomically
from shared.settings.base import Settings
from shared.settings.files import (
    FederationConfig,
    PrivacyTarget,
    Quorum,
    SimulationRuntime,
    SiteConfig,
    StrategySettings,
    TaskRun,
    load_settings,
    resolve,
)
from shared.settings.task import TaskSettings
from shared.training.initial_weights import check_fits, load_preparing
from shared.training.weights import digest_arrays, load_weights

PLAN_FILE: Final = "plan.json"


class PlannedTask(Settings):
    """One task of a run, with its settings read. `start_digest` is empty without weights.

    `prepared_with` are the versions that prepare its input, `preparing_weights` their files.
    """

    settings: TaskSettings
    rounds: int
    start_from: Path | None
    start_digest: str
    strategy: StrategySettings
    prepared_with: Preparations = Field(default_factory=dict, exclude_if=not_)
    preparing_weights: dict[str, Path] = Field(default_factory=dict, exclude_if=not_)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.settings.task


class RunPlan(Settings):
    """Everything the ServerApp needs; all paths absolute.

    `runtime` is None on real nodes; `sites` are the folders of a simulation.
    """

    run: str
    name: str
    seed: int
    workspace: Path
    home: Path
    members: tuple[Member, ...]
    sites: tuple[Path, ...] = ()
    runtime: SimulationRuntime | None = None
    keep_updates: bool = True
    privacy: PrivacyTarget
    quorum: Quorum
    tracking_uri: str
    experiment: str
    register_versions: bool
    tasks: tuple[PlannedTask, ...]

    @property
    def folder(self) -> Path:
        """Folder of this run inside the workspace."""
        return self.workspace / "runs" / self.run

    def task_folder(self, task: str) -> Path:
        """Folder of one task of this run."""
        return self.folder / task


def make_plan(path: Path, home: Path | None = None) -> RunPlan:
    """Read a federation file and check everything it names, before anything is started.

    Parameters
    ----------
    path : Path
        ``federation.yaml``.
    home : Path, optional
        A coordinator's home: run on the nodes of its members. By default every site of
        ``runtime.sites`` is simulated on this machine.

    Returns
    -------
    RunPlan
        What will be done.

    Raises
    ------
    ConfigError
        If a settings file is missing or says something that cannot be.
    UnknownTaskError
        If a task is not one of ours.
    StoreMissingError
        If a site folder is not there.
    VersionMissingError, ModelIncompatibleError
        If weights to start from or to prepare with are missing or do not fit.
    """
    config = load_settings(path, FederationConfig)
    base = path.resolve().parent
    workspace = resolve(base, config.workspace)
    if home is None:
        sites = _sites(config, base, path)
        home = workspace / COORDINATOR
        members = _simulated_members(sites)
    else:
        sites, home = (), home.resolve()
        members = Home(home).members()
    tasks = tuple(_plan_task(task, base, path) for task in config.tasks)
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise ConfigValueError(f"{path}: tasks: {', '.join(names)} (each task once)")
    if config.quorum.minimum_sites > len(members):
        raise ConfigValueError(
            f"{path}: quorum.minimum_sites: {config.quorum.minimum_sites} "
            f"(must be at most the {counted(len(members), 'site')})"
        )
    uri = config.registry.tracking_uri or registry_of(workspace)
    return RunPlan(
        run=_run_name(config, tasks),
        name=config.name,
        seed=config.seed,
        workspace=workspace,
        home=home,
        members=members,
        sites=sites,
        runtime=config.runtime if sites else None,
        keep_updates=config.keep_updates,
        privacy=config.privacy,
        quorum=config.quorum,
        tracking_uri=uri,
        experiment=config.registry.experiment,
        register_versions=config.register_versions,
        tasks=tasks,
    )


def save_plan(plan: RunPlan) -> Path:
    """Write the plan into the run's folder, atomically; return its path."""
    path = plan.folder / PLAN_FILE
    write_text_atomically(path, plan.model_dump_json(indent=2) + "\n")
    return path


def load_plan(path: Path) -> RunPlan:
    """Read a plan that `save_plan` wrote."""
    return RunPlan.model_validate_json(path.read_text(encoding="utf-8"))


def _sites(config: FederationConfig, base: Path, origin: Path) -> tuple[Path, ...]:
    if config.runtime is None:
        raise ConfigValueError(
            f"{origin}: runtime: is missing (name the site folders to simulate, or run on real "
            "nodes with --home)"
        )
    sites = tuple(resolve(base, site) for site in config.runtime.sites)
    for site in sites:
        if not (site / "site.yaml").is_file():
            raise StoreMissingError(
                f"{site}: is not a site (no site.yaml), but {origin} names it; make it with "
                "`osteofed site init`"
            )
    if len(set(sites)) < len(sites):
        raise ConfigValueError(f"{origin}: runtime.sites: a site is named twice")
    return sites


def _simulated_members(sites: tuple[Path, ...]) -> tuple[Member, ...]:
    """Admit the sites of a simulation: their folders are here, and so are their keys."""
    members = []
    for site in sites:
        key = site / IDENTITY
        if not key.is_file():
            raise StoreMissingError(
                f"{key}: is missing: the site was made by an older version; run "
                f"`osteofed site identity {site}` once"
            )
        name = load_settings(site / "site.yaml", SiteConfig).site
        members.append(Member(site=name, signing_key=read_key(key).public))
    names = [member.site for member in members]
    if len(set(names)) < len(names):
        raise ConfigValueError(f"runtime.sites: two sites have the same name ({', '.join(names)})")
    return tuple(sorted(members, key=lambda member: member.site))


def simulated_names(sites: tuple[Path, ...]) -> dict[int, str]:
    """Names of the sites of a simulation by their nodes, which are numbered from 1."""
    return {
        number: load_settings(site / "site.yaml", SiteConfig).site
        for number, site in enumerate(sites, start=1)
    }


def _plan_task(task: TaskRun, base: Path, origin: Path) -> PlannedTask:
    from shared.tasks import TASKS

    settings = load_settings(resolve(base, task.settings), TaskSettings)
    if settings.task not in TASKS:
        raise UnknownTaskError(
            f"{task.settings}: task {settings.task!r} is not known (known: {', '.join(TASKS)})"
        )
    check_strategy(task.strategy, str(origin))
    start, digest = None, ""
    if task.start_from is not None:
        start = resolve(base, task.start_from)
        weights = load_weights(start)
        check_fits(settings, weights, start)
        digest = digest_arrays(weights.arrays)
    preparing = {name: resolve(base, file) for name, file in task.prepare_with.items()}
    return PlannedTask(
        settings=settings,
        rounds=task.rounds,
        start_from=start,
        start_digest=digest,
        strategy=task.strategy,
        prepared_with=_read_preparations(settings.task, preparing, origin),
        preparing_weights=preparing,
    )


def _read_preparations(
    task: str, preparing: dict[str, Path], origin: Path
) -> dict[str, Preparation]:
    """Read which versions prepare a task's input; only of tasks whose findings it needs."""
    from shared.tasks import task_class

    for name in preparing:
        after = task_class(task).after
        if name not in after:
            raise ConfigValueError(
                f"{origin}: tasks: prepare_with of {task}: {name!r} (must be "
                f"{' or '.join(after) or 'left out: it needs the findings of no other task'})"
            )
    return {name: load_preparing(file, name)[0] for name, file in preparing.items()}


def _run_name(config: FederationConfig, tasks: tuple[PlannedTask, ...]) -> str:
    """Name a run by what was agreed: a digest over everything but paths."""
    agreed = [f"{config.seed}", config.privacy.model_dump_json()]
    agreed += [task.model_dump_json(exclude={"start_from", "preparing_weights"}) for task in tasks]
    digest = hashlib.sha256("\n".join(agreed).encode()).hexdigest()
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", config.name).strip("-._")[:40] or "federation"
    return f"{words}-{digest[:10]}"
