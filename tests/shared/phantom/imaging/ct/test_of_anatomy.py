"""CT of drawn persons: to files and back, with the HU of what the person is made of."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from shared.dicom.read import read_study_folder
from shared.phantom.imaging.ct.of_anatomy import scene_of
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtProtocol
from shared.phantom.imaging.ct.scene import PORTAL
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import acquire
from shared.phantom.person.generator import NEAR_TO_LIFE
from shared.phantom.person.person import draw_person
from shared.phantom.population import POPULATIONS
from shared.phantom.solids.anatomy import Anatomy, build_anatomy
from shared.phantom.solids.tissue import SUBSTANCES
from shared.phantom.writers.ct import write_series
from shared.phantom.writers.identity import Identity

SCANNER = CT_SCANNERS["boreas"]
PROTOCOL = CtProtocol(matrix=256, field_mm=420.0, thickness_mm=2.0, increment_mm=2.0)
WHO = Identity(
    patient_id="MRN1000023",
    name="Lindqvist^Natalia",
    birth_date=date(1958, 2, 11),
    study_date=date(2022, 3, 1),
    study_time="101500",
    accession="ACC220000023",
    age_years=64,
    uid_key="ct of anatomy",
)


@lru_cache(maxsize=4)
def anatomy(number: int = 0, *, operated: bool = False) -> Anatomy:
    one = draw_person(number, 3, POPULATIONS["urban"], NEAR_TO_LIFE)
    if operated:
        one = replace(one, findings=replace(one.findings, screws=("L3", "L4"), cement={"L2": 4.0}))
    return build_anatomy(one)


def stack_at(of: Anatomy, count: int, protocol: CtProtocol = PROTOCOL) -> SliceStack:
    low, high = of.tissues[0].box
    top = -(count - 1) / 2 * protocol.increment_mm
    return SliceStack(protocol, top, count, (0.0, (low[1] + high[1]) / 2))


def test_the_core_has_the_hu_of_its_mineral() -> None:
    of = anatomy()
    stack = stack_at(of, 3)
    scene = scene_of(of)
    middle = list(acquire(scene, SCANNER, stack, None, ideal=True))[1]
    body = of.skeleton.spine["L3"]
    plane = stack.plane(0.0)
    columns, rows = (values.reshape(-1) for values in np.meshgrid(plane.x, plane.y))
    x, y, z = body.bone.frame(columns, rows, np.zeros_like(rows))
    # In front of the vein, away from the cortex.
    deep = (body.bone.looked_up(x, y, z)[:, 0] < -4.5) & (y < -6)
    found = float(middle.hu.reshape(-1)[deep].mean())
    core, fat = of.person.levels["L3"].core, of.person.composition.marrow_fat
    assert found == pytest.approx(SCANNER.core_hu(core, 120, fat), abs=5)
    assert deep.sum() > 50


def test_soft_tissue_has_its_hu_and_contrast_raises_what_takes_it_up() -> None:
    of = anatomy()
    stack = stack_at(of, 1)
    plain, portal = (
        next(iter(acquire(scene_of(of, contrast=phase), SCANNER, stack, None, ideal=True))).hu
        for phase in (None, PORTAL)
    )
    codes = scene_of(of).tissues.codes(stack.plane(0.0))
    psoas, aorta, fat = (
        codes == SUBSTANCES[name].code for name in ("psoas_muscle", "aorta", "subcutaneous_fat")
    )
    expected = of.person.composition.muscles["psoas"].mean_hu + SCANNER.offset_hu
    assert np.median(plain[psoas]) == pytest.approx(expected, abs=6)
    assert -120 < np.median(plain[fat]) < -90
    assert np.median(portal[aorta]) - np.median(plain[aorta]) > 80
    assert abs(np.median(portal[fat]) - np.median(plain[fat])) < 2


def test_one_who_lies_on_the_belly_is_the_same_body_turned_over() -> None:
    of = anatomy()
    supine = stack_at(of, 1)
    prone = stack_at(of, 1, replace(PROTOCOL, position="HFP"))
    labeller = scene_of(of).tissues
    above, below = (labeller.codes(stack.plane(0.0)) for stack in (supine, prone))
    assert np.array_equal(above, below[::-1, ::-1])
    assert scene_of(of).back_y > 0 > scene_of(of, prone=True).back_y


def test_a_series_goes_to_files_and_comes_back(tmp_path: Path) -> None:
    of = anatomy(operated=True)
    scene, stack = scene_of(of), stack_at(of, 4)
    assert {part.material for part in scene.metals} == {"titanium", "cement"}
    slices = list(acquire(scene, SCANNER, stack, np.random.default_rng(1)))
    write_series(slices, scene, SCANNER, stack, tmp_path, WHO, of.person.covariates)
    result = read_study_folder(tmp_path)
    assert {verdict.reason for verdict in result.files} == {"ok"}
    (study,) = result.studies
    (volume,) = study.volumes.values()
    taken = np.stack([one.hu for one in slices[::-1]])
    assert np.abs(volume.record.hu.astype(int) - taken).max() <= 1
    assert taken.max() > 2000  # a screw
    names = [bone.name for bone in scene.bones]
    seen = {names[number - 1] for one in slices for number in np.unique(one.bones) if number}
    assert "L3" in seen
