"""From the hospitals' updates to the next model: checked, in a fixed order, in flat memory.

An update is what a site's training changed. Updates lie on disk (`server.rounds.update_store`) and
are read block by block, in the order of the sites' names: the result does not depend on the
order of arrival, nor the memory on the number of sites. First the rule makes one change of
many (mean, median, trimmed mean, Krum); then Flower's strategy of the same name is given
the model so changed, which is where server momentum and Adam have their arithmetic. Each
rule is tested against Flower's own.

The model here is the coordinator's own, in float32: what its rounding for the way took
from the model that the sites had, is not lost (docs/decisions/0012-what-travels.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.rounds.update_store import SpooledUpdate
from shared.errors import AggregationRefusedError, ConfigValueError
from shared.protocol.codec import Arrays, check_finite
from shared.protocol.half_precision import LENGTHENED
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
#: Rules that make one update of many by themselves; all others take the mean.
MEDIAN: Final = ("FedMedian",)
TRIMMED: Final = ("FedTrimmedAvg",)
CHOOSING: Final = ("Krum", "MultiKrum")
#: Where each strategy keeps tensors between rounds.
STATE: Final[Mapping[str, tuple[str, ...]]] = {"FedAdam": ("m_t", "v_t")}
MOMENTUM: Final = "momentum_vector"
WEIGHT: Final = "num-examples"
#: Numbers held at once while one block is aggregated, over all sites (float64: 64 MB).
BLOCK_NUMBERS: Final = 8_000_000

Floats = NDArray[np.float64]


#: No training changes a weight by more. What is made of far larger numbers may not be
#: finite, and one of them in a tensor takes half precision from all its others. It is no
#: bound on what one site can do: that is ``strategy.maximum_update_norm``.
LARGEST_CHANGE: Final = 1e4


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
    for name in WHOLE_NUMBERS:
        if name in options:
            options[name] = int(options[name])
    return getattr(strategies, settings.name)(**options)


class Aggregator:
    """One task's aggregation over the rounds of a run; holds the strategy's state.

    Parameters
    ----------
    settings : StrategySettings
        Which strategy, with which options and limits.
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

    def check(self, site: str, update: Arrays, current: Arrays) -> None:
        """Refuse an update that must not be aggregated, as it arrives.

        Parameters
        ----------
        site : str
            Its name.
        update : dict of str to ndarray
            What its training changed, as it sent it.
        current : dict of str to ndarray of float32
            The whole model: names and shapes of what is trained.

        Raises
        ------
        AggregationRefusedError
            If its tensors are not exactly those trained, float32, finite and within
            `LARGEST_CHANGE`, or it moves further than ``strategy.maximum_update_norm``,
            with room for the rounding on its way.
        """
        before = {name: current[name] for name in self.names}
        differing = set(before) ^ set(update)
        if differing:
            raise AggregationRefusedError(
                f"{site}: the update's tensors differ from those trained ({sorted(differing)[0]})"
            )
        for name, value in update.items():
            if value.shape != before[name].shape or value.dtype != np.float32:
                raise AggregationRefusedError(
                    f"{site}: tensor {name!r} is {value.dtype} {value.shape} "
                    f"(must be float32 {before[name].shape})"
                )
        check_finite(update, site, AggregationRefusedError)
        for name, value in update.items():
            if value.size and float(np.abs(value).max()) > LARGEST_CHANGE:
                raise AggregationRefusedError(
                    f"{site}: tensor {name!r} changes a weight by more than {LARGEST_CHANGE:g}"
                )
        most = self.settings.maximum_update_norm
        if most is not None:
            moved = float(np.sqrt(sum(_square(update[n]) for n in self.names)))
            if moved > most * LENGTHENED:
                raise AggregationRefusedError(
                    f"{site}: the update has norm {moved:.4g} "
                    f"(strategy.maximum_update_norm: {most:g})"
                )

    def combine(
        self, round_number: int, current: Arrays, updates: Mapping[str, SpooledUpdate]
    ) -> tuple[Arrays, dict[str, int]]:
        """Aggregate one round's updates into the next model.

        Parameters
        ----------
        round_number : int
            From 1.
        current : dict of str to ndarray of float32
            The whole model before the round, not rounded.
        updates : mapping of str to SpooledUpdate
            By site name; each passed `check`.

        Returns
        -------
        tuple of dict and dict
            The next whole model, and the number of patients counted per site.

        Raises
        ------
        AggregationRefusedError
            If there is no update, a site claims no patients, or the arithmetic gives
            something that is not finite.
        """
        from flwr.app import ArrayRecord

        if not updates:
            raise AggregationRefusedError("no update to aggregate")
        sites = [updates[name] for name in sorted(updates)]
        for one in sites:
            if one.patients < 1:
                raise AggregationRefusedError(f"{one.site}: claims {one.patients} patients")
        counted = {one.site: min(one.patients, self.most_patients) for one in sites}
        before = {name: current[name] for name in self.names}
        merged = self._as_one(sites, counted, before)
        self._set_current(before)
        try:
            record, _ = self._stage_two().aggregate_train(round_number, [_as_reply(merged)])
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
        momentum = getattr(self.strategy, MOMENTUM, None)
        for name, value in zip(self.names, momentum or (), strict=False):
            kept[f"{MOMENTUM}/{name}"] = np.asarray(value)
        return kept

    def restore(self, state: Arrays) -> None:
        """Put back what `state` gave, to the bit."""
        for attribute in STATE.get(self.settings.name, ()):
            found = {
                key.partition("/")[2]: value
                for key, value in state.items()
                if key.startswith(f"{attribute}/")
            }
            if found:
                setattr(self.strategy, attribute, found)
        if f"{MOMENTUM}/{self.names[0]}" in state:
            vector = [state[f"{MOMENTUM}/{name}"] for name in self.names]
            setattr(self.strategy, MOMENTUM, vector)

    def _as_one(
        self, sites: Sequence[SpooledUpdate], counted: Mapping[str, int], before: Arrays
    ) -> Arrays:
        """Make one change of many by the rule; give the model so changed."""
        name = self.settings.name
        scales = self._scales(sites)
        weights = np.array([counted[one.site] for one in sites], np.float64)
        if name in CHOOSING:
            chosen = self._chosen(sites, before, scales)
            sites = [sites[i] for i in chosen]
            weights, scales = weights[chosen], scales[chosen]
        if name in MEDIAN or name in TRIMMED:
            return _blockwise(sites, before, scales, self._middle)
        return _mean(sites, before, scales, weights / weights.sum())

    def _middle(self, values: Floats) -> Floats:
        """Median, or mean without the outermost, of (sites, numbers)."""
        if self.settings.name in MEDIAN:
            return np.asarray(np.median(values, axis=0))
        from scipy.stats import trim_mean

        return np.asarray(trim_mean(values, float(self.strategy.beta), axis=0))

    def _scales(self, sites: Sequence[SpooledUpdate]) -> Floats:
        """By how much each update is drawn in: to `clip_to_median_norm` times the median."""
        factor = self.settings.clip_to_median_norm
        if factor is None:
            return np.ones(len(sites))
        norms = np.array(
            [np.sqrt(sum(_square(one.tensor(n)) for n in self.names)) for one in sites]
        )
        most = factor * float(np.median(norms))
        return np.minimum(1.0, most / np.maximum(norms, np.finfo(np.float64).tiny))

    def _chosen(self, sites: Sequence[SpooledUpdate], before: Arrays, scales: Floats) -> list[int]:
        """Choose the sites nearest to the others (Krum, Blanchard et al. 2017).

        The score of a site is the sum of its squared distances to the n - f - 2 nearest
        others, f being ``num_malicious_nodes``.
        """
        products = np.zeros((len(sites), len(sites)))
        for values in _blocks(sites, before, scales):
            products += values @ values.T
        squares = np.diag(products)
        distances = squares[:, None] + squares[None, :] - 2 * products
        np.fill_diagonal(distances, np.inf)  # a site is no neighbour of its own
        malicious = int(self.settings.options.get("num_malicious_nodes", 0))
        nearest = min(max(1, len(sites) - malicious - 2), max(1, len(sites) - 1))
        scores = np.sort(distances, axis=1)[:, :nearest].sum(axis=1)
        wanted = 1
        if self.settings.name == "MultiKrum":
            wanted = int(self.settings.options.get("num_nodes_to_select", 1))
        return sorted(int(i) for i in np.argsort(scores, kind="stable")[:wanted])

    def _stage_two(self) -> Any:
        """The strategy that is given the one model: for pure rules the plain mean of one."""
        if self.settings.name in (*MEDIAN, *TRIMMED, *CHOOSING):
            return _make_strategy(StrategySettings(name="FedAvg"))
        return self.strategy

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


