"""The gRPC service: studies in, progress and results out. Its log holds nothing of a patient."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shared.errors import ConfigValueError
from shared.inference.proto import osteofed_pb2 as pb
from shared.inference.proto import osteofed_pb2_grpc as pb_grpc
from shared.inference.runtime.held import HeldVersions
from shared.inference.runtime.runtime import InferenceRuntime
from shared.inference.runtime.study_reading import FILES, ReadStudyAnswer
from shared.inference.service.protobuf_results import models_of, result_of
from shared.inference.service.receiving import MEGABYTE, IncomingStudy
from shared.inference.service.rights import caller
from shared.inference.service.statuses import (
    REASON,
    REQUEST_ID,
    refusal_of,
    refused,
)
from shared.runtime.files import make_private_folder
from shared.settings.serve import GrpcSettings, Right

log = logging.getLogger("osteofed.service")
SERVICE: Final = "osteofed.inference.v1.Inference"
#: Bytes of a report that go in one message: under what clients take by default, 4 MiB.
REPORT_PART: Final = 1 << 20
#: What a message holds besides the part of a file.
AROUND: Final = 1 << 16
#: Calls at once besides studies and watchers: lists, health and reflection.
OTHER_CALLS: Final = 32


class InferenceService(pb_grpc.InferenceServicer):
    """Answers calls; see ``osteofed.proto``."""

    def __init__(self, runtime: InferenceRuntime, settings: GrpcSettings, incoming: Path) -> None:
        self._runtime, self._settings, self._incoming = runtime, settings, incoming
        self._receiving = self._watching = 0

    async def Predict(  # noqa: N802, D102  # names of the proto, which documents them
        self, requests: AsyncIterator[pb.PredictRequest], context: Any
    ) -> AsyncIterator[pb.PredictResponse]:
        async with (
            _call(context, self._settings, "predict") as request_id,
            contextlib.aclosing(self._predict(requests)) as responses,
        ):
            async for response in responses:
                response.request_id = request_id
                yield response

    async def ListModels(  # noqa: N802, D102
        self, request: pb.ListModelsRequest, context: Any
    ) -> pb.ListModelsResponse:
        async with _call(context, self._settings, "list"):
            return models_of(self._runtime)

    async def Watch(  # noqa: N802, D102
        self, request: pb.WatchRequest, context: Any
    ) -> AsyncIterator[pb.ListModelsResponse]:
        async with _call(context, self._settings, "watch"):
            if self._watching >= self._settings.watchers:
                raise refused("busy", f"{self._watching} callers watch, which is as many as may")
            swapped, loop = asyncio.Event(), asyncio.get_running_loop()

            def told(_: HeldVersions) -> None:
                with contextlib.suppress(RuntimeError):  # the service has ended meanwhile
                    loop.call_soon_threadsafe(swapped.set)

            end = self._runtime.watch(told)
            self._watching += 1
            try:
                while True:
                    yield models_of(self._runtime)
                    await swapped.wait()
                    swapped.clear()
            finally:
                self._watching -= 1
                end()

    async def _predict(
        self, requests: AsyncIterator[pb.PredictRequest]
    ) -> AsyncGenerator[pb.PredictResponse, None]:
        if self._receiving >= self._settings.receiving:
            raise refused("busy", f"{self._receiving} studies are being received; ask again")
        reading = _OneReading(self._runtime, self._incoming)
        self._receiving += 1
        try:
            async with asyncio.timeout(self._settings.seconds):
                study = IncomingStudy(reading.folder, self._settings)
                await study.receive(requests)
                self._check_asked(study.options)
                yield _progress(pb.Progress.RECEIVED, study.files, study.bytes)
                async for stage in reading.stages():
                    known = (
                        pb.Progress.READING_FILES
                        if stage == FILES
                        else (pb.Progress.RUNNING_NETWORKS)
                    )
                    yield _progress(known, study.files, study.bytes)
                answer = await reading.answer()
                self._check_read(study.options, answer)
                yield pb.PredictResponse(result=result_of(answer))
                report = answer.report.encode() if study.options.report else b""
                for begin in range(0, len(report), REPORT_PART):
                    part = pb.ReportPart(content=report[begin : begin + REPORT_PART])
                    yield pb.PredictResponse(report=part)
        except TimeoutError:
            raise refused(
                "too_slow", f"no answer within {self._settings.seconds:g} s, the longest here"
            ) from None
        except Exception as error:
            raise refusal_of(error, reading.folder) from error
        finally:
            self._receiving -= 1
            reading.end()

    def _check_asked(self, options: pb.PredictOptions) -> None:
        """Refuse versions that are not held before anything is read."""
        held = self._runtime.current.digests()
        for task, digest in options.models.items():
            if held.get(task) != digest:
                raise refused(
                    "unknown_model",
                    f"{task[:80]}: the version asked for is not held (ListModels names those that "
                    "are)",
                )

    def _check_read(self, options: pb.PredictOptions, answer: ReadStudyAnswer) -> None:
        """Refuse a result of other versions than asked for: a swap came in between."""
        read = answer.versions.digests()
        if any(read.get(task) != digest for task, digest in options.models.items()):
            raise refused("unknown_model", "the version asked for was replaced while it waited")


class _OneReading:
    """A study's folder, which stays until nothing reads it, and the way of its answer."""

    def __init__(self, runtime: InferenceRuntime, incoming: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=incoming))  # 0700
        self._runtime = runtime
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Queue[str] = asyncio.Queue()
        self._gone = False
        self._future: Any = None

    async def stages(self) -> AsyncIterator[str]:
        """Let it be read; gives each stage as it begins."""
        self._future = self._runtime.submit(self.folder, self._tell)
        done = self._done = asyncio.wrap_future(self._future)
        # What it raises is nobody's any more where the caller has gone: asyncio would log it.
        done.add_done_callback(lambda one: one.cancelled() or one.exception())
        while not done.done():
            told = asyncio.ensure_future(self._told.get())
            try:
                await asyncio.wait({told, done}, return_when=asyncio.FIRST_COMPLETED)
                stage = told.result() if told.done() else None
            finally:
                told.cancel()
            if stage is not None:
                yield stage
        while not self._told.empty():
            yield self._told.get_nowait()

    async def answer(self) -> ReadStudyAnswer:
        """Give what was found, or raise what was."""
        return await self._done

    def end(self) -> None:
        """Remove the folder as soon as nothing reads it; a reading that goes on stops soon."""
        self._gone = True
        if self._future is None or self._future.cancel():
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self._future.add_done_callback(lambda _: shutil.rmtree(self.folder, ignore_errors=True))

    def _tell(self, stage: str) -> None:
        if self._gone:
            raise CancelledError
        self._loop.call_soon_threadsafe(self._told.put_nowait, stage)


