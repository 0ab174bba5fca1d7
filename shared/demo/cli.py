"""``osteofed demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, console, print_facts

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def demo_command(
    out: Annotated[
        Path, typer.Option(help="Folder of the demo; an earlier demo there is replaced.")
    ] = Path("runs/demo"),
    configs: Annotated[Path, typer.Option(help="The project's configs folder.")] = CONFIGS,
    modality: Annotated[
        str,
        typer.Option(help="What is shown: dxa, ct-abdomen or xray (density from CT or a film)."),
    ] = "dxa",
    smallest: Annotated[
        bool,
        typer.Option(
            "--smallest", help="Only take every step (ct-abdomen, xray): the models are of no use."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train three models at three digital hospitals, and read patients of a fourth with them."""
    from shared.demo.report import print_summary
    from shared.demo.run import read_json, run_demo

    summary = run_demo(out, configs, modality, smallest=smallest)
    facts = read_json(summary)
    print_facts(facts, as_json, lambda: print_summary(facts, out))
    if not as_json:
        # A line each, never wrapped: what is copied from here can be opened.
        console().print("\nWritten:")
        for path in (summary, out / "overview.html", out / facts["report"]):
            console().print(f"  {path}", markup=False, soft_wrap=True)
