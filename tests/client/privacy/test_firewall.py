"""What the firewall lets in and out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from flwr.app import RecordDict

from client.privacy.firewall import admit_model, largest_norm, norm_of_change, release_update
from shared.errors import FirewallRefusedError
from shared.protocol.codec import Arrays, array_record, read_arrays
from shared.protocol.half_precision import LENGTHENED, halved
from shared.training.weights import digest_arrays
from tests.server.jobs import arrays, job, train_message
from tests.server.tiny_sites import TINY_TASK

NAMES = ("layer.bias", "layer.weight")
SHAPES = {name: value.shape for name, value in arrays().items()}


def update(value: float = 0.1) -> Arrays:
    return {name: arrays(value)[name] for name in NAMES}


def test_the_tasks_own_model_comes_in_unchanged() -> None:
    received = admit_model(train_message(arrays(2.0), job()), "model", SHAPES)
    assert all((received[name] == value).all() for name, value in arrays(2.0).items())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extra": np.zeros(3, np.float32)}, "not known: extra"),
        ({"scale": None}, "missing: scale"),
        ({"layer.bias": np.zeros(4, np.float32)}, "shape"),
        ({"layer.bias": np.array([0, np.nan, 0], np.float32)}, "NaN or infinity"),
        ({"layer.bias": np.array([0, np.inf, 0], np.float32)}, "NaN or infinity"),
    ],
)
def test_a_crafted_model_does_not_come_in(change: dict[str, object], reason: str) -> None:
    model = {k: v for k, v in (arrays() | change).items() if v is not None}
    with pytest.raises(FirewallRefusedError, match=reason):
        admit_model(train_message(model, job()), "model", SHAPES)  # type: ignore[arg-type]


def test_an_update_of_what_was_trained_goes_out() -> None:
    released = release_update(update(), arrays(), NAMES, job(), patients=50)
    assert list(released) == sorted(NAMES)
    for value in released.values():
        np.testing.assert_allclose(value, 0.1, rtol=2**-11)


def test_what_goes_out_is_the_change_as_it_will_be_read() -> None:
    released = release_update(update(0.123), arrays(), NAMES, job(), patients=50)
    assert digest_arrays(halved(released)) == digest_arrays(released)
    record = RecordDict({"update": array_record(released)})
    shapes = {name: SHAPES[name] for name in NAMES}
    assert digest_arrays(read_arrays(record, "update", shapes, FirewallRefusedError)) == (
        digest_arrays(released)
    )


def test_a_change_at_the_bound_goes_out_although_rounding_makes_it_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received = {name: np.zeros_like(arrays()[name]) for name in NAMES}
    # Just above the middle between two halves: every number is rounded up.
    trained = {n: np.full_like(v, 1.0 + 2.0**-11 + 2.0**-20) for n, v in received.items()}
    exact = norm_of_change(trained)
    assert 1.0004 * exact < norm_of_change(halved(trained)) < LENGTHENED * exact
    monkeypatch.setattr("client.privacy.firewall.largest_norm", lambda *_: exact)
    released = release_update(trained, received, NAMES, job(), patients=50)
    assert digest_arrays(released) == digest_arrays(halved(trained))


@pytest.mark.parametrize("longer", [1.01, 40.0, 1e30])
def test_a_change_over_the_bound_is_shortened_to_it_and_never_refused(longer: float) -> None:
    """Its length follows from how many patients there are: a refusal would tell that."""
    generator = np.random.default_rng(3)
    change = {n: generator.normal(size=arrays()[n].shape).astype(np.float32) for n in NAMES}
    most = largest_norm(job(), 50, sum(one.size for one in change.values()))
    factor = longer * most / norm_of_change(change)
    trained = {name: (one * factor).astype(np.float32) for name, one in change.items()}
    received = {name: np.zeros_like(one) for name, one in change.items()}
    released = release_update(trained, received, NAMES, job(), patients=50)
    assert norm_of_change(released) == pytest.approx(most, rel=2**-10)
    for name in NAMES:
        np.testing.assert_allclose(released[name], trained[name] / longer, rtol=2**-9)
    assert digest_arrays(halved(released)) == digest_arrays(released)


def test_a_bound_that_is_no_number_lets_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("client.privacy.firewall.largest_norm", lambda *_: math.nan)
    with pytest.raises(FirewallRefusedError, match="no bound"):
        release_update(update(), arrays(), NAMES, job(), patients=50)


def test_a_change_that_half_precision_cannot_hold_stays_inside() -> None:
    far = {name: np.full_like(arrays()[name], 3.4e38) for name in NAMES}
    near = {name: np.full_like(arrays()[name], -3.4e38) for name in NAMES}
    with pytest.raises(FirewallRefusedError, match=r"change in half precision.*NaN"):
        release_update(far, near, NAMES, job(mode="plain"), patients=50)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scale": np.zeros((), np.float32)}, "exactly the 2"),
        ({"layer.bias": None}, "exactly the 2"),
        ({"layer.bias": np.zeros(4, np.float32)}, "must be float32"),
        ({"layer.bias": np.zeros(3, np.int64)}, "must be float32"),
        ({"layer.bias": np.array([0, np.nan, 0], np.float32)}, "NaN or infinity"),
    ],
)
def test_anything_else_stays_inside(change: dict[str, object], reason: str) -> None:
    wrong = {k: v for k, v in (update() | change).items() if v is not None}
    with pytest.raises(FirewallRefusedError, match=reason):
        release_update(wrong, arrays(), NAMES, job(), patients=50)  # type: ignore[arg-type]


def test_the_largest_private_update_stays_under_the_bound() -> None:
    """Every patient pushes the same way with full norm, and the noise is far out."""
    settings = TINY_TASK.private
    patients, parameters = 40, 9
    work = job()
    generator = np.random.default_rng(0)
    worst = 0.0
    for _ in range(200):
        change = np.zeros(parameters)
        for _ in range(work.steps):
            pushed = np.zeros(parameters)
            pushed[0] = patients * work.max_grad_norm
            noise = generator.normal(0, work.noise_multiplier * work.max_grad_norm, parameters)
            change -= settings.learning_rate * (pushed + noise) / (work.sample_rate * patients)
        worst = max(worst, float(np.linalg.norm(change)))
    bound = largest_norm(work, patients, parameters)
    assert 0.3 * bound < worst < bound


def test_no_bound_is_claimed_where_none_is_known() -> None:
    assert math.isinf(largest_norm(job(mode="plain"), 50, 10))
    adam = TINY_TASK.model_copy(
        update={"private": TINY_TASK.private.model_copy(update={"optimiser": "adam"})}
    )
    assert math.isinf(largest_norm(job(adam), 50, 10))


def test_the_bound_follows_a_rate_that_follows_the_noise() -> None:
    """Half of the noise at which the whole rate is used: half of the rate, half of the bound."""
    work = job()
    usual = largest_norm(work, 40, 9)
    noise = work.noise_multiplier * work.max_grad_norm / (work.sample_rate * 40)
    noise *= math.sqrt(work.rounds * work.steps)
    private = work.settings.private.model_copy(update={"full_rate_noise": noise / 2})
    slowed = work.model_copy(
        update={"settings": work.settings.model_copy(update={"private": private})}
    )
    assert largest_norm(slowed, 40, 9) == pytest.approx(usual / 2)


def test_the_norm_of_a_change_is_euclidean_over_all_tensors() -> None:
    change = {"layer.bias": np.ones(3, np.float32), "layer.weight": np.ones((3, 2), np.float32)}
    assert norm_of_change(change) == pytest.approx(math.sqrt(9.0))
