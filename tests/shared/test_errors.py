"""Exit codes: in their range, never reused, and documented."""

import re
from pathlib import Path

from shared import errors

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "exit-codes.md"


def error_classes() -> dict[str, int]:
    classes = [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.OsteofedError)
        and value is not errors.OsteofedError
    ]
    return {kind.__name__: kind.exit_code for kind in classes}


def test_no_two_errors_share_an_exit_code() -> None:
    codes = list(error_classes().values())
    assert len(codes) == len(set(codes))


def test_the_document_lists_exactly_the_codes_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", DOCUMENT.read_text(encoding="utf-8"), re.M)
    assert {name: int(code) for code, name in rows} == error_classes()


def test_every_code_lies_in_a_range_of_the_table() -> None:
    rows = re.findall(r"^(\d+)(?:-(\d+))?\s", errors.__doc__ or "", re.M)
    ranges = [range(int(first), int(last or first) + 1) for first, last in rows]
    outside = {
        name for name, code in error_classes().items() if not any(code in one for one in ranges)
    }
    assert outside == set()


def drawn(kind: type[errors.OsteofedError], depth: int = 0) -> list[str]:
    kinds = sorted(kind.__subclasses__(), key=lambda one: one.exit_code)
    own = " " * 4 * depth + f"{kind.__name__:<{44 - 4 * depth}}{kind.exit_code:>3}"
    return [own, *(line for one in kinds for line in drawn(one, depth + 1))]


def test_the_tree_at_the_top_of_the_file_is_that_of_the_code() -> None:
    said = [line[4:] for line in (errors.__doc__ or "").splitlines() if "Error  " in line]
    ours = [one for one in drawn(errors.OsteofedError) if hasattr(errors, one.split()[0])]
    assert said == ours
