"""The full-size checks: ``python -m tests.verify [TOPIC]``, or ``make verify ONLY=TOPIC``.

Makes every run that is missing, stores each as it is done, and holds what was found against
the limits. It can be stopped at any time, by Ctrl-C too, and goes on where it was, on another
machine as well, since stored runs are committed; only the run at work is lost. Exits with 1 if
a limit does not hold or a run is missing.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from rich.table import Table

from shared.command_line import console, progress
from tests.verify.pages import write_page
from tests.verify.stored import Stored, is_old, provenance
from tests.verify.topic import Line, Planned, Topic
from tests.verify.topics import TOPICS

INTERRUPTED = 130


def main() -> int:
    """Make what is missing, judge, write the pages."""
    asked = _arguments()
    if asked.list:
        for topic in TOPICS.values():
            console().print(f"{topic.name}: {topic.about}", markup=False)
        return 0
    topics = [TOPICS[asked.topic]] if asked.topic else list(TOPICS.values())
    logging.disable(logging.INFO)  # Flower tells of every aggregation
    good = True
    try:
        for topic in topics:
            if not asked.tables:
                fill(topic, anew=asked.anew, only=asked.only)
                good &= shown(topic)
            write_page(topic)
    except KeyboardInterrupt:
        console().print("stopped: what was made is stored, the run at work is lost")
        return INTERRUPTED
    return 0 if good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.verify", description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )  # fmt: skip
    parser.add_argument("topic", nargs="?", choices=TOPICS, help="one of them; all by default")
    parser.add_argument("--only", default="", help="only runs whose key begins like this")
    parser.add_argument("--anew", action="store_true", help="make stored runs again, too")
    parser.add_argument("--tables", action="store_true", help="only write the documentation")
    parser.add_argument("--list", action="store_true", help="say what topics there are")
    return parser.parse_args()


def fill(topic: Topic, *, anew: bool = False, only: str = "") -> int:
    """Make and store the runs of a topic that are missing or of other settings; count them."""
    planned = [one for one in topic.plan() if one.key.startswith(only)]
    todo = [one for one in planned if anew or not is_current(topic, one)]
    with progress() as bar:
        all_of_it = bar.add_task(topic.name, total=len(planned), completed=len(planned) - len(todo))
        at_work = bar.add_task("", total=1)
        for one in todo:

            def tell(what: str, share: float, key: str = one.key) -> None:
                bar.update(at_work, description=f"{key}: {what}", completed=share)

            tell("begins", 0.0)
            started = time.monotonic()
            figures = one.make(tell)
            facts = {
                "digest": one.digest, **provenance(),
                "seconds": round(time.monotonic() - started, 1),
            }  # fmt: skip
            topic.kept.write(topic.kept.path_of(one.key), Stored(figures, facts))
            bar.advance(all_of_it)
            said = f"{topic.name}: {one.key} made in {facts['seconds']} s"
            bar.console.print(said, markup=False, highlight=False)
    return len(todo)


def is_current(topic: Topic, planned: Planned) -> bool:
    """Tell whether a run is stored and of these settings."""
    found = topic.kept.find(planned.key)
    return found is not None and found.facts.get("digest") == planned.digest


def judged(topic: Topic) -> tuple[list[Line], list[Stored]]:
    """Hold the runs of today's settings against the limits, and say how many are missing."""
    planned = list(topic.plan())
    current = {one.key: topic.kept.find(one.key) for one in planned if is_current(topic, one)}
    runs = {key: one for key, one in current.items() if one is not None}
    count = f"{len(runs)} of {len(planned)}"
    lines = [Line("runs that are stored", count, "all", len(runs) == len(planned))]
    return [*lines, *(topic.judge(runs) if runs else [])], list(runs.values())


def shown(topic: Topic) -> bool:
    """Print the verdicts of a topic; tell whether all limits hold."""
    lines, runs = judged(topic)
    made_at = sorted({str(run.facts.get("commit", "before the notes")) for run in runs})
    said = ", ".join(f"{one} (old)" if is_old(one) else one for one in made_at)
    table = Table(
        title=f"{topic.name}: {topic.about}", caption=f"made at {said or 'no commit yet'}"
    )
    for column in ("what", "found", "limit", "verdict"):
        table.add_column(column)
    for line in lines:
        verdict = "holds" if line.holds else "DOES NOT HOLD"
        table.add_row(line.what, line.found, line.limit, verdict)
    console().print(table)
    return all(line.holds for line in lines)


if __name__ == "__main__":
    sys.exit(main())
