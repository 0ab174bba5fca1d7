"""Counts, lists, scores and epsilons are told in one way."""

import pytest

from shared.phrases import at_delta, capital, counted, listed, signed, with_delta


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1000, "1000 files")]
)
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "file") == said


def test_a_word_may_have_a_plural_of_its_own() -> None:
    assert [counted(n, "study", "studies") for n in (1, 2)] == ["1 study", "2 studies"]


def test_a_delta_is_written_as_people_write_it() -> None:
    assert with_delta(0.5123, 0.001) == "0.512 at delta 0.001"
    assert with_delta(1.0, None, 1) == "1.0 delta not kept"
    assert [at_delta(delta) for delta in (0.001, 1e-5)] == ["at delta 0.001", "at delta 1e-05"]


def test_words_are_joined_as_in_speech() -> None:
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize(("score", "text"), [(-2.5, "−2.5"), (0.3, "+0.3"), (0.0, "0.0")])
def test_scores_carry_their_sign(score: float, text: str) -> None:
    assert signed(score) == text


@pytest.mark.parametrize(
    ("text", "said"), [("", ""), ("lateral spine (VFA)", "Lateral spine (VFA)")]
)
def test_a_capital_changes_nothing_but_the_first_letter(text: str, said: str) -> None:
    assert capital(text) == said
