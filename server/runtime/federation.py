"""One run: for each task begin, train, have it judged, register. Reads as the agreement."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from server.registry.model_card import draw_curves, write_card
from server.registry.passport import make_passport
from server.registry.tracking import Tracking
from server.rounds.plan import PlannedTask, RunPlan, simulated_names
from server.rounds.promotion import first_version, judge
from server.rounds.request import MessageMaker
from server.rounds.roster import Attendance, Roster, wait_for_nodes
from server.rounds.train import Start, Trained, curve_point, evaluate_models, train_rounds
from server.state.checkpoint import FINAL, Checkpoint
from server.state.events import Events
from server.state.home import Home
from server.state.journal import Journal
from server.state.result import (
    CurvePoint,
    Judged,
    RoundFacts,
    RunResult,
    TaskResult,
    Verdict,
    last_said,
    save_result,
)
from shared.errors import (
    ModelIncompatibleError,
    QuorumError,
    RunFailedError,
    RunPausedError,
)
from shared.protocol.codec import Arrays
from shared.protocol.passport import FILE as PASSPORT
from shared.runtime.files import is_disk_full, write_text_atomically
from shared.settings.files import save_settings
from shared.settings.task import TaskSettings
from shared.training.initial_weights import load_preparing
from shared.training.weights import Weights, digest_arrays, load_weights, save_weights

if TYPE_CHECKING:
    from server.rounds.grid import Grid

#: How long sites may take to connect before the first round.
CONNECT_SECONDS: Final = 120.0
RESULT: Final = "result.json"
#: Weights that a task's run began with, for whoever aggregates its updates again.
BEGUN: Final = "start.safetensors"
#: What the sites said of a task's trained model.
JUDGED: Final = "judged.json"
#: Room that is given back when the disk is full, so that the reason can be written down.
RESERVE: Final = "reserve"
RESERVE_BYTES: Final = 65_536


@dataclass(frozen=True)
class _Run:
    """What all steps of a run share."""

    grid: Grid
    roster: Roster
    plan: RunPlan
    journal: Journal
    make: MessageMaker
    tracking: Tracking

    @property
    def events(self) -> Events:
        return self.journal.events


def run_plan(grid: Grid, plan: RunPlan, events: Events, make: MessageMaker) -> Path:
    """Train all tasks of a plan; return the path of the run's ``result.json``.

    Parameters
    ----------
    grid : Grid
        Flower's way to the sites.
    plan : RunPlan
        What was agreed.
    events : Events
        Told what happens.
    make : callable
        Makes Flower messages.

    Raises
    ------
    OsteofedError
        If a task ends without a model; what earlier tasks gave is registered.
    """
    journal = Journal(events, Home(plan.home), plan.run)
    tracking: list[Tracking] = []
    try:
        return _run_tasks(grid, plan, journal, make, tracking)
    except QuorumError as error:
        pausing = plan.quorum.on_missing == "pause"
        _abandon(tracking, pausing)
        if not pausing:
            raise
        raise _paused(journal, plan, str(error)) from None
    except Exception as error:
        pausing = is_disk_full(error, plan.folder)
        _abandon(tracking, pausing)
        if not pausing:
            raise
        where = getattr(error, "filename", None) or plan.workspace
        reason = f"the coordinator's disk is full ({where}); make room"
        raise _paused(journal, plan, reason) from None
    except BaseException:
        _abandon(tracking, False)
        raise


def standing(plan: RunPlan) -> tuple[str, int]:
    """Tell which task a run is at, and which round comes next."""
    for task in plan.tasks:
        folder = plan.task_folder(task.name)
        if not (folder / RESULT).is_file():
            return task.name, Checkpoint(folder, plan.run, task.name).rounds_done() + 1
    return plan.tasks[-1].name, plan.tasks[-1].rounds + 1


def _run_tasks(
    grid: Grid, plan: RunPlan, journal: Journal, make: MessageMaker, opened: list[Tracking]
) -> Path:
    started = time.time()
    _take_reserve(plan)
    task, number = standing(plan)
    if (task, number) == (plan.tasks[0].name, 1):
        journal.note("run started", tasks=[task.name for task in plan.tasks])
    else:
        journal.note("resumed", task=task, round=number)
    seconds = min(CONNECT_SECONDS, plan.quorum.deadline_seconds)
    roster = Roster(
        plan.members,
        Home(plan.home) if any(m.node_key for m in plan.members) else None,
        names=simulated_names(plan.sites),
    )
    minimum = plan.quorum.minimum_sites

    def tell(found: Attendance, until: float) -> None:
        journal.events.say("waiting", **found._asdict(), minimum=minimum, until=until)

    wait_for_nodes(grid, roster, minimum, seconds, tell)
    # Networks are imported before MLflow's thread begins: two threads that import
    # torch at once would get in each other's way.
    starts = {planned.name: prepare(plan, planned) for planned in plan.tasks}
    tracking = Tracking(plan)
    opened.append(tracking)
    run = _Run(grid, roster, plan, journal, make, tracking)
    results = {one.name: _run_task(run, one, starts[one.name]) for one in plan.tasks}
    tracking.close()
    result = RunResult(
        run=plan.run,
        name=plan.name,
        workspace=plan.workspace,
        tracking_uri=plan.tracking_uri,
        sites=_who_spoke(run, results),
        seconds=time.time() - started,
        tasks=results,
    )
    save_result(result, plan.folder / RESULT)
    (plan.folder / RESERVE).unlink(missing_ok=True)
    return plan.folder / RESULT


def _who_spoke(run: _Run, results: Mapping[str, TaskResult]) -> list[str]:
    """Members that said anything, also before the run was resumed."""
    rounds = [facts for result in results.values() for facts in result.rounds]
    spoke = set(run.roster.names.values())
    spoke |= {site for facts in rounds for site in facts.patients}
    spoke |= {absence.site for facts in rounds for absence in facts.absent}
    members = (*run.plan.members, *run.roster.members)
    return sorted(spoke & {member.site for member in members})


def _take_reserve(plan: RunPlan) -> None:
    """Take some room, to be given back for the last words when the disk is full."""
    with (plan.folder / RESERVE).open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, RESERVE_BYTES)


def _paused(journal: Journal, plan: RunPlan, reason: str) -> RunPausedError:
    """Write down that the run pauses, as far as that is possible."""
    (plan.folder / RESERVE).unlink(missing_ok=True)
    task, number = standing(plan)
    with contextlib.suppress(OSError):
        journal.note("paused", task=task, round=number, reason=reason)
    return RunPausedError(f"{reason}; go on with: osteofed server resume {plan.folder}")


def _abandon(opened: list[Tracking], paused: bool) -> None:
    for tracking in opened:
        tracking.abandon(paused=paused)


def prepare(plan: RunPlan, planned: PlannedTask) -> Start:
    """Make a task's beginning: network, weights, which tensors are trained, how much noise."""
    from shared.tasks import make_task
    from shared.training.accounting import noise_multiplier_for
    from shared.training.arrays import get_arrays, trainable_names
    from shared.training.initial_weights import start_network

    task = make_task(planned.settings)
    if planned.start_from is not None:
        found = digest_arrays(load_weights(planned.start_from).arrays)
        if found != planned.start_digest:
            raise _not_as_planned(planned.start_from)
    preparing = {
        name: _preparing_weights(planned, name, path)
        for name, path in planned.preparing_weights.items()
    }
    network, _ = start_network(planned.settings, planned.start_from, plan.seed)
    private = planned.settings.private
    noise = 0.0
    which = planned.settings.plain.trainable
    if plan.privacy.mode == "private":
        which = private.trainable
        noise = noise_multiplier_for(
            plan.privacy.epsilon_per_run,
            plan.privacy.delta,
            private.sample_rate,
            private.steps_per_round * planned.rounds,
        )
    names = trainable_names(task, network, which)
    return Start(task, get_arrays(network), names, noise, preparing)


