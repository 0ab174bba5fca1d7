"""``osteofed predict``: parses, calls one function, prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Final

import typer

from shared.command_line import JsonOption, console, print_facts

if TYPE_CHECKING:
    from shared.dicom.verdicts import FileVerdict

#: Files that are named for one reason; the rest is counted.
NAMED_FILES: Final = 5


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
        for sentence in unused_files(result.not_taken):
            screen.print(sentence, markup=False, soft_wrap=True)
        screen.print("Research use only; not a medical device.")

    print_facts(result.facts(), as_json, render)


def unused_files(verdicts: Sequence[FileVerdict]) -> list[str]:
    """Say which files were not used and why, one sentence a reason.

    Parameters
    ----------
    verdicts : sequence of FileVerdict
        Of files, or of lines of tables (``bmd.csv:12``).

    Returns
    -------
    list of str
        Files by their names alone: folders of an export are often named after patients.
    """
    from shared.findings.words import listed
    from shared.words import counted

    by_reason: dict[tuple[str, bool], dict[str, int]] = {}
    for verdict in verdicts:
        name = PurePosixPath(verdict.path.replace("\\", "/")).name
        table, _, line = name.rpartition(":")
        of_line = line.isdigit()
        files = by_reason.setdefault((verdict.sentence, of_line), {})
        file = table if of_line else name
        files[file] = files.get(file, 0) + 1
    sentences = []
    for (why, of_line), files in by_reason.items():
        number = sum(files.values())
        words = ("line of a table", "lines of tables") if of_line else ("file", "files")
        shown = list(files)[:NAMED_FILES]
        more = [f"{len(files) - len(shown)} more (see --json)"] if len(files) > len(shown) else []
        was = "was" if number == 1 else "were"
        named = listed([*shown, *more])
        sentences.append(f"{counted(number, *words)} {was} not used: {named} ({why})")
    return sentences
