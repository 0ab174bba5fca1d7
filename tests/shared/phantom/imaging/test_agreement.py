"""CT, DXA and film of one bone hold the same mineral along their lines, to 2 %."""

from __future__ import annotations

import numpy as np
import pytest

from shared.phantom.imaging.crossing import cross_bones
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtProtocol
from shared.phantom.imaging.ct.scene import CtScene
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import acquire
from shared.phantom.imaging.dxa.fields import field_of, rays_of, seen_from
from shared.records import View
from tests.shared.phantom.imaging.bodies import anatomy
from tests.shared.phantom.imaging.ct.ct_body import Uniform

AURORA = CT_SCANNERS["aurora"]


def test_line_integrals_of_a_ct_volume_are_those_of_dxa() -> None:
    bone = anatomy(0).skeleton.bone("L3")
    marrow = AURORA.core_hu(0.0, 120) - AURORA.offset_hu
    scene = CtScene([bone], Uniform(marrow), 500.0)
    protocol = CtProtocol(matrix=256, field_mm=180.0, thickness_mm=2.0, increment_mm=2.0)
    y = float(bone.centre[1]) + 25
    stack = SliceStack(protocol, float(bone.centre[2]) - 39, 40, (float(bone.centre[0]), y))
    hu = np.stack([one.hu for one in acquire(scene, AURORA, stack, None, ideal=True)]).astype(float)
    lines = (hu - hu[0, 0, 0]).sum(axis=1) / AURORA.mineral_hu(120) * protocol.spacing_mm / 10
    bodies = seen_from(anatomy(0).skeleton.spine, 0.0)
    frame = field_of(anatomy(0).skeleton, bodies, View.SPINE_PA, (0.6, 1.05))
    areal = cross_bones([bone], rays_of(frame, anatomy(0).tissues[0].box)).mineral
    in_ct = lines.sum() * protocol.spacing_mm * 2.0
    assert in_ct == pytest.approx(areal.sum() * 0.6 * 1.05, rel=0.02)
    # and line by line over the middle of the body
    x = np.abs(stack.steps()) < 12
    z = np.array([abs(stack.z_of(index) - float(bone.centre[2])) < 6 for index in range(40)])
    columns = np.abs(frame.columns - bone.centre[0]) < 12
    rows = np.abs(frame.rows - bone.centre[2]) < 6
    middle = lines[z][:, x].mean()
    assert middle == pytest.approx(areal[np.ix_(rows, columns)].mean(), rel=0.03)
