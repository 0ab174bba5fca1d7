"""Flower's strategies: which options they take here, the step each makes, what each keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from shared.errors import AggregationRefusedError, ConfigValueError
from shared.protocol.codec import Arrays, check_finite
from shared.settings.files import StrategySettings

#: Options that each strategy takes here, all of its own arithmetic.
OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "FedAvg": (),
    "FedAvgM": ("server_learning_rate", "server_momentum"),
    "FedAdam": ("eta", "beta_1", "beta_2", "tau"),
    "FedProx": ("proximal_mu",),
    "FedTrimmedAvg": ("beta",),
    "FedMedian": (),
    "Krum": ("num_malicious_nodes",),
    "MultiKrum": ("num_malicious_nodes", "num_nodes_to_select"),
}
WHOLE_NUMBERS: Final = ("num_malicious_nodes", "num_nodes_to_select")
#: Strategies that are nothing but a rule of ours (`server.rounds.aggregation.rules`); of the
#: one change that it makes, the plain mean is the step.
RULES: Final = ("FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum")
#: Where each strategy keeps tensors between rounds.
STATE: Final[Mapping[str, tuple[str, ...]]] = {"FedAdam": ("m_t", "v_t")}
MOMENTUM: Final = "momentum_vector"
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
    if not settings.options:
        return  # nothing to be wrong; Flower is not loaded for it
    try:
        _make_strategy(settings)
    except ValueError as error:
        raise ConfigValueError(f"{origin}: strategy: {settings.name}: {error}") from None


def _make_strategy(settings: StrategySettings) -> Any:
    from flwr.serverapp import strategy as strategies

    options: dict[str, Any] = dict(settings.options)
    for name in WHOLE_NUMBERS:
        if name in options:
            options[name] = int(options[name])
    return getattr(strategies, settings.name)(**options)


class FlowerStrategy:
    """A strategy of Flower over the rounds of one task: server momentum, Adam, plain step.

    Parameters
    ----------
    settings : StrategySettings
        Which one, with which options.
    names : tuple of str
        Tensors that are trained, in order.
    """

    def __init__(self, settings: StrategySettings, names: tuple[str, ...]) -> None:
        self._name = settings.name
        self._names = names
        self._strategy: Any = _make_strategy(settings)

    @property
    def trimmed_share(self) -> float:
        """Share of the sites that FedTrimmedAvg leaves out at either end."""
        return float(self._strategy.beta)

    def step(self, round_number: int, before: Arrays, merged: Arrays) -> Arrays:
        """Make the next model of the one that the sites' changes give.

        Parameters
        ----------
        round_number : int
            From 1.
        before, merged : dict of str to ndarray of float32
            What is trained, before the round and with the one change that was made of all.

        Raises
        ------
        AggregationRefusedError
            If the strategy refuses, or gives something that is not finite.
        """
        from flwr.app import ArrayRecord

        self._set_current(before)
        try:
            record, _ = self._moving().aggregate_train(round_number, [_as_reply(merged)])
        except Exception as error:  # Flower's own checks and the strategy's arithmetic
            raise AggregationRefusedError(f"{self._name}: {error}") from None
        if not isinstance(record, ArrayRecord) or set(record) != set(self._names):
            raise AggregationRefusedError(f"{self._name} gave no model")
        after = {n: np.asarray(record[n].numpy(), np.float32, order="C") for n in self._names}
        check_finite(after, f"the model made by {self._name}", AggregationRefusedError)
        return after

    def state(self) -> Arrays:
        """Tensors that the strategy keeps between rounds, for a checkpoint."""
        kept: Arrays = {}
        for attribute in STATE.get(self._name, ()):
            for name, value in (getattr(self._strategy, attribute) or {}).items():
                kept[f"{attribute}/{name}"] = np.asarray(value)
        momentum = getattr(self._strategy, MOMENTUM, None)
        for name, value in zip(self._names, momentum or (), strict=False):
            kept[f"{MOMENTUM}/{name}"] = np.asarray(value)
        return kept

    def restore(self, state: Arrays) -> None:
        """Put back what `state` gave, to the bit."""
        for attribute in STATE.get(self._name, ()):
            found = {
                key.partition("/")[2]: value
                for key, value in state.items()
                if key.startswith(f"{attribute}/")
            }
            if found:
                setattr(self._strategy, attribute, found)
        if f"{MOMENTUM}/{self._names[0]}" in state:
            vector = [state[f"{MOMENTUM}/{name}"] for name in self._names]
            setattr(self._strategy, MOMENTUM, vector)

    def _moving(self) -> Any:
        """The strategy that is given the one model."""
        if self._name in RULES:
            return _make_strategy(StrategySettings(name="FedAvg"))
        return self._strategy

    def _set_current(self, before: Arrays) -> None:
        """Tell strategies that move from the last model where it is.

        `configure_train` would do it, but it also waits for nodes and samples them,
        which is the round loop's business here.
        """
        if not hasattr(self._strategy, "current_arrays"):
            return
        if self._name == "FedAvgM":
            from flwr.app import Array, ArrayRecord

            self._strategy.current_arrays = ArrayRecord({n: Array(v) for n, v in before.items()})
        else:
            self._strategy.current_arrays = dict(before)


@dataclass(frozen=True)
class _Reply:
    """What a strategy reads of a reply. A Flower message can only be made inside a run."""

    content: Any

    def has_error(self) -> bool:
        return False


def _as_reply(model: Arrays) -> _Reply:
    """Make the reply that a strategy reads: tensors in a fixed order and one weight."""
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

    content = RecordDict(
        {
            "arrays": ArrayRecord({name: Array(model[name]) for name in sorted(model)}),
            "metrics": MetricRecord({WEIGHT: 1.0}),
        }
    )
    return _Reply(content)
