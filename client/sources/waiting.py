"""What is being waited for: said when it lasts, and cut off when patience is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

#: Called with a sentence, or with None once what it says is over.
Say = Callable[[str | None], None]
#: A wait is spoken of after so long, and again each time that it has lasted twice as long.
FIRST_WORD_SECONDS: Final = 10.0
#: A short patience still hears what was waited for before it ends.
FIRST_WORD_PART: Final = 0.25


def silently(sentence: str | None) -> None:
    """Say nothing, to whoever asked for no word."""


@dataclass
class Waiting:
    """One wait that goes on.

    Attributes
    ----------
    what : str
        What is being waited for.
    cut_off : bool
        Whether patience ended it.
    """

    what: str
    cut_off: bool = False
    _last: float = field(default_factory=time.monotonic)

    def heard(self, what: str = "") -> None:
        """Note that something came, and what is waited for from here on."""
        self._last = time.monotonic()
        self.what = what or self.what

    @property
    def quiet_seconds(self) -> float:
        """Seconds since something came."""
        return time.monotonic() - self._last


@dataclass(frozen=True)
class Watch:
    """Waits for one source, each in a thread of its own that ends with it.

    Attributes
    ----------
    name : str
        Of the source, for the sentences.
    patience_seconds : float
        Longest time in which nothing comes; then the connection is cut off.
    say : callable
        Told what is being waited for.
    """

    name: str
    patience_seconds: float
    say: Say = silently

    @contextmanager
    def over(self, what: str, cut: Callable[[], None]) -> Iterator[Waiting]:
        """Watch one wait.

        Parameters
        ----------
        what : str
            What is waited for, as it follows "waits for".
        cut : callable
            Ends the connection, so that whoever waits for it goes on.
        """
        waiting, over = Waiting(what), threading.Event()
        thread = threading.Thread(target=self._watch, args=(waiting, cut, over), daemon=True)
        thread.start()
        try:
            yield waiting
        finally:
            over.set()
            thread.join()

    def _watch(self, waiting: Waiting, cut: Callable[[], None], over: threading.Event) -> None:
        """Speak up, and cut off."""
        first = min(FIRST_WORD_SECONDS, self.patience_seconds * FIRST_WORD_PART)
        word, spoke = first, False
        while True:
            quiet = waiting.quiet_seconds
            if quiet >= self.patience_seconds:
                waiting.cut_off = True
                cut()
                break
            if quiet < word / 2:  # something came
                word = first
            if quiet >= word:
                self.say(
                    f"{self.name}: waits for {waiting.what}; nothing came for {quiet:.0f} s (given "
                    f"up after {self.patience_seconds:g} s, pacs.retry.patience_seconds)"
                )
                word, spoke = word * 2, True
            if over.wait(max(min(word, self.patience_seconds) - quiet, 0.001)):
                break
        if spoke:
            self.say(None)
