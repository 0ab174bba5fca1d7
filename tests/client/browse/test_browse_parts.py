"""The page's parts: loopback only, pictures that show what the arrays hold, charts that add up."""

from __future__ import annotations

import io
import json
import socket
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from client.browse.charts import histogram, nice_step, strips
from client.browse.contracts import contracts
from client.browse.names_and_advice import (
    ADVICE,
    advice,
    age_words,
    method_words,
    no_flag_words,
    reason_sentence,
)
from client.browse.pictures import (
    EDGE_ALPHA,
    FILL_ALPHA,
    UNSCANNED_COLOUR,
    bone_window,
    colour_of,
    grey_png,
    region_facts,
    regions_png,
    thumbnail_png,
)
from client.browse.serve import LOOPBACK, listen
from client.browse.slices import PLANES, cut_slice, slice_spacing, slices_through_spine
from shared.dicom.verdicts import REASONS
from shared.errors import ConfigValueError
from shared.records import PADDING_HU
from shared.regions import REGION_CODES, VERTEBRAE


def decoded(png: bytes, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert(mode))


def test_only_one_address_of_this_machine_is_bound() -> None:
    with listen(0) as listening:
        address, port = listening.getsockname()
        assert address == LOOPBACK == "127.0.0.1"
        with socket.create_connection((LOOPBACK, port), timeout=5):
            pass
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    with listen(0) as listening, pytest.raises(ConfigValueError, match="another program"):
        listen(listening.getsockname()[1])


def test_grey_values_are_kept_and_what_was_not_scanned_has_its_own_colour() -> None:
    pixels = np.array([[0.0, 0.5, 1.0], [np.nan, -3.0, 7.0]], np.float16)
    shown = decoded(grey_png(pixels), "RGB")
    assert shown[0, 0].tolist() == [0, 0, 0]
    assert abs(int(shown[0, 1, 0]) - 128) <= 1
    assert shown[0, 2].tolist() == [255, 255, 255]
    assert tuple(shown[1, 0]) == UNSCANNED_COLOUR
    assert shown[1, 1:].tolist() == [[0, 0, 0], [255, 255, 255]]
    assert len(set(UNSCANNED_COLOUR)) > 1  # no grey value looks like it


def test_an_overlay_is_clear_outside_thin_inside_and_strong_at_edges() -> None:
    regions = np.zeros((9, 9), np.uint8)
    regions[2:7, 2:7] = REGION_CODES["L2"]
    shown = decoded(regions_png(regions), "RGBA")
    assert shown[0, 0, 3] == 0
    assert shown[4, 4].tolist() == [*colour_of(REGION_CODES["L2"]), FILL_ALPHA]
    assert shown[2, 4, 3] == EDGE_ALPHA


def test_neighbouring_vertebrae_never_have_one_colour() -> None:
    colours = [colour_of(REGION_CODES[name]) for name in VERTEBRAE]
    assert all(a != b for a, b in pairwise(colours))


def test_a_small_picture_is_square_in_millimetres() -> None:
    pixels = np.zeros((100, 100), np.float16)
    wide, tall = Image.open(io.BytesIO(thumbnail_png(pixels, None, (1.0, 2.0)))).size
    assert wide == 2 * tall


def test_slices_have_the_head_and_the_front_on_top() -> None:
    volume = np.zeros((4, 5, 6), np.int16)
    volume[-1] += 1  # head
    volume[:, 0] += 10  # front
    volume[:, :, 0] += 100  # the patient's right
    middle = dict(zip(PLANES, (2, 2, 3), strict=True))
    axial, coronal, sagittal = (cut_slice(volume, plane, middle[plane]) for plane in PLANES)
    assert axial[0, 3] >= 10
    assert axial[2, 0] >= 100
    assert coronal[0, 3] == 1
    assert coronal[-1, 3] == 0
    assert sagittal[0, 3] == 1
    assert sagittal[-1, 0] == 10
    spacing = (3.0, 2.0, 1.0)
    assert slice_spacing(spacing, "axial") == (2.0, 1.0)
    assert slice_spacing(spacing, "coronal") == (3.0, 1.0)
    assert slice_spacing(spacing, "sagittal") == (3.0, 2.0)


