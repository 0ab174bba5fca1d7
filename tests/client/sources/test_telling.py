"""What is waited for and what was left, as a person and a program read it."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.progress import Progress

from client.cli.sources import require_whole, say_on, show_taken
from client.ingest.folder import IngestReport
from client.sources.fetch import Fetched, StudyLeft
from client.sources.refusals import in_words
from client.sources.waiting import Watch
from shared.errors import SourceUnavailableError

COUNTS = {"studies": 1, "patients": 1, "train": 1, "validation": 0, "test": 0}
LEFT = StudyLeft("1.2.3", "0xA702", "the PACS answers C-GET with status 0xA702, refused")
FETCHED = Fetched(
    IngestReport("riverside", [], 1, 1, COUNTS), "PACS at 127.0.0.1:104", 2, 1, 0, 1, (LEFT,),
    ("answers as 'OTHER'",),
)  # fmt: skip


def test_which_study_and_which_status_in_terminal_and_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    facts = FETCHED.as_dict()
    assert facts["source"]["studies_left"] == [
        {"study": "1.2.3", "status": "0xA702", "sentence": LEFT.sentence}
    ]
    assert facts["source"]["notes"] == ["answers as 'OTHER'"]
    show_taken(facts)
    shown = capsys.readouterr().out
    assert f"left: study 1.2.3, status 0xA702: {LEFT.sentence}" in shown
    assert "note: PACS at 127.0.0.1:104 answers as 'OTHER'" in shown
    with pytest.raises(SourceUnavailableError, match="1 of 2 studies did not come whole"):
        require_whole(FETCHED)


def test_a_study_is_in_no_log() -> None:
    assert "1.2.3" not in repr(FETCHED)


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_waited_for_is_said_on_a_bar_or_in_lines(
    terminal: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = Progress(console=Console(stderr=True), disable=not terminal, auto_refresh=False)
    job = bar.add_task("studies", total=None)
    say = say_on(bar, job)
    say("waits for an answer")
    assert bar.tasks[0].description == "waits for an answer"
    assert ("waits for an answer" in capsys.readouterr().err) is not terminal
    say(None)
    assert bar.tasks[0].description == "studies"


def test_a_first_word_comes_within_ten_seconds_whatever_the_patience() -> None:
    from client.sources import waiting

    assert waiting.FIRST_WORD_SECONDS <= 10.0
    told: list[str | None] = []
    cuts: list[int] = []
    with Watch("PACS", 0.2, told.append).over("an answer", lambda: cuts.append(1)) as one:
        while not cuts:
            pass
    assert one.cut_off
    assert str(told[0]).startswith("PACS: waits for an answer; nothing came for 0 s (given up")
    assert told[-1] is None


@pytest.mark.parametrize(
    ("status", "what", "words"),
    [
        (0xA700, "C-FIND", "status 0xA700, refused: Out of Resources"),
        (0xA7FF, "C-GET", "status 0xA7FF, refused: out of resources"),
        (0xA702, "C-MOVE", "status 0xA702, refused: Out of resources, unable to perform sub-oper"),
        (0xA900, "C-GET", "status 0xA900, identifier does not match SOP class"),
        (0xB000, "C-GET", "status 0xB000, sub-operations complete, one or more failures"),
        (0xC123, "C-MOVE", "status 0xC123, unable to Process"),
        (0x0124, "C-FIND", "status 0x0124, refused: Not Authorised"),
        (0xDEAD, "C-GET", "status 0xDEAD, which the standard does not know"),
    ],
)
def test_a_status_is_said_in_hex_and_in_the_standards_words(
    status: int, what: str, words: str
) -> None:
    assert in_words(status, what).startswith(words)
