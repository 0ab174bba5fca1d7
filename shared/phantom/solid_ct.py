"""A CT of abdomen or chest of a person whose DXA is there, some months apart, as DICOM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from shared.phantom.imaging.ct.chest import (
    ARMS_BESIDE,
    LUNG_SERIES,
    WITHOUT_HEIGHT,
    CtPart,
    chest_stack,
    draw_lung_hu,
    lung_stack,
)
from shared.phantom.imaging.ct.of_anatomy import scene_of
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtScannerProfile
from shared.phantom.imaging.ct.scene import ARTERIAL, PORTAL, ContrastPhase, CtScene
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import CtSlice, acquire
from shared.phantom.person.covariates import POPULATIONS
from shared.phantom.person.generator import GENERATORS
from shared.phantom.person.person import Person, draw_person
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.physique import Arms
from shared.phantom.solids.skeleton import Lie
from shared.phantom.solids.spine import SpineBody
from shared.records import Covariates
from shared.regions import CT_LEVELS, LUMBAR, SACRUM, VERTEBRA_CODES
from shared.seeds import numpy_generator

from .writers.common import WrittenCt
from .writers.ct import write_series
from .writers.identity import Identity, seen_later
from .writers.segmentation import make_level_segmentation

#: [U] Shares of abdominal series without an injection, in the arterial and in the portal phase.
PHASES: Final[tuple[tuple[ContrastPhase | None, float], ...]] = (
    (None, 0.35), (ARTERIAL, 0.10), (PORTAL, 0.55),
)  # fmt: skip
#: [U] Share with an oral agent.
ORAL: Final = 0.3
#: [U] Spread of the iodine that a person's blood holds (SD of the logarithm).
IODINE_SD: Final = 0.15
#: The longest time between DXA and CT, days.
APART: Final = 365
#: How far a series reaches above the middle of its first vertebra and below L5, mm.
ABOVE: Final = (15.0, 60.0)
BELOW: Final = (20.0, 90.0)
#: Fields of view are whole steps, and leave so much beside the body, mm.
FIELD_STEP: Final = 20.0
BESIDE: Final = 20.0
#: SD of the trunk's roll on the table, degrees, and of how far the field is off the middle, mm.
ROLL_SD: Final = 1.5
CENTRE_SD: Final = 8.0
#: Levels whose middle slices somebody marked, by the part that a CT is of.
MARKED: Final[Mapping[CtPart, tuple[str, ...]]] = {
    "abdomen": CT_LEVELS, "chest": ("T11", "T12", "L1", "L2"),
}  # fmt: skip


@dataclass(frozen=True)
class CtExamination:
    """How a CT goes.

    Attributes
    ----------
    anatomy : Anatomy
        The person, on the table.
    scene : CtScene
        What the scanner meets.
    scanner : CtScannerProfile
        Which scanner.
    stack : SliceStack
        Where the slices lie.
    days_later : int
        After the DXA; negative if it was before.
    known : Covariates
        What its headers say of the patient.
    part : {"abdomen", "chest"}
        What it is of.
    for_lung : SliceStack or None
        A second series with a kernel for lung, if one is made.
    """

    anatomy: Anatomy
    scene: CtScene
    scanner: CtScannerProfile
    stack: SliceStack
    days_later: int
    known: Covariates
    part: CtPart = "abdomen"
    for_lung: SliceStack | None = None

    def slices(self, rng: np.random.Generator) -> Iterator[CtSlice]:
        """Take the series, slice by slice."""
        return acquire(self.scene, self.scanner, self.stack, rng)


def draw_examination(
    number: int,
    seed: int,
    population: str,
    generator: str,
    scanner: CtScannerProfile | None = None,
    part: CtPart = "abdomen",
) -> CtExamination:
    """Draw the CT of a person.

    Parameters
    ----------
    number, seed, population, generator
        Of the person, as for `solid_source.solid_patient`.
    scanner : CtScannerProfile, optional
        By default the hospital's own, which follows from its seed.
    part : {"abdomen", "chest"}
        What it is of.
    """
    names = sorted(CT_SCANNERS)
    profile = scanner or CT_SCANNERS[names[seed % len(names)]]
    person = draw_person(number, seed, POPULATIONS[population], GENERATORS[generator])
    draw = _draw_abdomen if part == "abdomen" else _draw_chest
    purpose = "ct examination" if part == "abdomen" else "chest ct examination"
    return draw(person, profile, numpy_generator(seed, purpose, generator, population, number))


def _days(rng: np.random.Generator) -> int:
    return int(rng.integers(1, APART + 1)) * (1 if rng.random() < 0.5 else -1)


def _draw_chest(
    person: Person, profile: CtScannerProfile, rng: np.random.Generator
) -> CtExamination:
    roll = ROLL_SD * float(np.clip(rng.normal(), -2.5, 2.5))
    breath = float(rng.uniform(0.6, 1.0))
    arms: Arms = "beside" if rng.random() < ARMS_BESIDE else "above"
    anatomy = build_anatomy(person, Lie(roll_degrees=roll, arms=arms, inspiration=breath))
    scene = scene_of(anatomy, hu={"lung": draw_lung_hu(rng)})
    stack = chest_stack(anatomy, profile, rng)
    known = person.covariates
    if rng.random() < WITHOUT_HEIGHT:
        known = replace(known, height_cm=None, weight_kg=None)
    for_lung = lung_stack(stack) if rng.random() < LUNG_SERIES else None
    return CtExamination(anatomy, scene, profile, stack, _days(rng), known, "chest", for_lung)


def _draw_abdomen(
    person: Person, profile: CtScannerProfile, rng: np.random.Generator
) -> CtExamination:
    roll = ROLL_SD * float(np.clip(rng.normal(), -2.5, 2.5))
    lie = Lie(roll_degrees=roll, inspiration=float(rng.uniform(0.5, 1.0)))
    anatomy = build_anatomy(person, lie)
    phase = int(rng.choice(len(PHASES), p=[share for _, share in PHASES]))
    scene = scene_of(
        anatomy,
        contrast=PHASES[phase][0],
        enhancement=math.exp(IODINE_SD * float(rng.normal())),
        oral=bool(rng.random() < ORAL),
    )
    days = _days(rng)
    stack = _stack(anatomy, profile, rng)
    return CtExamination(anatomy, scene, profile, stack, days, person.covariates)


def _stack(anatomy: Anatomy, scanner: CtScannerProfile, rng: np.random.Generator) -> SliceStack:
    """Slices from the lower chest to the pelvis, by one of the scanner's protocols."""
    # sharp kernels and small fields are those of a spine's own series
    abdominal = [one for one in scanner.protocols if one.kernel != "sharp"]
    protocol = abdominal[int(rng.integers(len(abdominal)))]
    low, high = anatomy.tissues[0].box
    widest = float(max(high[0] - low[0], high[1] - low[1])) + BESIDE
    field = min(FIELD_STEP * math.ceil(widest / FIELD_STEP), 500.0)
    spine = anatomy.skeleton.spine
    first = "T10" if rng.random() < 0.5 else "T12"
    top = float(spine[first].centre[2]) - float(rng.uniform(*ABOVE))
    bottom = float(spine["L5" if "L5" in spine else "L4"].centre[2]) + float(rng.uniform(*BELOW))
    count = max(2, round((bottom - top) / protocol.increment_mm))
    off = rng.normal(0, CENTRE_SD, 2)
    centre = (
        float(low[0] + high[0]) / 2 + float(off[0]),
        float(low[1] + high[1]) / 2 + float(off[1]),
    )
    return SliceStack(replace(protocol, field_mm=field), top, count, centre)