#: Of nothing else in `body_with_a_spine`.
SPONGY_HU = 140


def body_with_a_spine(spacing: tuple[float, float, float], behind_mm: float) -> np.ndarray:
    """A body 300 mm wide and 200 mm deep: a curved spine, breastbone, ribs, a vessel, a couch.

    The bodies of vertebrae begin `behind_mm` behind the middle, and up to 10 mm further in front
    where the spine is bent; behind them are the canal and the arches.
    """
    shape = tuple(round(side / mm) for side, mm in zip((200, 400, 400), spacing, strict=True))
    z, y, x = (np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True))
    y, x = y[None, :, None] - 200.0, x[None, None, :] - 230.0
    hu = np.full(shape, -1000, np.int16)
    hu[np.broadcast_to((x / 150) ** 2 + (y / 100) ** 2 < 1, shape)] = 40
    hu[np.broadcast_to((abs(x) < 200) & (abs(y - 120) < 3), shape)] = 300  # the couch
    front = behind_mm - 10.0 * np.sin(np.pi * z / 200.0)[:, None, None]
    high = (z % 35)[:, None, None]
    vertebra, deep = high >= 8, y - front
    hu[x**2 + (deep + 13) ** 2 < 81] = 220  # a vessel with contrast agent
    hu[(abs(x) < 22) & (deep >= 0) & (deep < 30) & vertebra] = 600  # the shell of a body
    hu[(abs(x) < 18) & (deep >= 4) & (deep < 26) & (high >= 12) & (high < 31)] = SPONGY_HU
    hu[(abs(x) < 22) & (abs(x) > 12) & (deep >= 38) & (deep < 60) & vertebra] = 800  # the arches
    hu[np.broadcast_to((abs(abs(x) - 120) < 8) & (abs(y - 20) < 15), shape)] = 900  # ribs
    hu[np.broadcast_to((abs(x) < 20) & (abs(y + 80) < 6), shape)] = 900  # the breastbone
    return hu


