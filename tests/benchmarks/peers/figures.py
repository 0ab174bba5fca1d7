"""Lines that a user writes, medians, ratios, and the table of them: nothing here runs anything."""

from __future__ import annotations

import ast
import io
import statistics
import tokenize
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table

MEBIBYTE: Final = 2**20
#: What is no code in a Python file, besides docstrings.
SILENT: Final = frozenset(
    {
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
        tokenize.ENCODING, tokenize.ENDMARKER,
    }
)  # fmt: skip
DOCUMENTED: Final = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_lines(text: str) -> int:
    """Count a Python file's lines that hold code: no blanks, comments or docstrings."""
    rows: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            rows |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            said = node.body[0]
            rows -= set(range(said.lineno, (said.end_lineno or said.lineno) + 1))
    return len(rows)


def text_lines(text: str) -> int:
    """Count the lines of a settings or command file that are neither blank nor comments."""
    lines = (line.strip() for line in text.splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def lines_of(paths: Iterable[Path]) -> int:
    """Count the lines that somebody wrote in some files."""
    total = 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        total += code_lines(text) if path.suffix == ".py" else text_lines(text)
    return total


@dataclass
class Program:
    """What the runs of one program gave, in the order of the runs.

    Attributes
    ----------
    scores : list of float
        Of the final models, 1 − MAE/σ.
    seconds : list of float
        From the start of the command to its end.
    processor : list of float
        Processor seconds of all its processes.
    peaks : list of float
        Bytes of all its processes together, at their most.
    lines : int
        Lines a user writes.
    """

    name: str
    lines: int
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of ours as a share of the median of theirs."""
    return statistics.median(ours) / statistics.median(theirs)


def cells(program: Program, ours: Program) -> list[str]:
    """One row: figures, and ours as a share of this program's (none beside ours itself)."""

    def share(value: float) -> str:
        return "" if program is ours else f"{value:.2f}"

    lead = statistics.median(ours.scores) - statistics.median(program.scores)
    return [
        program.name,
        f"{statistics.median(program.scores):.3f}",
        "" if program is ours else f"{lead:+.3f}",
        f"{statistics.median(program.seconds):.1f}",
        share(ratio(ours.seconds, program.seconds)),
        f"{statistics.median(program.processor):.1f}",
        share(ratio(ours.processor, program.processor)),
        f"{statistics.median(program.peaks) / MEBIBYTE:,.0f}",
        share(ratio(ours.peaks, program.peaks)),
        str(program.lines),
        share(ours.lines / program.lines),
    ]


def table_of(title: str, ours: Program, peers: Sequence[Program]) -> Table:
    """Lay ours and the peers out: a share (×) is ours over theirs, a lead is ours less theirs.

    CPU s are processor seconds; MiB the peak of all processes together (PSS).
    """
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in (
        "program", "score", "lead", "wall s", "×", "CPU s", "×", "MiB", "×",
        "lines", "×",
    ):  # fmt: skip
        left = column == "program"
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for program in (ours, *peers):
        table.add_row(*cells(program, ours))
    return table