def middles_of(one: CtExamination) -> dict[str, int]:
    """Slices through the middles of the vertebrae that lie in a series as a whole, and `SACRUM`.

    Returns
    -------
    dict of str to int
        Index from the head. `SACRUM` is the slice of its upper end plate.
    """
    spine, stack = one.anatomy.skeleton.spine, one.stack
    last = stack.count - 1

    def place(z: float) -> float:
        return (z - stack.top) / stack.protocol.increment_mm

    marks = {}
    for level, body in spine.items():
        ends = [place(float(body.centre[2]) + sign * _half_height(body)) for sign in (-1, 1)]
        whole = all(-0.5 <= end <= last + 0.5 for end in ends)
        if whole and level in VERTEBRA_CODES["volume"]:
            marks[level] = round(place(float(body.centre[2])))
    lowest = list(spine.values())[-1]
    down = float(lowest.rotation[2, 2]) * (_half_height(lowest) + lowest.disc_below)
    end_plate = round(place(float(lowest.centre[2]) + down))
    if 0 <= end_plate <= last:
        marks[SACRUM] = end_plate
    return marks


def _half_height(body: SpineBody) -> float:
    return (body.shape.anterior + body.shape.posterior) / 4


def codes_of_bones(scene: CtScene) -> NDArray[np.uint8]:
    """Code in maps of volumes of each bone's number, (256,); of what is no vertebra 0."""
    table = np.zeros(256, np.uint8)
    for number, bone in enumerate(scene.bones, start=1):
        table[number] = VERTEBRA_CODES["volume"].get(bone.name, 0)
    return table


