"""Attenuation in a prediction and its report: inside whose outlines, and what it may not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.clinical.internal_calibration import MineralDensity, TissueHu
from shared.dicom.read import read_study_folder
from shared.findings.attenuation import SeriesAttenuation, TissueLine, read_attenuation
from shared.findings.ct_estimates import ct_bmd_measurements
from shared.findings.findings import Findings, RegionMap
from shared.inference.assemble import StudyIdentity, Subject, assemble
from shared.inference.predict import read_study
from shared.inference.report import ReportInput, render_report
from shared.inference.schema import ModelFacts, Prediction, SeriesFacts
from shared.inference.second_opinion import concluded_opinion, opinion_sentences, told_opinions
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
        Covariates("F", age, 160.0, 60.0), {SERIES: volume}, used=SERIES,
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
    assert "median trabecular HU at 120 kV T12 131, L1 104 and L2 120." in said


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


def test_of_a_series_of_a_sharp_kernel_neither_hu_nor_mineral_is_given() -> None:
    prediction, page = read(WHOLE, kernel="B60f")
    [series] = prediction.series
    assert series.not_measured
    found = opinion(prediction)
    assert found.levels == ()
    assert [gap.why for gap in found.not_assessed] == [series.not_measured]
    assert "104" not in page
    assert not any("Second opinion" in one for one in prediction.narrative.impression)


def facts(found: SeriesAttenuation, used: bool = False, kvp: float | None = 120.0) -> SeriesFacts:
    return SeriesFacts(
        shape=(9, 9, 9), spacing_mm=(3.0, 0.7, 0.7), kvp=kvp, used=used, attenuation=found
    )


LOW = read_attenuation(DRAWN, 67).model_copy(update={"outlined_by": "the hospital"})
NOTHING = read_attenuation(replace(DRAWN, regions=None), 67)


def test_mineral_stands_in_the_narrative_with_its_range_and_what_it_is_not() -> None:
    level = LOW.levels[0].model_copy(update={"density": MineralDensity(95.2, 91.7, 104.0)})
    tissues = TissueHu(-1000, -107, 43)
    line = TissueLine(found=tissues, expected=tissues, slope=1, offset_hu=0, residual_hu=3)
    found = LOW.model_copy(update={"levels": (level,), "calibration": line})
    said = " ".join(opinion_sentences([facts(found, kvp=100.0)]))
    assert "median trabecular HU at 100 kV T12 131." in said
    assert "calibration: T12 95 (92 to 104) mg/cm³" in said
    assert "it is not comparable with quantitative CT" in said
    without = found.model_copy(update={"levels": LOW.levels})
    assert "ineral" not in " ".join(opinion_sentences([facts(without)]))
    assert "at an unknown tube voltage" in opinion_sentences([facts(LOW, kvp=None)])[0]


def test_of_several_series_each_sentence_says_whose_it_is() -> None:
    series = [facts(NOTHING), facts(LOW), facts(NOTHING, used=True), facts(NOTHING)]
    said = opinion_sentences(series)
    assert all(one.startswith(("CT series 2 of 4: ", "CT series 3 of 4: ")) for one in said)
    outlined = [one for one in said if "no vertebra is outlined" in one]
    assert len(outlined) == 1
    assert outlined[0].startswith("CT series 3 of 4: ")
    assert [name for name, _ in told_opinions(series)] == ["CT series 2 of 4", "CT series 3 of 4"]


def test_only_the_series_that_is_used_speaks_in_the_impression() -> None:
    assert concluded_opinion([facts(LOW), facts(NOTHING, used=True)]) == ""
    assert concluded_opinion([facts(NOTHING), facts(LOW, used=True)]) == LOW.statement


def test_a_report_of_two_series_names_them_and_takes_its_tone_from_the_one_that_is_used() -> None:
    for used, speaks in (("a", True), ("b", False)):
        bare = replace(DRAWN, regions=None)
        subject = Subject(
            StudyIdentity("P1", "Doe^Jane", "1.2.3", "2026-01-31", "A1"), Vendor.OTHER, {},
            StudyLabels(), Covariates("F", 67.0, 160.0, 60.0), {"a": bare, "b": bare},
            used=used, drawn={"a": WHOLE},
        )  # fmt: skip
        prediction, _ = assemble(subject, [], [])
        given = ReportInput(
            "Doe^Jane", Vendor.OTHER, subject.covariates, subject.labels, {}, {}, subject.volumes
        )
        page = render_report(prediction, given)
        assert "Second opinion: attenuation, CT series 1 of 2" in page
        assert ("attenuation, CT series 2 of 2" in page) != speaks
        assert ('class="impression watch"' in page) == speaks
        said = [one for one in prediction.narrative.impression if "Second opinion" in one]
        assert bool(said) == speaks


def test_slices_taken_as_the_middle_are_called_so_in_their_row() -> None:
    some = WHOLE.copy()
    some[np.arange(len(some)) % 19 != 9] = 0
    _, page = read(some)
    assert "on slices of 2 mm together, taken as the middle" in page
    assert "taken as the middle" not in read(WHOLE)[1]
