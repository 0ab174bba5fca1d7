"""On which series bone is measured: each rule refuses what it names, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.clinical.ct_gates import GATES, is_sharp, refusing_gate, why_not_measured
from shared.dicom.verdicts import REASONS
from shared.phantom.imaging.ct.scanner import CT_SCANNERS
from shared.records import Covariates, StudyLabels, StudyRecord, Vendor, VolumeRecord
from shared.tasks.ct.series import NO_SERIES, chosen_series, why_none

PAGE = Path(__file__).resolve().parents[3] / "docs" / "what-is-read.md"
GOOD = VolumeRecord(
    np.zeros((8, 4, 4), np.int16), (3.0, 0.7, 0.7), kernel="Br38f", slice_thickness_mm=3.0
)
REFUSED = [
    ("series_not_axial", {"spacing_mm": (0.7, 3.0, 0.7)}),
    ("series_not_axial", {"spacing_mm": (0.7, 0.7, 3.0)}),
    ("series_thick", {"slice_thickness_mm": 5.5}),
    ("series_thick", {"slice_thickness_mm": None, "spacing_mm": (7.0, 0.7, 0.7)}),
    ("kernel_sharp", {"kernel": "B60f"}),
]


@pytest.mark.parametrize(("name", "changes"), REFUSED)
def test_each_rule_refuses_what_it_names(name: str, changes: dict[str, object]) -> None:
    found = refusing_gate(replace(GOOD, **changes))  # type: ignore[arg-type]
    assert found is not None
    assert found[0].name == name
    assert found[0].finds(GOOD) is None


def test_no_rule_refuses_a_usual_series_and_every_rule_is_tried_above() -> None:
    assert why_not_measured(GOOD) == ""
    assert why_not_measured(replace(GOOD, spacing_mm=(1.0, 1.0, 1.0))) == ""
    assert why_not_measured(replace(GOOD, slice_thickness_mm=5.0)) == ""
    # Positions are rounded in files.
    assert why_not_measured(replace(GOOD, spacing_mm=(5.0003, 0.7, 0.7))) == ""
    assert "5.1 mm apart" in why_not_measured(replace(GOOD, spacing_mm=(5.1, 0.7, 0.7)))
    assert {gate.name for gate in GATES} == {name for name, _ in REFUSED}


@pytest.mark.parametrize("kernel", ["BONE", "BONEPLUS", "LUNG", "B60f", "Br64f\\3", "Hr69", "FC81"])
def test_kernels_for_bone_and_lung_are_sharp(kernel: str) -> None:
    assert is_sharp(kernel)


@pytest.mark.parametrize("kernel", ["", "STANDARD", "SOFT", "B30f", "Br40d\\3", "FC08", "B", "C"])
def test_other_kernels_are_not(kernel: str) -> None:
    assert not is_sharp(kernel)


def test_digital_scanners_call_their_sharp_kernels_sharp_and_no_others() -> None:
    for scanner in CT_SCANNERS.values():
        for sharpness, kernel in scanner.kernels.items():
            assert is_sharp(kernel.name) == (sharpness == "sharp"), kernel.name


def test_every_rule_is_a_reason_of_a_series_that_is_kept_and_stands_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for gate in GATES:
        assert REASONS[gate.name] == ("taken", gate.sentence)
        assert f"| `{gate.name}` |" in page, gate.name


def study(**volumes: VolumeRecord) -> StudyRecord:
    return StudyRecord("p", "s", Vendor.OTHER, {}, StudyLabels(), Covariates(), volumes)


def test_of_the_eligible_series_one_before_an_injection_is_used() -> None:
    sharp = replace(GOOD, kernel="B60f", contrast=False)
    portal = replace(GOOD, contrast=True)
    plain = replace(GOOD, contrast=False, slice_thickness_mm=5.0)
    for volumes, used in (
        ({"a": sharp, "b": portal, "c": plain}, "c"),
        ({"a": sharp, "b": portal, "c": GOOD}, "c"),
        ({"a": sharp, "b": portal}, "b"),
    ):
        chosen = chosen_series(study(**volumes))
        assert chosen is not None
        assert chosen[0] == used


def test_where_no_series_is_eligible_each_reason_is_told_once() -> None:
    thick = replace(GOOD, slice_thickness_mm=8.0)
    given = study(a=thick, b=thick, c=replace(GOOD, kernel="LUNG"))
    assert chosen_series(given) is None
    first, second = why_none(given).split("; bone")
    assert first.endswith("(8 mm thick)")
    assert second.endswith("(kernel LUNG)")
    assert why_none(study()) == NO_SERIES