@contextlib.asynccontextmanager
async def _call(context: Any, settings: GrpcSettings, right: Right) -> AsyncIterator[str]:
    """Name a call, check its caller, turn failures into statuses, and log how it ended."""
    request_id, begun, name, ended = uuid.uuid4().hex, time.monotonic(), "nobody", "ok"
    named = ((REQUEST_ID, request_id),)
    try:
        await context.send_initial_metadata(named)
        name = caller(context, settings, right)
        yield request_id
    except Exception as error:
        refusal = refusal_of(error)
        ended = refusal.reason
        if refusal.reason == "fault":  # its kind only: a message might hold something of a patient
            cause = refusal.__cause__ or error
            log.error("%s: %s", request_id, type(cause).__name__)
        trailing = (*named, (REASON, refusal.reason))
        await context.abort(refusal.status, refusal.sentence, trailing)
    except (asyncio.CancelledError, GeneratorExit):
        ended = "cancelled"
        raise
    finally:
        seconds = time.monotonic() - begun
        log.info("%s %s by %s: %s, %.2f s", request_id, right, name, ended, seconds)


def _progress(stage: Any, files: int, size: int) -> pb.PredictResponse:
    return pb.PredictResponse(progress=pb.Progress(stage=stage, files=files, bytes=size))


class RunningService:
    """A server that listens.

    `port` is where, which follows from the system if 0 was asked for.
    """

    def __init__(self, server: grpc.aio.Server, port: int, states: Any) -> None:
        self._server, self.port, self._states = server, port, states

    async def stop(self, patience_seconds: float = 5.0) -> None:
        """Say that it is being stopped, finish calls for a while, then end them."""
        await self._states.enter_graceful_shutdown()
        await self._server.stop(patience_seconds)


async def start_service(
    runtime: InferenceRuntime,
    settings: GrpcSettings,
    credentials: grpc.ServerCredentials | None,
    incoming: Path,
    port: int | None = None,
) -> RunningService:
    """Listen, with health checking and reflection beside.

    Parameters
    ----------
    runtime : InferenceRuntime
        Started.
    settings : GrpcSettings
        Limits, and who may what.
    credentials : ServerCredentials or None
        `shared.inference.service.rights.server_credentials`; None: in the clear, on loopback.
    incoming : Path
        The folder in which studies come in, which is this service's alone: what an earlier one
        left there, because it was killed, is removed.
    port : int, optional
        In place of the setting; 0 takes a free one.

    Raises
    ------
    ConfigValueError
        If the address cannot be had.
    OSError
        If the folder cannot be emptied.
    """
    limit = int(settings.part_megabytes * MEGABYTE) + AROUND
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.so_reuseport", 0),  # a second service on the port is an error, not a half
            ("grpc.max_metadata_size", 16384),
        ],
        maximum_concurrent_rpcs=settings.receiving + settings.watchers + OTHER_CALLS,
    )
    service = InferenceService(runtime, settings, incoming)
    pb_grpc.add_InferenceServicer_to_server(service, server)
    states = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(states, server)
    known = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(known, server)
    address = f"{settings.host}:{settings.port if port is None else port}"
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        raise ConfigValueError(
            f"site.yaml: serve.grpc: {address} cannot be listened on (another program has it, or "
            "it is no address of this machine, or its certificates do not go together)"
        )
    if incoming.exists():  # only now: one that cannot have the address may be a second one
        shutil.rmtree(incoming)
    make_private_folder(incoming)
    await server.start()
    for name in ("", SERVICE):
        await states.set(name, health_pb2.HealthCheckResponse.SERVING)
    return RunningService(server, bound, states)
