"""A passport holds for exactly one model made of exactly these updates."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.registry.passport import make_passport, not_proven_in, verify_passport
from server.rounds.roster import Roster
from server.rounds.train import train_rounds
from server.state.home import Home
from shared.audit.chain import head_path
from shared.errors import ChainBrokenError, OsteofedError, PassportInvalidError
from shared.inference.trust.origin import verify_origin
from shared.protocol.half_precision import halved
from shared.protocol.passport import FILE, PASSPORT, read_passport
from shared.protocol.signatures import NOT_PROVEN_ON_GPU, STATEMENT
from shared.settings.files import StrategySettings
from shared.training.weights import Weights, digest_arrays, load_weights, save_weights
from tests.server.fake_grid import FakeGrid, make
from tests.server.jobs import member, signing_key
from tests.server.rounds.test_train import START, honest, journal, plan
from tests.server.tiny_sites import TINY_TASK


@dataclass(frozen=True)
class Version:
    """A registered version's papers."""

    passport: Path
    key: str
    weights: Path
    chain: Path
    updates: Path
    start: Path

    def verify(self) -> list[str]:
        return verify_passport(
            self.passport, self.key, weights=self.weights, chain=self.chain,
            updates=self.updates, start=self.start,
        )  # fmt: skip


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    folder = tmp_path_factory.mktemp("version")
    base = plan(folder, maximum_patients_per_site=1000)
    strategy = StrategySettings(name="FedAdam", options={"eta": 0.1})
    task = base.tasks[0].model_copy(update={"strategy": strategy, "rounds": 2})
    work = base.model_copy(update={"tasks": (task,)})
    members = tuple(member(name) for name in ("alpha", "beta"))
    told = journal(folder)
    begun = {name: value + np.float32(1e-5) for name, value in START.arrays.items()}
    trained = train_rounds(
        FakeGrid({1: honest("alpha", 0.3), 2: honest("beta", 1.7)}), Roster(members), work, task,
        replace(START, arrays=begun), make, told, lambda facts, point: None,
    )  # fmt: skip
    digests = digest_arrays(trained.arrays), digest_arrays(begun)
    made = make_passport(work, task, trained.passports, *digests)
    (folder / FILE).write_text(made.model_dump_json())
    save_weights(folder / "w.safetensors", Weights(TINY_TASK, trained.arrays, "x"))
    save_weights(folder / "s.safetensors", Weights(TINY_TASK, begun, "x"))
    home = told.home
    return Version(
        folder / FILE, home.key().public, folder / "w.safetensors", home.chain().path,
        work.task_folder(task.name) / "updates", folder / "s.safetensors",
    )  # fmt: skip


def test_a_whole_passport_is_good_to_the_bit(version: Version) -> None:
    assert version.verify()[-1] == "every round, aggregated again from the updates"


def flip(path: Path, at: int, by: int) -> bytes:
    raw = path.read_bytes()
    changed = bytearray(raw)
    changed[at % len(raw)] ^= by
    path.write_bytes(bytes(changed))
    return raw


@given(what=st.sampled_from(["passport", "chain", "head", "weights", "update"]),
       at=st.integers(0, 10**6), by=st.integers(1, 127))  # fmt: skip
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_changed_byte_anywhere_is_found(version: Version, what: str, at: int, by: int) -> None:
    path = {
        "passport": version.passport,
        "chain": version.chain,
        "head": head_path(version.chain),
        "weights": version.weights,
        "update": version.updates / "round-0001" / "beta.safetensors",
    }[what]
    if what == "head" and path.read_bytes()[at % path.stat().st_size] == ord("\n"):
        return  # white space after the JSON says nothing
    if what in ("weights", "update"):
        at += int.from_bytes(path.read_bytes()[:8], "little") + 8  # the header's words are free
        at = min(at, path.stat().st_size - 1)
    before = flip(path, at, by)
    try:
        if path.read_bytes() == before:
            return
        if what == "passport" and _same_json(path, before):
            return
        with pytest.raises((OsteofedError,)):
            version.verify()
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("header", [b"[]", b"7", b'{"layer.bias": 7}', b'{"layer.bias": {}}', None])
def test_an_update_whose_header_is_none_is_a_sentence(
    version: Version, header: bytes | None
) -> None:
    """Also a header that says to be larger than any memory."""
    path = version.updates / "round-0001" / "beta.safetensors"
    before = path.read_bytes()
    length = 2**62 if header is None else len(header)
    path.write_bytes(length.to_bytes(8, "little") + (header or b"{}"))
    try:
        with pytest.raises(PassportInvalidError, match="is not an update"):
            version.verify()
    finally:
        path.write_bytes(before)


def _same_json(path: Path, before: bytes) -> bool:
    try:
        return bool(json.loads(path.read_bytes()) == json.loads(before))
    except ValueError:
        return False


