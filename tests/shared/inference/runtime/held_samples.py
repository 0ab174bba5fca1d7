"""A folder of small signed versions, and a digital study, for tests of what serves them."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from shared.audit.keys import SigningKey
from shared.inference.runtime.held import ReadingManner, VersionSource
from shared.inference.runtime.runtime import InferenceRuntime
from shared.inference.runtime.self_test import stored_study
from shared.settings.task import NetworkSettings, TaskSettings
from shared.tasks import make_task
from shared.training.arrays import get_arrays
from shared.training.weights import Arrays, digest_arrays
from tests.shared.signed_versions import coordinator, signed_version

SMALL = TaskSettings(task="dxa-segmentation", network=NetworkSettings(image_size=(48, 32)))


@cache
def _digital_patient() -> Path:
    """The stored test study, made once for all tests."""
    folder = Path(tempfile.mkdtemp(prefix="osteofed-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    stored_study(folder)
    return folder


def whole_room(folder: Path) -> Path:
    """A runtime's room with the digital patient's whole study."""
    return shutil.copytree(_digital_patient(), folder)


def small_room(folder: Path) -> Path:
    """The same with one view, for tests that read it often."""
    whole_room(folder)
    for path in folder.rglob("*.dcm"):
        if path.name != "LSPINE_AP.dcm":
            path.unlink()
    return folder


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
