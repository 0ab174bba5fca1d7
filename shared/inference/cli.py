"""``osteofed predict``: parses, calls one function, prints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.command_line import JsonOption, console, print_facts


def predict_command(
    study_dir: Annotated[Path, typer.Argument(help="Folder with the DICOM files of a study.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; appears whole or not at all.")],
    registry: Annotated[
        str | None,
        typer.Option(
            help="MLflow tracking URI, or the workspace of a run.", envvar="OSTEOFED_REGISTRY"
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Folder of <task>.safetensors instead of a registry."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Folder of the hospital's tables, to compare with."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Read a study with the champions: masks, BMD, T-scores, fractures, a report.

    Research use only; not a medical device.
    """
    from shared.inference.predict import predict_folder

    result = predict_folder(
        study_dir, out, registry=registry, models=models, labels=labels, device=device
    )

    def render() -> None:
        screen = console()
        for folder, prediction in result.predictions.items():
            screen.print(
                str(folder / prediction.report), style="bold", markup=False, soft_wrap=True
            )
            for sentence in prediction.narrative.impression:
                screen.print(f"  {sentence}", markup=False)
        for failure in result.failures:
            screen.print(f"{failure.study}: {failure.sentence}", markup=False)
        if result.not_taken:
            screen.print(f"{len(result.not_taken)} files were not used (see --json)")
        screen.print("Research use only; not a medical device.")

    print_facts(result.facts(), as_json, render)
