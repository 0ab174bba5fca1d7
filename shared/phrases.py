"""How counts, lists, scores and epsilons are said to people, everywhere in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Said in place of a delta that an older build did not keep.
DELTA_NOT_KEPT: Final = "delta not kept"


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


def with_delta(epsilon: float, delta: float | None, digits: int = 3) -> str:
    """Say an epsilon with its delta: ``0.512 at delta 0.001``.

    Parameters
    ----------
    epsilon : float
        What was spent.
    delta : float or None
        None: it was not kept, as by an older build.
    digits : int
        Decimals of the epsilon.
    """
    at = DELTA_NOT_KEPT if delta is None else at_delta(delta)
    return f"{epsilon:.{digits}f} {at}"


def at_delta(delta: float) -> str:
    """Say at which delta an epsilon holds; alone an epsilon promises nothing."""
    return f"at delta {delta:g}"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else list(words))


def signed(score: float) -> str:
    """Score with its sign, one decimal, a true minus: ``−2.5``, ``+0.3``, ``0.0``."""
    if score == 0:
        return "0.0"
    return f"{'−' if score < 0 else '+'}{abs(score):.1f}"


def capital(text: str) -> str:
    """Begin with a capital letter; the rest stays as it is (``str.capitalize`` lowers it)."""
    return text[:1].upper() + text[1:]


def shown_name(name: str) -> str:
    """DICOM's ``Family^Given^Middle`` as ``Family, Given Middle``."""
    family, *given = (part.strip() for part in name.split("=")[0].split("^"))
    rest = " ".join(part for part in given if part)
    return f"{family}, {rest}" if rest else family


def shown_date(date: str) -> str:
    """DICOM's ``YYYYMMDD`` as ``YYYY-MM-DD``; anything else as it is."""
    if len(date) == 8 and date.isdigit():
        return f"{date[:4]}-{date[4:6]}-{date[6:]}"
    return date
