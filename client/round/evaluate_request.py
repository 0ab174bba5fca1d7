"""An evaluate request as a hospital holds it; what is held against it is `train_request.CHECKS`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from client.privacy import firewall
from client.privacy.declared import training_number
from client.round.open_site import Site
from client.round.received_preparation import prepared_source, receive_preparations
from client.round.request_size import bytes_of_request
from shared.errors import FirewallRefusedError
from shared.protocol.codec import Arrays, Shapes
from shared.protocol.messages import EvaluateJob, read_evaluate_job, read_ticket
from shared.protocol.signatures import Ticket, asked_digest
from shared.tasks import make_task
from shared.training.weights import digest_arrays

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from client.store.prepared_source import SiteSource
    from client.store.preparing_version import PreparingVersion
    from shared.tasks.base import Task


@dataclass
class EvaluateRequest:
    """What an evaluate message asks of a site, read once. Make one with `read`.

    Attributes as of `client.round.train_request.TrainRequest`; `tasks`, `networks` and
    `models` are by label.
    """

    site: Site
    content: RecordDict
    job: EvaluateJob
    ticket: Ticket

    @classmethod
    def read(cls, site: Site, content: RecordDict) -> EvaluateRequest:
        """Read a message.

        Raises
        ------
        FirewallRefusedError
            If it is not exactly what an evaluate message is.
        """
        job = read_evaluate_job(content, FirewallRefusedError)
        return cls(site, content, job, read_ticket(content, FirewallRefusedError))

    @cached_property
    def preparing(self) -> tuple[PreparingVersion, ...]:
        """The versions that prepare the input."""
        store, job = self.site.store, self.job
        return receive_preparations(store, self.content, job.task, job.prepared_with)

    @cached_property
    def declared(self) -> int:
        """The declared number of patients who train the task."""
        return training_number(self.site.store.config, self.job.task)

    @cached_property
    def measured(self) -> SiteSource:
        """The patients on whom models are measured."""
        validation = self.site.store.source("validation")
        return prepared_source(validation, self.job.task, self.preparing)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The task of each model, with the settings that the job brings."""
        return {label: make_task(self.job.models[label]) for label in sorted(self.job.models)}

    @property
    def task(self) -> Task:
        """The task, as the first model has it."""
        return next(iter(self.tasks.values()))

    @cached_property
    def networks(self) -> dict[str, nn.Module]:
        """Each model's network; its weights are not the model's yet."""
        return {label: task.network() for label, task in self.tasks.items()}

    @cached_property
    def models(self) -> dict[str, Arrays]:
        """The models that came."""
        return {
            label: firewall.admit_model(self.content, f"model:{label}", shapes_of(network))
            for label, network in self.networks.items()
        }

    @cached_property
    def asked(self) -> str:
        """Digest of everything that is asked."""
        digests = {f"model:{label}": digest_arrays(one) for label, one in self.models.items()}
        return asked_digest(self.job, digests)

    @cached_property
    def memory(self) -> int:
        """Bytes that measuring takes at most; models are measured one after another."""
        at_once = self.site.store.config.compute.physical_batch_patients
        settings = self.job.models.values()
        return max(bytes_of_request(one, at_once, trains=False) for one in settings)


def shapes_of(network: nn.Module) -> Shapes:
    """Names and shapes of all tensors of a network."""
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}
