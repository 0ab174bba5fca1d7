"""What a task is: the only thing the rest of the platform knows about learning.

A task says everything about itself: what it reads, its network, what is lost on a patient,
which sums its metrics are made of and which of them may leave a hospital, what it finds in a
study, on which digital patients it can be pretrained, what it requires of a site's data. The
unit of sampling, of clipping and of the privacy guarantee is the **patient**.

One patient may give several network inputs, called *units* here: three views of
a segmentation, thirteen vertebrae of a fracture reading. A sample therefore has
K units, with a weight of 0 for a unit that is missing. The training loop folds
(N, K, ...) to (N·K, ...) for the network and sums per-unit gradients back to one
gradient per patient before clipping.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor, nn

from shared.findings.findings import Findings
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import NO_LIMIT, Told, told_loss
from shared.records import Modality, PatientSource, StudyRecord
from shared.settings.contract import DataContract
from shared.settings.task import TaskSettings
from shared.tasks.inputs import TaskInputs, example_study
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample


class Headline(NamedTuple):
    """The metric by which versions are compared, and what a table calls it.

    Parameters
    ----------
    metric : str
        A key of `Task.metrics`.
    more_is_better : bool
    words : str
        With its unit: ``lumbar BMD error (MAE), g/cm²``.
    """

    metric: str
    more_is_better: bool
    words: str


class Task(ABC):
    """One trainable job. Subclasses hold no state besides their settings."""

    #: What settings, jobs, ledgers and registries call it; also its key on the list.
    name: ClassVar[str]
    #: Units per patient, K.
    units: ClassVar[int]
    #: What it reads of a study.
    inputs: ClassVar[TaskInputs]
    #: The metric by which versions are compared.
    headline: ClassVar[Headline]
    #: What a table shows below the headline: what that leaves out.
    beside: ClassVar[tuple[Headline, ...]] = ()
    #: The sums that may leave a hospital, besides the count of patients and their loss.
    released: ClassVar[ReleasedSums] = ReleasedSums()
    #: What it assesses, as a doctor says it; a report says so where no model does it.
    assesses: ClassVar[str] = ""
    #: Name in `metrics` (``mae_NAME``, ``r2_NAME``) of each region whose BMD it estimates. An
    #: estimate whose recorded error is too large is not scored.
    metric_names: ClassVar[Mapping[str, str]] = {}
    #: Metrics of its grades that a version has to be better in than saying the same of everybody:
    #: what each is called, and what that gives. A version that is not gives no grades.
    grade_metrics: ClassVar[Mapping[str, tuple[str, float]]] = {}
    #: What an agreement requires of a site's data that says nothing else.
    contract: ClassVar[DataContract] = DataContract()
    #: Whether it stands in the report of a study (`find`).
    reports: ClassVar[bool] = True
    #: Whether it finds outlines. One that does not gives marked slices, if it prepares another.
    outlines: ClassVar[bool] = True
    #: Whether every study of a kind that it reads asks for it: only then is it told of a study that
    #: no version of it is in use.
    always_asked: ClassVar[bool] = True
    #: Tasks whose findings it needs, by name; they read a study before it.
    after: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: TaskSettings) -> None:
        self.settings = settings

    @abstractmethod
    def uses(self, study: StudyRecord) -> bool:
        """Say whether a study has the images and labels that training needs.

        Of a region map only whether there is one may count, not what is in it: the map may be
        what weights found that a coordinator chose, and the number of patients is public.
        """

    @abstractmethod
    def sample(self, study: StudyRecord) -> Sample:
        """Make the deterministic tensors of one study, targets where labels exist.

        They follow from the study, the settings of the network and this program alone: where
        making them takes long, a hospital keeps them from round to round. Their shapes are those
        of `example`.
        """

    @abstractmethod
    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Vary a sample the way scanners and positioning would."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Make the network, ``forward(image (B, C, ...), covariates (B, F))``.

        It has no layer that mixes samples and nothing that works in place.
        """

    @abstractmethod
    def head_parameters(self) -> tuple[str, ...]:
        """Name prefixes of the parameters that count as the head."""

    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:  # noqa: B027
        """Fix parts of a pretrained network by samples of public patients; by default none.

        What the network gives does not change by it, only how fast it learns from here.
        """

    @abstractmethod
    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Loss per unit, shape (N·K,), already weighted (0 for a missing unit).

        `batch` is folded: every tensor has the leading axis N·K.
        """

    @abstractmethod
    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sums over a folded batch from which `metrics` computes."""

    @abstractmethod
    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Metrics of any number of added-up statistics; a metric without data is absent."""

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell the metrics of added-up statistics as a person reads them, the headline first.

        A task that says nothing else has the words of its headlines, the names of its other
        metrics, and no judgement.
        """
        metrics = self.metrics(statistics)
        words = {one.metric: one.words for one in (self.headline, *self.beside)}
        first = [name for name in words if name in metrics]
        rest = [name for name in metrics if name not in words and name != "loss"]
        told = [
            Told(name, words.get(name, name.replace("_", " ")), metrics[name], "", NO_LIMIT)
            for name in (*first, *rest)
        ]
        return told + told_loss(metrics)

    def find(self, reading: Reading) -> Findings:
        """Read a study with a trained network.

        Only of a task that `reports`. It is called for every study with images of a kind
        that `inputs` names, and says itself what it cannot assess and why.
        """
        raise NotImplementedError(f"{self.name} stands in no report")

    def example(self) -> StudyRecord:
        """Make a study without a patient whose sample shows the shape of the input."""
        return example_study(self.inputs)

    @classmethod
    def digital_patients(
        cls, number: int, seed: int, *, workers: int = 1, cache: Path | None = None
    ) -> PatientSource:
        """Make patients that nobody is, to pretrain on without any cost in privacy.

        Parameters
        ----------
        number : int
            How many.
        seed : int
            Public seed.
        workers : int
            Processes that render them; the patients do not depend on it.
        cache : Path, optional
            Folder where rendered patients are kept.

        Raises
        ------
        PhantomError
            If there are none of what the task reads.
        """
        from shared.errors import PhantomError
        from shared.phantom.source import DigitalPatients, views_for

        if cls.inputs.series and cls.inputs.views:
            raise PhantomError(f"{cls.name}: no digital patients have {Modality.CT} and views")
        if cls.inputs.series:
            from shared.phantom.solid_ct_source import CtOrder, CtPatients

            return CtPatients(number, CtOrder(seed), workers, cache)
        views = views_for(cls.inputs.views)
        return DigitalPatients(number, seed, workers=workers, views=views, cache=cache)
