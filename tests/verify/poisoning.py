"""The table attack x rule: one lying hospital of five, on small images and on digital patients.

The small one is what `tests/server/rounds/test_poisoning.py` trains a part of. The other is of the
density task: five hospitals of 40 digital patients each on generic scanners, plain training
from the network's own initialisation, and the metric of 60 patients whom no hospital had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any, Final

from shared.phantom.source import DigitalPatients
from shared.settings.files import load_settings
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from tests.poisoning import ATTACKS, RULES, SITES, Trial, fresh_start, small_trial
from tests.server.tiny_sites import TINY_TASK
from tests.verify.stored import ROOT, digest_of
from tests.verify.topic import Line, Planned, Runs, Tell, Topic, at_least

#: The rule that is advised (decision 8), and what it must keep of the clean mean.
ADVISED: Final = "multi-Krum"
LEAST_KEPT: Final = 0.95
DIGITAL: Final = "dxa-bmd"
PATIENTS, UNSEEN, ROUNDS, STEPS = 40, 60, 8, 8


@cache
def digital_trial() -> Trial:
    """Hospitals of digital patients; what was rendered is kept for the next time."""
    settings = load_settings(ROOT / "configs" / "tasks" / f"{DIGITAL}.yaml", TaskSettings)
    task, kept = make_task(settings), ROOT / "runs" / "poisoning" / "patients"
    sources = {
        name: DigitalPatients(PATIENTS, seed, views=task.inputs.views, cache=kept)
        for seed, name in enumerate(SITES, start=1)
    }
    return Trial(
        task=task,
        start=fresh_start(task, 1),
        sources=sources,
        unseen=DigitalPatients(UNSEEN, 99, views=task.inputs.views, cache=kept),
        settings=settings.plain.model_copy(update={"steps_per_round": STEPS}),
        rounds=ROUNDS,
    )


def _plan(trial: Callable[[], Trial], told: Any) -> Iterator[Planned]:
    for attack in ATTACKS:
        for rule, settings in RULES.items():
            digest = digest_of([told, attack, settings.model_dump(mode="json")])
            yield Planned(key_of(rule, attack), digest, partial(_cell, trial, rule, attack))


def key_of(rule: str, attack: str) -> str:
    """Name a cell of the table."""
    return f"{rule}--{attack}".replace(" ", "-").replace(",", "")


def _cell(trial: Callable[[], Trial], rule: str, attack: str, tell: Tell) -> dict[str, Any]:
    tell("training", 0.0)
    metrics, rejected = trial().run(RULES[rule], attack)
    return {"rule": rule, "attack": attack, "metrics": metrics, "rejected": rejected}


def quality(metrics: dict[str, float], headline: tuple[str, bool]) -> float:
    """The metric, so that 0 is useless: errors as 1 - error / error of the constant."""
    metric, more_is_better = headline
    if more_is_better:
        return metrics[metric]
    return 1.0 - metrics[metric] / metrics[f"baseline_{metric}"]


def _kept(runs: Runs, headline: tuple[str, bool], rule: str, attack: str) -> float | None:
    """What a rule keeps of the clean mean under an attack; None if a cell is missing."""
    found, clean = (runs.get(key) for key in (key_of(rule, attack), key_of("FedAvg", "none")))
    if found is None or clean is None:
        return None
    mine, whole = (quality(one.figures["metrics"], headline) for one in (found, clean))
    return mine / whole


def _judge(headline: tuple[str, bool], runs: Runs) -> list[Line]:
    lines = []
    for attack in ATTACKS:
        kept = _kept(runs, headline, ADVISED, attack)
        if kept is not None:
            lines.append(at_least(kept, LEAST_KEPT, f"{ADVISED}, {attack}: kept of the clean mean"))
    return lines


def _tables(headline: tuple[str, bool], runs: Runs) -> str:
    rows = [f"| what epsilon sends | {' | '.join(RULES)} |", "| --- |" + " --- |" * len(RULES)]
    for attack in ATTACKS:
        cells = []
        for rule in RULES:
            kept, run = _kept(runs, headline, rule, attack), runs.get(key_of(rule, attack))
            if kept is None or run is None:
                cells.append("")
            else:
                cells.append(f"{run.figures['metrics'][headline[0]]:.3f} ({kept:.0%})")
        rows.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _topic(
    name: str, about: str, task: TaskSettings, trial: Callable[[], Trial], told: Any
) -> Topic:
    metric, more_is_better, _ = make_task(task).headline
    headline = (metric, more_is_better)
    return Topic(
        name, about, partial(_plan, trial, told), partial(_judge, headline),
        partial(_tables, headline),
    )  # fmt: skip


def _settings() -> TaskSettings:
    return load_settings(ROOT / "configs" / "tasks" / f"{DIGITAL}.yaml", TaskSettings)


SMALL: Final = _topic(
    "poisoning", "One liar of five does not spoil the rule that is advised.",
    TINY_TASK, cache(small_trial), ["small", TINY_TASK.model_dump(mode="json")],
)  # fmt: skip
LARGE: Final = _topic(
    "poisoning-density", "The same on digital patients; takes hours.",
    _settings(), digital_trial,
    [_settings().model_dump(mode="json"), PATIENTS, UNSEEN, ROUNDS, STEPS],
)  # fmt: skip
