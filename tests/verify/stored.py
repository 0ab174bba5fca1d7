"""What a check found, on disk: one small file a run, and from which code, when and on what machine.

A run is written whole or not at all. Its digest says from which settings it was made, so that
one of other settings is made anew and never taken for these.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from shared.runtime.files import write_text_atomically

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = Path(__file__).parent / "results"
#: What figures follow from, besides their settings.
CODE: Final = ("server", "client", "shared", "configs")
UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class Stored:
    """One run as it was stored.

    Attributes
    ----------
    figures : mapping, or what the topic's shelf reads
        What was found.
    facts : mapping
        ``digest`` of the settings, ``commit`` (a ``+`` behind it: with changes that were not
        committed), ``date``, ``machine``, ``seconds``. Runs of before this module lack some.
    """

    figures: Any
    facts: Mapping[str, Any]


def _read(path: Path) -> Stored:
    held = json.loads(path.read_text(encoding="utf-8"))
    return Stored(held["figures"], held["facts"])


def _write(path: Path, stored: Stored) -> None:
    text = json.dumps({"facts": dict(stored.facts), "figures": stored.figures}, indent=1)
    write_text_atomically(path, text + "\n")


@dataclass(frozen=True)
class Shelf:
    """Where a topic's runs are kept, and how one is read and written; JSON unless said otherwise.

    `write` must leave a whole file or none, with the facts in it.
    """

    folder: Path
    suffix: str = ".json"
    read: Callable[[Path], Stored] = _read
    write: Callable[[Path, Stored], None] = _write

    def path_of(self, key: str) -> Path:
        """File of a run."""
        return self.folder / f"{key}{self.suffix}"

    def digest(self) -> str:
        """Digest everything that is stored here, so that a page can say what it was made of."""
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob(f"*{self.suffix}")):
            found.update(path.relative_to(self.folder).as_posix().encode() + path.read_bytes())
        return found.hexdigest()[:12]

    def find(self, key: str) -> Stored | None:
        """Give a stored run; None if it was never made."""
        path = self.path_of(key)
        return self.read(path) if path.exists() else None


def digest_of(settings: Any) -> str:
    """Digest what the figures of a run follow from, besides the code."""
    told = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def provenance() -> dict[str, Any]:
    """Say from which code, when and on what machine a run is made; neither names nor paths."""
    return {
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
    }


@cache
def commit() -> str:
    """Short name of the commit that is checked out, ``+`` behind it if code was changed since."""
    found = _git("rev-parse", "--short=7", "HEAD")
    if found is None:
        return UNKNOWN
    changed = _git("status", "--porcelain", "--", *CODE)
    return found + ("+" if changed else "")


@cache
def is_old(made_at: str) -> bool:
    """Tell whether the code has changed since a commit, or that cannot be known."""
    known = made_at.rstrip("+")
    if made_at.endswith("+") or known in ("", UNKNOWN):
        return True
    return _git("diff", "--quiet", known, "--", *CODE) is None


@cache
def machine() -> dict[str, Any]:
    """Describe the machine by what figures may depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _git(*words: str) -> str | None:
    """Ask git; None if it says no, or there is none."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
