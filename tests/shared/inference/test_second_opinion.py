"""Attenuation in a prediction and its report: inside whose outlines, and what it may not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.dicom.read import read_study_folder
from shared.findings.attenuation import SeriesAttenuation
from shared.findings.ct_estimates import ct_bmd_measurements
from shared.findings.findings import Findings, RegionMap
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.predict import read_study
from shared.inference.report import ReportInput, render_report
from shared.inference.schema import ModelFacts, Prediction
from shared.records import Covariates, StudyLabels, Vendor, VolumeRecord
from tests.shared.ct_samples import outlined_series, write_ct

SERIES = "1"
DRAWN = outlined_series(L2=120, L1=104, T12=131)
WHOLE = np.asarray(DRAWN.regions)


def version(task: str) -> ModelFacts:
    return ModelFacts(task=task, version="3", digest="ab" * 32, origin="by hand", source="-")


def read(
    drawn: RegionMap | None = None,
    outlines: RegionMap | None = None,
    age: float = 67.0,
    genant: Mapping[str, int] | None = None,
    **changes: Any,
) -> tuple[Prediction, str]:
    """A prediction and its page: outlines by the hospital or by a version, an estimate beside."""
    volume: VolumeRecord = replace(DRAWN, **{"regions": None, **changes})
    labels = StudyLabels(genant=genant or {})
    subject = Subject(
        StudyIdentity("P1", "Doe^Jane", "1.2.3", "2026-01-31", "A1"), Vendor.OTHER, {}, labels,
        Covariates("F", age, 160.0, 60.0), {SERIES: volume},
        drawn={} if drawn is None else {SERIES: drawn},
    )  # fmt: skip
    found = [
        Findings(volume_maps={} if outlines is None else {SERIES: outlines}),
        Findings(measurements=ct_bmd_measurements("ct-bmd", {"L1": 0.81, "L2": 0.86})),
    ]
    prediction, everything = assemble(
        subject, found, [version("ct-segmentation"), version("ct-bmd")]
    )
    given = ReportInput(
        "Doe^Jane", Vendor.OTHER, subject.covariates, labels, {}, {}, subject.volumes,
        everything.volume_maps,
    )  # fmt: skip
    return prediction, render_report(prediction, given)


def test_outlines_of_the_hospitals_files_reach_it_and_no_network(tmp_path: Path) -> None:
    write_ct(
        tmp_path, DRAWN.hu, spacing=(1.0, 1.0),
        positions=np.array([[0.0, 0.0, 2.0 * place] for place in range(len(DRAWN.hu))]),
    )  # fmt: skip
    [study] = read_study_folder(tmp_path).studies
    [(uid, volume)] = study.volumes.items()
    drawn = replace(volume, record=replace(volume.record, regions=WHOLE))
    prediction, _, _ = read_study(replace(study, volumes={uid: drawn}), [])
    found = opinion(prediction)
    assert found.outlined_by == "the hospital"
    assert [one.core.median_hu for one in found.levels] == [131, 104, 120]


def opinion(prediction: Prediction) -> SeriesAttenuation:
    [series] = prediction.series
    assert series.attenuation is not None
    return series.attenuation


def test_each_level_stands_in_the_report_and_in_the_file() -> None:
    prediction, page = read(WHOLE)
    found = opinion(prediction)
    assert [one.level for one in found.levels] == ["T12", "L1", "L2"]
    assert "Second opinion: attenuation" in page
    assert "<td>L1</td>" in page
    assert "104 ± 0" in page
    again = Prediction.model_validate_json(prediction.model_dump_json(by_alias=True))
    assert opinion(again) == found
    said = " ".join(prediction.narrative.findings)
    assert "median trabecular HU T12 131, L1 104 and L2 120" in said


def test_it_says_inside_whose_outlines() -> None:
    assert opinion(read(WHOLE)[0]).outlined_by == "the hospital"
    assert opinion(read(None, WHOLE)[0]).outlined_by == "ct-segmentation version 3"
    some = WHOLE.copy()
    some[np.arange(len(some)) % 19 != 9] = 0
    found = opinion(read(some, WHOLE)[0])
    assert found.outlined_by == "the hospital on some slices, otherwise ct-segmentation version 3"
    assert len(found.levels) == 3
    alone = opinion(read(some)[0])
    assert alone.outlined_by == "the hospital on some slices"
    assert [one.core.median_hu for one in alone.levels] == [131, 104, 120]


def test_what_the_hospital_drew_counts_before_what_a_version_found() -> None:
    other = np.where(WHOLE > 0, 0, WHOLE).astype(np.uint8)
    other[:, :10, :10] = 24
    assert [one.level for one in opinion(read(WHOLE, other)[0]).levels] == ["T12", "L1", "L2"]


def test_a_low_l1_stands_in_the_impression_with_dxa_and_moves_no_estimate() -> None:
    prediction, page = read(WHOLE)
    said = prediction.narrative.impression
    assert any("Second opinion by attenuation: L1 is at most 110 HU" in one for one in said)
    assert said[-1].startswith("Refer to DXA")
    assert 'class="impression watch"' in page
    without, _ = read()
    assert prediction.measurements == without.measurements
    assert prediction.conclusions == without.conclusions
    assert all(one.bone_class is None for one in prediction.conclusions)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"age": 49.0}, "the patient is under 50"),
        ({"contrast": True}, "a contrast agent was given"),
        ({"contrast": None}, "do not say whether a contrast agent"),
        ({"kvp": None}, "do not name the tube voltage"),
    ],
)
def test_where_the_cut_offs_do_not_apply_none_is_said(changes: dict[str, Any], why: str) -> None:
    prediction, page = read(WHOLE, **changes)
    assert opinion(prediction).statement == ""
    assert why in page
    assert "at most 110" not in page
    assert "sensitivity" not in page
    assert not any("Second opinion" in one for one in prediction.narrative.impression)


def test_a_high_l1_is_called_nothing() -> None:
    high = outlined_series(L1=210)
    prediction, page = read(np.asarray(high.regions), hu=high.hu)
    assert opinion(prediction).levels[0].core.median_hu == 210
    assert not any("Second opinion" in one for one in prediction.narrative.impression)
    assert "A value above them says nothing" in page
    assert "normal" not in page.lower()


def test_levels_that_were_not_measured_say_why() -> None:
    prediction, page = read(WHOLE, genant={"L1": 1})
    assert "L1 is fractured by the hospital" in page
    assert "L1" not in [one.level for one in opinion(prediction).levels]
    _, nothing = read()
    assert "no vertebra is outlined in this series" in nothing