@pytest.mark.parametrize("spacing", [(3.0, 0.8, 0.8), (1.0, 1.5, 1.5), (5.0, 4.0, 4.0)])
@pytest.mark.parametrize("behind_mm", [12.0, 25.0])
def test_slices_of_a_ct_pass_through_the_bodies_of_the_vertebrae(
    spacing: tuple[float, float, float], behind_mm: float
) -> None:
    hu = body_with_a_spine(spacing, behind_mm)
    found = slices_through_spine(hu, spacing)
    assert abs(found["sagittal"] * spacing[2] - 230.0) <= 12.0
    assert found["axial"] == hu.shape[0] // 2

    def bodies_met(row: int) -> int:
        inside = (cut_slice(hu, "coronal", row)[::-1] == SPONGY_HU).any(axis=1)
        return len({int(z * spacing[0] // 35) for z in np.flatnonzero(inside)})

    assert bodies_met(found["coronal"]) == max(map(bodies_met, range(hu.shape[1]))) >= 5
    assert bodies_met(hu.shape[1] // 2) == 0


@pytest.mark.parametrize("value", [-1000, 40, PADDING_HU])
def test_where_no_bone_is_found_the_middle_is_shown(value: int) -> None:
    hu = np.full((6, 20, 24), value, np.int16)
    assert slices_through_spine(hu, (2.0, 1.0, 1.0)) == {"axial": 3, "coronal": 10, "sagittal": 12}


def test_the_bone_window_ends_where_it_says() -> None:
    shown = bone_window(np.array([[-500, 400, 1300, PADDING_HU]], np.int16))
    np.testing.assert_allclose(shown[0, :3], [0.0, 0.5, 1.0])
    assert np.isnan(shown[0, 3])


@given(st.integers(0, 2**31))
def test_regions_are_measured_as_a_slow_count_does(seed: int) -> None:
    generator = np.random.default_rng(seed)
    regions = generator.integers(0, 17, (7, 11)).astype(np.uint8)
    found = {fact.name: fact for fact in region_facts(regions, REGION_CODES)}
    for name, code in REGION_CODES.items():
        rows, columns = np.nonzero(regions == code)
        if not rows.size:
            assert name not in found
            continue
        assert found[name].pixels == rows.size
        assert found[name].row == pytest.approx(rows.mean())
        assert found[name].column == pytest.approx(columns.mean())


@given(
    st.dictionaries(
        st.sampled_from(["Women", "Men"]),
        st.lists(st.floats(0.2, 2.5, allow_nan=False), min_size=1, max_size=40),
        min_size=1,
    )
)
def test_bars_stand_for_every_value_once_and_stay_inside(values: dict[str, list[float]]) -> None:
    chart = histogram("BMD", "g/cm²", values, 0.05, 2)
    assert chart is not None
    assert chart.total == sum(len(part) for part in values.values())
    counted = sum(int(bar.words.split(": ")[1].split()[0]) for bar in chart.bars)
    assert counted == chart.total
    assert not any(": 1 studies" in bar.words for bar in chart.bars)
    for bar in chart.bars:
        assert bar.height > 0
        assert 10 - 1e-6 <= bar.y <= bar.y + bar.height <= 116 + 1e-6
        assert 34 <= bar.x <= bar.x + bar.width <= 350
        assert "g/cm²" in bar.words
    assert all(0 < tick.at <= 360 for tick in chart.x_ticks)


def test_nothing_to_draw_is_no_chart() -> None:
    assert histogram("Age", "years", {}, 5.0, 0) is None
    assert histogram("Age", "years", {"Women": []}, 5.0, 0) is None
    assert strips({}) is None


@given(st.floats(1e-3, 1e6), st.integers(1, 9))
def test_a_step_of_an_axis_is_round(largest: float, parts: int) -> None:
    step = nice_step(largest, parts)
    assert step * parts >= largest * 0.99
    assert f"{step:.3e}"[0] in "125"


def test_advice_is_for_reasons_that_exist_and_every_reason_has_some() -> None:
    assert set(ADVICE) <= set(REASONS)
    for reason, (verdict, _) in REASONS.items():
        assert advice(reason, verdict)
    assert reason_sentence("of_another_version") == "Of another version"


def test_a_contract_is_shown_as_it_was_last_checked(tmp_path: Path) -> None:
    assert contracts(tmp_path) == []
    folder = tmp_path / "contracts"
    folder.mkdir()
    row = {
        "requirement": "patients", "required": "at least 20", "found": "14",
        "verdict": "not met", "weight": "must", "advice": "take in more studies",
    }  # fmt: skip
    (folder / "dxa-bmd.json").write_text("{}")
    (folder / "dxa-bmd.checked.json").write_text(
        json.dumps(
            {"key": "0", "rows": [row, row | {"weight": "should"}, row | {"verdict": "met"}]}
        )
    )
    (folder / "vfa-fracture.json").write_text("{}")
    (folder / "vfa-fracture.checked.json").write_text("half a fi")
    bmd, vfa = contracts(tmp_path)
    assert (bmd.task, bmd.failed) == ("dxa-bmd", 1)
    assert bmd.rows is not None
    assert bmd.rows[0].advice == "take in more studies"
    assert (vfa.task, vfa.rows) == ("vfa-fracture", None)


def test_words_say_what_codes_mean() -> None:
    assert age_words(89.0) == "89 years or older"
    assert age_words(None) == "age not given"
    assert method_words("113100, 113107")[1] == "Dates modified, intervals kept (113107)"
    assert method_words(None) == []
    said = [no_flag_words(0, 2), no_flag_words(2, 2), no_flag_words(2, 3)]
    assert said == ["not assessed", "no clear flag", "no clear flag; 1 of 3 not assessed"]
