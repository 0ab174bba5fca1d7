"""The updates of a round, on disk: what is aggregated is read from here, block by block.

They are kept as they were read from what came, in float32: half the room would cost a
conversion each time that a block is read, and some rules read often.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from shared.errors import AggregationRefusedError
from shared.protocol.codec import Arrays
from shared.training.weights import save_tensors


@dataclass(frozen=True)
class SpooledUpdate:
    """What one site's training changed, checked, and the patients it is weighed with."""

    site: str
    path: Path
    patients: int

    @contextmanager
    def opened(self) -> Iterator[OpenUpdate]:
        """Open the file; nothing of the tensors is read before it is asked for.

        Raises
        ------
        OSError
            If it is not there.
        SafetensorError
            If it is no safetensors file.
        """
        with safe_open(self.path, framework="numpy") as file:
            yield OpenUpdate(self.path, file)

    def arrays(self) -> Arrays:
        """Read the whole update; raises what `opened` and `OpenUpdate.tensor` do."""
        with self.opened() as update:
            return {name: update.tensor(name) for name in update.names()}


class OpenUpdate:
    """An open file of an update.

    Parameters
    ----------
    path : Path
        Its name, for messages.
    file : safetensors.safe_open
        The file.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._file = file

    def names(self) -> list[str]:
        """List the tensors."""
        return sorted(self._file.keys())

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Read a tensor, in its shape.

        Raises
        ------
        AggregationRefusedError
            If it is not float32.
        """
        self._slice(name)
        return np.asarray(self._file.get_tensor(name))

    def numbers(self, name: str, begin: int, end: int) -> NDArray[np.float32]:
        """Read some numbers of a tensor, shape (end - begin,).

        Parameters
        ----------
        name : str
            The tensor.
        begin, end : int
            From 0, in C order. What is read are whole entries of the first axis.

        Raises
        ------
        AggregationRefusedError
            If it is not float32.
        """
        found = self._slice(name)
        shape = found.get_shape()
        if not shape:
            return np.asarray(self._file.get_tensor(name)).reshape(-1)[begin:end]
        row = math.prod(shape[1:])
        first = begin // row
        rows = np.asarray(found[first : math.ceil(end / row)]).reshape(-1)
        return rows[begin - first * row : end - first * row]

    def _slice(self, name: str) -> Any:
        found = self._file.get_slice(name)
        if found.get_dtype() != "F32":
            raise AggregationRefusedError(f"{self.path}: {name} is {found.get_dtype()}, not F32")
        return found


@dataclass(frozen=True)
class Spool:
    """The folder of one round's updates, ``SITE.safetensors`` each."""

    folder: Path

    def keep(self, site: str, update: Arrays, patients: int) -> SpooledUpdate:
        """Write an update whole or not at all.

        Parameters
        ----------
        site : str
            Its name; checked before (`shared.protocol.signatures.Name`).
        update : dict of str to ndarray of float32
            Checked tensors.
        patients : int
            What it will be weighed with.
        """
        path = self.folder / f"{site}.safetensors"
        save_tensors(path, update)
        return SpooledUpdate(site, path, patients)

    def clear(self) -> None:
        """Forget the round's updates."""
        shutil.rmtree(self.folder, ignore_errors=True)
