"""Room on the disk for what is made of studies once, and what goes to make it.

<site>/store/prepared/<task>/<key>/holding.json   which version it is, and what it may take

Two kinds of folders share it: what versions of other tasks find in studies, and samples that
take long to make (`client.store.kept_samples`). Each is counted by what all of it may take, from
the sizes of the images in the store: never by what is there. So neither what is removed nor
what is refused follows from what was found, or from who was drawn into a step.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

from client.store.kept_samples import (
    SampleShelf,
    is_kept,
    names_of_samples,
    remove_other_samples,
    sample_bytes,
    sample_folder,
    sample_key,
)
from client.store.prepared_source import PreparedSource, SiteSource
from client.store.preparing_version import FOLDER, HOLDING, PreparingVersion
from client.store.split import SPLITS
from shared.errors import PolicyRefusedError
from shared.hips import as_left
from shared.protocol.signatures import Digest
from shared.records import View
from shared.runtime.files import (
    OWNER_ONLY,
    alone_with,
    make_private_folder,
    write_text_atomically,
)
from shared.settings.base import Count, Settings

if TYPE_CHECKING:
    from client.store.catalogue import Image, Volume
    from client.store.site_store import SiteStore
    from shared.tasks.base import Task
    from shared.tasks.inputs import TaskInputs

LOG: Final = logging.getLogger(__name__)

#: Ends the name of a version's folder that is being removed.
GOING: Final = ".going"
#: Folders that stay, over all tasks, unless a contract names more versions.
VERSIONS_KEPT: Final = 8
GIGABYTE: Final = 1e9
#: What a file or folder takes at least, and what each is rounded up to.
BLOCK: Final = 4096
#: What a version's folder takes besides maps and the numbers of its weights.
BESIDES: Final = 16 * BLOCK
#: Of an array's file before its numbers.
ARRAY_HEADER: Final = 128
#: Bytes of a number in the arrays of images and volumes; a map's has one.
NUMBER: Final = 2


class Holding(Settings):
    """What a kept version is, and how many bytes of disk all that it finds may take."""

    digest: Digest
    bytes: Count


@dataclass(frozen=True)
class _Kept:
    """A version's folder, what stands in it, and when it was last used."""

    folder: Path
    holding: Holding
    used: float

    @property
    def name(self) -> tuple[str, str]:
        """Task and digest, as a contract names it."""
        return self.folder.parent.name, self.holding.digest


def keep_in_room(
    store: SiteStore, versions: Sequence[PreparingVersion], named: Set[tuple[str, str]]
) -> None:
    """Keep versions that are about to prepare studies, if there is room for all they may find.

    For it the versions go that were not used for longest. One that a contract names stays, and
    of what is kept twice (by other programs, on another device) the one used last.

    Parameters
    ----------
    store : SiteStore
        Whose studies they complete; its ``policy.maximum_prepared_gigabytes`` is the limit.
    versions : sequence of PreparingVersion
        Those that are used now.
    named : set of (str, str)
        Task and digest of the versions that the site's contracts name.

    Raises
    ------
    PolicyRefusedError
        If there is no room even when all others are gone; nothing is removed then.
    """
    if not versions:
        return
    names = {(one.task.name, one.preparation.digest) for one in versions}
    with _alone(store) as root:
        using = _make_room(store, root, _sizes(store, versions), named - names)
        for one in versions:
            _write(one.folder, Holding(digest=one.preparation.digest, bytes=using[one.folder]))
            one.keep()