def _preparing_weights(planned: PlannedTask, name: str, path: Path) -> Arrays:
    """Read the weights that prepare a task's input; the run was planned with exactly these."""
    from shared.tasks import make_task
    from shared.training.arrays import set_arrays

    found, arrays = load_preparing(path, name)
    if found != planned.prepared_with[name]:
        raise _not_as_planned(path)
    try:
        set_arrays(make_task(found.settings).network(), arrays, strict=True)
    except ModelIncompatibleError as error:
        raise ModelIncompatibleError(f"{path}: {error}") from None
    return arrays


def _not_as_planned(path: Path) -> ModelIncompatibleError:
    return ModelIncompatibleError(
        f"{path}: is not the file that the run was planned with; put it back, or begin anew with "
        "--fresh"
    )


def _run_task(run: _Run, planned: PlannedTask, start: Start) -> TaskResult:
    began = time.time()
    name, plan = planned.name, run.plan
    done = plan.task_folder(name) / RESULT
    if done.is_file():  # the run was resumed, and this task had ended
        return TaskResult.model_validate_json(done.read_text(encoding="utf-8"))
    tracked = run.tracking.begin(planned, start.noise_multiplier)
    run.events.say("task", task=name, rounds=planned.rounds, metric=start.task.headline[0])

    def tell(facts: RoundFacts, point: CurvePoint) -> None:
        run.events.say(
            "round", task=name, facts=facts.model_dump(), point=point.model_dump(mode="json")
        )

    def report(facts: RoundFacts, point: CurvePoint) -> None:
        run.tracking.check()  # a registry that is away is said now, not after hours
        run.tracking.round(tracked, facts, point)
        tell(facts, point)

    kept = Checkpoint(plan.task_folder(name), plan.run, name).read()
    if kept is not None:  # a killed run may not have told what it had written down
        told = run.events.rounds_told(name)
        for facts, point in zip(kept.progress.rounds, kept.progress.curve, strict=True):
            run.tracking.round(tracked, facts, point)
            if facts.round not in told:
                tell(facts, point)

    trained = train_rounds(
        run.grid, run.roster, plan, planned, start, run.make, run.journal, report
    )
    weights = Weights(planned.settings, trained.arrays, f"federated run {plan.run}")
    path = Checkpoint(plan.task_folder(name), plan.run, name).finish(weights)
    judged = _judged_once(run, planned, start, trained)
    curve, verdict, moved = judged.curve, judged.verdict, judged.moved
    run.tracking.point(tracked, curve[-1])
    version = None
    if plan.register_versions:
        version = _register(run, planned, start, trained, curve, tracked, verdict)
    run.tracking.end(tracked, "FINISHED")
    promoted = version is not None and verdict.promoted
    run.events.say("registered", task=name, version=version, champion=promoted,
                   reason=verdict.reason)  # fmt: skip
    rounds = trained.rounds
    digest = digest_arrays(trained.arrays)
    run.journal.note("registered", task=name, version=version, champion=promoted, digest=digest)
    result = TaskResult(
        task=name,
        mode=plan.privacy.mode,
        version=version,
        champion=promoted,
        verdict=verdict,
        weights=path,
        digest=digest,
        strategy=planned.strategy.name,
        noise_multiplier=start.noise_multiplier,
        rounds=rounds,
        curve=curve,
        epsilon=last_said(rounds, "epsilon"),
        epsilon_spent=trained.epsilon_spent,
        plain_rounds=last_said(rounds, "plain_rounds"),
        bytes_up=sum(one.bytes_up for one in rounds) + moved[1],
        bytes_down=sum(one.bytes_down for one in rounds) + moved[0],
        seconds=time.time() - began,
    )
    write_text_atomically(done, result.model_dump_json(indent=1) + "\n")
    return result


