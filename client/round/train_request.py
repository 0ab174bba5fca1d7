"""A train request as a hospital holds it, and what is held against every request: one list.

A request that measures (`client.round.evaluate_request`) is held against the same list; what is
about training alone passes it.

Nothing is computed, reserved or written before all of the list has passed; the last of it keeps
what prepares the input, and removes what was kept of others if it has to make room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from client.contract.data_contract import permit_contract, permit_preparation
from client.identity.coordinator import permit_coordinator, permit_request
from client.privacy import policy
from client.privacy.declared import largest_number, training_number
from client.round.evaluate_request import EvaluateRequest, shapes_of
from client.round.open_site import Site
from client.round.received_model import ReceivedModel, receive_model
from client.round.received_preparation import (
    keep_preparations,
    prepared_source,
    receive_preparations,
)
from client.round.request_size import bytes_of_request
from client.store.patient_source import StoreSource
from shared.errors import FirewallRefusedError
from shared.protocol.messages import Job, read_job, read_ticket
from shared.protocol.signatures import Ticket, asked_digest
from shared.tasks import make_task

if TYPE_CHECKING:
    from flwr.app import RecordDict
    from torch import nn

    from client.store.prepared_source import SiteSource
    from client.store.preparing_version import PreparingVersion
    from shared.records import PatientSource
    from shared.tasks.base import Task


@dataclass
class TrainRequest:
    """What a train message asks of a site, read once. Make one with `read`.

    Attributes
    ----------
    site : Site
        Who is asked.
    content : RecordDict
        The message.
    job : Job
        What is asked.
    ticket : Ticket
        By whom, and whether it is signed.
    """

    site: Site
    content: RecordDict
    job: Job
    ticket: Ticket

    @classmethod
    def read(cls, site: Site, content: RecordDict) -> TrainRequest:
        """Read a message.

        Raises
        ------
        FirewallRefusedError
            If it is not exactly what a train message is.
        """
        job = read_job(content, FirewallRefusedError)
        return cls(site, content, job, read_ticket(content, FirewallRefusedError))

    @cached_property
    def source(self) -> StoreSource:
        """The site's training patients, as the store has them."""
        return self.site.store.source("train")

    @cached_property
    def preparing(self) -> tuple[PreparingVersion, ...]:
        """The versions that prepare the input: what came, and what was kept."""
        store, job = self.site.store, self.job
        return receive_preparations(store, self.content, job.task, job.prepared_with)

    @cached_property
    def prepared(self) -> SiteSource:
        """The site's training patients, as the task reads them."""
        return prepared_source(self.source, self.job.task, self.preparing)

    @cached_property
    def countable(self) -> SiteSource:
        """The same patients with empty maps where some are to be found: enough to open them."""
        return prepared_source(self.source, self.job.task, self.preparing, only_counts=True)

    @cached_property
    def declared(self) -> int:
        """The declared number of patients who train the task; what leaves follows from it."""
        return training_number(self.site.store.config, self.job.task)

    @cached_property
    def task(self) -> Task:
        """The task, with the settings that the job brings."""
        return make_task(self.job.settings)

    @cached_property
    def network(self) -> nn.Module:
        """The task's network; its weights are not the model's yet."""
        return self.task.network()

    @cached_property
    def trained(self) -> tuple[str, ...]:
        """Names of the tensors that the job trains."""
        from shared.training.arrays import trainable_names

        settings = self.job.settings
        chosen = settings.private if self.job.mode == "private" else settings.plain
        return tuple(trainable_names(self.task, self.network, chosen.trainable))

    @cached_property
    def model(self) -> ReceivedModel:
        """The model: what came, and what was kept of the run before."""
        return receive_model(
            self.site.store.folder, self.content, self.job, self.ticket,
            shapes_of(self.network), self.trained,
        )  # fmt: skip

    @cached_property
    def memory(self) -> int:
        """Bytes that training takes at most, by the settings alone."""
        settings, at_once = self.job.settings, 1
        if self.job.mode == "plain":
            most = self.site.store.config.compute.physical_batch_patients
            at_once = min(settings.plain.batch_patients, most)
        return bytes_of_request(settings, at_once, trains=True)

    @cached_property
    def asked(self) -> str:
        """Digest of everything that is asked."""
        return asked_digest(self.job, {"model": self.model.digest})


#: What any message asks.
AnyRequest = TrainRequest | EvaluateRequest


def comes_from_the_coordinator(request: AnyRequest) -> None:
    """Refuse what the pinned coordinator did not sign for this site and run."""
    site = request.site
    permit_coordinator(request.ticket, site.store.folder, site.name, request.job.run)