def keep_samples_in_room(
    store: SiteStore, task: Task, source: SiteSource, named: Set[tuple[str, str]]
) -> SampleShelf | None:
    """Give samples of a task a place, if there is room for those of all series of the store.

    They stand in the same room as what versions find, and like it go when they were not used
    for longest. A coordinator chooses the size of a network and with it that of samples, so
    whether there is room is no reason to refuse: then they are made anew in each round, as they
    are where the disk is full, for privacy was reserved before. Samples, of any task, of studies
    that are not there any more or not as they were go in any case.

    Parameters
    ----------
    store : SiteStore
        Whose patients they are.
    task : Task
        Whose samples.
    source : SiteSource
        Patients of one of its splits; what prepares them is in use and stays.
    named : set of (str, str)
        As for `keep_in_room`.

    Returns
    -------
    SampleShelf or None
        None if the task's samples are not kept (`kept_samples.is_kept`), there is no room, or
        the disk cannot be read or written.
    """
    if not is_kept(task):
        return None
    own, versions = (
        (source.source, source.versions) if isinstance(source, PreparedSource) else (source, ())
    )
    using = {(one.task.name, one.preparation.digest) for one in versions}
    try:
        names = {name for split in SPLITS for name in names_of_samples(store.source(split))}
        with _alone(store) as root:
            remove_other_samples(root, names)
            folder = _place_samples(
                store, root, sample_key(task, source), task, versions, len(names), named - using
            )
    except PolicyRefusedError:
        return None
    except OSError as error:
        LOG.warning("%s: samples are not kept (%s)", task.name, error.strerror)
        return None
    return SampleShelf(folder, own)


def _place_samples(
    store: SiteStore, root: Path, key: str, task: Task, versions: Sequence[PreparingVersion],
    count: int, named: Set[tuple[str, str]],
) -> Path:  # fmt: skip
    """Make the folder of a number of samples of a task, and room for them.

    Raises
    ------
    PolicyRefusedError
        If there is none.
    """
    folder = sample_folder(store, task, key)
    sizes = _sizes(store, versions)
    sizes[folder] = BESIDES + count * (_on_disk(sample_bytes(task)) + BLOCK)
    using = _make_room(store, root, sizes, named)
    _write(folder, Holding(digest=key, bytes=using[folder]))
    os.utime(folder)
    return folder


@contextmanager
def _alone(store: SiteStore) -> Iterator[Path]:
    """Hold the room of a store alone; gives its folder."""
    root = store.arrays.parent / FOLDER
    make_private_folder(root)
    with alone_with(root / "lock"):
        yield root


def _make_room(
    store: SiteStore, root: Path, sizes: Mapping[Path, int], named: Set[tuple[str, str]]
) -> dict[Path, int]:
    """Make room for folders that are used now, by what each may take; return what they hold.

    Raises
    ------
    PolicyRefusedError
        If there is none.
    """
    kept = {one.folder: one for one in _all_kept(root)}
    before = {folder: one.holding.bytes for folder, one in kept.items()}
    using = {
        folder: max(size, before.get(folder, 0))  # what was drawn since is still there
        for folder, size in sizes.items()
    }
    others = [one for folder, one in kept.items() if folder not in using]
    staying = _staying(others, named)
    wanted = sum(using.values()) + sum(one.holding.bytes for one in staying)
    limit = store.config.policy.maximum_prepared_gigabytes
    if wanted > limit * GIGABYTE:
        raise _no_room(wanted, limit)
    going = [one for one in others if one not in staying]
    room = limit * GIGABYTE - wanted
    _remove_unknown(root, set(kept) | set(using))
    left = _remove_oldest(going, room, VERSIONS_KEPT - len(using) - len(staying))
    if left > room:
        raise _no_room(wanted + left, limit)
    return using


def _sizes(store: SiteStore, versions: Sequence[PreparingVersion]) -> dict[Path, int]:
    """Bytes on disk that each version may take, over all studies of a store."""
    sizes: Counter[Path] = Counter()
    for one in versions:
        numbers = sum(array.nbytes for array in one.arrays.values())
        sizes[one.folder] += _on_disk(numbers) + BESIDES
    for split in SPLITS if versions else ():  # the catalogue is read for it
        source = store.source(split)
        for one in versions:
            files = _undrawn_files(store, source.images, source.volumes, one.task.inputs)
            for path in files if one.task.outlines else ():
                sizes[one.folder] += _map_of(path) + BLOCK
            if not one.task.outlines:  # a folder and a small file a study
                sizes[one.folder] += 2 * BLOCK * sum(map(len, source.studies_by_patient.values()))
    return sizes


