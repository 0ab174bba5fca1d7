"""Compares the cases of the suite with those of an earlier commit.

Run ``python -m tests.suite.cases REVISION``.

Prints every case that was collected there and is not here, and how many are new. Files that
were moved are followed, as Git finds them, in a case's parameters too. A test function whose
cases were only renumbered is told by how many cases it had and has.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

COLLECT = ["-m", "pytest", "-o", "addopts=", "--collect-only", "-q", "-p", "no:randomly"]


def collected(folder: Path) -> list[str]:
    """Ids of the cases that a checkout collects."""
    done = subprocess.run(
        [sys.executable, *COLLECT], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{folder}: pytest does not collect:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [line for line in done.stdout.splitlines() if "::" in line]


def collected_at(revision: str) -> list[str]:
    """Ids of the cases of a commit, collected in a checkout of its own."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        add = ["git", "worktree", "add", "--quiet", "--detach", str(tree), revision]
        subprocess.run(add, check=True)
        try:
            return collected(tree)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], check=True)


def moved_since(revision: str) -> dict[str, str]:
    """Files that were moved since a commit: where they were, and where they are."""
    command = ["git", "diff", "--name-status", "--find-renames=40%", revision, "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {row[1]: row[2] for row in rows if row[0].startswith("R")}


def followed(case: str, moved: dict[str, str]) -> str:
    """A case's id as it is after files were moved."""
    file, found, rest = case.partition("::")
    name, bracket, parameters = rest.partition("[")
    path = parameters.removesuffix("]")
    if path in moved:
        parameters = moved[path] + "]"
    return moved.get(file, file) + found + name + bracket + parameters


def write(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


def main(revision: str) -> int:
    """Print the comparison; 1 if a test function is gone or has fewer cases than before."""
    moved = moved_since(revision)
    before = [followed(case, moved) for case in collected_at(revision)]
    after = collected(Path.cwd())
    gone = sorted(set(before) - set(after))
    functions = [Counter(case.partition("[")[0] for case in one) for one in (before, after)]
    lost = {name: n for name, n in functions[0].items() if functions[1][name] < n}
    write(f"{revision}: {len(before)} cases; here: {len(after)}")
    write(f"under another id: {len(gone)}; new ids: {len(set(after) - set(before))}")
    for case in gone:
        write(f"  {case}")
    write(f"test functions that are gone or have fewer cases: {len(lost)}")
    for name, number in sorted(lost.items()):
        write(f"  {name}: {number} before, {functions[1][name]} here")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
