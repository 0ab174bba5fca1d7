"""What may come in and what may leave: names, types, shapes, finite, no more than allowed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from shared.errors import FirewallRefusedError
from shared.protocol.codec import Arrays, Shapes, check_finite, read_arrays
from shared.protocol.half_precision import LENGTHENED, halved
from shared.protocol.messages import Job
from shared.settings.declared import MOST_OVER

if TYPE_CHECKING:
    from flwr.app import RecordDict

#: How many standard deviations of the noise's norm are let through. The norm of d
#: independent normal numbers passes sqrt(d) + 8 with probability under exp(-32).
NOISE_DEVIATIONS = 8.0
#: Room for float32 rounding over many steps, as a factor.
ROUNDING = 1.01


def admit_model(
    content: RecordDict, record: str, shapes: Shapes, part: Collection[str] = ()
) -> Arrays:
    """Let a model in if it is exactly the task's network in names, types and shapes.

    Parameters
    ----------
    content : RecordDict
        The message.
    record : str
        Name of its array record.
    shapes : mapping of str to tuple of int
        Tensors of the task's network.
    part : collection of str
        Those of which exactly these may come instead of all.

    Returns
    -------
    dict of str to ndarray of float32
        Finite tensors, to the bit as they were sent.

    Raises
    ------
    FirewallRefusedError
        If anything differs.
    """
    return read_arrays(content, record, shapes, FirewallRefusedError, part)


def release_update(
    update: Arrays, received: Arrays, names: tuple[str, ...], job: Job, patients: int
) -> Arrays:
    """Let an update out if it is what the round should have made, and nothing more.

    What leaves is the change, rounded to half precision. Both follow from the trained
    tensors and the model that came in, after clipping and noise: post-processing, which
    costs no privacy, and neither does the power of two beside each tensor.

    Parameters
    ----------
    update : dict of str to ndarray of float32
        Trained tensors.
    received : dict of str to ndarray of float32
        The model that came in.
    names : tuple of str
        Tensors that the task trains; exactly these may leave.
    job : Job
        What was asked.
    patients : int
        Declared patients, by whose number the sum was divided.

    Returns
    -------
    dict of str to ndarray of float32
        What training changed, as it will travel, sorted by name. Where it is longer than
        `largest_norm` it is shortened to that: post-processing too, of what is noised already.
        It is never refused for its length, which follows from how many patients there are.

    Raises
    ------
    FirewallRefusedError
        If names, types or shapes differ, or a value is not finite or is not in half
        precision.
    """
    if set(update) != set(names):
        raise FirewallRefusedError(
            f"the update would hold {len(update)} tensors (must be exactly the {len(names)} "
            "that the task trains)"
        )
    for name in names:
        array = update[name]
        if array.dtype != np.float32 or array.shape != received[name].shape:
            raise FirewallRefusedError(
                f"update {name!r} is {array.dtype} {array.shape} "
                f"(must be float32 {received[name].shape})"
            )
    check_finite(update, "update", FirewallRefusedError)
    with np.errstate(over="ignore"):
        exact = {name: update[name] - received[name] for name in sorted(names)}
        change = halved(exact)
    check_finite(change, "the change in half precision", FirewallRefusedError)
    most = largest_norm(job, patients, sum(update[name].size for name in names))
    if math.isnan(most):
        raise FirewallRefusedError("the request has no bound on what its mechanism can make")
    if norm_of_change(change) <= most * LENGTHENED:
        return change
    scale = most / norm_of_change(exact)
    return halved({name: (array * scale).astype(np.float32) for name, array in exact.items()})


def norm_of_change(change: Mapping[str, NDArray[np.float32]]) -> float:
    """Compute the L2 norm of what training changed."""
    exact = (array.astype(np.float64) for array in change.values())
    return math.sqrt(sum(float(np.vdot(one, one)) for one in exact))


def largest_norm(job: Job, patients: int, parameters: int) -> float:
    """Bound the norm of a private update; infinity where no bound is known.

    One step of DP-SGD moves by the learning rate (lower where the noise is large) times a
    gradient estimate of at most ``(1.5·n·C + sigma·C·(sqrt(d) + 8)) / (q·n)`` with n declared
    patients, of whom there may be half as many more before the check warns, clipping norm C,
    noise multiplier sigma, d parameters and sample rate q (all drawn, all of the same
    direction). Momentum m makes at most 1/(1 - m) of it. A proximal term only pulls back.

    Parameters
    ----------
    job : Job
        The mechanism.
    patients : int
        Declared patients, n.
    parameters : int
        Trained numbers, d.

    Returns
    -------
    float
        The bound; infinity for plain rounds and for Adam.
    """
    settings = job.settings.private
    if job.mode == "plain" or settings.optimiser != "sgd":
        return math.inf
    settings = settings.slowed_by_noise(job.noise_multiplier, patients, job.rounds)
    noise = job.noise_multiplier * job.max_grad_norm * (math.sqrt(parameters) + NOISE_DEVIATIONS)
    step = MOST_OVER * job.max_grad_norm / job.sample_rate
    step += noise / (job.sample_rate * max(patients, 1))
    return ROUNDING * job.steps * settings.learning_rate * step / (1.0 - settings.momentum)
