"""Real DICOM files of others, where the folder is given: accounted for, never guessed at."""

import pytest

from shared.dicom.read import read_study_folder
from tests.suite.real_images import REAL_IMAGES, needs_real_images

pytestmark = needs_real_images


@pytest.mark.parametrize("name", ["dx_seg_sr", "ct_series_dicom", "ct_slices_seg_sr"])
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # real files bend the standard
def test_no_real_file_of_another_modality_is_taken_for_a_dxa_scan(name: str) -> None:
    folder = REAL_IMAGES / name
    result = read_study_folder(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len({verdict.path for verdict in result.files}) == len(files)
    assert not any(study.images for study in result.studies)
    taken = {verdict.path for verdict in result.files if verdict.verdict == "taken"}
    # Three slices are a series; the others have no UIDs, or are single ones.
    assert taken == ({"01.dcm", "02.dcm", "03.dcm"} if name == "ct_slices_seg_sr" else set())
    assert sum(len(study.volumes) for study in result.studies) == bool(taken)
    assert all(verdict.sentence for verdict in result.files)
