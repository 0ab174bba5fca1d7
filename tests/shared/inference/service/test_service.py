"""A real server answers plain stubs and typed clients; each failure has a status of its own."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from shared.errors import ServiceRefusedError
from shared.inference.predict import predict_folder
from shared.inference.proto import osteofed_pb2 as pb
from shared.inference.proto import osteofed_pb2_grpc as pb_grpc
from shared.inference.runtime.runtime import InferenceRuntime
from shared.inference.runtime.self_test import stored_study
from shared.inference.runtime.study_reading import Progress
from shared.inference.service.client import (
    AsyncInferenceClient,
    InferenceClient,
    credentials,
    requests,
)
from shared.inference.service.server import OTHER_CALLS, SERVICE
from shared.runtime.files import ROOM_TO_LEAVE
from shared.settings.serve import GrpcSettings
from tests.shared.inference.runtime.held_samples import SignedFolder, small_room, whole_room
from tests.shared.inference.service.running_service import Authority, serving

OPEN = GrpcSettings(study_megabytes=5.0, study_files=20, part_megabytes=1.5, receiving=2)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> SignedFolder:
    return SignedFolder(tmp_path_factory.mktemp("versions"))


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_room(tmp_path_factory.mktemp("room") / "here")


@pytest.fixture(scope="module")
def study(room: Path) -> list[Path]:
    """The files of a digital patient."""
    return sorted(stored_study(room).rglob("*.dcm"))


@pytest.fixture(scope="module")
def runtime(versions: SignedFolder, room: Path) -> Iterator[InferenceRuntime]:
    made = versions.runtime(room, waiting=4)
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def address(runtime: InferenceRuntime) -> Iterator[str]:
    with serving(runtime, OPEN) as where:
        yield where


def refused(address: str, *sent: pb.PredictRequest) -> tuple[str, str]:
    """Status and reason of a call that must fail."""
    with grpc.insecure_channel(address) as channel:
        stream = pb_grpc.InferenceStub(channel).Predict(iter(sent))
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
    told = dict(caught.value.trailing_metadata())
    assert told.get("osteofed-request-id") or not told.get("osteofed-reason")
    return caught.value.code().name, told.get("osteofed-reason", "")


def test_a_plain_stub_gets_every_number_that_predict_prints(
    address: str, versions: SignedFolder, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out, folder = tmp_path / "out", whole_room(tmp_path / "whole") / "DICOM"
    study = sorted(folder.rglob("*.dcm"))
    known = predict_folder(
        folder, out, models=versions.folder, trust=versions.key.public, device="cpu"
    ).facts()["studies"][0]["prediction"]  # type: ignore[index]
    with caplog.at_level(logging.INFO), grpc.insecure_channel(address) as channel:
        call = pb_grpc.InferenceStub(channel).Predict(requests(study, report=True))
        responses = list(call)
    parts = [one.WhichOneof("part") for one in responses]
    stages = [one.progress.stage for one in responses if one.WhichOneof("part") == "progress"]
    assert stages == [1, 2, 3]
    assert responses[0].progress.bytes == sum(path.stat().st_size for path in study)
    assert parts[3] == "result"
    assert set(parts[4:]) == {"report"}
    result = responses[3].result
    assert json.loads(result.prediction_json) == known
    assert [one.digest for one in result.models] == [one["digest"] for one in known["models"]]
    assert all(one.verified_with == versions.key.public for one in result.models)
    for typed, plain in (
        (result.measurements, known["measurements"]), (result.grades, known["grades"]),
        (result.not_assessed, known["not_assessed"]),
    ):  # fmt: skip
        assert len(typed) == len(plain)
        for one, told in zip(typed, plain, strict=True):
            for field, value in one.ListFields():
                if field.message_type is None:
                    assert (list(value) if field.is_repeated else value) == told[field.name]
    report = b"".join(one.report.content for one in responses[4:])
    assert report.decode() == (out / "report.html").read_text()
    told = dict(call.initial_metadata())
    assert told["osteofed-request-id"] == responses[0].request_id
    assert told["osteofed-request-id"] in caplog.text
    for identity in (known["study"]["patient_id"], known["study"]["study_uid"]):
        assert identity not in caplog.text


def test_the_typed_clients_agree_and_name_the_versions(
    address: str, versions: SignedFolder, study: list[Path]
) -> None:
    with InferenceClient(address) as client:
        held = client.models()
        [model] = held.models
        asked = {model.task: model.digest}
        found = client.predict(study, models=asked)
        with pytest.raises(ServiceRefusedError) as caught:
            client.predict(study, models={model.task: "0" * 64})
    assert (caught.value.status, caught.value.reason) == ("NOT_FOUND", "unknown_model")
    assert held.missing["dxa-bmd"].startswith("dxa-bmd: no champion")

    async def the_same() -> None:
        async with AsyncInferenceClient(address) as client:
            files = [path.read_bytes() for path in study]
            assert (await client.predict(files)).prediction == found.prediction
            assert (await client.models()).number == held.number

    asyncio.run(the_same())


def test_it_says_that_it_is_well_and_what_it_can(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        asked = health_pb2.HealthCheckRequest(service=SERVICE)
        assert health_pb2_grpc.HealthStub(channel).Check(asked).status == 1
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        [answer] = stub.ServerReflectionInfo(iter([question]))
    assert SERVICE in {one.name for one in answer.list_services_response.service}


def file(content: bytes, last: bool = True) -> pb.PredictRequest:
    return pb.PredictRequest(file=pb.FilePart(content=content, last=last))


def test_each_failure_is_a_status_of_its_own(address: str, study: list[Path]) -> None:
    options = pb.PredictRequest(options=pb.PredictOptions())
    invalid = "INVALID_ARGUMENT"
    assert refused(address, file(b"no DICOM at all" * 50)) == (invalid, "no_study")
    assert refused(address, file(study[0].read_bytes()[:3000])) == (invalid, "unreadable")
    assert refused(address, options) == (invalid, "no_study")
    assert refused(address, file(b"x"), options) == (invalid, "wrong_order")
    assert refused(address, file(b"x", last=False)) == (invalid, "wrong_order")
    assert refused(address, pb.PredictRequest()) == (invalid, "wrong_order")
    large = [file(b"\0" * 10**6)] * 6
    assert refused(address, *large) == ("RESOURCE_EXHAUSTED", "study_too_large")
    assert refused(address, *[file(b"x")] * 21) == ("RESOURCE_EXHAUSTED", "study_too_large")
    assert refused(address, file(b"\0" * 2 * 10**6))[0] == "RESOURCE_EXHAUSTED"  # one message
    other = pb.PredictRequest(options=pb.PredictOptions(models={"ct-bmd": "0" * 64}))
    assert refused(address, other, file(b"x")) == ("NOT_FOUND", "unknown_model")


def test_the_last_of_the_disk_is_left_and_nothing_of_a_killed_service_stays(
    runtime: InferenceRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incoming = tmp_path / "incoming"
    (incoming / "of-a-killed-one").mkdir(parents=True)
    (incoming / "of-a-killed-one" / "000001.dcm").write_bytes(b"Doe^Jane")
    incoming.chmod(0o755)
    during: list[int] = []

    def usage(folder: Path) -> SimpleNamespace:
        during.append(len(list(incoming.iterdir())))
        return SimpleNamespace(free=ROOM_TO_LEAVE + 1000)

    with serving(runtime, OPEN, incoming=incoming) as address:
        assert list(incoming.iterdir()) == []
        assert incoming.stat().st_mode & 0o777 == 0o700
        monkeypatch.setattr(shutil, "disk_usage", usage)
        assert refused(address, file(b"x" * 1001)) == ("RESOURCE_EXHAUSTED", "disk_full")
        assert refused(address, file(b"x" * 1000)) == ("INVALID_ARGUMENT", "no_study")
        assert during == [1, 1]
        assert list(incoming.iterdir()) == []


def test_so_many_calls_are_answered_and_no_more(runtime: InferenceRuntime) -> None:
    with (
        serving(runtime, GrpcSettings(receiving=1, watchers=1)) as address,
        grpc.insecure_channel(address) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service=SERVICE)
        held = [stub.Watch(asked) for _ in range(1 + 1 + OTHER_CALLS)]
        assert all(next(one).status == 1 for one in held)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(asked, timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for one in held:
            one.cancel()


def test_nothing_that_can_be_sent_ends_the_service(address: str, study: list[Path]) -> None:
    """Bytes of a call that are changed, left out, put twice or made up; seeded."""
    dice = random.Random(26)
    good = [one.SerializeToString() for one in requests(study)]

    def broken(message: bytes) -> bytes:
        changed = bytearray(message)
        for _ in range(dice.randint(1, 4)):
            changed[dice.randrange(min(len(changed), 400))] = dice.randrange(256)
        return dice.choice([bytes(changed), bytes(changed[: dice.randrange(len(changed))]),
                            dice.randbytes(dice.randrange(200))])  # fmt: skip

    seen = Counter[str]()
    with grpc.insecure_channel(address) as channel:
        ask = channel.stream_stream(f"/{SERVICE}/Predict")  # takes and gives bytes
        for _ in range(30):
            sent = [broken(one) if one and dice.random() < 0.7 else one for one in good]
            sent = dice.sample(sent * 2, dice.randint(1, len(sent)))
            try:
                list(ask(iter(sent), timeout=30))
                seen["OK"] += 1
            except grpc.RpcError as error:
                seen[error.code().name] += 1
    assert set(seen) <= {"OK", "INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"}, seen
    assert seen["INVALID_ARGUMENT"] > 3
    with InferenceClient(address) as client:
        assert client.predict(study).result.models


def test_deadlines_cancellation_and_a_full_queue(
    runtime: InferenceRuntime, address: str, study: list[Path], room: Path
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold_up(stage: str) -> None:
        begun.set()
        go_on.wait(60)

    held: Progress = hold_up
    first = runtime.submit(stored_study(room), held)
    assert begun.wait(60)
    try:
        with InferenceClient(address) as client, pytest.raises(ServiceRefusedError) as caught:
            client.predict(study, seconds=0.5)
        assert caught.value.status == "DEADLINE_EXCEEDED"
        with grpc.insecure_channel(address) as channel:
            call = pb_grpc.InferenceStub(channel).Predict(requests(study))
            assert next(call).progress.stage == pb.Progress.RECEIVED
            call.cancel()
            with pytest.raises(grpc.RpcError) as ended:
                list(call)
            assert ended.value.code() is grpc.StatusCode.CANCELLED
        others = [runtime.submit(stored_study(room)) for _ in range(4 - runtime.waiting)]
        assert refused(address, *requests(study)) == ("UNAVAILABLE", "busy")
    finally:
        go_on.set()
    for one in (first, *others):
        one.result(120)


def test_only_certificates_that_are_named_may_and_each_only_what_it_may(
    runtime: InferenceRuntime, tmp_path: Path
) -> None:
    ours, foreign = Authority(tmp_path / "ours"), Authority(tmp_path / "foreign")
    peers = {"scanner": ("predict", "list"), "monitor": ("watch",)}
    settings = GrpcSettings(tls=ours.tls(), peers=peers)

    def listed(authority: Authority, name: str) -> tuple[str, str]:
        certificate, key = authority.give(name)
        secured = credentials(ours.path, certificate, key)
        with InferenceClient(where.replace("127.0.0.1", "localhost"), secured) as client:
            try:
                return "OK", str(client.models(20).number)
            except ServiceRefusedError as error:
                return error.status, error.reason

    with serving(runtime, settings, tmp_path) as where:
        assert listed(ours, "scanner")[0] == "OK"
        assert listed(ours, "monitor") == ("PERMISSION_DENIED", "not_permitted")
        assert listed(ours, "stranger") == ("PERMISSION_DENIED", "not_permitted")
        assert listed(foreign, "scanner") == ("UNAVAILABLE", "")
        with InferenceClient(where) as client, pytest.raises(ServiceRefusedError) as caught:
            client.models(20)
        assert caught.value.status == "UNAVAILABLE"


def test_twenty_swaps_under_load_lose_no_call_and_each_result_names_what_read_it(
    runtime: InferenceRuntime, versions: SignedFolder, address: str, study: list[Path]
) -> None:
    ended, seen, failed = threading.Event(), [], []
    before = runtime.current.number

    def ask() -> None:
        with InferenceClient(address) as client:
            while not ended.is_set():
                try:
                    found = client.predict(study)
                except ServiceRefusedError as error:
                    failed.append(error)
                    return
                time.sleep(0.05)  # leaves the processor to the swaps
                seen.append((found.prediction.models[0].digest, found.result.models[0].digest,
                             found.prediction.regions))  # fmt: skip

    watched: list[int] = []

    async def watch() -> None:
        async with AsyncInferenceClient(address) as client:
            async for one in client.watch():
                watched.append(one.number)
                if one.number == before + 20:
                    return

    askers = [threading.Thread(target=ask) for _ in range(2)]
    watcher = threading.Thread(target=lambda: asyncio.run(watch()))
    for thread in (*askers, watcher):
        thread.start()
    while not watched:
        time.sleep(0.01)
    promoted = {runtime.current.digests()["dxa-segmentation"]}
    for _ in range(20):
        promoted.add(versions.promote())
        assert runtime.follow()
    ended.set()
    for thread in (*askers, watcher):
        thread.join(120)
    assert failed == []
    assert (watched[0], watched[-1]) == (before, before + 20)
    assert len(promoted) == 21
    assert {one for one, _, _ in seen} <= promoted
    assert all(one == other for one, other, _ in seen)
    assert len({one for one, _, _ in seen}) > 3
    # The version that is named is the one that computed: one digest, one result.
    by_version: dict[str, object] = {}
    for digest, _, regions in seen:
        assert by_version.setdefault(digest, regions) == regions
