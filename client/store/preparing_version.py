"""A version of a task that prepares the input of another, and what it found in a store's studies.

<site>/store/prepared/<task>/<key>/weights.safetensors           the version's weights
<site>/store/prepared/<task>/<key>/<study>/<view>.regions.npy    what it found, uint8
<site>/store/prepared/<task>/<key>/<study>/<series>.regions.npy
<site>/store/prepared/<task>/<key>/<study>/slices.json           of a task without outlines

The key is the digest of everything that a map follows from besides the study. A map is made
once, and an image in which nothing was found has an empty one. All of it can be made again:
`client.store.prepared_room` says what stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from client.store.arrays import array_path, check_whole, mapped, write_array
from shared.errors import PolicyRefusedError, StoreMissingError
from shared.findings.completion import blind, findings_of
from shared.findings.findings import Findings, RegionMap
from shared.records import StudyLabels, StudyRecord
from shared.regions import VERTEBRA_CODES
from shared.runtime.files import OWNER_ONLY, appearing, make_private_folder
from shared.runtime.libraries import code_digest, versions_of
from shared.tasks import make_task
from shared.training.weights import Arrays, digest_arrays, kept_tensors, save_tensors

if TYPE_CHECKING:
    from torch import nn

    from shared.protocol.preparation import Preparation
    from shared.tasks.base import Task
    from shared.tasks.inputs import TaskInputs
    from shared.training.compute import Compute

LOG: Final = logging.getLogger(__name__)

FOLDER: Final = "prepared"
WEIGHTS: Final = "weights.safetensors"
#: What a task without outlines marked in a study.
MARKS: Final = "slices.json"
#: Stands in the folder of a version for which there is room (`client.store.prepared_room`).
HOLDING: Final = "holding.json"
#: Programs that a map's bits follow from.
LIBRARIES: Final = ("osteofed", "torch", "monai", "numpy")


@dataclass(frozen=True)
class PreparingVersion:
    """A version whose findings complete studies, with a folder of its own in the store.

    Parameters
    ----------
    store : Path
        The store's folder, beside whose arrays the maps lie.
    preparation : Preparation
        Settings and digest.
    compute : Compute
        Where its network runs; the maps of each device are kept apart.
    arrays : dict of str to ndarray of float32
        Its weights.
    before : tuple of str
        Keys of the versions whose findings it is given.
    """

    store: Path
    preparation: Preparation
    compute: Compute
    arrays: Arrays = field(repr=False)
    before: tuple[str, ...] = ()

    @cached_property
    def task(self) -> Task:
        """The preparing task."""
        return make_task(self.preparation.used)

    @cached_property
    def key(self) -> str:
        """Digest of everything that a map follows from besides the study."""
        return _key(self.preparation, self.compute, self.before)

    @cached_property
    def folder(self) -> Path:
        """Where its weights and maps are kept."""
        return _folder(self.store, self.preparation, self.compute, self.before)

    def keep(self) -> None:
        """Keep the weights, whole or not at all, as used now."""
        for folder in (self.folder.parent.parent, self.folder.parent, self.folder):
            make_private_folder(folder)
        os.utime(self.folder)
        if kept_weights(self.store, self.preparation, self.compute, self.before) is None:
            save_tensors(self.folder / WEIGHTS, self.arrays)
            (self.folder / WEIGHTS).chmod(OWNER_ONLY)

    def findings(self, study: StudyRecord, before: Findings) -> Findings:
        """Give what the version finds in a study where nobody drew anything.

        Parameters
        ----------
        study : StudyRecord
            Of the store. The network sees neither its labels nor drawn regions.
        before : Findings
            What the preparing tasks found that this one comes after.

        Returns
        -------
        Findings
            Maps of the images and series that the task reads and nobody drew on, as kept in
            the store; empty where nothing was found, so that whether a study can be used does
            not follow from who chose the weights. Of a task without outlines the slices that it
            marks, which only versions after it are given.

        Raises
        ------
        PolicyRefusedError
            If a map is missing and the version is not kept any more, as it had to make room.
        """
        if not self.task.outlines:
            return Findings(marked_slices=self._marks(study, before))
        grids = undrawn(study, self.task.inputs)
        kept = {name: self._kept(study, name, shape) for name, shape in grids.items()}
        if any(regions is None for regions in kept.values()):
            self._make(study, before, grids)
            kept = {name: self._kept(study, name, shape) for name, shape in grids.items()}
        return findings_of(study, {name: one for name, one in kept.items() if one is not None})

    @cached_property
    def _network(self) -> nn.Module:
        from shared.training.arrays import set_arrays

        network = self.task.network()
        set_arrays(network, self.arrays, strict=True)
        return network.eval().to(self.compute.device)

    def _marks(self, study: StudyRecord, before: Findings) -> Mapping[str, Mapping[str, int]]:
        """Give the slices that the version marks, as kept in the store."""
        path = self.folder / study.study / MARKS
        kept = _kept_marks(path, study)
        if kept is None:
            marks = _as_marks(self._read(study, before).marked_slices, study)
            with self._writing(path.parent), appearing(path) as part:
                part.touch(mode=OWNER_ONLY)
                part.write_text(json.dumps(marks, sort_keys=True), encoding="utf-8")
            kept = _kept_marks(path, study)
        return kept or {}

    def _read(self, study: StudyRecord, before: Findings) -> Findings:
        """Read a study with the network; nothing is found where that fails."""
        if not (self.folder / HOLDING).exists():
            raise _removed(self.task.name)
        from shared.tasks.reading import Reading
        from shared.training.optimising import threads

        reading = Reading(self._network, blind(study), StudyLabels(), before, self.compute.device)
        try:
            with threads(self.compute):
                return self.task.find(reading)
        except Exception as error:  # weights made for the purpose could choose whose study fails
            LOG.warning("%s: finds nothing in a study (%s)", self.task.name, type(error).__name__)
        return Findings()

    def _make(
        self, study: StudyRecord, before: Findings, grids: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Read a study with the network, and keep a map on each grid."""
        maps = self._read(study, before).maps
        with self._writing(self.folder / study.study):
            for name, shape in grids.items():
                with appearing(array_path(self.folder, study.study, name, "regions")) as part:
                    write_array(part, _as_map(maps.get(name), shape))

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        """Make a study's folder to write to, if the version is still kept.

        Another process of the site may remove the version meanwhile: what was kept then would
        count as nothing.
        """
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            yield
        except FileNotFoundError:
            raise _removed(self.task.name) from None

    def _kept(
        self, study: StudyRecord, name: str, shape: tuple[int, ...]
    ) -> NDArray[np.uint8] | None:
        """Find a map that was made before; None if there is none or it is not whole."""
        path = array_path(self.folder, study.study, name, "regions")
        try:
            check_whole(path)
            regions = mapped(path)
        except StoreMissingError:
            return None
        return regions if regions.dtype == np.uint8 and regions.shape == shape else None


