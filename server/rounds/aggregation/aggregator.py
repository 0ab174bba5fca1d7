"""Makes the next model of the hospitals' updates: checked, in a fixed order, in bounded memory.

An update is what a site's training changed. Updates lie on disk
(`server.rounds.aggregation.update_store`) and are read block by block, in the order of the
sites' names: the result does not depend on the order of arrival, nor the memory on the
number of sites. First the rule makes one change of many (`rules`); then Flower's strategy of
the same name is given the model so changed (`flower_strategy`), which is where server
momentum and Adam have their arithmetic. Each rule is tested against Flower's own.

The model here is the coordinator's own, in float32: what its rounding for the way took
from the model that the sites had, is not lost (docs/decisions/0012-what-travels.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from server.rounds.aggregation.blocks import Contribution
from server.rounds.aggregation.clipping import clip_scales
from server.rounds.aggregation.flower_strategy import FlowerStrategy
from server.rounds.aggregation.rules import (
    coordinatewise,
    krum,
    median,
    trimmed_mean,
    weighted_mean,
)
from server.rounds.aggregation.update_check import check_update
from server.rounds.aggregation.update_store import SpooledUpdate
from shared.errors import AggregationRefusedError
from shared.phrases import counted
from shared.protocol.codec import Arrays
from shared.settings.files import StrategySettings


class Aggregator:
    """One task's aggregation over the rounds of a run.

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
        self.strategy = FlowerStrategy(settings, self.names)

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
            See `check_update`.
        """
        check_update(site, update, self._trained(current), self.settings.maximum_update_norm)

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
        if not updates:
            raise AggregationRefusedError("no update to aggregate")
        sites = self._contributions([updates[name] for name in sorted(updates)])
        before = self._trained(current)
        after = self.strategy.step(round_number, before, self._merged(sites, before))
        return {**current, **after}, {one.update.site: one.patients for one in sites}

    def state(self) -> Arrays:
        """Tensors that the strategy keeps between rounds, for a checkpoint."""
        return self.strategy.state()

    def restore(self, state: Arrays) -> None:
        """Put back what `state` gave, to the bit."""
        self.strategy.restore(state)

    def _trained(self, current: Arrays) -> Arrays:
        return {name: current[name] for name in self.names}

    def _contributions(self, updates: Sequence[SpooledUpdate]) -> list[Contribution]:
        """Say how much each update counts: shortened, and by no more patients than allowed."""
        for one in updates:
            if one.patients < 1:
                raise AggregationRefusedError(
                    f"{one.site}: claims {counted(one.patients, 'patient')}"
                )
        scales = clip_scales(updates, self.names, self.settings.clip_to_median_norm)
        return [
            Contribution(one, float(scale), min(one.patients, self.most_patients))
            for one, scale in zip(updates, scales, strict=True)
        ]

    def _merged(self, sites: Sequence[Contribution], before: Arrays) -> Arrays:
        """Make one change of many by the strategy's rule; give the model so changed."""
        name, options = self.settings.name, self.settings.options
        if name == "FedMedian":
            return coordinatewise(sites, before, median)
        if name == "FedTrimmedAvg":
            rule = partial(trimmed_mean, share=self.strategy.trimmed_share)
            return coordinatewise(sites, before, rule)
        if name in ("Krum", "MultiKrum"):
            malicious = int(options.get("num_malicious_nodes", 0))
            wanted = int(options.get("num_nodes_to_select", 1))
            sites = krum(sites, before, malicious, wanted)
        return weighted_mean(sites, before)