def _mean(
    sites: Sequence[SpooledUpdate], before: Arrays, scales: Floats, weights: Floats
) -> Arrays:
    """Average the changes in float64, one site after another, upon the model before."""
    total = {name: value.astype(np.float64) for name, value in before.items()}
    for one, scale, weight in zip(sites, scales, weights, strict=True):
        for name, sum_so_far in total.items():
            sum_so_far += weight * _drawn_in(one.tensor(name), scale)
    return {name: np.asarray(value, np.float32) for name, value in total.items()}


def _blockwise(sites: Sequence[SpooledUpdate], before: Arrays, scales: Floats, rule: Any) -> Arrays:
    """Apply a rule over the sites to every coordinate, a block of coordinates at a time."""
    made = {name: np.empty(value.size, np.float32) for name, value in before.items()}
    for name, begin, end in _pieces(before, len(sites)):
        start = before[name].reshape(-1)[begin:end].astype(np.float64)
        made[name][begin:end] = start + rule(_values(sites, scales, name, begin, end))
    return {name: value.reshape(before[name].shape) for name, value in made.items()}


def _blocks(sites: Sequence[SpooledUpdate], before: Arrays, scales: Floats) -> Iterator[Floats]:
    """Give what the updates change, (sites, numbers), a block of coordinates at a time."""
    for name, begin, end in _pieces(before, len(sites)):
        yield _values(sites, scales, name, begin, end)


def _pieces(before: Arrays, sites: int) -> Iterator[tuple[str, int, int]]:
    step = max(1, BLOCK_NUMBERS // sites)
    for name in sorted(before):
        for begin in range(0, before[name].size, step):
            yield name, begin, min(begin + step, before[name].size)


def _values(
    sites: Sequence[SpooledUpdate], scales: Floats, name: str, begin: int, end: int
) -> Floats:
    """Read one block of every site's change, (sites, end - begin)."""
    values = np.empty((len(sites), end - begin))
    for row, (one, scale) in enumerate(zip(sites, scales, strict=True)):
        values[row] = _drawn_in(one.tensor(name).reshape(-1)[begin:end], scale)
    return values


def _drawn_in(change: NDArray[np.float32], scale: float) -> Floats:
    """Make a change shorter."""
    return np.asarray(scale * change.astype(np.float64))


def _square(change: NDArray[np.float32]) -> float:
    exact = change.astype(np.float64)
    return float(np.vdot(exact, exact))
