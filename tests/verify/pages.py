"""The documentation's tables, made of stored runs alone."""

from __future__ import annotations

from collections.abc import Iterable

from shared.runtime.files import write_text_atomically
from tests.verify.stored import Stored
from tests.verify.topic import Line, Topic


def begin_of(name: str) -> str:
    """The mark before what is made."""
    return f"<!-- tables of {name}: made by `python -m tests.verify {name} --tables` -->"


def end_of(name: str) -> str:
    """The mark behind it."""
    return f"<!-- end of the tables of {name} -->"


def between(text: str, name: str, made: str) -> str:
    """Replace what lies between the two marks of a topic; both are added if there are none."""
    begin, end = begin_of(name), end_of(name)
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def page_with(topic: Topic) -> str:
    """Give a topic's page as it must be, its tables made of what is stored."""
    text = topic.page.read_text(encoding="utf-8") if topic.page.exists() else ""
    runs = topic.stored()
    if not runs:
        return text
    made = topic.tables(runs) if topic.tables else table_of(topic.judge(runs))
    return between(text, topic.name, f"{made}\n\n{told(runs.values())} {made_of(topic)}")


def made_of(topic: Topic) -> str:
    """Say which stored files a page shows: a cheap way to see whether it is up to date."""
    return f"<!-- made of {topic.kept.digest()} -->"


def write_page(topic: Topic) -> None:
    """Write a topic's tables into its page."""
    text = page_with(topic)
    if text:
        write_text_atomically(topic.page, text)


def table_of(lines: Iterable[Line]) -> str:
    """Make a table of what was found and what must hold."""
    rows = ["| what | found | limit | holds |", "| --- | --- | --- | --- |"]
    for line in lines:
        holds = "yes" if line.holds else "**no**"
        rows.append(f"| {line.what} | {line.found} | {line.limit} | {holds} |")
    return "\n".join(rows)


def told(runs: Iterable[Stored]) -> str:
    """Say from which code, when and on what machines runs were made."""
    facts = [run.facts for run in runs]
    dated = [one for one in facts if "commit" in one]
    parts = [f"{len(facts)} runs"]
    if dated:
        dates = sorted({one["date"] for one in dated})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        parts += [
            f"of commit {', '.join(sorted({one['commit'] for one in dated}))}",
            when,
            "; ".join(sorted({_machine(one["machine"]) for one in dated})),
            f"{sum(float(one['seconds']) for one in dated):,.0f} s in all",
        ]
    if len(dated) < len(facts):
        parts.append(f"{len(facts) - len(dated)} of them older than these notes")
    return f"*{', '.join(parts)}.*"


def _machine(one: dict[str, object]) -> str:
    return f"{one['processor']}, {one['cores']} cores, torch {one['torch']}"
