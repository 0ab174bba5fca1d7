"""Projections of a CT in a report: the head above, each level at its slice."""

from __future__ import annotations

import re

import numpy as np

from shared.inference.pictures.series import BESIDE_MM, series_svgs
from shared.records import VolumeRecord
from shared.regions import code_of
from tests.shared.ct_standins import lumbar_ct


def size_of(svg: str) -> tuple[float, float]:
    found = re.search(r'<image [^>]*width="([\d.]+)" height="([\d.]+)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])


def line_of(svg: str, level: str) -> float:
    """Height of a level's line below the upper edge, mm."""
    paths = re.findall(r'<path d="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+) Z"', svg)
    labels = re.findall(r'<text [^>]* y="([\d.]+)"[^>]*>([^<]+)</text>', svg)
    place = float(next(y for y, words in labels if words == level))
    assert any(abs(float(path[1]) - place) < 0.02 for path in paths)
    return place


def test_pictures_are_as_large_as_the_series_and_levels_lie_at_their_slices() -> None:
    volume = lumbar_ct(np.random.default_rng(1))
    levels = {name: volume.marked_slices[name] for name in ("L1", "L3")}
    front, side = series_svgs(volume, None, levels, "a <series>")
    height = len(volume.hu) * volume.spacing_mm[0]
    assert size_of(front) == (volume.hu.shape[2] * volume.spacing_mm[2], height)
    assert size_of(side) == (volume.hu.shape[1] * volume.spacing_mm[1], height)
    for svg in (front, side):
        assert "a &lt;series&gt;" in svg
        for name, place in levels.items():
            expected = height - (place + 0.5) * volume.spacing_mm[0]
            assert abs(line_of(svg, name) - expected) < 0.02
        assert line_of(svg, "L1") < line_of(svg, "L3")


def test_outlines_cast_their_shadow() -> None:
    volume = lumbar_ct(np.random.default_rng(1))
    regions = np.zeros(volume.hu.shape, np.uint8)
    regions[10:20, 40:50, 30:45] = code_of("L2", "volume")
    front, side = series_svgs(volume, regions, {}, "t")
    step, _, column = volume.spacing_mm
    [shadow] = re.findall(r'<path d="(M[^"]*Z)" fill=', front)
    points = np.array([[float(n) for n in pair.split()] for pair in shadow[1:-2].split(" L")])
    assert points[:, 0].min() == 30 * column
    assert points[:, 0].max() == 45 * column
    assert points[:, 1].max() == (len(volume.hu) - 10) * step
    assert "<path" in side


def test_the_side_view_leaves_out_what_lies_far_beside_the_middle() -> None:
    hu = np.full((4, 6, 100), -1000, np.int16)
    hu[:, 2, :10] = 900
    spacing = (3.0, 3.0, 3.0)
    far = series_svgs(VolumeRecord(hu, spacing), None, {}, "t")[1]
    hu[:, 2, 50 - round(BESIDE_MM / 3)] = 900
    near = series_svgs(VolumeRecord(hu, spacing), None, {}, "t")[1]
    assert far != near
    hu[:, 2, :10] = -1000
    assert series_svgs(VolumeRecord(hu, spacing), None, {}, "t")[1] == near
