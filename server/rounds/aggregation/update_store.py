"""The updates of a round, on disk: what is aggregated is read from here, block by block.

They are kept as they were read from what came, in float32: half the room would cost a
conversion each time that a block is read, and some rules read often.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import AggregationRefusedError
from shared.protocol.codec import Arrays
from shared.training.weights import save_tensors


@dataclass(frozen=True)
class SpooledUpdate:
    """What one site's training changed, checked, and the patients it is weighed with."""

    site: str
    path: Path
    patients: int

    @cached_property
    def _places(self) -> Mapping[str, tuple[int, tuple[int, ...]]]:
        """Where each tensor's bytes begin, and its shape (safetensors' own header)."""
        with self.path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(length))
        found = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if entry["dtype"] != "F32":
                raise AggregationRefusedError(f"{self.path}: {name} is {entry['dtype']}, not F32")
            found[name] = (8 + length + int(entry["data_offsets"][0]), tuple(entry["shape"]))
        return found

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Map a tensor into memory; nothing is read before it is used."""
        begin, shape = self._places[name]
        if 0 in shape:
            return np.zeros(shape, np.float32)
        # A number of no dimension is mapped as one of one.
        mapped = np.memmap(self.path, "<f4", "r", begin, shape or (1,))
        return np.asarray(mapped).reshape(shape)

    def arrays(self) -> Arrays:
        """Read the whole update."""
        return {name: np.array(self.tensor(name)) for name in sorted(self._places)}


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
