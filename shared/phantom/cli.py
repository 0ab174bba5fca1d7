"""``osteofed phantom``: digital patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.command_line import JsonOption, command_group, console, print_facts, progress
from shared.errors import PhantomError
from shared.phrases import counted

if TYPE_CHECKING:
    from shared.phantom.imaging.ct.chest import CtPart

app = command_group("phantom", "Digital patients with known truth.")

Out = Annotated[Path, typer.Option("--out", help="Folder to write.")]
Scanner = Annotated[str, typer.Option("--scanner", help="lunar, lunar_prodigy or hologic.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")]
Population = Annotated[
    str,
    typer.Option("--population", help="generic, urban, rural, university, northern or community."),
]


@app.command()
def make(
    out: Out,
    scanner: Scanner,
    patients: Annotated[int, typer.Option("--patients", min=1, help="How many patients.")],
    seed: Seed = 1,
    population: Population = "generic",
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that draw patients.")
    ] = 1,
    anatomy: Annotated[
        str,
        typer.Option(
            "--anatomy",
            help="points, or plain or near_to_life: whole bodies in three dimensions, four times "
            "as long in the making.",
        ),
    ] = "points",
    ct: Annotated[
        bool,
        typer.Option(
            "--ct", help="Also an abdominal CT of each patient within a year; whole bodies only."
        ),
    ] = False,
    chest_ct: Annotated[
        bool,
        typer.Option(
            "--chest-ct",
            help="Also a chest CT, C7 to L2, without contrast agent, in place of an abdominal one.",
        ),
    ] = False,
    film: Annotated[
        bool,
        typer.Option(
            "--film",
            help="Also a frontal and a lateral film of the lumbar spine; whole bodies only.",
        ),
    ] = False,
    truth: Annotated[
        bool, typer.Option("--truth", help="Also write truth.jsonl: what is true of each patient.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a hospital's DICOM studies and label tables, as its scanner would export them."""
    from .make import make_hospital

    if ct and chest_ct:
        raise PhantomError("--ct and --chest-ct: a patient gets one CT (give one of them)")
    part: CtPart | None = "chest" if chest_ct else "abdomen" if ct else None
    with progress() as bar:
        job = bar.add_task("digital patients", total=patients)
        facts = make_hospital(
            out,
            scanner,
            patients,
            seed,
            population,
            workers,
            lambda done, _: bar.update(job, completed=done),
            truth=truth,
            anatomy=anatomy,
            ct=part,
            film=film,
        )

    def render() -> None:
        console().print(
            f"{counted(facts['patients'], 'digital patient')} of a {facts['vendor']} scanner in "
            f"{facts['out']}: {counted(facts['dicom_files'], 'DICOM file')}, "
            f"{counted(facts['tables'], 'table')}"
        )

    print_facts(facts, as_json, render)


@app.command()
def sheet(
    out: Out,
    scanner: Scanner,
    patients: Annotated[int, typer.Option("--patients", min=1, help="How many patients.")] = 12,
    seed: Seed = 1,
    population: Population = "generic",
    as_json: JsonOption = False,
) -> None:
    """Draw contact sheets (PNG) of digital patients, one for each projection."""
    from .make import draw_sheets

    with progress() as bar:
        job = bar.add_task("digital patients", total=patients)
        facts = draw_sheets(
            out,
            scanner,
            patients,
            seed,
            population,
            lambda done, _: bar.update(job, completed=done),
        )
    sheets = ", ".join(facts["sheets"].values())
    print_facts(
        facts, as_json, lambda: console().print(f"{counted(patients, 'patient')} drawn in {sheets}")
    )
