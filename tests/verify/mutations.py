"""Seeded mistakes in places that matter: each is noticed by a test that reaches the line.

The places are data (``mutations.toml``), chosen by hand over the areas where a silent mistake
would break a promise or harm a patient. First it is recorded which quick tests reach each of
them (`tests.verify.reaching`), test file by test file. Then each change is made in a copy of
the tree, never in the tree itself, and the tests that reach it are run, the quickest first,
up to the first failure.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.verify.places import Place, places
from tests.verify.reaching import REACHED
from tests.verify.running_tests import run_tests
from tests.verify.stored import RESULTS, ROOT, Shelf, digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic

NAME: Final = "mutations"
SHELF: Final = Shelf(RESULTS / NAME)
FOLDERS: Final = ("client", "server", "shared")
#: What tests of one place may take in all; what has not noticed by then has not noticed.
LIMIT_SECONDS: Final = 600.0
#: All forty, on two cores.
MOST_SECONDS: Final = 90 * 60.0


def plan() -> Iterator[Planned]:
    """First what reaches what, a run a test file; then the changes, a run each."""
    for path in test_files():
        text = (ROOT / path).read_text(encoding="utf-8")
        digest = digest_of([text, *([place.file, place.before] for place in places())])
        yield Planned(reached_key(path), digest, partial(_reach, path))
    for place in places():
        yield Planned(f"places/{place.key}", place.digest, partial(_try, place))


def test_files() -> list[Path]:
    """Files of tests, relative to the root; those that start real programs are left out."""
    found = (path for folder in FOLDERS for path in (ROOT / "tests" / folder).rglob("test_*.py"))
    return sorted(path.relative_to(ROOT) for path in found)


def reached_key(path: Path) -> str:
    """Key of the record of a test file."""
    return f"reached/{'.'.join(path.with_suffix('').parts[1:])}"


def reaching(place: Place) -> dict[str, float]:
    """Recorded test functions that reach a place, and the seconds they took, quickest first."""
    found: dict[str, float] = {}
    for path in test_files():
        record = SHELF.find(reached_key(path))
        if record is not None:
            found |= record.figures.get(place.key, {})
    return dict(sorted(found.items(), key=lambda pair: (pair[1], pair[0])))


def _reach(path: Path, tell: Tell) -> Any:
    tell("recording which tests reach the places", 0.0)
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary:
        out = Path(temporary) / "reached.json"
        words = ["-p", "tests.verify.reaching", "-m", "not system", str(path)]
        run_tests(words, environment={REACHED: str(out)}, none_is_right=True)
        return json.loads(out.read_text(encoding="utf-8"))


def _try(place: Place, tell: Tell) -> Any:
    tests = reaching(place)
    tell(f"{len(tests)} tests reach it", 0.5)
    figures = {"area": place.area, "breaks": place.breaks, "reached_by": len(tests)}
    if not tests:
        return figures | {"noticed_by": "", "tests_run": 0}
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary:
        tree = copy_tree(Path(temporary) / "tree")
        change(tree, place)
        try:
            done = run_tests(["-x", "-rfE", *tests], tree, limit_seconds=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            return figures | {"noticed_by": "", "tests_run": 0}
    run = done.passed + done.failures + done.skipped
    return figures | {"noticed_by": done.failed, "tests_run": run}


def copy_tree(to: Path) -> Path:
    """Copy what git knows or would take in; nothing that was built or made by a run."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, to / name)
    return to


def change(tree: Path, place: Place) -> None:
    """Make the change in a copy of the tree."""
    if tree.resolve() == ROOT:
        raise ValueError("a mistake is never put into the working tree")
    path = tree / place.file
    text = path.read_text(encoding="utf-8")
    if text.count(place.before) != 1:
        raise ValueError(f"{place.file}: {place.key}: its text must stand there exactly once")
    path.write_text(text.replace(place.before, place.after), encoding="utf-8")


def judge(runs: Runs) -> list[Line]:
    """Every change is noticed, and all of them in good time."""
    tried = {key: run for key, run in runs.items() if key.startswith("places/")}
    lines = []
    for area in dict.fromkeys(place.area for place in places()):
        mine = {key: run for key, run in tried.items() if run.figures["area"] == area}
        if not mine:
            continue
        unseen = [key for key, run in mine.items() if not run.figures["noticed_by"]]
        missed = [key.rpartition("/")[2] for key in unseen]
        found = f"{len(mine) - len(missed)} of {len(mine)} noticed"
        said = f"{found}; not {', '.join(missed)}" if missed else found
        lines.append(Line(area, said, "all", not missed))
    minutes = sum(float(run.facts["seconds"]) for run in tried.values()) / 60
    most = MOST_SECONDS / 60
    lines.append(Line("minutes for all", f"{minutes:.1f}", f"at most {most:.0f}", minutes <= most))
    return lines


def tables(runs: Runs) -> str:
    """One row a change: what it breaks, and which test noticed."""
    rows = ["| area | mistake | noticed by | s |", "| --- | --- | --- | --- |"]
    for key, run in runs.items():
        if key.startswith("places/"):
            figures = run.figures
            noticed = f"`{figures['noticed_by']}`" if figures["noticed_by"] else "**nobody**"
            seconds = f"{float(run.facts['seconds']):.0f}"
            rows.append(f"| {figures['area']} | {figures['breaks']} | {noticed} | {seconds} |")
    return "\n".join(rows)


TOPIC: Final = Topic(
    NAME, "Forty mistakes in places that matter, each noticed by a test.", plan, judge, tables,
    shelf=SHELF,
)  # fmt: skip
