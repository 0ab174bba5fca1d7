"""The ledger never counts less than was spent, whatever happens to it."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.ledger import Ledger, Reservation
from client.statement import ledger_statement
from shared.config import SiteConfig, SitePrivacy, save_settings
from shared.errors import BudgetExceededError, PolicyRefusedError, StoreMissingError
from shared.training.accounting import Mechanism
from shared.training.accounting import epsilon as compose

BUDGET = SitePrivacy(epsilon_budget=8.0, delta=1e-4)
STEP = Mechanism(sample_rate=0.5, noise_multiplier=1.5, steps=10)


def ledger(folder: Path, **budget: float | bool) -> Ledger:
    return Ledger(folder / "ledger.sqlite", BUDGET.model_copy(update=budget))


def reserve(book: Ledger, number: int, mechanism: Mechanism | None = STEP) -> Reservation:
    return book.reserve("run", number, "task", "store", f"digest{number}", mechanism)


def test_a_reservation_counts_before_it_is_committed(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    reserve(book, 1)
    assert book.epsilon() == pytest.approx(compose([STEP], 1e-4))
    assert [entry.state for entry in book.entries()] == ["reserved"]


def test_the_ledger_agrees_with_the_accountant_over_a_mixed_history(tmp_path: Path) -> None:
    book = ledger(tmp_path, epsilon_budget=100.0)
    history = [STEP, Mechanism(1.0, 4.0, 3), Mechanism(0.1, 0.9, 25)]
    for number, mechanism in enumerate(history):
        book.commit(reserve(book, number, mechanism), mechanism)
    assert book.epsilon() == pytest.approx(compose(history, 1e-4), rel=1e-12)


@given(
    asked=st.lists(
        st.tuples(st.sampled_from([0.2, 1.0]), st.sampled_from([0.8, 2.0]), st.integers(1, 30)),
        max_size=6,
    ),
    committed=st.sets(st.integers(0, 5)),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_granted_stays_within_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
    asked: list[tuple[float, float, int]],
    committed: set[int],
) -> None:
    book = ledger(tmp_path_factory.mktemp("ledger"))
    granted: list[Mechanism] = []
    for number, (rate, noise, steps) in enumerate(asked):
        mechanism = Mechanism(rate, noise, steps)
        try:
            reservation = reserve(book, number, mechanism)
        except BudgetExceededError:
            assert compose([*granted, mechanism], 1e-4) > 8.0
            continue
        granted.append(mechanism)
        if number in committed:
            book.commit(reservation, mechanism)
    assert book.epsilon() == pytest.approx(compose(granted, 1e-4), abs=1e-9)
    assert book.epsilon() <= 8.0 + 1e-9


def test_what_would_pass_the_budget_is_refused_and_not_written(tmp_path: Path) -> None:
    book = ledger(tmp_path, epsilon_budget=6.0)
    reserve(book, 1)
    spent = book.epsilon()
    with pytest.raises(BudgetExceededError, match=r"spent \d.*asked .* left .* epsilon 6") as said:
        reserve(book, 2, Mechanism(1.0, 0.6, 50))
    assert f"spent {spent:.3f}" in str(said.value)
    assert f"left {6 - spent:.3f}" in str(said.value)
    assert len(book.entries()) == 1


def test_noise_of_zero_fits_no_budget(tmp_path: Path) -> None:
    with pytest.raises(BudgetExceededError):
        reserve(ledger(tmp_path), 1, Mechanism(1.0, 0.0, 1))


def test_the_same_request_uses_its_reservation_again(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    first = reserve(book, 1)
    book.commit(first, STEP)
    again = reserve(book, 1)
    book.commit(again, STEP)
    assert (again.repeated, again.entry, len(book.entries())) == (True, first.entry, 1)


def test_a_repeat_that_gives_other_bits_counts_again(tmp_path: Path) -> None:
    book = ledger(tmp_path, epsilon_budget=50.0)
    for _ in range(2):
        book.reserve("run", 1, "task", "store", "digest", STEP, repeatable=False)
    assert book.epsilon() == pytest.approx(compose([STEP, STEP], 1e-4))


@pytest.mark.parametrize(
    "other",
    [Mechanism(0.5, 1.4, 10), Mechanism(0.5, 1.6, 10), Mechanism(0.5, 1.5, 11), None],
)
def test_one_key_never_serves_two_mechanisms(tmp_path: Path, other: Mechanism | None) -> None:
    book = ledger(tmp_path, allow_plain_runs=True)
    reserve(book, 1)
    with pytest.raises(PolicyRefusedError, match="another privacy mechanism"):
        reserve(book, 1, other)
    assert len(book.entries()) == 1


def test_more_than_reserved_cannot_be_committed(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    reservation = reserve(book, 1)
    for done in (Mechanism(0.5, 1.5, 11), Mechanism(0.5, 1.4, 10), Mechanism(0.6, 1.5, 10)):
        with pytest.raises(PolicyRefusedError, match="more was done than was reserved"):
            book.commit(reservation, done)
    assert book.entries()[0].state == "reserved"


def test_fewer_steps_are_committed_as_done(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.commit(reserve(book, 1), Mechanism(0.5, 1.5, 4))
    assert book.epsilon() == pytest.approx(compose([Mechanism(0.5, 1.5, 4)], 1e-4))


def test_plain_rounds_need_permission_and_are_shown_as_unbounded(tmp_path: Path) -> None:
    with pytest.raises(PolicyRefusedError, match="allow_plain_runs"):
        reserve(ledger(tmp_path), 1, None)
    book = ledger(tmp_path, allow_plain_runs=True)
    book.commit(reserve(book, 1, None), None)
    assert book.plain_rounds() == 1
    assert book.epsilon() == 0.0
    assert math.isfinite(book.quote(STEP).asked)


def test_cohorts_do_not_add_up_but_their_largest_counts(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.reserve("run", 1, "task", "a", "digest", STEP)
    book.reserve("run", 1, "task", "b", "digest", Mechanism(0.5, 1.5, 3))
    assert book.epsilon() == pytest.approx(compose([STEP], 1e-4))
    assert book.epsilon("b") < book.epsilon("a")


def test_a_process_killed_between_reserve_and_commit_has_spent(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from client.ledger import Ledger
        from shared.config import SitePrivacy
        from shared.training.accounting import Mechanism
        book = Ledger(Path(sys.argv[1]), SitePrivacy(epsilon_budget=8.0, delta=1e-4))
        book.reserve("run", 1, "task", "store", "digest1", Mechanism(0.5, 1.5, 10))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    path = tmp_path / "ledger.sqlite"
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    book = ledger(tmp_path)
    assert book.epsilon() == pytest.approx(compose([STEP], 1e-4))
    assert reserve(book, 1).repeated


def _race(path: str, name: str, barrier: object) -> None:
    book = Ledger(Path(path), SitePrivacy(epsilon_budget=8.0, delta=1e-4))
    barrier.wait()  # type: ignore[attr-defined]
    for number in range(6):
        try:
            book.reserve(name, number, "task", "store", "digest", STEP)
        except BudgetExceededError:
            os._exit(7)
    os._exit(0)


def test_two_processes_at_once_never_pass_the_budget_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    path = tmp_path / "ledger.sqlite"
    racers = [context.Process(target=_race, args=(str(path), n, barrier)) for n in ("a", "b")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(60)
    book = ledger(tmp_path)
    steps = len(book.entries())
    assert 7 in [racer.exitcode for racer in racers]
    assert book.epsilon() <= 8.0 + 1e-9
    assert compose([STEP] * (steps + 1), 1e-4) > 8.0  # and no room was given away


def test_the_file_is_the_owners_alone_and_survives_a_power_cut(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    assert book.path.stat().st_mode & 0o777 == 0o600
    with book._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_ledger_without_a_site_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="site init"):
        Ledger(tmp_path / "nowhere" / "ledger.sqlite", BUDGET)


def test_the_statement_sums_up_run_by_run(tmp_path: Path) -> None:
    privacy = SitePrivacy(epsilon_budget=50.0, delta=1e-4, allow_plain_runs=True)
    config = SiteConfig(site="alpha", privacy=privacy)
    save_settings(config, tmp_path / "site.yaml")
    book = Ledger(tmp_path / "ledger.sqlite", config.privacy)
    book.commit(reserve(book, 1), STEP)
    reserve(book, 2)
    reserve(book, 3, None)
    facts = ledger_statement(tmp_path)
    assert [(line["mode"], line["rounds"], line["state"]) for line in facts["lines"]] == [
        ("private", 2, "reserved"),
        ("plain", 1, "reserved"),
    ]
    assert facts["lines"][0]["epsilon_after"] == pytest.approx(facts["epsilon_spent"])
    assert facts["epsilon_spent"] + facts["epsilon_left"] == pytest.approx(50.0)
    assert facts["plain_rounds"] == 1
