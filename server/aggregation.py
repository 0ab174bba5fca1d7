"""From the hospitals' updates to the next model: checked, in a fixed order, by a Flower strategy.

The strategy named in the configuration does the arithmetic and nothing else. What
it sees was checked before: exact names and shapes, finite numbers, one answer per
site, a claim of patients that is capped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from shared.config import StrategySettings
from shared.errors import AggregationRefusedError, ConfigValueError
from shared.protocol import TrainAnswer
from shared.wire import Arrays, check_finite

#: Options that each strategy takes here, all of its own arithmetic.
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "FedAvg": (),
    "FedAvgM": ("server_learning_rate", "server_momentum"),
    "FedAdam": ("eta", "beta_1", "beta_2", "tau"),
    "FedProx": ("proximal_mu",),
    "FedTrimmedAvg": ("beta",),
    "FedMedian": (),
    "Krum": ("num_malicious_nodes",),
}
#: Where each strategy keeps tensors between rounds.
STATE: Final[Mapping[str, tuple[str, ...]]] = {"FedAdam": ("m_t", "v_t")}
WEIGHT: Final = "num-examples"


def check_strategy(settings: StrategySettings, origin: str) -> None:
    """Refuse an option that the strategy does not have, or a value that it does not take.

    Raises
    ------
    ConfigValueError
        Naming the option and the known ones.
    """
    known = OPTIONS[settings.name]
    for option in settings.options:
        if option not in known:
            raise ConfigValueError(
                f"{origin}: strategy.options.{option}: {settings.name} has no such option "
                f"(known: {', '.join(known) or 'none'})"
            )
    try:
        _make_strategy(settings)
    except ValueError as error:
        raise ConfigValueError(f"{origin}: strategy: {settings.name}: {error}") from None


def _make_strategy(settings: StrategySettings) -> Any:
    from flwr.serverapp import strategy as strategies

    options: dict[str, Any] = dict(settings.options)
    if "num_malicious_nodes" in options:
        options["num_malicious_nodes"] = int(options["num_malicious_nodes"])
    return getattr(strategies, settings.name)(**options)


class Aggregator:
    """One task's aggregation over the rounds of a run; holds the strategy's state.

    Parameters
    ----------
    settings : StrategySettings
        Which strategy, with which options.
    names : tuple of str
        Tensors that are trained; the others of the model never change.
    most_patients : int
        Largest claim of patients that counts; more is taken as this.
    """

    def __init__(
        self, settings: StrategySettings, names: tuple[str, ...], most_patients: int
    ) -> None:
        self.settings = settings
        self.names = tuple(sorted(names))
        self.most_patients = most_patients
        self.strategy: Any = _make_strategy(settings)

    @property
    def proximal_mu(self) -> float:
        """Weight of the proximal term that sites train with (FedProx; else 0)."""
        return float(self.settings.options.get("proximal_mu", 0.0))

    def combine(
        self, round_number: int, current: Arrays, answers: Mapping[str, TrainAnswer]
    ) -> tuple[Arrays, dict[str, int]]:
        """Aggregate one round's updates into the next model.

        Sites are taken in the order of their names, so the result does not depend
        on the order in which answers came.

        Parameters
        ----------
        round_number : int
            From 1.
        current : dict of str to ndarray of float32
            The whole model that the sites started from.
        answers : mapping of str to TrainAnswer
            By site name.

        Returns
        -------
        tuple of dict and dict
            The next whole model, and the number of patients counted per site.

        Raises
        ------
        AggregationRefusedError
            If there is no answer, an answer's tensors are not those trained, or the
            arithmetic gives something that is not finite.
        """
        from flwr.app import ArrayRecord

        if not answers:
            raise AggregationRefusedError("no update to aggregate")
        before = {name: current[name] for name in self.names}
        counted: dict[str, int] = {}
        replies: list[_Reply] = []
        for site in sorted(answers):
            self._check(site, answers[site], before)
            counted[site] = min(answers[site].patients, self.most_patients)
            replies.append(_as_reply(answers[site].update, counted[site], self.names))
        self._set_current(before)
        try:
            record, _ = self.strategy.aggregate_train(round_number, replies)
        except Exception as error:  # Flower's own checks and the strategy's arithmetic
            raise AggregationRefusedError(f"{self.settings.name}: {error}") from None
        if not isinstance(record, ArrayRecord) or set(record) != set(self.names):
            raise AggregationRefusedError(f"{self.settings.name} gave no model")
        after = {n: np.asarray(record[n].numpy(), np.float32, order="C") for n in self.names}
        check_finite(after, f"the model made by {self.settings.name}", AggregationRefusedError)
        return {**current, **after}, counted

    def state(self) -> Arrays:
        """Tensors that the strategy keeps between rounds, for a checkpoint."""
        kept: Arrays = {}
        for attribute in STATE.get(self.settings.name, ()):
            for name, value in (getattr(self.strategy, attribute) or {}).items():
                kept[f"{attribute}/{name}"] = np.asarray(value)
        momentum = getattr(self.strategy, "momentum_vector", None)
        for name, value in zip(self.names, momentum or (), strict=False):
            kept[f"momentum_vector/{name}"] = np.asarray(value)
        return kept

    def _check(self, site: str, answer: TrainAnswer, before: Arrays) -> None:
        missing = set(before) ^ set(answer.update)
        if missing:
            raise AggregationRefusedError(
                f"{site}: the update's tensors differ from those trained ({sorted(missing)[0]})"
            )
        for name, value in answer.update.items():
            if value.shape != before[name].shape or value.dtype != np.float32:
                raise AggregationRefusedError(
                    f"{site}: tensor {name!r} is {value.dtype} {value.shape} "
                    f"(must be float32 {before[name].shape})"
                )
        check_finite(answer.update, site, AggregationRefusedError)
        if answer.patients < 1:
            raise AggregationRefusedError(f"{site}: claims {answer.patients} patients")

    def _set_current(self, before: Arrays) -> None:
        """Tell strategies that move from the last model where it is.

        `configure_train` would do it, but it also waits for nodes and samples them,
        which is the round loop's business here.
        """
        if not hasattr(self.strategy, "current_arrays"):
            return
        if self.settings.name == "FedAvgM":
            from flwr.app import Array, ArrayRecord

            self.strategy.current_arrays = ArrayRecord({n: Array(v) for n, v in before.items()})
        else:
            self.strategy.current_arrays = dict(before)


@dataclass(frozen=True)
class _Reply:
    """What a strategy reads of a reply. A Flower message can only be made inside a run."""

    content: Any

    def has_error(self) -> bool:
        return False


def _as_reply(update: Arrays, patients: int, names: tuple[str, ...]) -> _Reply:
    """Make the reply that a strategy reads: tensors in a fixed order and one weight."""
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(update[name]) for name in names}),
            "metrics": MetricRecord({WEIGHT: float(patients)}),
        }
    )
    return _Reply(content)
