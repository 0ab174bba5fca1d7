"""The model of a round as a site holds it: what came, and what was kept of the run before.

From the second round on only the tensors come that the round trains. The others are the
same in all rounds of a run's task, and were kept when they came (`client.round.answer_cache`).
What is put together is believed only if the ticket is over exactly that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from client.privacy import firewall
from client.round.answer_cache import keep_rest, kept_rest
from shared.errors import ModelNotKeptError
from shared.protocol.codec import Arrays, Shapes
from shared.protocol.messages import Job
from shared.protocol.signatures import Ticket, asked_digest
from shared.training.weights import digest_arrays

if TYPE_CHECKING:
    from flwr.app import RecordDict


@dataclass(frozen=True)
class ReceivedModel:
    """The whole model, its `shared.training.weights.digest_arrays`, and whether all of it came."""

    arrays: Arrays
    digest: str
    came_whole: bool


def receive_model(
    folder: Path,
    content: RecordDict,
    job: Job,
    ticket: Ticket,
    shapes: Shapes,
    names: tuple[str, ...],
) -> ReceivedModel:
    """Read the model of a train message, and put it together if it came in part.

    Parameters
    ----------
    folder : Path
        The site folder.
    content : RecordDict
        The message.
    job, ticket
        Of the message; a ticket that is not signed is refused elsewhere.
    shapes : mapping of str to tuple of int
        Tensors of the task's network.
    names : tuple of str
        Those that the round trains.

    Returns
    -------
    ReceivedModel
        With tensors in the order of their names.

    Raises
    ------
    FirewallRefusedError
        If what came is neither all tensors nor exactly those that the round trains.
    ModelNotKeptError
        If it came in part, and the whole would not be what the ticket is over.
    """
    came = firewall.admit_model(content, "model", shapes, names)
    if len(came) == len(shapes):
        return ReceivedModel(came, digest_arrays(came), came_whole=True)
    whole = {**kept_rest(folder, job), **came}
    digest = digest_arrays(whole)
    if asked_digest(job, {"model": digest}) != ticket.asked:
        raise ModelNotKeptError(
            f"what this site keeps of the model of run {job.run} is not what the request was "
            "signed over; send the whole model"
        )
    arrays = {name: whole[name] for name in sorted(whole)}
    return ReceivedModel(arrays, digest, came_whole=False)


def keep_received(folder: Path, job: Job, model: ReceivedModel, names: tuple[str, ...]) -> None:
    """Keep what later rounds need not bring again; durable before the answer leaves.

    Parameters
    ----------
    folder : Path
        The site folder.
    job : Job
        What was asked.
    model : ReceivedModel
        Of a message whose ticket was good, and whose cost stands in the ledger.
    names : tuple of str
        Tensors that the round trains.
    """
    rest = {name: value for name, value in model.arrays.items() if name not in set(names)}
    if rest and model.came_whole:
        keep_rest(folder, job, rest)
