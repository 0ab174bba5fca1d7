"""A whole digital hospital on disk: DICOM studies, the hospital's tables, and the truth apart.

<out>/DICOM/<patient id>/<study date>/*.dcm
<out>/DICOM/<patient id>/<study date>_CT/*    CT of abdomen or chest, only when asked for
<out>/DICOM/<patient id>/<study date>_XR/*    lumbar films, only when asked for
<out>/labels/*.csv
<out>/truth.jsonl        only when asked for; ingest never reads it
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

from shared.errors import PhantomError
from shared.phantom.imaging.ct.chest import CtPart
from shared.phantom.rendered import RenderedStudy
from shared.phantom.workers import in_order
from shared.phrases import counted
from shared.records import DXA_VIEWS
from shared.runtime.folders import appearing_whole, in_use
from shared.settings.files import LabelColumns

from .writers import MODELS, WrittenStudy, write_study
from .writers.tables import write_tables

#: Called with (patients done, patients asked for).
ProgressCallback = Callable[[int, int], None]


#: The first generator; the others are `shared.phantom.person.generator.GENERATORS`.
POINTS: Final = "points"


class Render(Protocol):
    """Makes the study of one patient."""

    def __call__(self, number: int, seed: int, scanner: str, population: str) -> RenderedStudy:
        """Render patient `number` of a hospital."""
        ...


@dataclass(frozen=True)
class _Order:
    """One patient to be made; what a worker process is told."""

    number: int
    seed: int
    scanner: str
    population: str
    dicom: Path
    render: Render
    anatomy: str = POINTS
    ct: CtPart | None = None
    film: bool = False


def render_by_name(number: int, seed: int, scanner: str, population: str) -> RenderedStudy:
    """Render one patient by the names of scanner and population."""
    from shared.phantom.imaging.scanner import SCANNERS
    from shared.phantom.population import POPULATIONS
    from shared.phantom.study import render_study

    return render_study(number, seed, SCANNERS[scanner], POPULATIONS[population])


def renderer_of(anatomy: str) -> Render:
    """Who renders a patient of an anatomy: `POINTS` or the name of a generator.

    Raises
    ------
    PhantomError
        If there is no such anatomy, naming the known ones.
    """
    from shared.phantom.person.generator import GENERATORS

    known = (POINTS, *GENERATORS)
    if anatomy not in known:
        raise PhantomError(f"anatomy {anatomy!r}: unknown (known: {', '.join(known)})")
    if anatomy == POINTS:
        return render_by_name
    from shared.phantom.solid_source import render_by_names

    return partial(render_by_names, generator=anatomy)


def make_hospital(
    out: Path,
    scanner: str,
    patients: int,
    seed: int,
    population: str = "generic",
    workers: int = 1,
    progress: ProgressCallback | None = None,
    *,
    truth: bool = False,
    anatomy: str = POINTS,
    ct: CtPart | None = None,
    film: bool = False,
    render: Render | None = None,
) -> dict[str, Any]:
    """Make the studies of a hospital's digital patients; the same seed gives the same bytes.

    Parameters
    ----------
    out : Path
        Folder to make; it may exist if it is empty. It appears whole or not at all.
    scanner : str
        A name of `shared.phantom.writers.MODELS`.
    patients : int
        How many, numbered from 0; one study each.
    seed : int
        Seed of the hospital.
    population : str
        A name of `shared.phantom.population.POPULATIONS`.
    workers : int
        Processes; changes nothing but the time.
    progress : callable or None
        Called with (done, patients).
    truth : bool
        Also write what only a phantom knows.
    anatomy : str
        ``points``, ``plain`` or ``near_to_life`` (`renderer_of`).
    ct : {"abdomen", "chest"}, optional
        Also write such a CT of each patient within a year of the DXA; solid anatomies only.
    film : bool
        Also write a frontal and a lateral lumbar film, likewise.
    render : callable, optional
        Renders one patient in place of `anatomy`; it must be importable by the workers.

    Returns
    -------
    dict
        ``out``, ``scanner``, ``vendor``, ``population``, ``anatomy``, ``seed``, ``patients``,
        ``dicom_files``, ``tables``, ``first_study`` (a folder), ``truth`` (a file or None).

    Raises
    ------
    PhantomError
        If the folder is in use, or the scanner, population or anatomy is unknown.
    """
    if render is None:
        render = renderer_of(anatomy)
        check_names(scanner, population)
    _check(out, patients, workers)
    for wanted, what in ((ct is not None, "CT"), (film, "films")):
        if wanted and anatomy == POINTS:
            raise PhantomError(
                f"{what} of points: only a solid anatomy has {what}; add --anatomy near_to_life"
            )
    written: list[WrittenStudy] = []
    truths: list[str] = []
    with appearing_whole(out) as part:
        (part / "DICOM").mkdir()
        orders = [
            _Order(number, seed, scanner, population, part / "DICOM", render, anatomy, ct, film)
            for number in range(patients)
        ]
        for done, (study, line) in enumerate(in_order(_make_one, orders, workers), start=1):
            written.append(study)
            truths.append(line)
            if progress is not None:
                progress(done, patients)
        tables = write_tables(part / "labels", written, LabelColumns())
        if truth:
            (part / "truth.jsonl").write_text("\n".join(truths) + "\n", encoding="utf-8")
    return {
        "out": str(out),
        "scanner": scanner,
        "vendor": json.loads(truths[0])["vendor"],
        "population": population,
        "anatomy": anatomy,
        "seed": seed,
        "patients": patients,
        "dicom_files": sum(study.files for study in written),
        "tables": tables,
        "first_study": str(out / "DICOM" / written[0].folder),
        "truth": str(out / "truth.jsonl") if truth else None,
    }


def _check(out: Path, patients: int, workers: int) -> None:
    """Refuse what cannot be made before anything is written."""
    if in_use(out):
        raise PhantomError(
            f"{out}: is already there and not empty; name a new folder or remove it first"
        )
    if patients < 1 or workers < 1:
        raise PhantomError(
            f"{counted(patients, 'patient')} by {counted(workers, 'worker')}: both must be 1 or "
            "more"
        )


def check_names(scanner: str, population: str) -> None:
    """Refuse a scanner or a population that is not known.

    Raises
    ------
    PhantomError
        Naming the known ones.
    """
    from shared.phantom.population import POPULATIONS

    for kind, name, known in (
        ("scanner", scanner, MODELS),
        ("population", population, POPULATIONS),
    ):
        if name not in known:
            raise PhantomError(f"{kind} {name!r}: unknown (known: {', '.join(known)})")


def _make_one(order: _Order) -> tuple[WrittenStudy, str]:
    """Render and write one patient; return what the tables and the truth need."""
    study = order.render(order.number, order.seed, order.scanner, order.population)
    written = write_study(study, order.dicom, order.scanner)
    told = _truth(study, written)
    who = (order.number, order.seed, order.population, order.anatomy, written.identity)
    if order.ct is not None:
        from shared.phantom.solid_ct import write_examination

        ct, told["ct"] = write_examination(*who, order.dicom, order.ct)
        written = replace(written, files=written.files + ct.files, ct=ct)
    if order.film:
        from shared.phantom.writers.film import write_films

        film, told["film"] = write_films(*who, order.dicom)
        written = replace(written, files=written.files + film.files, film=film)
    return written, json.dumps(told, ensure_ascii=False)


def _truth(study: RenderedStudy, written: WrittenStudy) -> dict[str, Any]:
    """What only a phantom knows of a patient."""
    return {
        "number": study.patient_number,
        "patient_id": written.identity.patient_id,
        "study": str(Path("DICOM") / written.folder),
        "vendor": study.vendor.value,
        "events": list(study.events),
        "true_bmd": {k: round(float(v), 5) for k, v in study.true_bmd.items()},
        "reported_bmd": {k: round(float(v), 5) for k, v in study.labels.bmd.items()},
        "genant": {k: int(v) for k, v in study.labels.genant.items()},
        "heights_mm": {k: [round(float(h), 3) for h in v] for k, v in study.heights_mm.items()},
    }


def draw_sheets(
    out: Path,
    scanner: str,
    patients: int,
    seed: int,
    population: str = "generic",
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Draw one contact sheet (PNG) per projection into a folder.

    Returns
    -------
    dict
        ``out``, ``scanner``, ``population``, ``patients``, ``seed``, and ``sheets``:
        file by view.

    Raises
    ------
    PhantomError
        If the scanner or population is unknown.
    """
    from shared.phantom.contact_sheet import contact_sheet

    check_names(scanner, population)
    studies = []
    for number in range(patients):
        studies.append(render_by_name(number, seed, scanner, population))
        if progress is not None:
            progress(number + 1, patients)
    out.mkdir(parents=True, exist_ok=True)
    sheets = {}
    for view in DXA_VIEWS:
        path = out / f"{scanner}_{view.value}.png"
        contact_sheet(studies, view, path)
        sheets[view.value] = str(path)
    return {
        "out": str(out),
        "scanner": scanner,
        "population": population,
        "patients": patients,
        "seed": seed,
        "sheets": sheets,
    }
