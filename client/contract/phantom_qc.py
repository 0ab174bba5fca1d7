"""Daily phantom measurements of the site's scanners, and whether they have drifted.

The phantom's BMD does not change, so what changes is the scanner. The two-sided tabular
CUSUM (Montgomery, Introduction to Statistical Quality Control, 9.1) adds up, day by day,
how far a measurement lies beyond an allowance k above (or below) the mean of the first
scans, in standard deviations, and never lets a sum fall under zero. A sum above h says
that the scanner measures otherwise *now*; it falls again when the scanner does.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.store.site_store import OWNERS_FILE, SiteStore
from shared.errors import InputEmptyError, InputMissingError, InputUnreadableError
from shared.runtime.files import write_text_atomically

#: The measurements, in the site folder.
KEPT: Final = "phantom-qc.csv"
COLUMNS: Final = ("date", "scanner", "bmd")
#: Scans from which mean and spread are taken, if there are so many.
BASELINE_SCANS: Final = 25
#: Mean moving range over standard deviation, of two normal values (Montgomery, d2).
D2: Final = 1.128
#: No scanner is steadier than this share of its mean: values are rounded to three digits.
LEAST_SPREAD: Final = 0.001
#: What a phantom's BMD can be, g/cm².
PLAUSIBLE: Final = (0.3, 3.0)


@dataclass(frozen=True, order=True)
class PhantomMeasurement:
    """One phantom scan: day, scanner as `site.yaml` names it, BMD in g/cm²."""

    day: date
    scanner: str
    bmd: float


@dataclass(frozen=True)
class Drift:
    """What the CUSUM says of one scanner.

    Attributes
    ----------
    scans : int
        Measurements in the series.
    largest : float
        The larger of the two sums after the last scan, in standard deviations.
    drifted : bool
        Whether it is above the decision interval.
    percent : float
        Estimated change of the scanner since the first scans, % of the mean; 0 where none
        was found.
    since : date or None
        First day of the change, as far as the sums can tell.
    """

    scans: int
    largest: float
    drifted: bool
    percent: float
    since: date | None


def cusum(
    values: Sequence[float], mean: float, spread: float, allowance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Upper and lower sums of the tabular CUSUM, in standard deviations.

    Parameters
    ----------
    values : sequence of float, length N
        In the order of measurement.
    mean, spread : float
        Of the scanner in control; the spread is positive.
    allowance : float
        k: half of the change that is looked for, in standard deviations.

    Returns
    -------
    upper, lower : ndarray of float64, shape (N,)
        Both are zero or more; `lower` grows when values fall.
    """
    upper, lower = np.zeros(len(values)), np.zeros(len(values))
    above = below = 0.0
    for place, value in enumerate(values):
        away = (value - mean) / spread
        above = max(0.0, above + away - allowance)
        below = max(0.0, below - away - allowance)
        upper[place], lower[place] = above, below
    return upper, lower


def drift_of(series: Sequence[PhantomMeasurement], allowance: float, decision: float) -> Drift:
    """Say whether a scanner measures otherwise now than at first.

    Parameters
    ----------
    series : sequence of PhantomMeasurement
        Of one scanner, two or more.
    allowance, decision : float
        k and h, in standard deviations.
    """
    ordered = sorted(series)
    values = [one.bmd for one in ordered]
    mean, spread = _in_control(values)
    upper, lower = cusum(values, mean, spread, allowance)
    rising = upper[-1] >= lower[-1]
    sums = upper if rising else lower
    if sums[-1] <= decision:
        return Drift(len(values), float(sums[-1]), False, 0.0, None)
    zeros = np.flatnonzero(sums == 0)
    first = int(zeros[-1]) + 1 if len(zeros) else 0
    # Montgomery, 9.1.2: the mean since the sum left zero
    change = (allowance + sums[-1] / (len(values) - first)) * spread / mean
    percent = float(100 * (change if rising else -change))
    return Drift(len(values), float(sums[-1]), True, percent, ordered[first].day)


def _in_control(values: Sequence[float]) -> tuple[float, float]:
    """Mean of the first scans, and standard deviation from how consecutive ones differ."""
    first = np.asarray(values[:BASELINE_SCANS], dtype=np.float64)
    mean = float(first.mean())
    spread = float(np.abs(np.diff(first)).mean()) / D2 if len(first) > 1 else 0.0
    return mean, max(spread, LEAST_SPREAD * mean)


