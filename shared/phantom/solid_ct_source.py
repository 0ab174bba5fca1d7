"""Digital patients with a CT and the DXA values of another day, for tasks to learn from.

A series takes 60 MB, so patients are not held: each is rendered once, kept in a folder, and read
from there slice by slice as a hospital's store does it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.errors import PhantomError
from shared.phantom.imaging.ct.chest import CtPart
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, generic_ct_scanner
from shared.records import (
    DAYS_PER_MONTH,
    Covariates,
    PairedLabels,
    StudyLabels,
    StudyRecord,
    Vendor,
    VolumeRecord,
)
from shared.runtime.files import appearing
from shared.seeds import numpy_generator

from .person.calibration import calibration
from .person.generator import GENERATORS, PLAIN
from .solid_ct import CtExamination, codes_of_bones, draw_examination, middles_of
from .solid_source import SOLID_VERSION, render_by_names
from .workers import in_order

#: Changes whenever the same seed would give other series, so that old caches are not read.
CT_VERSION: Final = 1
#: Made-up scanners that the patients of one seed are spread over.
GENERIC_SCANNERS: Final = 8
#: What a patient's only series is called.
SERIES: Final = "ct"


@dataclass(frozen=True)
class CtOrder:
    """Which patients to make.

    Attributes
    ----------
    seed : int
        Of the population.
    generator : str
        A key of `person.generator.GENERATORS`.
    population : str
        A key of `person.covariates.POPULATIONS`.
    scanners : (str, str) or None
        Keys of `CT_SCANNERS` and of `imaging.dxa.looks.SOLID_SCANNERS`; made-up ones by default.
    part : {"abdomen", "chest"}
        What the CT is of.
    """

    seed: int
    generator: str = PLAIN.name
    population: str = "generic"
    scanners: tuple[str, str] | None = None
    part: CtPart = "abdomen"

    @property
    def told(self) -> str:
        """All that a patient follows from besides the number."""
        parts = [CT_VERSION, SOLID_VERSION, GENERATORS[self.generator].digest]
        parts += [calibration().digest, GENERIC_SCANNERS, self.population, self.scanners, self.seed]
        if self.part != "abdomen":
            parts.append(self.part)
        return "|".join(map(str, parts))


class CtPatients:
    """Digital patients with a CT; a `shared.records.PatientSource`.

    Parameters
    ----------
    patients : int
        How many.
    order : CtOrder
        Which.
    workers : int
        Processes that render; the patients do not depend on it.
    cache : Path, optional
        Folder where rendered patients are kept; a temporary one by default, which goes with the
        source.
    progress : callable, optional
        Called with 1 for each patient that is ready.

    Raises
    ------
    PhantomError
        If fewer than one patient is asked for.
    """

    def __init__(
        self,
        patients: int,
        order: CtOrder,
        workers: int = 1,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if patients < 1:
            raise PhantomError(f"{patients} digital patients were asked for (must be 1 or more)")
        self._own: tempfile.TemporaryDirectory[str] | None = None
        if cache is None:
            self._own = tempfile.TemporaryDirectory(prefix="osteofed-ct-")
            cache = Path(self._own.name)
        self._folders = {_name(number, order): _folder(cache, number, order)
                         for number in range(patients)}  # fmt: skip
        missing = [
            number
            for number in range(patients)
            if not (self._folders[_name(number, order)] / "facts.json").is_file()
        ]
        for _ in range(patients - len(missing)):
            if progress is not None:
                progress(1)
        for _ in in_order(partial(_make, order=order, cache=cache), missing, workers):
            if progress is not None:
                progress(1)

    @property
    def patients(self) -> Sequence[str]:
        """Names of the patients, sorted."""
        return tuple(sorted(self._folders))

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """The one study of a patient; its arrays are mapped from files."""
        return (_read(self._folders[patient], patient),)


def ct_patient(number: int, order: CtOrder) -> StudyRecord:
    """Render one person's CT, with what a DXA of another day said.

    Parameters
    ----------
    number : int
        Of the person.
    order : CtOrder
        Of whom.

    Returns
    -------
    StudyRecord
        One series, with true outlines of vertebrae, the middle slices of those that are in it as
        a whole, and the sacrum's upper end plate; the paired labels are as
        `source.generic_patient` gives a visit's.
    """
    ct, dxa = order.scanners or (None, None)
    scanner = (
        generic_ct_scanner(order.seed * GENERIC_SCANNERS + number % GENERIC_SCANNERS)
        if ct is None
        else CT_SCANNERS[ct]
    )
    one = draw_examination(
        number, order.seed, order.population, order.generator, scanner, order.part
    )
    visit = render_by_names(number, order.seed, dxa, order.population, generator=order.generator)
    vendor = Vendor.GENERIC if dxa is None else visit.vendor
    purpose = "ct photons" if order.part == "abdomen" else "chest ct photons"
    rng = numpy_generator(order.seed, purpose, order.generator, order.population, number)
    return StudyRecord(
        _name(number, order),
        _name(number, order),
        Vendor.GENERIC if ct is None else Vendor.OTHER,
        {},
        StudyLabels(),
        one.known,
        {SERIES: volume_of(one, rng)},
        PairedLabels(visit.labels, vendor, -one.days_later / DAYS_PER_MONTH),
    )


def volume_of(one: CtExamination, rng: np.random.Generator) -> VolumeRecord:
    """Take the series of an examination, with the truth about it.

    Raises
    ------
    PhantomError
        If its slices are tilted or its patient lies on the belly: such a series is read from
        its files.
    """
    protocol, stack = one.stack.protocol, one.stack
    if protocol.tilt_degrees or stack.sign < 0:
        raise PhantomError("a tilted series, or one of a patient on the belly, has no volume here")
    shape = (stack.count, *stack.shape)
    hu, regions = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    codes = codes_of_bones(one.scene)
    for taken in one.slices(rng):
        place = stack.count - 1 - taken.index
        hu[place], regions[place] = taken.hu, codes[taken.bones]
    first = stack.position(stack.count - 1)
    return VolumeRecord(
        hu,
        (protocol.increment_mm, protocol.spacing_mm, protocol.spacing_mm),
        first,
        float(protocol.kvp),
        one.scanner.kernels[protocol.kernel].name,
        protocol.thickness_mm,
        one.scene.contrast is not None,
        regions,
        {level: stack.count - 1 - place for level, place in middles_of(one).items()},
    )


def _name(number: int, order: CtOrder) -> str:
    part = "" if order.part == "abdomen" else f"{order.part}-"
    return f"solid-ct-{part}{order.generator}-{order.population}-{order.seed}-{number:06d}"


def _folder(cache: Path, number: int, order: CtOrder) -> Path:
    import hashlib

    digest = hashlib.sha256(f"{order.told}|{number}".encode()).hexdigest()[:16]
    return cache / f"ct{CT_VERSION}" / digest


def _make(number: int, order: CtOrder, cache: Path) -> None:
    """Render a patient into its folder."""
    study = ct_patient(number, order)
    folder = _folder(cache, number, order)
    folder.mkdir(parents=True, exist_ok=True)
    [volume] = study.volumes.values()
    np.save(folder / "hu.npy", volume.hu)
    _save_sparsely(folder / "regions.npy", np.asarray(volume.regions))
    facts = asdict(study) | {"volumes": None, "images": None}
    facts["volume"] = {
        name: getattr(volume, name)
        for name in ("spacing_mm", "origin_mm", "kvp", "kernel", "slice_thickness_mm", "contrast",
                     "marked_slices")
    }  # fmt: skip
    # written last: a folder with facts is whole
    with appearing(folder / "facts.json", durably=False, alone=True) as part:
        part.write_text(json.dumps(facts), encoding="utf-8")


def _save_sparsely(path: Path, regions: NDArray[np.uint8]) -> None:
    """Save a map so that blocks of nothing but zeros take no disk: most rows have no vertebra."""
    kept = np.lib.format.open_memmap(path, "w+", regions.dtype, regions.shape)
    for place, one in enumerate(regions):
        rows = np.flatnonzero(one.any(1))
        if len(rows):
            kept[place, rows[0] : rows[-1] + 1] = one[rows[0] : rows[-1] + 1]
    kept.flush()


def _read(folder: Path, name: str) -> StudyRecord:
    facts: Mapping[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    told = dict(facts["volume"])
    for key in ("spacing_mm", "origin_mm"):
        told[key] = tuple(told[key])
    volume = VolumeRecord(
        np.load(folder / "hu.npy", mmap_mode="r"),
        regions=np.load(folder / "regions.npy", mmap_mode="r"),
        **told,
    )
    paired = facts["paired"]
    return StudyRecord(
        name,
        name,
        Vendor(facts["vendor"]),
        {},
        StudyLabels(),
        Covariates(**facts["covariates"]),
        {SERIES: volume},
        PairedLabels(StudyLabels(**paired["labels"]), Vendor(paired["vendor"]), paired["months"]),
    )
