"""Weights as a file: safetensors with a JSON header that says what they are. No pickle.

Every way of training (pretraining, one hospital alone, federated, pooled) ends
in such a file, so that any of them can be evaluated, started from or exported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from shared.errors import ConfigError, ModelIncompatibleError, VersionMissingError
from shared.runtime.files import appearing
from shared.settings.files import parse_settings
from shared.settings.task import TaskSettings

Arrays = dict[str, NDArray[np.float32]]

#: The one entry of the file's metadata, a JSON object.
HEADER = "osteofed"


@dataclass(frozen=True)
class Weights:
    """Weights of one task's network.

    Attributes
    ----------
    settings : TaskSettings
        Task and size of the network the arrays belong to.
    arrays : dict of str to ndarray of float32
        The network's state dict.
    origin : str
        One word or sentence: ``pretrained``, ``federated run …``.
    """

    settings: TaskSettings
    arrays: Arrays
    origin: str


def digest_arrays(arrays: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_tensors(path: Path, arrays: Arrays, metadata: dict[str, str] | None = None) -> None:
    """Write tensors durably, whole or not at all.

    Raises
    ------
    OSError
        With the system's number, as any other writing does: safetensors has an error of
        its own for a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    ordered = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    try:
        with appearing(path, alone=True) as part:
            save_file(ordered, part, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        code = int(number.group(1))
        raise OSError(code, os.strerror(code), str(path)) from None


def kept_tensors(path: Path) -> Arrays | None:
    """Read tensors that may be gone; None if the file is not there or damaged.

    Whoever uses them must hold their digest against what they are to be.
    """
    try:
        return dict(load_file(path))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None


def save_weights(path: Path, weights: Weights) -> None:
    """Write weights durably, whole or not at all."""
    facts = {
        "version": 1,
        "settings": weights.settings.model_dump(mode="json"),
        "origin": weights.origin,
        "digest": digest_arrays(weights.arrays),
    }
    # One entry only: safetensors writes several in an order of its own, and the
    # same weights must be the same bytes.
    header = {HEADER: json.dumps(facts)}
    save_tensors(path, weights.arrays, header)


def load_weights(path: Path) -> Weights:
    """Read weights and check their digest.

    Raises
    ------
    VersionMissingError
        If there is no such file.
    ModelIncompatibleError
        If the file is damaged or not one of ours.
    """
    if not path.is_file():
        raise VersionMissingError(
            f"{path}: no such weights file (make one with `osteofed server pretrain` or a run)"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = parse_settings(header["settings"], TaskSettings, str(path))
    except (SafetensorError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise ModelIncompatibleError(
            f"{path}: not an OsteoFed weights file ({type(error).__name__}: {error})"
        ) from None
    if digest_arrays(arrays) != header.get("digest"):
        raise ModelIncompatibleError(
            f"{path}: the weights do not match their digest; get the file again"
        )
    return Weights(settings=settings, arrays=arrays, origin=header.get("origin", "unknown"))
