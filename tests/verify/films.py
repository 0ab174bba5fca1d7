"""Bone density from lumbar films of makers that no network saw, beside a person's facts alone.

The films are of near-to-life digital patients, processed by three makers; the networks learn from
plain ones that no maker processed. Vertebrae are marked by true boxes, so what finding them costs
is not in the figures. Nothing here is federated yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from shared.phantom.imaging.film.makers import FILM_MAKERS
from shared.phantom.imaging.film.source import FILM_VERSION, FilmPatients
from shared.phantom.person.calibration import calibration
from shared.phantom.person.generator import NEAR_TO_LIFE, PLAIN
from shared.records import ImageRecord, PatientSource, StudyRecord, View
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks.xray.bmd import CROP, FILM_REGIONS, XrayBmd, column_of, facts_of, film_labels
from shared.tasks.xray.column import LumbarColumn
from shared.tasks.xray.crop import crop_lumbar
from shared.tasks.xray.looks import why_not_lumbar
from shared.training.batches import RoundKey
from shared.training.compute import Compute
from shared.training.pretraining import train_on_public
from tests.verify.learning import CACHE, CONFIGS, WORKERS
from tests.verify.stored import ROOT, digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least, at_most

#: Public patients and their seed; unseen ones and theirs; steps of training.
PUBLIC: Final = (72, 5)
UNSEEN: Final = (54, 91)
STEPS: Final = 200
SEED: Final = 1
#: The task's promise for lumbar BMD, g/cm², which was published for real films.
PUBLISHED_LUMBAR: Final = 0.076
REPLICATES: Final = 1000


def plan() -> Iterator[Planned]:
    """One small run."""
    made_of = [PLAIN.digest, NEAR_TO_LIFE.digest, calibration().digest, FILM_VERSION]
    yield Planned(
        f"small-seed-{SEED}", digest_of([made_of, PUBLIC, UNSEEN, STEPS, SEED]), partial(_run)
    )


def _run(tell: Tell) -> dict[str, Any]:
    """Train both starts, and hold them and a regression against the unseen patients."""
    settings = load_settings(CONFIGS / "xray-bmd.yaml", TaskSettings)
    tell("public patients", 0.0)
    public = FilmPatients(*PUBLIC, workers=WORKERS, cache=CACHE / "films")
    tell("unseen patients", 0.2)
    unseen = FilmPatients(
        *UNSEEN, workers=WORKERS, cache=CACHE / "films",
        generator=NEAR_TO_LIFE.name, makers=tuple(FILM_MAKERS),
    )  # fmt: skip
    test = [unseen.studies(name)[0] for name in unseen.patients]
    true = np.array([[film_labels(one).get(r, np.nan) for r in FILM_REGIONS] for one in test])
    said = {"age, sex and BMI alone": persons(public, test)}
    for number, (arm, facts) in enumerate(
        (("public start", False), ("public start, with age, sex and BMI", True))
    ):
        tell(arm, 0.4 + 0.3 * number)
        network = settings.network.model_copy(update={"patient_facts": facts})
        said[arm] = trained(settings.model_copy(update={"network": network}), public, test)
    return {
        "patients": len(test),
        "regions": list(FILM_REGIONS),
        "true": true.tolist(),
        "said": {arm: values.tolist() for arm, values in said.items()},
        "gate": gate_on(test),
    }


def persons(public: PatientSource, test: Sequence[StudyRecord]) -> NDArray[np.float64]:
    """Estimate by a line on age, sex and body mass index of the same public patients, (N, 3)."""
    known = [public.studies(name)[0] for name in public.patients]
    columns = []
    for region in FILM_REGIONS:
        own = [one for one in known if region in film_labels(one)]
        x = np.array([[1.0, *facts_of(one.covariates)] for one in own])
        y = np.array([film_labels(one)[region] for one in own])
        line = np.linalg.lstsq(x, y, rcond=None)[0]
        columns.append([float(np.dot(line, [1.0, *facts_of(o.covariates)])) for o in test])
    return np.array(columns).T


def trained(
    settings: TaskSettings, public: PatientSource, test: Sequence[StudyRecord]
) -> NDArray[np.float64]:
    """Pretrain, and estimate the unseen patients' densities, (N, 3)."""
    torch.manual_seed(SEED)
    task = XrayBmd(settings)
    network = task.network()
    steps = settings.pretrain.model_copy(update={"steps_per_round": STEPS})
    key = RoundKey(SEED, "verify", 1, "films")
    train_on_public(task, network, public, steps, key, Compute())
    network.eval()
    samples = [task.sample(one) for one in test]
    with torch.no_grad():
        found = [network(one["image"], one["covariates"])[0].numpy() for one in samples]
    return np.array(found, np.float64)