def _champion(run: _Run, task: str) -> tuple[int, Weights] | None:
    if not run.plan.register_versions:
        return None
    return run.tracking.champion(task, run.plan.task_folder(task) / "previous-champion")


def _judged_once(run: _Run, planned: PlannedTask, start: Start, trained: Trained) -> Judged:
    """Have the model judged, or read what the sites said of it before the run was killed."""
    path = run.plan.task_folder(planned.name) / JUDGED
    digest = digest_arrays(trained.arrays)
    if path.is_file():
        kept = Judged.model_validate_json(path.read_text(encoding="utf-8"))
        if kept.digest == digest:
            return kept
    champion = _champion(run, planned.name)
    curve, verdict, moved = _have_judged(run, planned, start, trained, champion)
    judged = Judged(digest=digest, curve=curve, verdict=verdict, moved=moved)
    write_text_atomically(path, judged.model_dump_json(indent=1) + "\n")
    return judged


def _have_judged(
    run: _Run,
    planned: PlannedTask,
    start: Start,
    trained: Trained,
    champion: tuple[int, Weights] | None,
) -> tuple[list[CurvePoint], Verdict, tuple[int, int]]:
    """Have the sites measure the last model, and the champion beside it, in one exchange."""
    models: dict[str, tuple[TaskSettings, Arrays]] = {"final": (planned.settings, trained.arrays)}
    if champion is not None:
        models["champion"] = (champion[1].settings, champion[1].arrays)
    after = len(trained.rounds)
    try:
        asked = evaluate_models(
            run.grid, run.roster, run.plan, planned.name, models, run.make, run.journal,
            planned.prepared_with, start.preparing,
        )  # fmt: skip
    except RunFailedError as error:  # the model is there; only its judgement is missing
        reason = f"the sites could not judge it: {error}"
        empty = curve_point(start.task, after, {})
        return [*trained.curve, empty], Verdict(promoted=False, reason=reason), (0, 0)
    sums = {label: _sums(asked.answers, label) for label in models}
    reference, against = trained.start_sums, "the weights it started from"
    if champion is not None:
        reference, against = sums["champion"], f"the champion (version {champion[0]})"
    verdict = judge(start.task, sums["final"], reference, against=against)
    if champion is None:
        verdict = first_version(verdict)
    curve = [*trained.curve, curve_point(start.task, after, sums["final"])]
    return curve, verdict, (asked.bytes_down, asked.bytes_up)


