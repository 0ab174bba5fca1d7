"""The round loop against a grid whose sites refuse, fail, lie and sleep."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import RecordDict

from server.rounds.exchange import ask
from server.rounds.plan import PlannedTask, RunPlan
from server.rounds.roster import Attendance, Roster, wait_for_nodes
from server.rounds.train import Start, Trained, as_sent, evaluate_models, train_rounds
from server.state.checkpoint import Checkpoint
from server.state.events import Events
from server.state.home import Home
from server.state.journal import Journal
from server.state.result import RoundFacts, last_said
from shared.errors import FirewallRefusedError, QuorumError, RunFailedError
from shared.protocol import messages as protocol
from shared.protocol.codec import read_arrays
from shared.protocol.messages import Job, Refusal, TrainAnswer
from shared.settings.files import PrivacyTarget, Quorum, StrategySettings
from shared.tasks import make_task
from shared.training.weights import digest_arrays
from tests.server.fake_grid import FakeGrid, Node, make
from tests.server.jobs import account, arrays, asked_in, member, signed, signed_evaluation
from tests.server.tiny_sites import TINY_TASK
from tests.suite.waiting import HANG_SECONDS

NAMES = ("layer.bias", "layer.weight")
ERROR = FirewallRefusedError
MEMBERS = tuple(member(name) for name in ("alpha", "beta", "c", "evil", "gamma"))
START = Start(make_task(TINY_TASK), arrays(), NAMES, noise_multiplier=2.0)


def plan(folder: Path, **quorum: Any) -> RunPlan:
    settings: dict[str, Any] = {"minimum_sites": 2, "deadline_seconds": 0.3, "attempts": 2}
    return RunPlan(
        run="run-1", name="test", seed=1, workspace=folder, home=folder / "coordinator",
        members=MEMBERS, sites=(), privacy=PrivacyTarget(),
        quorum=Quorum(**(settings | quorum)), tracking_uri="", experiment="x",
        register_versions=False,
        tasks=(PlannedTask(settings=TINY_TASK, rounds=2, start_from=None, start_digest="",
                           strategy=StrategySettings()),),
    )  # fmt: skip


def honest(name: str, shift: float, patients: float = 12.0, **changes: Any) -> Node:
    """A site that adds a constant to what it received."""

    def node(content: RecordDict, times: int) -> RecordDict:
        job = protocol.read_job(content, ERROR)
        shapes = {n: v.shape for n, v in arrays().items()}
        read_arrays(content, "model", shapes, ERROR, NAMES)
        update = {n: np.full(shapes[n], shift, np.float32) for n in NAMES}
        values = {"round": job.round, "epsilon_run": 0.5 * job.round} | changes
        sums = {
            "patients": patients, "loss_sum": 12.0 * job.round, "dice_sum": 6.0, "dice_n": 12.0
        }  # fmt: skip
        given = account(name, **values)
        return protocol.train_answer(signed(update, 20, sums, given, asked=asked_in(content)))

    return node


def journal(folder: Path) -> Journal:
    home = Home(folder / "coordinator")
    home.make()
    return Journal(Events(folder / "events.jsonl"), home, "run-1")


def refusing(name: str, reason: str = "the budget is gone") -> Node:
    refusal = Refusal(site=name, code=40, kind="BudgetExceededError", reason=reason)
    return lambda content, times: protocol.refusal_answer(refusal)


def run(folder: Path, *nodes: Node, **quorum: Any) -> tuple[Trained, FakeGrid]:
    grid = FakeGrid(dict(enumerate(nodes, start=1)))
    work = plan(folder, **quorum)
    trained = train_rounds(
        grid, Roster(MEMBERS), work, work.tasks[0], START, make, journal(folder),
        lambda facts, point: None,
    )  # fmt: skip
    return trained, grid


def test_every_round_is_one_exchange_and_moves_the_model(tmp_path: Path) -> None:
    trained, grid = run(tmp_path, honest("alpha", 1.0), honest("beta", 3.0))
    assert grid.asked == [(1, "train"), (2, "train")] * 2
    np.testing.assert_allclose(trained.arrays["layer.weight"], 4.0)  # two rounds of +2
    assert trained.arrays["scale"] == arrays()["scale"]
    assert [one.epsilon for one in trained.rounds] == [
        {"alpha": 0.5, "beta": 0.5}, {"alpha": 1.0, "beta": 1.0}
    ]  # fmt: skip
    assert all(one.bytes_up > 0 and one.bytes_down > one.bytes_up for one in trained.rounds)


def test_a_round_is_expected_to_take_what_the_quickest_site_took_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[float] = []

    def asking(grid: Any, roster: Any, quorum: Any, question: Any, *others: Any) -> Any:
        expected.append(question.expected_seconds)
        return ask(grid, roster, quorum, question, *others)

    monkeypatch.setattr("server.rounds.train.ask", asking)
    sites = honest("alpha", 1.0, seconds=7.0), honest("beta", 3.0, seconds=9.0)
    trained, _ = run(tmp_path, *sites)
    assert expected == [0.0, 6.0]
    assert trained.rounds[0].site_seconds == {"alpha": 7.0, "beta": 9.0}


def test_the_curve_is_of_the_models_received(tmp_path: Path) -> None:
    trained, _ = run(tmp_path, honest("alpha", 1.0), honest("beta", 3.0))
    assert [(p.after_round, p.pooled.loss) for p in trained.curve] == [(0, 1.0), (1, 2.0)]
    assert trained.curve[0].pooled.metrics["dice"] == 0.5
    assert trained.curve[0].sites["beta"].patients == 12


def test_the_order_of_nodes_changes_no_bit(tmp_path: Path) -> None:
    sites = [honest("alpha", 0.1), honest("beta", 0.7), honest("gamma", 1.9)]
    one, _ = run(tmp_path / "a", *sites)
    other, _ = run(tmp_path / "b", *reversed(sites))
    assert all((one.arrays[n] == other.arrays[n]).all() for n in NAMES)


def test_a_late_site_is_named_and_comes_back(tmp_path: Path) -> None:
    def sleepy(content: RecordDict, times: int) -> RecordDict | None:
        return honest("gamma", 1.0)(content, times) if times > 1 else None

    trained, _ = run(tmp_path, honest("alpha", 1.0), honest("beta", 1.0), sleepy)
    assert [(a.site, a.kind) for a in trained.rounds[0].absent] == [("node 3", "late")]
    assert trained.rounds[1].absent == []
    assert sorted(trained.rounds[1].patients) == ["alpha", "beta", "gamma"]


def test_hospitals_are_admitted_and_expelled_between_rounds(tmp_path: Path) -> None:
    """On real nodes the members are whoever is admitted when a round begins."""
    home = Home(tmp_path / "coordinator")
    home.make()
    names = ("alpha", "beta", "gamma")
    known = {name: member(name).model_copy(update={"node_key": name.encode().hex()})
             for name in names}  # fmt: skip
    home.save_members((known["alpha"], known["beta"]))
    nodes = {number: honest(name, 1.0) for number, name in enumerate(names, start=1)}
    grid = FakeGrid(nodes, {number: name.encode() for number, name in enumerate(names, start=1)})
    work = plan(tmp_path)
    task = work.tasks[0].model_copy(update={"rounds": 3})

    def change(facts: RoundFacts, point: object) -> None:
        staying = ("alpha", "gamma") if facts.round == 2 else names
        home.save_members(tuple(known[name] for name in staying))

    trained = train_rounds(
        grid, Roster(home.members(), home), work, task, START, make, journal(tmp_path), change
    )
    took_part = [sorted(one.patients) for one in trained.rounds]
    assert took_part == [["alpha", "beta"], ["alpha", "beta", "gamma"], ["alpha", "gamma"]]
    assert all(one.absent == [] for one in trained.rounds)


def test_a_refusing_site_is_named_with_its_reason_and_the_others_go_on(tmp_path: Path) -> None:
    trained, _ = run(tmp_path, honest("alpha", 1.0), honest("beta", 1.0), refusing("gamma"))
    absent = trained.rounds[0].absent[0]
    assert (absent.site, absent.kind, absent.reason) == ("gamma", "refused", "the budget is gone")


def test_when_all_refuse_the_run_ends_with_each_ones_reason(tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"alpha refused: no money.*beta refused: no mood"):
        run(tmp_path, refusing("alpha", "no money"), refusing("beta", "no mood"))
    assert not (tmp_path / "runs").exists()


def test_without_quorum_the_run_ends_at_the_deadline_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(QuorumError, match=r"1 site answered.*node 2 late: no answer within 0.3"):
        run(tmp_path, honest("alpha", 1.0), lambda content, times: None)


def test_a_quorum_out_of_reach_is_not_waited_for(tmp_path: Path) -> None:
    import time

    started = time.monotonic()
    with pytest.raises(RunFailedError, match="no site takes part"):
        run(tmp_path, refusing("alpha"), refusing("beta"), deadline_seconds=HANG_SECONDS)
    assert time.monotonic() - started < HANG_SECONDS / 2


def test_who_has_not_spoken_when_it_is_hopeless_is_not_called_late_by_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.rounds.exchange.HOPELESS_SECONDS", 0.1)
    with pytest.raises(QuorumError, match="node 3 late: not waited for"):
        run(
            tmp_path, refusing("alpha"), refusing("beta"), lambda content, times: None,
            deadline_seconds=30.0,
        )  # fmt: skip


def test_a_site_that_failed_is_asked_again_and_a_refusing_one_is_not(tmp_path: Path) -> None:
    def flaky(content: RecordDict, times: int) -> RecordDict | str:
        return honest("beta", 1.0)(content, times) if times > 1 else "CUDA out of memory"

    trained, grid = run(tmp_path, honest("alpha", 1.0), flaky, refusing("gamma"))
    assert trained.rounds[0].attempts == 2
    first_round = grid.asked[:4]
    assert first_round == [(1, "train"), (2, "train"), (3, "train"), (2, "train")]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (signed({"layer.bias": arrays()["layer.bias"]}, 20, {}, account("evil")), "missing"),
        (signed(arrays(), 20, {}, account("evil")), "not known: scale"),
        (
            signed(
                {**{n: arrays()[n] for n in NAMES}, "layer.bias": np.full(3, np.nan, np.float32)},
                20, {}, account("evil"),
            ),
            "NaN",
        ),
        (
            signed({n: arrays()[n] for n in NAMES}, 20, {}, account("evil", round=2)),
            "round 2",
        ),
        (
            signed({n: arrays()[n] for n in NAMES}, 20, {}, account("evil", run="other")),
            "run other",
        ),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_one_is_rejected_with_its_reason(
    tmp_path: Path, answer: TrainAnswer, reason: str
) -> None:
    def evil(content: RecordDict, times: int) -> RecordDict:
        one = signed(
            answer.update, answer.patients, answer.statistics, answer.account,
            asked=asked_in(content),
        )  # fmt: skip
        return protocol.train_answer(one)

    trained, _ = run(tmp_path, honest("alpha", 1.0), honest("beta", 1.0), evil)
    absent = trained.rounds[0].absent[0]
    assert absent.kind == "rejected"
    assert reason in absent.reason


def test_sums_that_break_metrics_cost_only_the_site_that_sent_them(tmp_path: Path) -> None:
    def evil(content: RecordDict, times: int) -> RecordDict:
        update = {n: arrays()[n] for n in NAMES}
        sums = {"patients": 10.0, "x_n": 1.0}
        number = protocol.read_job(content, ERROR).round
        given = account("evil", round=number)
        return protocol.train_answer(signed(update, 20, sums, given, asked=asked_in(content)))

    trained, _ = run(tmp_path, honest("alpha", 1.0), honest("beta", 1.0), evil)
    assert [(a.kind, "'x_n'" in a.reason) for r in trained.rounds for a in r.absent] == [
        ("rejected", True)
    ] * 2
    assert sorted(trained.rounds[1].patients) == ["alpha", "beta"]


def test_a_site_that_measured_more_patients_than_agreed_is_rejected(tmp_path: Path) -> None:
    sites = (honest("alpha", 1.0), honest("beta", 1.0), honest("gamma", 1.0, patients=21.0))
    trained, _ = run(tmp_path, *sites, maximum_patients_per_site=20)
    assert [(a.kind, "patients in the sums: 21" in a.reason) for a in trained.rounds[0].absent] == [
        ("rejected", True)
    ]
    assert trained.rounds[0].patients == {"alpha": 20, "beta": 20}


def test_rounds_without_privacy_stay_with_the_site_that_ran_them(tmp_path: Path) -> None:
    sites = (honest("alpha", 1.0), honest("beta", 1.0, plain_rounds=7))
    trained, _ = run(tmp_path, *sites)
    assert [one.plain_rounds for one in trained.rounds] == [{"alpha": 0, "beta": 7}] * 2
    folder = plan(tmp_path).task_folder(TINY_TASK.task)
    kept = Checkpoint(folder, "run-1", TINY_TASK.task).read()
    assert kept is not None
    assert last_said(kept.progress.rounds, "plain_rounds") == {"alpha": 0, "beta": 7}


def test_of_two_nodes_with_the_same_sites_key_one_counts(tmp_path: Path) -> None:
    sites = (honest("alpha", 1.0), honest("beta", 1.0), honest("beta", 9.0))
    trained, _ = run(tmp_path, *sites)
    assert sorted(trained.rounds[0].patients) == ["alpha", "beta"]
    assert {a.reason for a in trained.rounds[0].absent} == {
        "another node has answered as beta already"
    }


def test_each_round_is_written_whole_and_reads_back(tmp_path: Path) -> None:
    trained, _ = run(tmp_path, honest("alpha", 1.0), honest("beta", 3.0))
    folder = plan(tmp_path).task_folder(TINY_TASK.task)
    kept = Checkpoint(folder, "run-1", TINY_TASK.task).read()
    assert kept is not None
    assert (kept.progress.rounds, kept.state) == (trained.rounds, {})
    assert digest_arrays(as_sent(kept.weights.arrays)) == digest_arrays(trained.arrays)
    assert sorted(p.name for p in folder.iterdir()) == [
        "history.json", "round-0002.safetensors", "updates",
    ]  # fmt: skip
    assert sorted(p.name for p in (folder / "updates" / "round-0001").iterdir()) == [
        "alpha.safetensors", "beta.safetensors",
    ]  # fmt: skip


def test_the_privacy_plan_is_in_every_job(tmp_path: Path) -> None:
    jobs: list[Job] = []

    def curious(content: RecordDict, times: int) -> RecordDict:
        jobs.append(protocol.read_job(content, ERROR))
        return honest("alpha", 1.0)(content, times)

    run(tmp_path, curious, honest("beta", 1.0))
    assert [(j.round, j.rounds, j.noise_multiplier, j.steps) for j in jobs] == [
        (1, 2, 2.0, TINY_TASK.private.steps_per_round),
        (2, 2, 2.0, TINY_TASK.private.steps_per_round),
    ]


def test_models_are_measured_side_by_side_in_one_exchange(tmp_path: Path) -> None:
    def site(name: str) -> Node:
        def node(content: RecordDict, times: int) -> RecordDict:
            asked = protocol.read_evaluate_job(content, ERROR)
            sums = {label: {"patients": 12.0, "loss_sum": 6.0} for label in asked.models}
            given = account(name, mode="evaluate", round=0)
            return protocol.evaluate_answer(signed_evaluation(20, sums, given, asked_in(content)))

        return node

    grid = FakeGrid({1: site("alpha"), 2: site("beta")})
    models = {"final": (TINY_TASK, arrays()), "champion": (TINY_TASK, arrays(2.0))}
    asked = evaluate_models(
        grid,
        Roster(MEMBERS),
        plan(tmp_path),
        TINY_TASK.task,
        models,
        make,
        journal(tmp_path),
    )
    assert grid.asked == [(1, "evaluate"), (2, "evaluate")]
    assert set(asked.answers["beta"].statistics) == {"final", "champion"}


@pytest.mark.parametrize(
    ("sums", "changes", "reason"),
    [
        ({"patients": 12.0, "x_n": 1.0}, {}, "x_n"),
        ({"patients": 12.0, "loss_sum": 6.0}, {"run": "other"}, "run other"),
        ({"patients": 12.0, "loss_sum": 6.0}, {"mode": "plain"}, "plain"),
    ],
)
def test_a_measurement_that_is_not_one_costs_only_its_site(
    tmp_path: Path, sums: dict[str, float], changes: dict[str, Any], reason: str
) -> None:
    def site(name: str, sent: dict[str, float], **changes: Any) -> Node:
        values = {"mode": "evaluate", "round": 0} | changes
        given = account(name, **values)
        return lambda content, times: protocol.evaluate_answer(
            signed_evaluation(20, {"final": sent}, given, asked_in(content))
        )

    good = {"patients": 12.0, "loss_sum": 6.0}
    grid = FakeGrid({1: site("alpha", good), 2: site("evil", sums, **changes), 3: site("c", good)})
    asked = evaluate_models(
        grid, Roster(MEMBERS), plan(tmp_path), TINY_TASK.task,
        {"final": (TINY_TASK, arrays())}, make, journal(tmp_path),
    )  # fmt: skip
    assert sorted(asked.answers) == ["alpha", "c"]
    assert [(a.kind, reason in a.reason) for a in asked.absent] == [("rejected", True)]


def test_too_few_connected_sites_are_said_before_the_first_round() -> None:
    grid = FakeGrid({1: refusing("alpha")})
    with pytest.raises(QuorumError, match="1 site is connected"):
        wait_for_nodes(grid, Roster(MEMBERS), minimum=2, seconds=0.2)


def known_by_key(*names: str) -> tuple[Roster, dict[int, bytes]]:
    """Members on real nodes, and the keys of their nodes, from 1."""
    found = tuple(
        member(name).model_copy(update={"node_key": name.encode().hex()}) for name in names
    )
    return Roster(found), {number: name.encode() for number, name in enumerate(names, 1)}


def test_whom_a_run_waits_for_is_told_at_the_start_and_at_every_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roster, keys = known_by_key("alpha", "beta", "gamma")
    grid = FakeGrid({2: refusing("beta")}, keys)
    told: list[tuple[Attendance, float]] = []
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            grid.nodes[1] = refusing("alpha")
        if len(looks) == 6:
            grid.nodes[3] = refusing("gamma")

    monkeypatch.setattr("server.rounds.roster.time.sleep", sleep)
    before = time.time()
    wait_for_nodes(grid, roster, 2, 60.0, lambda found, until: told.append((found, until)))
    assert [found for found, _ in told] == [
        Attendance(("beta",), ("alpha", "gamma")),
        Attendance(("alpha", "beta"), ("gamma",)),
        Attendance(("alpha", "beta", "gamma"), ()),
    ]
    assert {until for _, until in told} == {told[0][1]}
    assert before + 60 <= told[0][1] <= time.time() + 60


@pytest.mark.parametrize("pinned", [True, False])
def test_where_all_are_there_at_once_nobody_is_waited_for(pinned: bool) -> None:
    roster, keys = known_by_key("alpha", "beta") if pinned else (Roster(MEMBERS[:2]), {})
    grid = FakeGrid({1: refusing("alpha"), 2: refusing("beta")}, keys)
    told: list[Attendance] = []
    wait_for_nodes(grid, roster, 2, 5.0, lambda found, until: told.append(found))
    assert told == []


def test_who_is_not_connected_is_named_in_the_error() -> None:
    roster, keys = known_by_key("alpha", "beta", "gamma")
    grid = FakeGrid({2: refusing("beta")}, keys)
    with pytest.raises(QuorumError, match=r"1 site is .*minimum_sites: 2; not connected: alpha"):
        wait_for_nodes(grid, roster, minimum=2, seconds=0.1)
