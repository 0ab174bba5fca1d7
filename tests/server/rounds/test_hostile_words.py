"""Whatever words a site chooses, they can be stored, read again and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flwr.app import ArrayRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from server.rounds.plan import RunPlan
from server.state.checkpoint import Checkpoint
from shared.audit.chain import verify_chain
from shared.errors import AggregationRefusedError
from shared.protocol import messages as protocol
from shared.protocol.codec import LONGEST_REASON, plain_text
from shared.protocol.messages import Refusal
from tests.server.rounds.test_hostile import raw, run, sends
from tests.server.rounds.test_train import honest, journal

#: Half of a surrogate pair, a bell, a mark that turns the direction, a line of a log.
NASTY = "a\ud800\x07\u202e\nERROR forged"


def test_a_tensors_name_that_is_no_text_is_rejected_and_the_run_goes_on(tmp_path: Path) -> None:
    def change(reply: RecordDict) -> None:
        [value] = reply["update"].values()
        reply["update"] = ArrayRecord({json.dumps([[NASTY, [9], 0]]): value})

    sites = honest("alpha", 1.0), honest("beta", 1.0)
    trained, work = run(tmp_path, *sites, sends(lambda c: raw(c, "update", change)))
    [absent] = trained.rounds[0].absent
    assert "its manifest is not a sorted list of names" in absent.reason
    readable_again(work, tmp_path)


def test_words_of_a_refusal_are_stored_as_plain_text(tmp_path: Path) -> None:
    reason = NASTY.replace("\ud800", "") + "x" * 1900  # Flower carries no half characters
    refusal = Refusal(site="evil", code=40, kind="BudgetExceededError", reason=reason)
    content = protocol.refusal_answer(refusal)
    sites = honest("alpha", 1.0), honest("beta", 1.0)
    trained, work = run(tmp_path, *sites, sends(lambda c: content))
    [absent] = trained.rounds[0].absent
    assert absent.reason.startswith(r"a\x07\u202e ERROR forged")
    readable_again(work, tmp_path)


def readable_again(work: RunPlan, folder: Path) -> None:
    [task] = work.tasks
    assert Checkpoint(work.task_folder(task.name), work.run, task.name).read() is not None
    chain = journal(folder).home.chain()
    assert verify_chain(chain.path, chain.key.public)


def test_a_refusal_names_a_site_or_is_none() -> None:
    good = Refusal(site="evil", code=40, kind="x", reason="no")
    content = protocol.refusal_answer(good)
    content["refusal"]["site"] = "evil\n"
    with pytest.raises(AggregationRefusedError, match=r"refusal.*site"):
        protocol.read_refusal(content, AggregationRefusedError)


@given(text=st.text(st.characters(codec=None)))
def test_plain_text_can_be_stored_and_shown(text: str) -> None:
    found = plain_text(text)
    assert found.isprintable()
    found.encode()
    assert len(found) <= LONGEST_REASON
    assert plain_text(found) == found.strip()


def test_a_chain_is_readable_whatever_it_was_told(tmp_path: Path) -> None:
    chain = journal(tmp_path).home.chain()
    chain.append("told", words=NASTY, **{"b\ud800": 1})
    chain.append("told", words="ok")
    lines = verify_chain(chain.path, chain.key.public)
    assert lines[-2].facts == {"words": NASTY.replace("\ud800", "?"), "b?": 1}
