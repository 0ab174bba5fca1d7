"""Asks a PACS again that is down, busy or cut off, and no PACS that refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import SourceRefusedError, SourceUnavailableError
from shared.phrases import counted
from shared.settings.pacs import RetrySettings

T = TypeVar("T")


class TryAgainError(Exception):
    """The PACS did not answer, or not to the end; the text says what happened, of nobody."""


class StudyFailedError(TryAgainError):
    """The PACS answers, but does not give this study whole."""


class HungUpError(TryAgainError):
    """The PACS lets us in and then hangs up: some refuse what is not permitted like that."""


def patiently(retry: RetrySettings, name: str, ask: Callable[[], T]) -> T:
    """Ask until there is an answer; the wait doubles each time.

    Parameters
    ----------
    retry : RetrySettings
        How often, and how long in between.
    name : str
        Of the PACS, for the sentence.
    ask : callable
        Raises `TryAgainError` where asking again may help; it starts from its beginning.

    Raises
    ------
    SourceUnavailableError
        After the last attempt.
    StudyFailedError
        After the last attempt, if the PACS is there and only the study is not.
    SourceRefusedError
        After the last attempt, if the PACS is there and hangs up.
    """
    wait = retry.first_wait_seconds
    for attempt in range(1, retry.attempts + 1):
        try:
            return ask()
        except TryAgainError as failed:
            if attempt == retry.attempts and isinstance(failed, StudyFailedError):
                raise
            if attempt == retry.attempts and isinstance(failed, HungUpError):
                raise SourceRefusedError(f"{name}: {failed}") from None
            said = str(failed)
        if attempt < retry.attempts:
            time.sleep(min(wait, retry.longest_wait_seconds))
            wait *= 2
    raise SourceUnavailableError(
        f"{name}: {said}, asked {counted(retry.attempts, 'time')} (check that it runs and can be "
        "reached from here, then give the same command again: it goes on where it stopped)"
    )
