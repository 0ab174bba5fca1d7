"""The demo on one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def render_overview(
    summary: dict[str, Any], federation: dict[str, Any], curves: str, report: Path
) -> str:
    """Render the overview.

    Parameters
    ----------
    summary : dict
        ``summary.json``.
    federation : dict
        ``result.json`` of the private run.
    curves : str
        The curves as a data URI.
    report : Path
        The patient's report, relative to the page.
    """
    from jinja2 import Environment, PackageLoader

    from shared.demo.headlines import standing_words
    from shared.tasks import TASKS

    environment = Environment(loader=PackageLoader("shared.demo"), autoescape=True)
    return environment.get_template("overview.html.j2").render(
        summary=summary,
        federation=federation,
        curves=curves,
        report=report.as_posix(),
        tasks=TASKS,
        standings=[standing_words(name, task) for name, task in summary["tasks"].items()],
        places=["unseen", *federation["sites"]],
    )