def _removed(task: str) -> PolicyRefusedError:
    return PolicyRefusedError(
        f"the version of {task} that prepares the input was removed meanwhile, to make room for "
        "another (site.yaml: policy.maximum_prepared_gigabytes); ask again"
    )


def _as_map(found: RegionMap | None, shape: tuple[int, ...]) -> RegionMap:
    """Give what was found as a map; an empty one where it is none of that shape."""
    if found is not None and found.shape == shape and np.issubdtype(found.dtype, np.integer):
        codes = found.astype(np.uint8, copy=False)
        if np.array_equal(codes, found):
            return codes
    return np.zeros(shape, np.uint8)


def _as_marks(
    found: Mapping[str, Mapping[str, int]], study: StudyRecord
) -> dict[str, dict[str, int]]:
    """Give the marks that name a vertebra and a slice of a series of the study, and no others."""
    return {
        uid: {
            level: int(place)
            for level, place in marks.items()
            if level in VERTEBRA_CODES["volume"] and 0 <= int(place) < len(study.volumes[uid].hu)
        }
        for uid, marks in found.items()
        if uid in study.volumes
    }


def _kept_marks(path: Path, study: StudyRecord) -> dict[str, dict[str, int]] | None:
    """Find marks that were made before; None if there are none or they are not whole."""
    try:
        return _as_marks(json.loads(path.read_text(encoding="utf-8")), study)
    except (OSError, ValueError, TypeError, AttributeError, OverflowError):
        return None


def without_map(study: StudyRecord, inputs: TaskInputs) -> dict[str, tuple[int, ...]]:
    """Give the shape of each view and series that a task reads and that has no map, by name."""
    images = {view: study.images[view] for view in inputs.views if view in study.images}
    grids: dict[str, tuple[int, ...]] = {
        view.value: image.pixels.shape for view, image in images.items() if image.regions is None
    }
    volumes = study.volumes.items() if inputs.series else ()
    return grids | {uid: one.hu.shape for uid, one in volumes if one.regions is None}


def undrawn(study: StudyRecord, inputs: TaskInputs) -> dict[str, tuple[int, ...]]:
    """Give the shape of each view and series that a task reads and a version has to outline.

    Those without a map, and a series whose vertebrae were drawn on some slices only: the maps of
    all series are read for it.
    """
    volumes = study.volumes.items() if inputs.series else ()
    partly = {uid: one.hu.shape for uid, one in volumes if one.is_partly_drawn}
    return without_map(study, inputs) | partly


def kept_weights(
    store: Path, preparation: Preparation, compute: Compute, before: tuple[str, ...] = ()
) -> Arrays | None:
    """Find the weights of a version that were kept; None if they are not there or damaged.

    Parameters are those of `PreparingVersion`.
    """
    arrays = kept_tensors(_folder(store, preparation, compute, before) / WEIGHTS)
    return arrays if arrays and digest_arrays(arrays) == preparation.digest else None


def _key(preparation: Preparation, compute: Compute, before: tuple[str, ...]) -> str:
    parts = [
        preparation.network,
        preparation.digest,
        compute.device,
        versions_of(*LIBRARIES),
        code_digest(),  # a version of the program stays while its code is worked on
        *before,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _folder(
    store: Path, preparation: Preparation, compute: Compute, before: tuple[str, ...]
) -> Path:
    return store / FOLDER / preparation.settings.task / _key(preparation, compute, before)
