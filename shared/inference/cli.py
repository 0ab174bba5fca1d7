"""``osteofed predict``: parses, calls one function, prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command_line import JsonOption, console, print_facts

if TYPE_CHECKING:
    from shared.dicom.verdicts import FileVerdict
    from shared.settings.files import SiteConfig


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
    settings: Annotated[
        Path | None,
        typer.Option(
            help="A site.yaml: what the tables' columns are called (labels), with the words of "
            "the hospital's diagnoses (labels.classes), how its files are read (reading), and with "
            "whom hips compare (scores.hip). Beside it, coordinator.json names whom to trust."
        ),
    ] = None,
    trust: Annotated[
        str | None,
        typer.Option(
            help="The coordinator's public key (64 digits): versions that it did not sign are "
            "refused. Default: that of coordinator.json beside --settings; without either, the "
            "result says that nothing was verified."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto",
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="What to write, divided by commas: html, json; for the PACS seg, sr, sc, pdf; "
            "for other systems fhir, hl7. prediction.json, masks and overlays are always there.",
        ),
    ] = "html,json",
    as_json: JsonOption = False,
) -> None:
    """Read a study with the champions: masks, BMD, T-scores, fractures, a report.

    Research use only; not a medical device.
    """
    from shared.clinical.whose_reference import HipReference
    from shared.inference.predict import predict_folder
    from shared.inference.results import PREDICTION, formats_of
    from shared.inference.trust.origin import trusted_key, unverified

    asked = formats_of(formats)
    site = _site(settings)
    key = trusted_key(trust, None if settings is None else settings.parent)
    result = predict_folder(
        study_dir,
        out,
        registry=registry,
        models=models,
        labels=labels,
        columns=None if site is None else site.labels,
        reading=None if site is None else site.reading,
        trust=key,
        hip=HipReference.NHANES if site is None else HipReference(site.scores.hip),
        device=device,
        formats=asked,
    )

    def render() -> None:
        screen = console()
        for folder, prediction in result.predictions.items():
            shown = folder / (prediction.report or PREDICTION)
            screen.print(str(shown), style="bold", markup=False, soft_wrap=True)
            for sentence in prediction.narrative.impression:
                screen.print(f"  {sentence}", markup=False)
        models = {one.task: one for p in result.predictions.values() for one in p.models}
        for sentence in unverified({task: one.verified_with for task, one in models.items()}):
            screen.print(sentence, markup=False)
        for failure in result.failures:
            screen.print(f"{failure.study}: {failure.sentence}", markup=False)
        for sentence in unused_files(result.not_taken):
            screen.print(sentence, markup=False, soft_wrap=True)
        if result.not_taken:
            screen.print("--json names them.", markup=False)
        screen.print("Research use only; not a medical device.")

    print_facts(result.facts(), as_json, render)


def unused_files(verdicts: Sequence[FileVerdict]) -> list[str]:
    """Say how many files were not used and why, one sentence a reason.

    Parameters
    ----------
    verdicts : sequence of FileVerdict
        Of files, or of lines of tables (``bmd.csv:12``).

    Returns
    -------
    list of str
        Without any name: files of an export are often named after patients, and what a terminal
        shows is kept in logs. ``--json`` has the names.
    """
    from shared.phrases import counted

    numbers = Counter((one.sentence, _is_line(one.path)) for one in verdicts)
    sentences = []
    for (why, of_line), number in numbers.items():
        words = ("line of a table", "lines of tables") if of_line else ("file", "files")
        was = "was" if number == 1 else "were"
        sentences.append(f"{counted(number, *words)} {was} not used: {why}")
    return sentences


def _is_line(path: str) -> bool:
    """Whether a verdict is of a line of a table."""
    return path.rpartition(":")[2].isdigit()


def _site(settings: Path | None) -> SiteConfig | None:
    """The hospital's own settings, if they are named."""
    if settings is None:
        return None
    from shared.settings.files import SiteConfig, load_settings

    return load_settings(settings, SiteConfig)
