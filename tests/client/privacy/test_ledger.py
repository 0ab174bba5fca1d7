"""The ledger never counts less than was spent, whatever happens to it."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from client.cli import main as cli
from client.node.ledger_summary import ledger_statement
from client.privacy.ledger import Ledger
from client.privacy.ledger_db import make_ledger
from client.privacy.privacy_filter import PrivacyFilter
from client.privacy.reservation import Reservation
from client.store.site_store import SiteStore, init_site
from shared.errors import BudgetExceededError, PolicyRefusedError, StoreMissingError
from shared.settings.files import SiteConfig, SitePrivacy
from shared.training.accounting import Mechanism, gaussian_epsilon
from tests.suite.waiting import HANG_SECONDS

BUDGET = SitePrivacy(epsilon_budget=8.0, delta=1e-4, filter="renyi")
STEP = Mechanism(sample_rate=0.5, noise_multiplier=1.5, steps=10)
WHOLE = Mechanism(sample_rate=1.0, noise_multiplier=1.5, steps=1)
CHEAP = Mechanism(sample_rate=0.5, noise_multiplier=15.0, steps=1)


def compose(history: list[Mechanism], delta: float, budget: float = 8.0) -> float:
    rule = PrivacyFilter.chosen(BUDGET.model_copy(update={"epsilon_budget": budget}), [])
    return rule.epsilon(rule.total(history), delta)


def ledger(folder: Path, **budget: float | bool | str) -> Ledger:
    """The ledger of a folder, made when first asked for."""
    path, known = folder / "ledger.sqlite", folder / "identity"
    if not known.exists():
        known.write_text(make_ledger(path))
    return Ledger(path, BUDGET.model_copy(update=budget), known.read_text())


def reserve(book: Ledger, number: int, mechanism: Mechanism | None = STEP) -> Reservation:
    return book.reserve("run", number, "task", "store", f"digest{number}", mechanism)


def test_a_reservation_counts_before_it_is_committed(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    reserve(book, 1)
    assert book.epsilon() == pytest.approx(compose([STEP], 1e-4))
    assert [entry.state for entry in book.entries()] == ["reserved"]


def test_the_ledger_agrees_with_the_accountant_over_a_mixed_history(tmp_path: Path) -> None:
    book = ledger(tmp_path, epsilon_budget=40.0)
    history = [STEP, Mechanism(1.0, 4.0, 3), Mechanism(0.1, 0.9, 25)]
    for number, mechanism in enumerate(history):
        book.commit(reserve(book, number, mechanism), mechanism)
    assert book.epsilon() == pytest.approx(compose(history, 1e-4, 40.0), rel=1e-12)


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
    book = ledger(tmp_path, epsilon_budget=7.0)
    reserve(book, 1)
    spent = book.epsilon()
    with pytest.raises(BudgetExceededError, match=r"spent \d.*asked .* left .* epsilon 7") as said:
        reserve(book, 2, Mechanism(1.0, 0.6, 50))
    assert f"spent {spent:.3f}" in str(said.value)
    assert f"left {7 - spent:.3f}" in str(said.value)
    assert len(book.entries()) == 1


def test_noise_of_zero_fits_no_budget(tmp_path: Path) -> None:
    with pytest.raises(BudgetExceededError):
        reserve(ledger(tmp_path), 1, Mechanism(1.0, 0.0, 1))


def test_a_reservation_of_which_nothing_left_is_used_again(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    first = reserve(book, 1)
    again = reserve(book, 1)
    assert (again.repeated, again.entry, again.attempt) == (True, first.entry, 1)
    assert len(book.entries()) == 1


def test_what_was_committed_counts_again_as_another_attempt(tmp_path: Path) -> None:
    book = ledger(tmp_path, epsilon_budget=50.0)
    book.commit(reserve(book, 1), STEP)
    again = reserve(book, 1)
    assert (again.repeated, again.attempt) == (False, 2)
    assert book.epsilon() == pytest.approx(compose([STEP, STEP], 1e-4, 50.0))


@pytest.mark.parametrize(("then", "now"), [(False, False), (False, True), (True, False)])
def test_a_repeat_that_gives_other_bits_counts_again(tmp_path: Path, then: bool, now: bool) -> None:
    book = ledger(tmp_path, epsilon_budget=50.0)
    attempts = [
        book.reserve("run", 1, "task", "store", "digest", STEP, repeatable=how).attempt
        for how in (then, now)
    ]
    assert attempts == [1, 2]
    assert book.epsilon() == pytest.approx(compose([STEP, STEP], 1e-4, 50.0))


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
        from client.privacy.ledger import Ledger
        from shared.settings.files import SitePrivacy
        from shared.training.accounting import Mechanism
        privacy = SitePrivacy(epsilon_budget=8.0, delta=1e-4, filter="gaussian")
        book = Ledger(Path(sys.argv[1]), privacy, sys.argv[2])
        book.reserve("run", 1, "task", "store", "digest1", Mechanism(1.0, 1.5, 1))
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    book = ledger(tmp_path, filter="gaussian")
    identity = (tmp_path / "identity").read_text()
    done = subprocess.run([sys.executable, "-c", script, str(book.path), identity], check=False)
    assert done.returncode == -signal.SIGKILL
    assert book.epsilon() == pytest.approx(gaussian_epsilon(1 / 2.25, 1e-4))
    assert reserve(book, 1, WHOLE).repeated


def _race(folder: str, name: str, barrier: object) -> None:
    book = ledger(Path(folder), filter="gaussian")
    barrier.wait()  # type: ignore[attr-defined]
    for number in range(6):
        try:
            book.reserve(name, number, "task", "store", "digest", WHOLE)
        except BudgetExceededError:
            os._exit(7)
    os._exit(0)


def test_two_processes_at_once_never_pass_the_budget_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    book = ledger(tmp_path, filter="gaussian")
    racers = [context.Process(target=_race, args=(str(tmp_path), n, barrier)) for n in ("a", "b")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(HANG_SECONDS)
    steps = len(book.entries())
    assert 7 in [racer.exitcode for racer in racers]
    assert book.epsilon() <= 8.0 + 1e-9
    assert gaussian_epsilon((steps + 1) / 2.25, 1e-4) > 8.0  # and no room was given away


def test_the_file_is_the_owners_alone_and_survives_a_power_cut(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    assert book.path.stat().st_mode & 0o777 == 0o600
    with book._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_evaluations_are_counted_per_run_and_task(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    asked = [("r", "t"), ("r", "t"), ("s", "t"), ("r", "u"), ("r", "t")]
    assert [book.measured.count_evaluation(*one) for one in asked] == [0, 1, 0, 0, 2]
    assert ledger(tmp_path).measured.count_evaluation("r", "t") == 3


# --- the ledger belongs to its store ---------------------------------------------------


def test_a_lost_ledger_is_an_error_and_never_begun_anew(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="alpha"))
    path = tmp_path / "site" / "ledger.sqlite"
    path.unlink()
    with pytest.raises(StoreMissingError, match="backup"):
        SiteStore.open(tmp_path / "site").open_ledger()
    with pytest.raises(StoreMissingError, match="backup"):
        ledger_statement(tmp_path / "site")
    assert not path.exists()


@pytest.mark.parametrize("content", ["another", "empty", "rubbish"])
def test_a_ledger_of_another_store_is_refused(tmp_path: Path, content: str) -> None:
    init_site(tmp_path / "site", SiteConfig(site="alpha"))
    path = tmp_path / "site" / "ledger.sqlite"
    path.unlink()
    if content == "another":
        make_ledger(path)
    else:
        path.write_bytes(b"no database at all" * 100 if content == "rubbish" else b"")
    with pytest.raises(StoreMissingError, match="not the privacy ledger of this store"):
        SiteStore.open(tmp_path / "site").open_ledger()


def test_a_ledger_is_never_made_over_another(tmp_path: Path) -> None:
    make_ledger(tmp_path / "ledger.sqlite")
    with pytest.raises(FileExistsError):
        make_ledger(tmp_path / "ledger.sqlite")


def a_site(folder: Path) -> Ledger:
    privacy = SitePrivacy(epsilon_budget=50.0, delta=1e-4, allow_plain_runs=True, filter="renyi")
    init_site(folder, SiteConfig(site="alpha", privacy=privacy))
    return SiteStore.open(folder).open_ledger()


def test_a_copied_site_goes_on_in_its_own_copy_of_the_ledger(tmp_path: Path) -> None:
    book = a_site(tmp_path / "site")
    book.commit(reserve(book, 1), STEP)
    book.close()
    shutil.copytree(tmp_path / "site", tmp_path / "copy")
    copied = SiteStore.open(tmp_path / "copy").open_ledger()
    copied.commit(reserve(copied, 2, None), None)
    assert copied.epsilon() == book.epsilon() > 0
    assert (copied.plain_rounds(), book.plain_rounds()) == (1, 0)


def test_the_statement_sums_up_run_by_run(tmp_path: Path) -> None:
    book = a_site(tmp_path / "site")
    book.commit(reserve(book, 1), STEP)
    reserve(book, 2)
    facts = ledger_statement(tmp_path / "site")
    [line] = facts["lines"]
    assert (line["mode"], line["rounds"], line["state"]) == ("private", 2, "reserved")
    assert line["epsilon_after"] == pytest.approx(facts["epsilon_spent"])
    assert facts["epsilon_spent"] + facts["epsilon_left"] == pytest.approx(50.0)
    assert (facts["plain_rounds"], facts["unbounded"]) == (0, False)


def test_after_a_round_without_privacy_the_statement_says_unbounded(tmp_path: Path) -> None:
    book = a_site(tmp_path / "site")
    book.commit(reserve(book, 1), STEP)
    book.reserve("plain", 1, "task", "store", "digest", None)
    book.reserve("later", 1, "task", "store", "digest", STEP)
    facts = ledger_statement(tmp_path / "site")
    assert (facts["unbounded"], facts["epsilon_spent"], facts["epsilon_left"]) == (True, None, None)
    assert facts["epsilon_private"] == pytest.approx(compose([STEP, STEP], 1e-4, 50.0))
    after = [line["epsilon_after"] for line in facts["lines"]]
    assert after == [pytest.approx(compose([STEP], 1e-4, 50.0)), None, None]
    shown = CliRunner().invoke(cli.app, ["ledger", str(tmp_path / "site")]).output
    assert "unbounded" in shown
    assert "left" not in shown


def _on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_the_key_of_a_rounds_noise_is_erased_with_its_commit(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    first, second = reserve(book, 1, CHEAP), reserve(book, 2, CHEAP)
    assert len(first.noise_key) == 32
    assert first.noise_key != second.noise_key
    # An interrupted round has the same noise again.
    assert reserve(book, 1, CHEAP).noise_key == first.noise_key
    assert first.noise_key in _on_disk(tmp_path)
    book.commit(first, CHEAP)
    assert first.noise_key not in _on_disk(tmp_path)
    assert second.noise_key in _on_disk(tmp_path)
    # An answer that was kept before a crash, too.
    book.settle("run", 2, "task", "store", "digest2", CHEAP)
    book.close()
    assert second.noise_key not in _on_disk(tmp_path)
    assert repr(first).count("noise_key") == 0


def test_a_new_attempt_has_a_new_key_and_erases_the_one_of_which_nothing_left(
    tmp_path: Path,
) -> None:
    book = ledger(tmp_path)
    key = ("run", 1, "task", "store", "digest")
    first = book.reserve(*key, CHEAP, repeatable=False)
    second = book.reserve(*key, CHEAP, repeatable=False)
    assert (first.attempt, second.attempt) == (1, 2)
    book.commit(second, CHEAP)
    stored = _on_disk(tmp_path)
    assert first.noise_key not in stored
    assert second.noise_key not in stored


def test_keys_of_noise_can_be_switched_off_and_plain_rounds_have_none(tmp_path: Path) -> None:
    book = ledger(tmp_path, erase_noise_keys=False, allow_plain_runs=True)
    reservation = reserve(book, 1, CHEAP)
    assert reservation.noise_key == b""
    assert reserve(ledger(tmp_path), 1, CHEAP).noise_key == b""  # begun without: goes on without
    assert reserve(ledger(tmp_path, allow_plain_runs=True), 2, None).noise_key == b""


def test_a_ledger_of_an_older_version_gets_its_place_for_keys(tmp_path: Path) -> None:
    before = reserve(ledger(tmp_path, erase_noise_keys=False), 1, CHEAP)
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        connection.execute("DROP TABLE noise_keys")
    book = ledger(tmp_path)
    assert reserve(book, 1, CHEAP).noise_key == b""
    book.commit(before, CHEAP)
    assert len(reserve(book, 2, CHEAP).noise_key) == 32
