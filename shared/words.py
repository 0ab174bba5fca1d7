"""Numbers as people are told them: a count of things, and the delta of an epsilon."""

from __future__ import annotations


def counted(number: int, one: str, several: str = "") -> str:
    """Say how many there are of something.

    Parameters
    ----------
    number : int
        How many.
    one : str
        What one of them is called.
    several : str
        What several are called; by default `one` with an s.

    Returns
    -------
    str
        ``1 file``, ``2 files``.
    """
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def at_delta(delta: float) -> str:
    """Say at which delta an epsilon holds; alone an epsilon promises nothing."""
    return f"at delta {delta:g}"