def _undrawn_files(
    store: SiteStore, images: Mapping[str, Sequence[Image]],
    volumes: Mapping[str, Sequence[Volume]], inputs: TaskInputs,
) -> Iterator[Path]:  # fmt: skip
    """Files of the images and volumes that a task reads and nobody drew on.

    Which volumes were drawn on some slices only is not looked up: all of them may be.
    """
    for rows in images.values():
        for view, image in as_left({View(image.view): image for image in rows}).items():
            if image.mask_digest is None and view in inputs.views:
                yield store.array_path(image.study, image.view, "pixels")
    for series in volumes.values() if inputs.series else ():
        for volume in series:
            yield store.array_path(volume.study, volume.series, "hu")


def _map_of(path: Path) -> int:
    """Bytes on disk of a map on the grid of an array's file; a file that is gone has none."""
    try:
        return _on_disk(path.stat().st_size // NUMBER + ARRAY_HEADER)
    except FileNotFoundError:
        return 0


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _all_kept(root: Path) -> Iterator[_Kept]:
    """Versions that say what they are; what a crash or an older program left does not."""
    for path in root.glob(f"*/*/{HOLDING}"):
        try:
            holding = Holding.model_validate_json(path.read_text(encoding="utf-8"))
            yield _Kept(path.parent, holding, path.parent.stat().st_mtime)
        except (OSError, ValidationError, UnicodeDecodeError):
            continue


def _staying(others: Sequence[_Kept], named: Set[tuple[str, str]]) -> list[_Kept]:
    """Of each version that a contract names the folder that was used last."""
    latest = {one.name: one for one in sorted(others, key=_age)}
    return [latest[name] for name in sorted(named & latest.keys())]


def _remove_unknown(root: Path, known: Set[Path]) -> None:
    for folder in root.glob("*/*"):
        if folder not in known:
            _remove(folder)


def _remove_oldest(going: Sequence[_Kept], room: float, places: int) -> int:
    """Remove the versions used longest ago until the others fit, and count what these may take.

    One that cannot be removed goes on to take room.
    """
    left = sorted(going, key=_age)
    taken = sum(one.holding.bytes for one in left)
    while left and (len(left) > places or taken > room):
        oldest = left.pop(0)
        taken -= oldest.holding.bytes if _remove(oldest.folder) else 0
    return taken


def _remove(folder: Path) -> bool:
    """Remove a version's folder; say whether it is gone.

    It loses its name first: another process that uses the version finds no folder to write to,
    and refuses (`PreparingVersion.findings`), where it would keep maps that nobody counts.
    """
    going = folder if folder.suffix == GOING else folder.with_name(folder.name + GOING)
    with suppress(OSError):
        (folder / HOLDING).unlink(missing_ok=True)
        folder.rename(going)
    for path in {folder, going}:
        shutil.rmtree(path, ignore_errors=True)
    return not folder.exists() and not going.exists()


def _age(one: _Kept) -> tuple[float, Path]:
    return one.used, one.folder


def _write(folder: Path, holding: Holding) -> None:
    """Write down what a folder may take, before anything stands in it."""
    for one in (folder.parent, folder):
        make_private_folder(one)
    write_text_atomically(folder / HOLDING, holding.model_dump_json(), mode=OWNER_ONLY)


def _no_room(wanted: float, limit: float) -> PolicyRefusedError:
    return PolicyRefusedError(
        f"what prepares the input may take {wanted / GIGABYTE:.3g} GB with what the contracts "
        f"name that are kept here (site.yaml: policy.maximum_prepared_gigabytes: {limit:g}); "
        "give it more, or check the agreements anew with `osteofed site check --agreement`"
    )
