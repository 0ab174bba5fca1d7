"""A folder of small signed versions, and a digital study, for tests of what serves them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from shared.audit.keys import SigningKey
from shared.inference.runtime.held import ReadingManner, VersionSource
from shared.inference.runtime.runtime import InferenceRuntime
from shared.settings.task import NetworkSettings, TaskSettings
from shared.tasks import make_task
from shared.training.arrays import get_arrays
from shared.training.weights import Arrays, digest_arrays
from tests.shared.signed_versions import coordinator, signed_version

SMALL = TaskSettings(task="dxa-segmentation", network=NetworkSettings(image_size=(48, 32)))


def random_arrays(seed: int) -> Arrays:
    """Weights that nobody trained."""
    import torch

    torch.manual_seed(seed)
    return get_arrays(make_task(SMALL).network())


class SignedFolder:
    """A folder whose version changes as a registry's champion does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "models"
        self.key: SigningKey = coordinator(folder / "home")
        self._seeds = itertools.count(1)
        self.promote()

    @property
    def source(self) -> VersionSource:
        return VersionSource(self.key.public, models=self.folder)

    def promote(self, arrays: Arrays | None = None) -> str:
        """Sign another version; gives its digest."""
        arrays = random_arrays(next(self._seeds)) if arrays is None else arrays
        signed_version(self.folder, SMALL, arrays, self.key)
        return digest_arrays(arrays)

    def broken(self) -> Arrays:
        """Weights that are numbers, of which the network makes none."""
        return {name: np.full_like(one, 3e38) for name, one in random_arrays(0).items()}

    def runtime(self, room: Path, waiting: int = 16) -> InferenceRuntime:
        return InferenceRuntime(self.source, ReadingManner(), room, waiting)