def gate_on(test: Sequence[StudyRecord]) -> dict[str, list[int]]:
    """How many films the gate lets pass, of how many, as they are and as they should not be."""
    counted: dict[str, list[int]] = {}
    for study in test:
        image = study.images[View.LUMBAR_AP]
        for name, wrong, column in spoilt(image, column_of(image)):
            passed = not why_not_lumbar(crop_lumbar(wrong, column, CROP["small"]))
            found = counted.setdefault(name, [0, 0])
            found[0] += passed
            found[1] += 1
    return counted


def spoilt(
    image: ImageRecord, column: LumbarColumn
) -> Iterator[tuple[str, ImageRecord, LumbarColumn]]:
    """A film, and the same inverted, turned, and with the levels counted wrong by one."""
    pixels = np.asarray(image.pixels, np.float32)
    height, width = pixels.shape
    half = 2 * column.level
    middle = (column.top + column.bottom) / 2
    yield "as they are", image, column
    yield "inverted", replace(image, pixels=1 - pixels), column
    turned = replace(
        column, top=height - column.bottom, bottom=height - column.top, middle=width - column.middle
    )
    yield "turned by 180 degrees", replace(image, pixels=pixels[::-1, ::-1]), turned
    across = width - column.middle
    lying = replace(column, top=across - half, bottom=across + half, middle=middle)
    yield "turned by 90 degrees", replace(image, pixels=np.rot90(pixels)), lying
    for name, by in (("a level too high", -column.level), ("a level too low", column.level)):
        yield name, image, replace(column, top=column.top + by, bottom=column.bottom + by)


def mae(figures: dict[str, Any], arm: str, region: int) -> tuple[float, float, float]:
    """Mean absolute error with its interval over patients, g/cm²."""
    true, said = np.array(figures["true"])[:, region], np.array(figures["said"][arm])[:, region]
    errors = np.abs(said - true)[np.isfinite(true)]
    rng = np.random.default_rng(0)
    means = rng.choice(errors, (REPLICATES, len(errors))).mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(errors.mean()), float(low), float(high)


def correlation(figures: dict[str, Any], arm: str, region: int) -> float:
    """Pearson's r of estimates and truth."""
    true, said = np.array(figures["true"])[:, region], np.array(figures["said"][arm])[:, region]
    known = np.isfinite(true)
    return float(np.corrcoef(true[known], said[known])[0, 1])


def judge(runs: Runs) -> list[Line]:
    """Hold the start against what was published, and the gate against what it is for."""
    lines = []
    for key, run in runs.items():
        found = run.figures
        error, *_ = mae(found, "public start", 0)
        lines.append(at_most(error, PUBLISHED_LUMBAR, f"{key}: MAE lumbar, public start"))
        for name, (passed, of) in found["gate"].items():
            share = passed / of
            what = f"{key}: share of films that pass the gate, {name}"
            good = name == "as they are"
            lines.append(at_least(share, 0.9, what) if good else at_most(share, 0.02, what))
    return lines


def tables(runs: Runs) -> str:
    """Write errors by arm and region, and what the gate let pass."""
    parts = []
    for run in runs.values():
        found = run.figures
        parts += [
            f"{found['patients']} unseen patients, {PUBLIC[0]} public ones, {STEPS} steps, one "
            "seed; MAE in g/cm² with its 95 % interval over patients, and r.", "",
            "| estimate | lumbar | r | femoral neck | r | total hip | r |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for arm in found["said"]:
            cells = []
            for region in range(len(FILM_REGIONS)):
                error, low, high = mae(found, arm, region)
                cells.append(f"{error:.3f} [{low:.3f}, {high:.3f}]")
                cells.append(f"{correlation(found, arm, region):.2f}")
            parts.append(f"| {arm} | {' | '.join(cells)} |")
        parts += ["", "| films | pass the gate |", "| --- | --- |"]
        parts += [f"| {name} | {n} of {of} |" for name, (n, of) in found["gate"].items()]
    return "\n".join(parts)


TOPIC: Final = Topic(
    "xray", "Bone density from lumbar films, beside a person's facts, and the gate before it.",
    plan, judge, tables, ROOT / "docs" / "lumbar-radiograph.md",
)  # fmt: skip
