"""Digital patients with a CT: the truth about a series, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import PhantomError
from shared.phantom import solid_ct_source
from shared.phantom.solid_ct import draw_examination, middles_of
from shared.phantom.solid_ct_source import (
    SERIES,
    CtOrder,
    CtPatients,
    volume_of,
)
from shared.records import (
    Covariates,
    PairedLabels,
    StudyLabels,
    StudyRecord,
    Vendor,
    VolumeRecord,
)
from shared.regions import LUMBAR, SACRUM, code_of
from shared.seeds import numpy_generator


@pytest.fixture(scope="module")
def coarse() -> VolumeRecord:
    """A person's series of few, large voxels."""
    one = draw_examination(0, 8, "urban", "plain")
    protocol = replace(one.stack.protocol, matrix=96, thickness_mm=5.0, increment_mm=5.0)
    height = one.stack.count * one.stack.protocol.increment_mm
    stack = replace(one.stack, protocol=protocol, count=round(height / 5.0))
    return volume_of(replace(one, stack=stack), numpy_generator(1, "photons"))


def test_middles_lie_in_the_outlines_and_rise_to_the_head(coarse: VolumeRecord) -> None:
    assert coarse.regions is not None
    marks = coarse.marked_slices
    assert set(LUMBAR) <= set(marks)
    places = [marks[level] for level in ("L4", "L3", "L2", "L1")]
    assert places == sorted(places)
    for level in LUMBAR:
        drawn = coarse.regions == code_of(level, "volume")
        slices = np.flatnonzero(drawn.any((1, 2)))
        assert slices[0] < marks[level] < slices[-1]
        # a body is bone with marrow: denser than muscle in everybody of this generator
        assert np.median(coarse.hu[marks[level]][drawn[marks[level]]]) > 60


def test_the_sacrum_begins_below_the_last_vertebra(coarse: VolumeRecord) -> None:
    marks = coarse.marked_slices
    lowest = min(place for level, place in marks.items() if level != SACRUM)
    assert 10 < (lowest - marks[SACRUM]) * coarse.spacing_mm[0] < 35


def test_a_vertebra_that_is_cut_off_is_not_marked() -> None:
    one = draw_examination(0, 8, "urban", "plain")
    middle = float(one.anatomy.skeleton.spine["L2"].centre[2])
    cut = replace(one, stack=one.stack.moved(middle, one.stack.count))
    marks = middles_of(cut)
    assert "L2" not in marks
    assert "L1" not in marks
    assert "L3" in marks


def test_a_patient_on_the_belly_has_no_volume_here() -> None:
    one = draw_examination(0, 8, "urban", "plain")
    prone = replace(one.stack.protocol, position="HFP")
    with pytest.raises(PhantomError, match="on the belly"):
        volume_of(replace(one, stack=replace(one.stack, protocol=prone)), numpy_generator(1, "x"))


def made_up(number: int, order: CtOrder) -> StudyRecord:
    volume = VolumeRecord(
        np.full((4, 6, 5), number, np.int16),
        (2.5, 0.8, 0.8),
        (1.0, 2.0, 3.0),
        120.0,
        "MEDIUM",
        2.5,
        False,
        np.full((4, 6, 5), 20, np.uint8),
        {"L1": 2},
    )
    labels = PairedLabels(StudyLabels(bmd={"L1": 0.9}), Vendor.GENERIC, 3.5)
    name = f"solid-ct-{order.generator}-{order.population}-{order.seed}-{number:06d}"
    return StudyRecord(
        name,
        name,
        Vendor.GENERIC,
        {},
        StudyLabels(),
        Covariates("F", 70.0),
        {SERIES: volume},
        labels,
    )


def test_what_is_kept_is_what_was_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solid_ct_source, "ct_patient", made_up)
    ready: list[int] = []
    source = CtPatients(3, CtOrder(4), cache=tmp_path, progress=ready.append)
    assert ready == [1, 1, 1]
    assert len(source.patients) == 3
    [study] = source.studies(source.patients[2])
    [volume] = study.volumes.values()
    made = made_up(2, CtOrder(4))
    assert np.array_equal(volume.hu, made.volumes[SERIES].hu)
    assert np.array_equal(np.asarray(volume.regions), np.asarray(made.volumes[SERIES].regions))
    bare = replace(study, volumes={}), replace(made, volumes={})
    assert bare[0] == bare[1]
    facts = [replace(one, hu=made.volumes[SERIES].hu, regions=None)
             for one in (volume, made.volumes[SERIES])]  # fmt: skip
    assert facts[0] == facts[1]


def test_a_patient_is_rendered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solid_ct_source, "ct_patient", made_up)
    CtPatients(2, CtOrder(4), cache=tmp_path)

    def never(number: int, order: CtOrder) -> StudyRecord:
        raise AssertionError(f"{number} of {order} is rendered again")

    monkeypatch.setattr(solid_ct_source, "ct_patient", never)
    CtPatients(2, CtOrder(4), cache=tmp_path)
    with pytest.raises(AssertionError, match="rendered again"):
        CtPatients(2, CtOrder(5), cache=tmp_path)
    with pytest.raises(PhantomError, match="0 digital patients"):
        CtPatients(0, CtOrder(4))
