"""Asks a PACS again that is down, busy or cut off, and no PACS that refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import OsteofedError, SourceRefusedError, SourceUnavailableError
from shared.phrases import counted
from shared.settings.pacs import RetrySettings

from .waiting import Say, silently

T = TypeVar("T")


class TryAgainError(Exception):
    """The PACS did not answer, or not to the end; the text says what happened, of nobody.

    `remedy` is what the site can do.
    """

    remedy = "check that it runs and can be reached from here"


class OfStudyError(TryAgainError):
    """The PACS is there, and what failed is this study or this question.

    `status` is what it answered, as the protocol writes it; empty if it answered nothing.
    """

    def __init__(self, said: str, status: str = "") -> None:
        super().__init__(said)
        self.status = status


class StudyFailedError(OfStudyError):
    """The PACS answers, but does not give this study whole."""


class HungUpError(OfStudyError):
    """The PACS lets us in and then hangs up: some refuse what is not permitted like that."""


class SilentError(OfStudyError):
    """The PACS takes the question and does not answer it while patience lasts."""

    remedy = (
        "an archive that loads studies from tape may need longer: raise pacs.retry."
        "patience_seconds in site.yaml; otherwise ask the PACS team why it stands still"
    )


class TooMuchError(Exception):
    """The PACS sends more than is taken, and would do so the next time."""


def insist(retry: RetrySettings, name: str, ask: Callable[[], T], say: Say = silently) -> T:
    """Ask until there is an answer or patience is over; the wait doubles each time.

    Parameters
    ----------
    retry : RetrySettings
        How often, how long in between, and no longer than its `patience_seconds` after the
        first time.
    name : str
        Of the PACS, for the sentence.
    ask : callable
        Raises `TryAgainError` where asking again may help; it starts from its beginning.
    say : callable
        Told why it is asked again.

    Raises
    ------
    TryAgainError
        After the last attempt.
    """
    wait = retry.first_wait_seconds
    begun = time.monotonic()
    attempt = 1
    while True:
        try:
            return ask()
        except TryAgainError as failed:
            pause = min(wait, retry.longest_wait_seconds)
            spent = time.monotonic() - begun
            if attempt == retry.attempts or spent + pause >= retry.patience_seconds:
                failed.add_note(_how_often(attempt, spent))
                raise
            say(
                f"{name}: {failed}; asked again in {pause:g} s ({attempt} of at most "
                f"{counted(retry.attempts, 'time')})"
            )
        time.sleep(pause)
        say(None)
        wait *= 2
        attempt += 1


def _how_often(attempts: int, seconds: float) -> str:
    return f"asked {counted(attempts, 'time')} in {seconds:.0f} s"


def patiently(retry: RetrySettings, name: str, ask: Callable[[], T], say: Say = silently) -> T:
    """Ask as `insist` does, for what nothing goes on without.

    Raises
    ------
    SourceUnavailableError
        After the last attempt.
    StudyFailedError
        After the last attempt, if the PACS is there and only the study is not.
    SourceRefusedError
        After the last attempt, if the PACS is there and hangs up.
    """
    try:
        return insist(retry, name, ask, say)
    except StudyFailedError:
        raise
    except TryAgainError as failed:
        raise given_up(name, failed) from None


def given_up(name: str, failed: TryAgainError) -> OsteofedError:
    """Make the error of a PACS that was asked for the last time."""
    if isinstance(failed, HungUpError):
        return SourceRefusedError(f"{name}: {failed}")
    how_often = ", ".join(getattr(failed, "__notes__", ["asked 1 time"]))
    return SourceUnavailableError(
        f"{name}: {failed}, {how_often} ({failed.remedy}; then give the same command again: it "
        "goes on where it stopped)"
    )