def write_examination(
    number: int,
    seed: int,
    population: str,
    generator: str,
    who: Identity,
    out: Path,
    part: CtPart = "abdomen",
) -> tuple[WrittenCt, dict[str, Any]]:
    """Take and write a person's CT as a study of its own, with a hospital's marks and drawing.

    Somebody marked the middles of `MARKED`. Of an abdominal one somebody also drew L1 to L5 on the
    slices through their middles, and on no other.

    Parameters
    ----------
    number, seed, population, generator
        Of the person.
    who : Identity
        As on the day of the DXA.
    out : Path
        The DICOM folder; the study gets ``<patient id>/<study date>_CT/`` in it.
    part : {"abdomen", "chest"}
        What it is of.

    Returns
    -------
    WrittenCt, dict
        What was written, and what only a phantom knows: ``days_later``, ``phase``, ``oral``,
        ``kvp``, ``kernel``, ``thickness_mm``, ``core_g_cm3`` by level, ``lumbar``.
    """
    one = draw_examination(number, seed, population, generator, part=part)
    identity = seen_later(who, one.days_later, "CT")
    folder = out / identity.patient_id / f"{identity.study_date:%Y%m%d}_CT"
    folder.mkdir(parents=True)
    purpose = "ct photons" if part == "abdomen" else "chest ct photons"
    rng = numpy_generator(seed, purpose, generator, population, number)
    middles = {
        level: place for level, place in middles_of(one).items() if level in MARKED[one.part]
    }
    drawn: dict[int, NDArray[np.uint8]] = {}
    wanted = set(middles.values()) if part == "abdomen" else set()
    written = write_series(
        _watched(one, rng, wanted, drawn),
        one.scene, one.scanner, one.stack, folder, identity, one.known, part=part,
    )  # fmt: skip
    files = len(written.paths) + _write_drawing(written.paths, drawn, folder, identity)
    if one.for_lung is not None:
        inside = folder / "LUNG"
        inside.mkdir()
        lung = write_series(
            acquire(one.scene, one.scanner, one.for_lung, rng),
            one.scene, one.scanner, one.for_lung, inside, identity, one.known, 3, part=part,
        )  # fmt: skip
        files += len(lung.paths)
    levels = {level: one.stack.position(place)[2] for level, place in middles.items()}
    return WrittenCt(identity, files, levels), _told(one)


def _told(one: CtExamination) -> dict[str, Any]:
    """What only a phantom knows of an examination."""
    person, protocol = one.anatomy.person, one.stack.protocol
    return {
        "days_later": one.days_later,
        "phase": one.scene.contrast.name if one.scene.contrast else "native",
        "oral": one.scene.oral,
        "kvp": protocol.kvp,
        "kernel": protocol.kernel,
        "thickness_mm": protocol.thickness_mm,
        "lumbar": person.variants.lumbar,
        "core_g_cm3": {
            level: round(person.levels[level].core, 5) for level in LUMBAR if level in person.levels
        },
    }


def _watched(
    one: CtExamination,
    rng: np.random.Generator,
    wanted: set[int],
    drawn: dict[int, NDArray[np.uint8]],
) -> Iterator[CtSlice]:
    """Take the series, and keep the outlines of vertebrae on some slices in `drawn`."""
    codes = codes_of_bones(one.scene)
    for taken in one.slices(rng):
        if taken.index in wanted:
            drawn[taken.index] = codes[taken.bones]
        yield taken


def _write_drawing(
    paths: Sequence[Path], drawn: Mapping[int, NDArray[np.uint8]], folder: Path, who: Identity
) -> int:
    """Write outlines on some slices as one Segmentation; return how many files that are."""
    places = [place for place in sorted(drawn) if drawn[place].any()]
    if not places:
        return 0
    slices = [dcmread(paths[place], stop_before_pixels=True) for place in places]
    regions = np.stack([drawn[place] for place in places])
    make_level_segmentation(slices, regions, who).save_as(folder / "LEVELS.dcm")
    return 1
