"""``dciodvfy`` finds no error in anything that we write, the digital patients included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shared.inference.outputs import make
from shared.inference.outputs.kinds import DICOM_KINDS
from shared.regions import VERTEBRA_CODES
from tests.shared.ct_samples import write_ct
from tests.shared.inference.outputs.cases import MADE_AT, found_in, read_one
from tests.suite.validator import errors_in, needs_dciodvfy


@needs_dciodvfy
@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_no_error_in_what_goes_back_or_in_what_a_digital_patient_has(
    hospitals: dict[str, Path], scanner: str, tmp_path: Path
) -> None:
    study = read_one(hospitals[scanner])
    first = make(study, *found_in(study), DICOM_KINDS, made_at=MADE_AT)
    later = make(
        study, *found_in(study), DICOM_KINDS, made_at=MADE_AT,
        predecessors=[one.identity for one in first],
    )  # fmt: skip
    for name, files in (("first", first), ("corrected", later)):
        for one in files:
            (tmp_path / f"{name}_{one.name}").write_bytes(one.encoded())
    written = [*tmp_path.glob("*.dcm"), *hospitals[scanner].rglob("*.dcm")]
    assert len(written) > 20
    assert [error for path in written for error in errors_in(path)] == []


@needs_dciodvfy
def test_no_error_in_what_goes_back_of_a_ct(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    study = read_one(tmp_path / "ct")
    for volume in study.volumes.values():
        regions = np.where(volume.record.hu > 700, VERTEBRA_CODES["volume"]["L1"], 0)
        object.__setattr__(volume.record, "regions", regions.astype(np.uint8))
    files = make(study, *found_in(study), DICOM_KINDS, made_at=MADE_AT)
    assert {one.kind for one in files} == set(DICOM_KINDS)
    for one in files:
        (tmp_path / one.name).write_bytes(one.encoded())
    assert [e for path in tmp_path.glob("*.dcm") for e in errors_in(path)] == []
