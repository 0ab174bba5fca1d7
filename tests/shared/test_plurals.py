"""No command, page or error counts one thing in the plural."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THINGS = "files|studies|rounds|patients|images|steps|sites|versions|visits|models|days"
#: A value in a sentence, and behind it things in the plural.
COUNT = re.compile(rf"\}} ({THINGS})\b")
#: One sentence that goes on in the next line of the source.
CONTINUED = re.compile(r'"\n\s*f?"')
#: Whose words are held by tests of their own.
ELSEWHERE = ("shared/inference/", "shared/findings/")


def test_numbers_of_things_are_said_by_the_helper() -> None:
    found = []
    for package in ("server", "client", "shared"):
        for path in sorted((ROOT / package).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix not in (".py", ".j2") or name.startswith(ELSEWHERE):
                continue
            whole = CONTINUED.sub("", path.read_text(encoding="utf-8"))
            found += [
                f"{name}: {line.strip()}" for line in whole.splitlines() if COUNT.search(line)
            ]
    assert found == []


def test_a_count_that_a_line_divides_is_seen() -> None:
    assert COUNT.search(CONTINUED.sub("", 'f"{n} "\n        f"files are there"'))
    assert not COUNT.search("""f"{counted(n, 'file')} are there\"""")