def read_measurements(path: Path) -> list[PhantomMeasurement]:
    """Read a CSV of phantom scans with the columns ``date``, ``scanner`` and ``bmd``.

    Raises
    ------
    InputMissingError, InputUnreadableError, InputEmptyError
        If there is no such file, a line of it is not a measurement, or it has none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such file (a CSV was expected)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputUnreadableError(
            f"{path}: cannot be read ({type(error).__name__}); give a CSV in UTF-8 with the "
            f"columns {', '.join(COLUMNS)}"
        ) from None
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputUnreadableError(
            f"{path}: has no column {missing[0]!r} (must have {', '.join(COLUMNS)})"
        )
    found = [_measurement(path, number, row) for number, row in enumerate(reader, start=2)]
    if not found:
        raise InputEmptyError(f"{path}: has no measurement below its header")
    return found


def _measurement(path: Path, number: int, row: dict[str, Any]) -> PhantomMeasurement:
    where = f"{path}: line {number}"
    try:
        day = date.fromisoformat(str(row["date"]).strip())
    except ValueError:
        raise InputUnreadableError(
            f"{where}: its date cannot be read (must be like 2026-01-31)"
        ) from None
    scanner = str(row["scanner"] or "").strip()
    if not 0 < len(scanner) <= 40:
        raise InputUnreadableError(f"{where}: names no scanner (must be as in site.yaml)")
    try:
        bmd = float(str(row["bmd"]))
    except ValueError:
        bmd = float("nan")
    if not PLAUSIBLE[0] <= bmd <= PLAUSIBLE[1]:
        raise InputUnreadableError(
            f"{where}: its BMD is not that of a phantom (must be {PLAUSIBLE[0]:g} to "
            f"{PLAUSIBLE[1]:g} g/cm²)"
        )
    return PhantomMeasurement(day, scanner, bmd)


def kept_measurements(folder: Path) -> list[PhantomMeasurement]:
    """The site's measurements, oldest first; none if none were taken in."""
    path = folder / KEPT
    return sorted(read_measurements(path)) if path.is_file() else []


def take_in(folder: Path, source: Path) -> dict[str, Any]:
    """Add measurements to those the site has; the same line twice is one.

    Parameters
    ----------
    folder : Path
        The site folder.
    source : Path
        See `read_measurements`.

    Returns
    -------
    dict
        ``site``, ``new``, ``scans`` and ``scanners``: by name, ``scans``, ``first``,
        ``last``, ``in_site_yaml`` and, from ten scans on, what `drift_of` says with the
        usual k = 0.5 and h = 5.

    Raises
    ------
    StoreMissingError
        If the folder is no site.
    InputMissingError, InputUnreadableError, InputEmptyError
        See `read_measurements`; nothing is taken in then.
    """
    store = SiteStore.open(folder)
    try:
        before = set(kept_measurements(folder))
        both = sorted(before | set(read_measurements(source)))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((one.day.isoformat(), one.scanner, f"{one.bmd:g}") for one in both)
        write_text_atomically(folder / KEPT, text.getvalue(), mode=OWNERS_FILE)
        known = {scanner.name for scanner in store.config.scanners}
        return {
            "site": store.config.site,
            "new": len(both) - len(before),
            "scans": len(both),
            "scanners": {name: _described(name, both, known) for name in _names(both)},
        }
    finally:
        store.close()


def _names(series: Sequence[PhantomMeasurement]) -> list[str]:
    return sorted({one.scanner for one in series})


def _described(name: str, series: Sequence[PhantomMeasurement], known: set[str]) -> dict[str, Any]:
    own = [one for one in series if one.scanner == name]
    facts: dict[str, Any] = {
        "scans": len(own),
        "first": own[0].day.isoformat(),
        "last": own[-1].day.isoformat(),
        "in_site_yaml": name in known,
    }
    if len(own) >= 10:
        drift = drift_of(own, 0.5, 5.0)
        facts |= {"drifted": drift.drifted, "percent": round(drift.percent, 2)}
    return facts