def is_of_a_permitted_task(request: AnyRequest) -> None:
    """Refuse a task that the hospital does not train, and one that prepares its input."""
    for task in (request.job.task, *sorted(request.job.prepared_with)):
        policy.permit_task(task, request.site.store.config)


def comes_at_a_permitted_hour(request: AnyRequest) -> None:
    """Refuse outside the hours that the hospital set."""
    policy.permit_hours(request.site.store.config)


def has_declared_its_patients(request: AnyRequest) -> None:
    """Refuse a task for which the hospital declared no number of patients."""
    _ = request.declared


def has_a_delta_for_so_many_patients(request: AnyRequest) -> None:
    """Refuse private training where δ is too large for the declared patients of all tasks."""
    if isinstance(request, TrainRequest) and request.job.mode == "private":
        policy.permit_delta(request.site.store.config, largest_number(request.site.store.config))


def has_noise_that_can_be_made(request: AnyRequest) -> None:
    """Refuse a private round outside the hospital's range of noise, or that has no grid."""
    from shared.training.whole_sum import ClippingGrid

    if isinstance(request, TrainRequest) and request.job.mode == "private":
        policy.permit_mechanism(request.job, request.site.store.config)
        ClippingGrid.of(request.job.max_grad_norm, request.job.noise_multiplier)


def asks_no_more_than_the_policy_permits(request: AnyRequest) -> None:
    """Refuse less noise, more steps, or training without privacy, beyond the hospital's rules."""
    if isinstance(request, TrainRequest):
        policy.permit_job(request.job, request.site.store.config, request.declared)
    else:  # a hospital that is too small to train takes no part in measuring either
        policy.permit_cohort(request.site.store.config, request.declared)


def takes_no_more_memory_than_permitted(request: AnyRequest) -> None:
    """Refuse images and networks that would take more memory than the hospital gives."""
    policy.permit_memory(request.memory, request.site.store.config)


def meets_the_data_contract(request: AnyRequest) -> None:
    """Refuse where the hospital's data are not what the consortium requires for the task."""
    store, job = request.site.store, request.job
    permit_preparation(store, job.task, job.prepared_with)
    permit_contract(store, job.task)


def brings_a_model_of_the_task(request: AnyRequest) -> None:
    """Refuse tensors of other names or shapes, and values that are not finite."""
    _ = request.model if isinstance(request, TrainRequest) else request.models


def keeps_nothing_of_patients(request: AnyRequest) -> None:
    """Refuse a private round of a network with layers that keep statistics of samples."""
    from shared.training.one_patient import refuse_statistics

    if isinstance(request, TrainRequest) and request.job.mode == "private":
        refuse_statistics(request.network)


def brings_what_prepares_the_input(request: AnyRequest) -> None:
    """Refuse other versions than the job names, and to prepare anything without a good ticket."""
    if request.job.prepared_with:
        is_what_the_ticket_is_over(request)
        _ = request.preparing


def is_what_the_ticket_is_over(request: AnyRequest) -> None:
    """Refuse what is not what the coordinator signed, and a ticket that was used before."""
    permit_request(request.ticket, request.asked, request.site.chain)


def has_whole_arrays(request: AnyRequest) -> None:
    """Refuse to train where an array of the store is missing or damaged.

    All patients are opened as if to count them; nothing is prepared. How many there are decides
    only without privacy, where no noise hides one who is alone.
    """
    if isinstance(request, TrainRequest):
        usable = usable_patients(request.task, request.countable)
        if request.job.mode == "plain":
            policy.permit_cohort(request.site.store.config, usable)


def has_room_for_what_is_prepared(request: AnyRequest) -> None:
    """Refuse what may take more disk than the hospital allows; what is said names no size.

    What is measured makes room when it is: what is not answered anew must push nothing out.
    """
    if isinstance(request, TrainRequest):
        keep_preparations(request.site.store, request.preparing)


#: For every kind of request, in this order: what is cheap and what decides who may speak at all
#: come first.
CHECKS: Final[tuple[Callable[[AnyRequest], None], ...]] = (
    comes_from_the_coordinator,
    is_of_a_permitted_task,
    comes_at_a_permitted_hour,
    has_declared_its_patients,
    has_a_delta_for_so_many_patients,
    has_noise_that_can_be_made,
    asks_no_more_than_the_policy_permits,
    meets_the_data_contract,
    takes_no_more_memory_than_permitted,
    brings_a_model_of_the_task,
    keeps_nothing_of_patients,
    brings_what_prepares_the_input,
    is_what_the_ticket_is_over,
    has_whole_arrays,
    has_room_for_what_is_prepared,
)


def usable_patients(task: Task, source: PatientSource) -> int:
    """Count the patients that a task can train on."""
    from shared.training.batches import Patients

    return len(Patients(task, source))
