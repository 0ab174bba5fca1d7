"""What a destination's answers mean: it has the object, may take it later, or refuses it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest

from client.bedside.answering.answering import is_of
from client.bedside.delivering.web import FAILED, FAILURE, INSTANCE, REFERENCED, judge_answer
from client.bedside.work.identities import whose

from .ward import encoded, result_of, scan


def item(uid: str, reason: int | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {INSTANCE: {"vr": "UI", "Value": [uid]}}
    if reason is not None:
        said[FAILURE] = {"vr": "US", "Value": [reason]}
    return said


def answer(tag: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {tag: {"vr": "SQ", "Value": list(items)}}


@pytest.mark.parametrize(
    ("status", "said", "became", "words"),
    [
        (200, answer(REFERENCED, item("1.2")), "kept", ""),
        (200, None, "kept", "it said nothing of what it stored"),
        (202, answer(REFERENCED, item("1.2")), "kept", ""),
        (200, answer(FAILED, item("1.2", 0xA900)), "no", "200 OK, failure reason 0xA900"),
        (409, answer(FAILED, item("1.2", 0xA700)), "later", "409 Conflict, failure reason 0xA700"),
        (409, answer(FAILED, item("1.2", 0x0122)), "no", "409 Conflict, failure reason 0x0122"),
        (409, answer(FAILED, item("1.2")), "no", "409 Conflict"),
        (409, {}, "no", "409 Conflict"),
        (202, {}, "no", "202 Accepted"),  # it does not say that it has it
        (503, None, "later", "503 Service Unavailable"),
        (507, None, "later", "507 Insufficient Storage"),
        (415, None, "no", "415 Unsupported Media Type"),
        (200, {FAILED: {"Value": [7]}, REFERENCED: "x"}, "kept", ""),
    ],
)
def test_a_web_servers_answer_is_taken_at_its_word(
    status: int, said: Any, became: str, words: str
) -> None:
    phrase = f"{status} {HTTPStatus(status).phrase}"
    outcome = judge_answer(status, phrase, said, "1.2")
    assert (outcome.became, outcome.said) == (became, words)


def test_a_result_is_of_a_study_only_if_everything_that_says_whose_it_is_agrees() -> None:
    source = scan()
    who = whose(source)
    assert is_of(encoded(result_of(source, "sr")), "1.2.3", who)
    assert not is_of(encoded(result_of(source, "sr")), "1.2.4", who)
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        result = result_of(source, "sr")
        setattr(result, keyword, "")
        assert not is_of(encoded(result), "1.2.3", who), keyword


def test_identities_show_themselves_to_nobody() -> None:
    assert repr(whose(scan())) == "WhoseObject(***)"
