"""What the demo leaves behind: ``summary.json``, curves, an overview, a patient's report."""

from __future__ import annotations

import base64
import shutil
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from shared.command_line import console
from shared.demo.headlines import against_start, standing_words
from shared.demo.settings import Hospital, TrainingMean
from shared.demo.state import DemoState, start_label
from shared.demo.summary import DemoSummary
from shared.metrics.named import sums_of
from shared.metrics.regression import error_of_constant
from shared.phrases import at_delta
from shared.runtime.files import write_text_atomically
from shared.settings.files import SiteConfig, load_settings
from shared.tasks import TASKS


def write_results(state: DemoState) -> Path:
    """Write everything the demo found out; the summary last, as the sign that all is there.

    Returns
    -------
    Path
        ``summary.json``.
    """
    from shared.demo.curves import draw_curves
    from shared.demo.overview import render_overview

    report = _patient_report(state)
    headlines = {name: TASKS[name].headline for name in state.settings.rounds}
    draw_curves(state.federation, state.plain, headlines, state.out / "curves.png")
    summary = summarise(state, report)
    page = render_overview(
        summary.model_dump(by_alias=True),
        state.federation,
        _data_uri(state.out / "curves.png"),
        report.relative_to(state.out),
    )
    (state.out / "overview.html").write_text(page, encoding="utf-8")
    path = state.out / "summary.json"
    write_text_atomically(path, summary.model_dump_json(by_alias=True, indent=2) + "\n")
    return path


def summarise(state: DemoState, report: Path) -> DemoSummary:
    """Put the summary together from what the commands said."""
    tasks = state.federation["tasks"]
    data: dict[str, Any] = {
        "schema": 1,
        "seconds": round(time.monotonic() - state.started, 1),
        "stages": state.stages,
        "peak_rss_mb": round(state.commands.peak_rss_mb, 1),
        "hospitals": {h.name: _hospital(state, h) for h in state.settings.hospitals},
        "tasks": {name: task_summary(state, name, task) for name, task in tasks.items()},
        "comparison": {state.settings.compared: _comparison(state)},
        "report": str(report.relative_to(state.out)),
        "champions": {n: task["version"] for n, task in tasks.items() if task["champion"]},
    }
    mean = state.settings.training_mean
    unseen = data["tasks"][mean.task]["metrics"]["unseen"]
    unseen[f"mae_{mean.regression}_training_mean"] = _error_of_training_mean(state)
    return DemoSummary.model_validate(data)


def _hospital(state: DemoState, hospital: Hospital) -> dict[str, Any]:
    store = state.sites[hospital.name]["studies"]
    patients = next(row for row in store["rows"] if row["what"] == "patients")
    privacy = load_settings(state.site(hospital) / "site.yaml", SiteConfig).privacy
    spent = state.ledgers[hospital.name]["epsilon_spent"] if hospital.takes_part else 0.0
    return {
        "scanner": hospital.scanner,
        "patients": sum(patients[split] for split in store["splits"]),
        **{split: patients[split] for split in store["splits"]},
        "epsilon_spent": spent,
        "epsilon_budget": privacy.epsilon_budget,
        "delta": privacy.delta,
    }


def task_summary(state: DemoState, name: str, task: dict[str, Any]) -> dict[str, Any]:
    """Put a task's part of the summary together; see `shared.demo.summary.TaskSummary`."""
    headline, more_is_better, _ = TASKS[name].headline
    metrics: dict[str, dict[str, Any]] = {}
    for where, tested in state.tests.items():
        model = tested["models"][name]
        # A headline that cannot be computed (no fractured patient, say) is null, not absent.
        metrics[where] = {headline: None, **model["metrics"], "n": model["patients"]}
    start = state.tests["unseen"]["models"][start_label(name)]["metrics"].get(headline)
    return {
        "version": task["version"],
        "rounds": len(task["rounds"]),
        "epsilon": task["epsilon"],
        "bytes_up": task["bytes_up"],
        "bytes_down": task["bytes_down"],
        "seconds": task["seconds"],
        "metrics": metrics,
        "start": start,
        "against_start": against_start(
            start, metrics["unseen"][headline], more_is_better=more_is_better
        ),
    }