def test_a_site_that_signed_another_mechanism_is_found_offline(version: Version) -> None:
    """The coordinator took it all the same, and signed the passport."""
    text = version.passport.read_text()
    made = read_passport(version.passport)
    first = made.rounds[0].statements[0]
    told = first.model_copy(update={"noise_multiplier": 1e-4, "not_proven": NOT_PROVEN_ON_GPU})
    signer = signing_key(first.site)
    content = told.model_dump(exclude={"signature"})
    lie = told.model_copy(update={"signature": signer.sign(STATEMENT, content)})
    assert lie.is_signed()
    rounds = [
        made.rounds[0].model_copy(update={"statements": [lie, *made.rounds[0].statements[1:]]}),
        *made.rounds[1:],
    ]
    assert not_proven_in(rounds) == ["not proven on a GPU: alpha, in 1 round"]
    draft = made.model_copy(update={"rounds": rounds})
    key = Home(version.chain.parent).key()
    signed = draft.model_copy(update={"signature": key.sign(PASSPORT, draft.content())})
    version.passport.write_text(signed.model_dump_json())
    try:
        with pytest.raises(PassportInvalidError, match="alpha: its statement is over another"):
            version.verify()
    finally:
        version.passport.write_text(text)


def test_another_run_of_the_same_signatures_is_none(version: Version) -> None:
    text = version.passport.read_text()
    read = json.loads(text)
    try:
        del read["rounds"][1]
        version.passport.write_text(json.dumps(read))
        with pytest.raises(PassportInvalidError, match="signature is not that of its content"):
            version.verify()
    finally:
        version.passport.write_text(text)
    with pytest.raises(PassportInvalidError, match="another key"):
        verify_passport(version.passport, "0" * 64)


def forged(version: Version, **changes: Any) -> Path:
    """The passport with another content, signed by the coordinator itself."""
    home = Home(version.chain.parent)
    made = read_passport(version.passport).model_copy(update=changes)
    signature = home.key().sign(PASSPORT, made.content())
    path = version.passport.with_name("forged.json")
    path.write_text(made.model_copy(update={"signature": signature}).model_dump_json())
    return path


def test_no_other_model_can_stand_before_what_the_sites_signed(version: Version) -> None:
    """Not even the coordinator can say that they trained from another."""
    first, second = read_passport(version.passport).rounds
    other = "ab" * 32
    changed: dict[str, dict[str, Any]] = {
        "the first": {"start": other, "rounds": [
            first.model_copy(update={"model_before": other}), second]},
        "in between": {"rounds": [first.model_copy(update={"model_after": other}),
                                  second.model_copy(update={"model_before": other})]},
        "the job": {"rounds": [first.model_copy(update={
            "job": first.job.model_copy(update={"proximal_mu": 0.5})}), second]},
    }  # fmt: skip
    for changes in changed.values():
        with pytest.raises(PassportInvalidError, match="another request than this job with this"):
            verify_passport(forged(version, **changes), version.key)
    jobs = [first.model_copy(update={"job": second.job}), second]
    with pytest.raises(PassportInvalidError, match="another run, round or task"):
        verify_passport(forged(version, rounds=jobs), version.key)
    assert verify_passport(forged(version), version.key)


def test_the_start_is_compared_to_the_bit(version: Version, tmp_path: Path) -> None:
    """What rounds to the same half precision is another start, if only a little."""
    weights = load_weights(version.start)
    near = {name: halved(weights.arrays)[name] for name in weights.arrays}
    assert digest_arrays(near) == read_passport(version.passport).start
    path = tmp_path / "near.safetensors"
    save_weights(path, replace(weights, arrays=near))
    with pytest.raises(PassportInvalidError, match="is not what the run began with"):
        replace(version, start=path).verify()


def test_a_passport_of_an_older_version_is_named_so(version: Version, tmp_path: Path) -> None:
    text = version.passport.read_text()
    for number, reason in ((1, "older OsteoFed"), (2, "older OsteoFed"), (99, "is not a passport")):
        path = tmp_path / "passport.json"
        path.write_text(text.replace('"passport":3', f'"passport":{number}', 1))
        with pytest.raises(PassportInvalidError, match=reason):
            read_passport(path)


def test_a_chain_that_lost_its_end_does_not_carry_the_passport(version: Version) -> None:
    raw = version.chain.read_bytes()
    try:
        version.chain.write_bytes(b"".join(raw.splitlines(keepends=True)[:-1]))
        with pytest.raises(ChainBrokenError):
            version.verify()
    finally:
        version.chain.write_bytes(raw)


def test_who_reads_patients_takes_the_version_with_the_coordinators_key_alone(
    version: Version, tmp_path: Path
) -> None:
    weights = load_weights(version.weights)
    with pytest.raises(PassportInvalidError, match="its origin is not what the coordinator signed"):
        verify_origin("it", weights, version.passport, version.key)
    said = replace(weights, origin="federated run run-1")
    assert verify_origin("it", said, version.passport, version.key).run == "run-1"
    told = json.loads(version.passport.read_text())
    told["rounds"][0]["patients"]["alpha"] += 1
    (tmp_path / FILE).write_text(json.dumps(told))
    with pytest.raises(PassportInvalidError, match="its signature"):
        verify_origin("it", said, tmp_path / FILE, version.key)
