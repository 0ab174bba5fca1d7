"""One record of a message, written and read: tensors, numbers, settings.

All tensors of a model travel as one: Flower moves every tensor by a request of its own,
and a network has hundreds. The packed tensor, of half precision
(`shared.protocol.half_precision`), is called by its manifest, the JSON of names, shapes and powers
of two in the order of the names. It is ``.npy`` bytes whose header must be exactly the one that
NumPy writes: what a peer sends is compared, never parsed. What each message must hold stands in
`shared.protocol.messages`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from shared.errors import OsteofedError
from shared.protocol.half_precision import LEAST_EXPONENT, MOST_EXPONENT, from_half, to_half
from shared.settings.base import Settings

if TYPE_CHECKING:
    from flwr.app import Array, RecordDict

Arrays = dict[str, NDArray[np.float32]]
Shapes = Mapping[str, tuple[int, ...]]
S = TypeVar("S", bound=Settings)

#: Raised by one with every change of a record.
PROTOCOL_VERSION: Final = 4
#: Settings of a task are a page of JSON; more is not settings.
LONGEST_TEXT: Final = 65_536
#: How many sums of metrics an answer may hold.
MOST_STATISTICS: Final = 4096
#: What is said of a peer's mistake, in characters.
LONGEST_REASON: Final = 2000
#: Characters of a manifest: some thousand tensors.
LONGEST_MANIFEST: Final = 1_000_000
#: No tensor of ours has more dimensions.
MOST_DIMENSIONS: Final = 8


def array_record(arrays: Arrays) -> Any:
    """Write tensors as one record of one packed tensor.

    Parameters
    ----------
    arrays : dict of str to ndarray of float32
        As they will be read: rounded before by `shared.protocol.half_precision.halved`, so that
        nothing is signed that does not travel.

    Raises
    ------
    ValueError
        If a tensor would be read otherwise than it is.
    """
    from flwr.app import Array, ArrayRecord

    manifest: list[list[Any]] = []
    flat: list[NDArray[np.float16]] = []
    for name in sorted(arrays):
        halves, exponent = to_half(arrays[name])
        if not np.array_equal(from_half(halves, exponent), arrays[name], equal_nan=True):
            raise ValueError(f"tensor {name!r} was not rounded before it was to be sent")
        manifest.append([name, list(halves.shape), exponent])
        flat.append(halves.reshape(-1))
    packed = np.concatenate(flat) if flat else np.zeros(0, np.float16)
    return ArrayRecord({json.dumps(manifest, separators=(",", ":")): Array(packed)})


def metric_record(patients: int, statistics: Mapping[str, float]) -> Any:
    """Write a count of patients and sums of metrics as one record."""
    from flwr.app import MetricRecord

    values: dict[str, int | float | list[int] | list[float]] = {"num-examples": patients}
    values |= {key: float(statistics[key]) for key in sorted(statistics)}
    return MetricRecord(values)


def config_record(settings: Settings) -> Any:
    """One flat record; what is nested (task settings) travels as JSON."""
    from flwr.app import ConfigRecord

    flat = {
        key: json.dumps(value) if isinstance(value, dict) else value
        for key, value in settings.model_dump(mode="json").items()
    }
    return ConfigRecord(flat)


def read_arrays(
    content: RecordDict,
    record: str,
    shapes: Shapes,
    error: type[OsteofedError],
    part: Collection[str] = (),
) -> Arrays:
    """Read tensors that must have exactly the names and shapes given and be finite.

    Parameters
    ----------
    content : RecordDict
        A message's content.
    record : str
        Name of the array record.
    shapes : mapping of str to tuple of int
        What must be there, no more and no less.
    error : type of OsteofedError
        What to raise.
    part : collection of str
        Names of `shapes` of which exactly these may be there instead of all.

    Returns
    -------
    dict of str to ndarray of float32
        Tensors in the order of their names, to the bit as they were written.
    """
    from flwr.app import ArrayRecord

    arrays = content.get(record)
    if not isinstance(arrays, ArrayRecord) or len(arrays) != 1:
        raise error(f"record {record!r} is missing or does not hold one packed tensor")
    manifest, packed = next(iter(arrays.items()))
    found = _read_manifest(manifest, record, error)
    if part and set(found) == set(part):
        shapes = {name: shapes[name] for name in part}
    missing, extra = sorted(set(shapes) - set(found)), sorted(set(found) - set(shapes))
    if missing or extra:
        raise error(
            f"record {record!r}: tensors differ from the task's network "
            f"(missing: {_some(missing)}; not known: {_some(extra)})"
        )
    for name, (shape, _) in found.items():
        if shape != tuple(shapes[name]):
            raise error(
                f"tensor {f'{record}.{name}'!r} has shape {shape} (must be {tuple(shapes[name])})"
            )
    total = sum(math.prod(shape) for shape, _ in found.values())
    values = _decode(packed, record, (total,), error)
    read: Arrays = {}
    begin = 0
    for name, (shape, exponent) in found.items():
        end = begin + math.prod(shape)
        read[name] = from_half(values[begin:end].reshape(shape), exponent)
        begin = end
    check_finite(read, f"record {record!r}", error)
    return read


def _read_manifest(
    text: str, record: str, error: type[OsteofedError]
) -> dict[str, tuple[tuple[int, ...], int]]:
    """Read names, shapes and powers of two, in the order in which the tensors are packed."""
    if len(text) > LONGEST_MANIFEST:
        raise error(f"record {record!r}: its manifest is {len(text)} characters long")
    try:
        entries = json.loads(text)
        found = {
            name: (tuple(int(size) for size in shape), exponent)
            for name, shape, exponent in entries
            if _is_name(name) and isinstance(shape, list) and type(exponent) is int
        }
        wrong = len(found) != len(entries) or list(found) != sorted(found)
        for shape, exponent in found.values():
            wrong = wrong or min(shape, default=0) < 0 or len(shape) > MOST_DIMENSIONS
            wrong = wrong or not LEAST_EXPONENT <= exponent <= MOST_EXPONENT
    except (ValueError, TypeError, RecursionError, OverflowError):
        wrong = True
    if wrong:
        raise error(
            f"record {record!r}: its manifest is not a sorted list of names, shapes and powers "
            "of two"
        )
    return found


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and name.isascii() and name.isprintable()


def check_finite(arrays: Mapping[str, NDArray[Any]], what: str, error: type[OsteofedError]) -> None:
    """Refuse NaN and infinity in any tensor, by name."""
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise error(f"{what}: tensor {name!r} holds NaN or infinity (must be finite)")


def _decode(
    array: Array, name: str, shape: tuple[int, ...], error: type[OsteofedError]
) -> NDArray[np.float16]:
    if array.stype != "numpy.ndarray" or array.dtype != "float16":
        raise error(f"tensor {name!r} is {array.dtype} as {array.stype} (must be float16 as npy)")
    if tuple(array.shape) != shape:
        raise error(f"tensor {name!r} has shape {tuple(array.shape)} (must be {shape})")
    header = _npy_header(shape)
    size = len(header) + 2 * math.prod(shape)
    if len(array.data) != size:
        raise error(f"tensor {name!r} takes {len(array.data)} bytes (must be {size})")
    if not array.data.startswith(header):
        raise error(f"tensor {name!r} is not in npy format (must be float16 {shape})")
    return np.frombuffer(array.data, "<f2", offset=len(header)).reshape(shape).astype(np.float16)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """Give the bytes that NumPy writes before a float16 tensor of a shape."""
    stream = io.BytesIO()
    facts = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def read_config(
    content: RecordDict,
    record: str,
    kind: type[S],
    nested: tuple[str, ...],
    error: type[OsteofedError],
    may_be_absent: tuple[str, ...] = (),
) -> S:
    """Read typed settings from a flat record.

    The keys in `nested` hold JSON, and so do those in `may_be_absent` if they are there.

    Raises
    ------
    OsteofedError
        `error`, naming the record, the key and what is wrong with it.
    """
    from flwr.app import ConfigRecord

    config = content.get(record)
    if not isinstance(config, ConfigRecord):
        raise error(f"record {record!r} is missing or holds no settings")
    values: dict[str, Any] = dict(config)
    for key, value in values.items():
        if isinstance(value, str | bytes) and len(value) > LONGEST_TEXT:
            raise error(f"record {record!r}: {key} is {len(value)} long (at most {LONGEST_TEXT})")
    spoken = values.get("protocol", PROTOCOL_VERSION)
    if isinstance(spoken, int | float) and spoken != PROTOCOL_VERSION:
        raise error(
            f"record {record!r}: is of protocol {spoken}, and this side speaks {PROTOCOL_VERSION}: "
            "hospitals and coordinator must run the same version"
        )
    try:
        for key in (*nested, *(key for key in may_be_absent if key in values)):
            values[key] = json.loads(values[key])
            json.dumps(values[key], ensure_ascii=False).encode()  # half a character is no text
        return kind.model_validate(values)
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "as a whole"
        raise error(plain_text(f"record {record!r}: {key}: {first['msg'].lower()}")) from None
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise error(f"record {record!r}: not readable ({type(problem).__name__})") from None


def read_metrics(
    content: RecordDict, record: str, error: type[OsteofedError]
) -> tuple[int, dict[str, float]]:
    """Read the claimed number of patients and the sums of one record of metrics.

    Raises
    ------
    OsteofedError
        `error`, if a value is not one finite number or no patients are claimed.
    """
    from flwr.app import MetricRecord

    metrics = content.get(record)
    if not isinstance(metrics, MetricRecord):
        raise error(f"record {record!r} is missing or holds no metrics")
    if len(metrics) > MOST_STATISTICS:
        raise error(f"record {record!r} holds {len(metrics)} sums (at most {MOST_STATISTICS})")
    values: dict[str, float] = {}
    for key, value in metrics.items():
        if isinstance(value, list) or not math.isfinite(value):
            raise error(f"record {record!r}: {key} is not one finite number")
        values[key] = float(value)
    patients = values.pop("num-examples", 0.0)
    if patients < 1 or patients != int(patients):
        raise error(f"record {record!r}: num-examples is {patients:g} (must be at least 1)")
    return int(patients), values


def plain_text(text: str) -> str:
    """Make what a peer may have had a word in fit to be stored and shown: one line, cut.

    White space becomes one space; what cannot be printed (control characters, half of a
    surrogate pair, marks that turn the direction of writing) its escape.
    """
    words = " ".join(text[: 2 * LONGEST_REASON].split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)[:LONGEST_REASON]


def count_bytes(content: RecordDict) -> int:
    """Count the bytes of a message's values and names (8 for each number).

    Flower's own count fails on an empty text, which any site may send.
    """
    total = 0
    for record in content.values():
        for name, value in record.items():
            size = 0
            for one in value if isinstance(value, list) else [value]:
                data = getattr(one, "data", one)
                size += len(data) if isinstance(data, str | bytes) else 8
            total += len(name) + size
    return total


def check_records(content: RecordDict, wanted: set[str], error: type[OsteofedError]) -> None:
    """Refuse a message that holds other records than exactly those wanted."""
    if set(content) != wanted:
        raise error(
            f"the message holds records {_some(sorted(content))} (must be {_some(sorted(wanted))})"
        )


def _some(names: list[str], most: int = 3) -> str:
    shown = ", ".join(name[:60] for name in names[:most])
    return (shown + (f" and {len(names) - most} more" if len(names) > most else "")) or "none"