def _sums(answers: Mapping[str, object], label: str) -> dict[str, dict[str, float]]:
    from shared.protocol.messages import EvaluateAnswer

    return {
        site: answer.statistics[label]
        for site, answer in answers.items()
        if isinstance(answer, EvaluateAnswer)
    }


def _register(
    run: _Run,
    planned: PlannedTask,
    start: Start,
    trained: Trained,
    curve: list[CurvePoint],
    tracked: Future[str],
    verdict: Verdict,
) -> int:
    from server.registry.export import program_of

    name, plan = planned.name, run.plan
    folder = plan.task_folder(name)
    digest = digest_arrays(trained.arrays)
    papers = folder / "version"
    papers.mkdir(exist_ok=True)
    weights = papers / f"{name}.safetensors"
    weights.write_bytes((folder / FINAL).read_bytes())
    save_settings(planned.settings, papers / "task.yaml")
    facts = {"digest": digest, "noise_multiplier": start.noise_multiplier}
    write_card(papers / "card.json", plan, planned, trained.rounds, curve, facts)
    draw_curves(papers / "curves.png", start.task.headline[0], trained.rounds, curve)
    exact = digest_arrays(start.arrays)
    passport = make_passport(plan, planned, trained.passports, digest, exact)
    write_text_atomically(papers / PASSPORT, passport.model_dump_json(indent=1) + "\n")
    begun = Weights(planned.settings, start.arrays, f"what run {plan.run} began with")
    save_weights(folder / BEGUN, begun)
    others = ("task.yaml", "card.json", "curves.png", PASSPORT)
    files = [weights, *(papers / other for other in others)]
    tags = {"run": plan.run, "digest": digest, "mode": plan.privacy.mode}
    program = program_of(start.task, trained.arrays)
    return run.tracking.register(tracked, name, program, files, tags, verdict)
