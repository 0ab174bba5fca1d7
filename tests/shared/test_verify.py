"""Full-size checks: stored runs are kept, found and shown as what they are."""

from __future__ import annotations

import ast
import dataclasses
import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from tests.verify import mutations
from tests.verify.__main__ import fill, judged
from tests.verify.pages import begin_of, between, made_of, page_with, table_of, told
from tests.verify.places import Place, places
from tests.verify.reaching import REACHED, lines_of
from tests.verify.running_tests import run_tests
from tests.verify.stored import ROOT, Shelf, Stored, digest_of, is_old, provenance
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most, within
from tests.verify.topics import TOPICS


def topic_of(folder: Path, made: list[str], settings: int = 1, broken: str = "") -> Topic:
    """Three runs that find their own place in the alphabet."""

    def make(key: str, _: Tell) -> Any:
        if key == broken:
            raise KeyboardInterrupt
        made.append(key)
        return {"found": ord(key)}

    def plan() -> list[Planned]:
        digest = digest_of(settings)
        return [Planned(key, digest, partial(make, key)) for key in "abc"]

    def judge(runs: Runs) -> list[Line]:
        return [at_most(max(run.figures["found"] for run in runs.values()), ord("c"), "largest")]

    return Topic("letters", "Three letters.", plan, judge, None, folder / "page.md", Shelf(folder))


def test_what_is_stored_is_not_made_again(tmp_path: Path) -> None:
    made: list[str] = []
    assert fill(topic_of(tmp_path, made)) == 3
    assert fill(topic_of(tmp_path, made)) == 0
    assert made == ["a", "b", "c"]
    fill(topic_of(tmp_path, made), anew=True, only="b")
    assert made == ["a", "b", "c", "b"]


def test_runs_of_other_settings_are_made_anew_and_not_judged(tmp_path: Path) -> None:
    made: list[str] = []
    fill(topic_of(tmp_path, made))
    lines, runs = judged(topic_of(tmp_path, made, settings=2))
    assert (runs, [line.holds for line in lines]) == ([], [False])
    assert fill(topic_of(tmp_path, made, settings=2)) == 3


def test_an_interrupted_check_loses_only_the_run_at_work(tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        fill(topic_of(tmp_path, made, broken="b"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    lines, _ = judged(topic_of(tmp_path, made))
    assert (lines[0].found, lines[0].holds) == ("1 of 3", False)
    assert fill(topic_of(tmp_path, made)) == 2
    assert made == ["a", "b", "c"]
    assert all(line.holds for line in judged(topic_of(tmp_path, made))[0])


def test_a_run_says_from_what_code_when_and_where_it_was_made(tmp_path: Path) -> None:
    fill(topic_of(tmp_path, []))
    facts = json.loads((tmp_path / "a.json").read_text())["facts"]
    assert set(facts) == {"digest", "commit", "date", "machine", "seconds"}
    assert set(facts["machine"]) == {"processor", "cores", "python", "torch"}
    assert str(Path.home()) not in json.dumps(facts)
    assert is_old("0000000")
    assert is_old(provenance()["commit"] + "+")


def test_limits_hold_up_to_themselves() -> None:
    assert [within(x, 1, 2, "").holds for x in (0.9, 1, 2, 2.1)] == [False, True, True, False]
    assert [at_most(x, 1, "").holds for x in (1, 1.1)] == [True, False]
    assert [at_least(x, 1, "").holds for x in (1, 0.9)] == [True, False]
    assert not within(float("nan"), 0, 1, "").holds
    assert "| **no** |" in table_of([at_most(2, 1, "x")])


def test_tables_stand_between_their_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    topic = topic_of(tmp_path, [])
    fill(topic)
    topic.page.write_text(
        f"before\n\n{begin_of('letters')}\nstale\n<!-- end of the tables of letters -->\nafter\n"
    )
    text = page_with(topic)
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "stale" not in text
    assert "| largest | 99.000 | at most 99.000 | yes |" in text
    assert between(text, "letters", "x") == between(between(text, "letters", "y"), "letters", "x")


def test_runs_of_before_these_notes_are_counted_as_such() -> None:
    run = Stored({}, {"digest": "0"})
    assert told([run, run]) == "*2 runs, 2 of them older than these notes.*"


@pytest.mark.parametrize("name", TOPICS)
def test_the_documentation_shows_what_is_stored(name: str) -> None:
    """`python -m tests.verify NAME --tables` writes it."""
    topic = TOPICS[name]
    shown = topic.page.read_text(encoding="utf-8")
    if name in ("learning", "generators"):  # their tables take a minute
        assert made_of(topic) in shown
    else:
        assert shown == page_with(topic)


def test_forty_mistakes_are_spread_over_what_matters() -> None:
    assert len({place.key for place in places()}) == len(places()) >= 40
    assert {place.area for place in places()} == {
        "clipping", "noise", "ledger", "firewall", "signatures", "policy", "T-scores", "spacing",
        "orientation", "aggregation weights", "resume",
    }  # fmt: skip


@pytest.mark.parametrize("place", places(), ids=lambda place: place.key)
def test_a_mistake_can_still_be_made(place: Place) -> None:
    text = (ROOT / place.file).read_text(encoding="utf-8")
    assert text.count(place.before) == 1
    assert place.before != place.after
    ast.parse(text.replace(place.before, place.after))
    assert lines_of(place)


@cache
def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("place", places(), ids=lambda place: place.key)
def test_the_test_that_noticed_is_still_there(place: Place) -> None:
    found = mutations.SHELF.find(f"places/{place.key}")
    tried = found is not None and found.facts["digest"] == place.digest
    assert tried, "not tried yet: make verify ONLY=mutations"
    assert found is not None
    path, _, name = found.figures["noticed_by"].partition("::")
    assert name.partition("[")[0].rpartition("::")[2] in functions_of(ROOT / path)


def test_a_mistake_is_never_made_in_the_working_tree(tmp_path: Path) -> None:
    place = places()[0]
    with pytest.raises(ValueError, match="working tree"):
        mutations.change(ROOT, place)
    file = tmp_path / place.file
    file.parent.mkdir(parents=True)
    file.write_text(f"x\n{place.before}\ny\n")
    mutations.change(tmp_path, place)
    assert file.read_text() == f"x\n{place.after}\ny\n"
    with pytest.raises(ValueError, match="exactly once"):
        mutations.change(tmp_path, dataclasses.replace(place, before="nowhere"))


def test_tests_of_this_tree_run_alone() -> None:
    """As mutations run them: without processes side by side and without a random order."""
    done = run_tests(["tests/shared/test_errors.py"])
    assert (done.failures, done.failed) == (0, "")
    assert done.passed > 0


def test_tests_that_reach_no_place_are_a_result_too(tmp_path: Path) -> None:
    out = tmp_path / "reached.json"
    words = ["-p", "tests.verify.reaching", "tests/shared/test_errors.py"]
    assert run_tests(words, environment={REACHED: str(out)}).failures == 0
    assert json.loads(out.read_text()) == {}


def test_a_file_of_system_tests_alone_is_recorded_as_reaching_nothing(tmp_path: Path) -> None:
    out = tmp_path / "reached.json"
    words = ["-p", "tests.verify.reaching", "-m", "not system", "tests/shared/runtime"]
    words[-1] += "/test_orphan_cleanup.py"
    with pytest.raises(RuntimeError, match="deselected"):
        run_tests(words, environment={REACHED: str(out)})
    done = run_tests(words, environment={REACHED: str(out)}, none_is_right=True)
    assert (done.passed, done.failures) == (0, 0)
    assert json.loads(out.read_text()) == {}
