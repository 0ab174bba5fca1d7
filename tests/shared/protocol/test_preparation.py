"""What prepares an input stands in a job, and a job that has none is the one it always was."""

from __future__ import annotations

import hashlib

import pytest
from flwr.app import ConfigRecord

from client.contract.data_contract import KeptContract, contract_digest
from shared.audit.keys import digest_of
from shared.errors import FirewallRefusedError
from shared.protocol import messages as protocol
from shared.protocol.codec import array_record
from shared.protocol.messages import EvaluateJob, Job
from shared.protocol.preparation import MOST, Preparation
from shared.protocol.signatures import asked_digest
from shared.settings.contract import DataContract
from tests.server.jobs import DIGEST, arrays, job, ticket
from tests.server.tiny_sites import TINY_TASK

FRACTURE = TINY_TASK.model_copy(update={"task": "vfa-fracture"})
PREPARATION = Preparation(settings=TINY_TASK, digest="ab" * 32)
NAMED = {TINY_TASK.task: PREPARATION}


def test_what_needs_no_preparation_has_the_digests_that_it_had_before_there_was_any() -> None:
    plain = DataContract()
    evaluation = EvaluateJob(run="r", task=TINY_TASK.task, models={"final": TINY_TASK})
    kept = KeptContract(
        task=TINY_TASK.task, federation="f", kept="k", digest=contract_digest(plain, {}, {}),
        contract=plain,
    )  # fmt: skip
    assert {
        "job": job().digest(),
        "asked": asked_digest(job(), {"model": DIGEST}),
        "evaluation": asked_digest(evaluation, {"model:final": DIGEST}),
        "contract": contract_digest(plain, {}, {}),
        "kept": hashlib.sha256(kept.model_dump_json(indent=2).encode()).hexdigest(),
    } == {
        "job": "e3fb9c4e98919b25d87128548faa36e45c3bbaacb548e3e9e2984b2a4406c9b5",
        "asked": "56db8c4144673c659e3a2ec1274c83911ae4a673365d87010069011f41c0ed8f",
        "evaluation": "07bac1413df772073459e07d1ca459504e46ccb70afa6dde7e2bf4d418d35ddf",
        "contract": "fa2fb1b711f17ac9bd00a424519813a6c3eab10608c4643775dca2aa95b7e0a0",
        "kept": "702c7dbf62e7aaecf4c141a52d82d3af62ecb6699ceb07427b0285021ab2b457",
    }
    assert "prepared_with" not in protocol.train_message(
        array_record(arrays()), job(), ticket()
    )["job"]  # fmt: skip


def test_every_digest_follows_the_version_that_prepares() -> None:
    other = {TINY_TASK.task: PREPARATION.model_copy(update={"digest": "cd" * 32})}
    jobs = [job(FRACTURE, prepared_with=named) for named in ({}, NAMED, other)]
    assert len({one.digest() for one in jobs}) == 3
    assert len({asked_digest(one, {"model": DIGEST}) for one in jobs}) == 3
    named = [{}, {"a": "1"}, {"a": "2"}]
    bare = DataContract()
    assert len({contract_digest(bare, one, two) for one in named for two in named}) == 9
    # A contract that was kept before network settings were agreed on has the digest that it had.
    before = digest_of(bare.model_dump(mode="json") | {"prepared_with": named[1]})
    assert contract_digest(bare, named[1], {}) == before


@pytest.mark.parametrize("brought", [True, False])
def test_a_job_with_preparations_reads_back_with_their_weights_or_without(brought: bool) -> None:
    asked = job(FRACTURE, prepared_with=NAMED)
    preparing = {TINY_TASK.task: array_record(arrays())} if brought else {}
    content = protocol.train_message(array_record(arrays()), asked, ticket(), preparing)
    assert protocol.read_job(content, FirewallRefusedError) == asked
    assert ("prepare:dxa-segmentation" in content) == brought
    content["prepare:other"] = array_record(arrays())
    with pytest.raises(FirewallRefusedError, match="the message holds records"):
        protocol.read_job(content, FirewallRefusedError)


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("{}}", "not readable"),
        ("[]", "valid dictionary"),
        ('{"dxa-bmd": %s}', "dxa-bmd with settings of dxa-segmentation"),
        ('{"dxa-segmentation": {"digest": "ab"}}', "prepared_with"),
        ("{" + ",".join(f'"t{n}": %s' for n in range(MOST + 1)) + "}", "at most"),
    ],
)  # fmt: skip
def test_a_job_that_names_no_version_is_refused_in_words(named: str, reason: str) -> None:
    content = protocol.train_message(array_record(arrays()), job(FRACTURE), ticket())
    config = content["job"]
    assert isinstance(config, ConfigRecord)
    config["prepared_with"] = named.replace("%s", PREPARATION.model_dump_json())
    with pytest.raises(FirewallRefusedError, match=reason):
        protocol.read_job(content, FirewallRefusedError)


def test_a_job_as_it_was_stored_still_reads() -> None:
    stored = job().model_dump_json()
    assert "prepared_with" not in stored
    assert Job.model_validate_json(stored) == job()
