"""Typed clients of the service: ask for a study to be read, from a program of the hospital's.

with InferenceClient("reader.hospital.example:50051", credentials(ca, own, key)) as client:
found = client.predict(sorted(Path("study").rglob("*.dcm")))
for one in found.prediction.measurements:
print(one.region, one.value, one.unit)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc

from shared.errors import OsteofedError, ServiceRefusedError
from shared.inference.proto import osteofed_pb2 as pb
from shared.inference.proto import osteofed_pb2_grpc as pb_grpc
from shared.inference.schema import Prediction
from shared.inference.service.statuses import REASON, REQUEST_ID

#: Bytes of a file that go in one message.
PART: Final = 1 << 20
#: A DICOM file, or what is in one.
DicomFile = Path | bytes


@dataclass(frozen=True)
class ServiceAnswer:
    """What was found; `report` is empty if it was not asked for."""

    request_id: str
    result: pb.StudyResult
    report: bytes

    @property
    def prediction(self) -> Prediction:
        """``prediction.json``."""
        return Prediction.model_validate_json(self.result.prediction_json)


def credentials(authority: Path, certificate: Path, key: Path) -> grpc.ChannelCredentials:
    """Read the certificates of a caller: whom it believes, and its own with its key."""
    parts = (authority.read_bytes(), key.read_bytes(), certificate.read_bytes())
    return grpc.ssl_channel_credentials(*parts)


def requests(
    files: Iterable[DicomFile], models: Mapping[str, str] | None = None, report: bool = False
) -> Iterator[pb.PredictRequest]:
    """Make the stream of one study: its options, then each file in parts, without its name.

    Parameters
    ----------
    files : iterable of Path or bytes
        The study's.
    models : mapping of str to str, optional
        Digest by task of the versions that must read.
    report : bool
        Whether the HTML report is wanted.
    """
    yield pb.PredictRequest(options=pb.PredictOptions(models=models, report=report))
    for file in files:
        content = file if isinstance(file, bytes) else file.read_bytes()
        for begin in range(0, max(1, len(content)), PART):
            part = content[begin : begin + PART]
            last = begin + PART >= len(content)
            yield pb.PredictRequest(file=pb.FilePart(content=part, last=last))


class InferenceClient:
    """Asks and waits.

    Parameters
    ----------
    address : str
        HOST:PORT.
    secured : ChannelCredentials, optional
        `credentials`; without, only a service on this machine can be asked.
    """

    def __init__(self, address: str, secured: grpc.ChannelCredentials | None = None) -> None:
        self._channel = (
            grpc.secure_channel(address, secured) if secured else grpc.insecure_channel(address)
        )
        self._stub = pb_grpc.InferenceStub(self._channel)

    def predict(
        self,
        files: Iterable[DicomFile],
        *,
        models: Mapping[str, str] | None = None,
        report: bool = False,
        seconds: float | None = None,
    ) -> ServiceAnswer:
        """Have one study read; see `requests`.

        Raises
        ------
        ServiceRefusedError
            If there is no result; also after `seconds`.
        """
        try:
            stream = self._stub.Predict(requests(files, models, report), timeout=seconds)
            return _put_together(stream)
        except grpc.RpcError as error:
            raise _refusal(error) from None

    def models(self, seconds: float | None = 10.0) -> pb.ListModelsResponse:
        """Name the versions that are held; errors as `predict`."""
        try:
            return self._stub.ListModels(pb.ListModelsRequest(), timeout=seconds)
        except grpc.RpcError as error:
            raise _refusal(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._channel.close()


class AsyncInferenceClient:
    """The same for asyncio, and `watch`; see `InferenceClient`."""

    def __init__(self, address: str, secured: grpc.ChannelCredentials | None = None) -> None:
        made = grpc.aio
        self._channel = (
            made.secure_channel(address, secured) if secured else made.insecure_channel(address)
        )
        self._stub: Any = pb_grpc.InferenceStub(self._channel)

    async def predict(
        self,
        files: Iterable[DicomFile],
        *,
        models: Mapping[str, str] | None = None,
        report: bool = False,
        seconds: float | None = None,
    ) -> ServiceAnswer:
        """Have one study read; see `InferenceClient.predict`."""
        try:
            stream = self._stub.Predict(requests(files, models, report), timeout=seconds)
            return _put_together([response async for response in stream])
        except grpc.RpcError as error:
            raise _refusal(error) from None

    async def models(self, seconds: float | None = 10.0) -> pb.ListModelsResponse:
        """Name the versions that are held; errors as `predict`."""
        try:
            return await self._stub.ListModels(pb.ListModelsRequest(), timeout=seconds)
        except grpc.RpcError as error:
            raise _refusal(error) from None

    async def watch(self) -> AsyncIterator[pb.ListModelsResponse]:
        """Give the versions that are held, and again after every swap; errors as `predict`."""
        try:
            async for response in self._stub.Watch(pb.WatchRequest()):
                yield response
        except grpc.RpcError as error:
            raise _refusal(error) from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, *_: type[BaseException] | BaseException | TracebackType | None
    ) -> None:
        await self._channel.close()


def _refusal(error: Any) -> ServiceRefusedError:
    """Say what the service answered in place of a result."""
    told = dict(error.trailing_metadata() or ())
    status = error.code().name
    return ServiceRefusedError(
        f"{status}: {error.details()}",
        status=status,
        reason=str(told.get(REASON, "")),
        request_id=str(told.get(REQUEST_ID, "")),
    )


def _put_together(responses: Iterable[pb.PredictResponse]) -> ServiceAnswer:
    """Put progress aside, and the result and the parts of the report together."""
    request_id, result, report = "", None, bytearray()
    for response in responses:
        request_id = response.request_id
        part = response.WhichOneof("part")
        if part == "result":
            result = response.result
        elif part == "report":
            report += response.report.content
    if result is None:
        raise OsteofedError("the service ended the call without a result; ask again")
    return ServiceAnswer(request_id, result, bytes(report))