def _comparison(state: DemoState) -> dict[str, Any]:
    models = state.tests["unseen"]["models"]
    compared = state.settings.compared
    metric = TASKS[compared].headline.metric
    return {
        "pretrained": models[start_label(compared)]["metrics"][metric],
        "alone": {h.name: models[f"alone-{h.name}"]["metrics"][metric] for h in state.members},
        "federated": state.plain_test["models"]["federated"]["metrics"][metric],
        "federated_private": models[compared]["metrics"][metric],
        "pooled": models["pooled"]["metrics"][metric],
    }


def _error_of_training_mean(state: DemoState) -> float:
    """MAE at the unseen hospital of always saying the training patients' mean."""
    mean = state.settings.training_mean
    training = [_regression(tested, mean) for tested in state.training.values()]
    constant = sum(sums["y"] for sums in training) / sum(sums["n"] for sums in training)
    return error_of_constant(_regression(state.tests["unseen"], mean), constant)


def _regression(tested: dict[str, Any], mean: TrainingMean) -> dict[str, float]:
    """Sums of a task's regression in a test."""
    return sums_of(tested["models"][mean.task]["statistics"], mean.regression)


def _patient_report(state: DemoState) -> Path:
    """Give the patient's report the name that it is looked for by."""
    report = state.out / "report" / "index.html"
    shutil.copyfile(Path(state.prediction["studies"][0]["report"]), report)
    return report


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def stages_table(facts: dict[str, Any]) -> Table:
    """Lay out the seconds of each stage, in the order of the stages, and of the whole."""
    table = Table(title="Seconds by stage (stages overlap)")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, seconds in facts["stages"].items():
        table.add_row(stage, f"{seconds:.0f}")
    table.add_row("all", f"{facts['seconds']:.0f}")
    return table


def print_summary(facts: dict[str, Any], out: Path) -> None:
    """Print the tables a person wants to see at the end."""
    hospitals = Table(title="Hospitals")
    delta = next(iter(facts["hospitals"].values()))["delta"]
    spent = f"epsilon spent, {at_delta(delta)}"
    for column in ("hospital", "scanner", "patients", "trained on", spent, "of"):
        hospitals.add_column(column)
    for name, h in facts["hospitals"].items():
        # The budget of a hospital that takes no part is not touched.
        trained = str(h["train"]) if h["epsilon_spent"] else "none (test only)"
        hospitals.add_row(
            name, h["scanner"], str(h["patients"]), trained,
            f"{h['epsilon_spent']:.2f}", f"{h['epsilon_budget']:g}",
        )  # fmt: skip
    results = Table(title="Champions, tested on patients nobody trained on")
    results.add_column("task", no_wrap=True)
    results.add_column("metric")
    places = ["unseen", *(n for n, h in facts["hospitals"].items() if h["epsilon_spent"])]
    for place in places:
        results.add_column(place)
    for name, task in facts["tasks"].items():
        kind = TASKS[name]
        for number, shown in enumerate((kind.headline, *kind.beside)):
            row = [task["metrics"][place].get(shown.metric) for place in places]
            figures = ("–" if v is None else f"{v:.3f}" for v in row)
            results.add_row("" if number else name, shown.words, *figures)
    [(compared_task, one)] = facts["comparison"].items()
    label = TASKS[compared_task].headline.words
    compared = Table(title=f"{compared_task}: by training, at the unseen hospital")
    compared.add_column("way of training")
    compared.add_column(label)
    ways = [("public pretraining only", one["pretrained"])]
    ways += [(f"{name} alone, without privacy", value) for name, value in one["alone"].items()]
    ways += [
        ("federated, private", one["federated_private"]),
        ("federated, without privacy", one["federated"]),
        ("pooled in one place, without privacy", one["pooled"]),
    ]
    for way, value in ways:
        compared.add_row(way, f"{value:.3f}")
    console().print(hospitals)
    console().print(results)
    console().print("At the hospital that took no part:")
    for name, task in facts["tasks"].items():
        console().print(f"  {standing_words(name, task)}", markup=False)
    console().print(compared)
    console().print(stages_table(facts))
    console().print(f"{facts['seconds']:.0f} s, at most {facts['peak_rss_mb']:.0f} MB, in {out}")
