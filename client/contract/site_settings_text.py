"""Declared numbers written into the text of a ``site.yaml``, whose comments stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import yaml

from shared.errors import ConfigValueError
from shared.settings.declared import DeclaredNumbers
from shared.settings.files import SiteConfig, parse_settings

KEY: Final = "declared"
#: A part of a text, from one character to before another, and what comes in its place.
Edit = tuple[int, int, str]


def with_declared(text: str, numbers: Mapping[str, DeclaredNumbers], origin: Path) -> str:
    """Write numbers into the text of settings; every other character stays as it is.

    A number that stands there is written over where it stands, so that a comment beside it
    stays too. What `numbers` does not name stays.

    Parameters
    ----------
    text : str
        A ``site.yaml`` that can be read.
    numbers : mapping of str to DeclaredNumbers
        By task.
    origin : Path
        The file, for what is said.

    Raises
    ------
    ConfigValueError
        If the text is written in a way in which it cannot be told where they belong.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    edits = _edits(text, root, numbers) if isinstance(root, yaml.MappingNode) else []
    for start, end, words in sorted(edits, reverse=True):
        text = text[:start] + words + text[end:]
    try:
        said = parse_settings(yaml.safe_load(text), SiteConfig, str(origin)).declared
    except yaml.YAMLError:
        said = {}
    if any(said.get(task) != one for task, one in numbers.items()):
        lines = "; ".join(f"{task}: {_flow(one)}" for task, one in sorted(numbers.items()))
        raise ConfigValueError(
            f"{origin}: {KEY}: cannot be written beside what stands there (must be a block, one "
            f"task a line); write it by hand: {lines}"
        )
    return text


def _edits(text: str, root: yaml.MappingNode, numbers: Mapping[str, DeclaredNumbers]) -> list[Edit]:
    block = "".join(f"\n  {task}: {_flow(one)}" for task, one in sorted(numbers.items()))
    found = next((pair for pair in root.value if pair[0].value == KEY), None)
    if found is None:
        end = len(text)
        return [(end, end, f"{'' if text.endswith(chr(10)) else chr(10)}{KEY}:{block}\n")]
    key, value = found
    if not isinstance(value, yaml.MappingNode) or value.flow_style or not value.value:
        return [(key.start_mark.index, value.end_mark.index, f"{KEY}:{block}")]
    known = {name.value: node for name, node in value.value}
    edits = [
        edit
        for task, one in numbers.items()
        if task in known
        for edit in _of_task(known[task], one)
    ]
    new = {task: _flow(one) for task, one in sorted(numbers.items()) if task not in known}
    return [*edits, *_before(value, new)]


def _of_task(node: yaml.Node, numbers: DeclaredNumbers) -> list[Edit]:
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return [(node.start_mark.index, node.end_mark.index, _flow(numbers))]
    known = {name.value: one for name, one in node.value}
    said = numbers.model_dump(exclude_none=True)
    edits = [
        (known[place].start_mark.index, known[place].end_mark.index, str(number))
        for place, number in said.items()
        if place in known
    ]
    return [*edits, *_before(node, {p: str(n) for p, n in said.items() if p not in known})]


def _before(block: yaml.MappingNode, lines: Mapping[str, str]) -> list[Edit]:
    """Put lines before the first one of a block, as far to the right as it."""
    start = block.start_mark
    words = "".join(f"{name}: {said}\n{' ' * start.column}" for name, said in lines.items())
    return [(start.index, start.index, words)] if words else []


def _flow(numbers: DeclaredNumbers) -> str:
    said = numbers.model_dump(exclude_none=True)
    return "{" + ", ".join(f"{place}: {number}" for place, number in said.items()) + "}"
