"""CT series written as four makers do are read as what they are, whatever their habits."""

from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest

from shared.dicom.read import read_study_folder
from shared.phantom.imaging.ct.scanner import CT_SCANNERS, CtMaker, CtProtocol
from shared.phantom.imaging.ct.scene import PORTAL, CtScene
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import CtSlice, acquire, outside_circle
from shared.phantom.writers.ct import HABITS, write_series
from shared.phantom.writers.identity import Identity
from shared.records import PADDING_HU, Covariates
from tests.shared.phantom.imaging.ct.ct_body import scene

WHO = Identity(
    patient_id="MRN1000017",
    name="Bergström^Solveig",
    birth_date=date(1950, 5, 4),
    study_date=date(2022, 3, 1),
    study_time="101500",
    accession="ACC220000017",
    age_years=71,
    uid_key="ct|1|17",
)
KNOWN = Covariates(sex="F", age_years=71.0, height_cm=160.0, weight_kg=64.0)
PLAIN = CtProtocol(matrix=128, field_mm=360.0, thickness_mm=3.0, increment_mm=3.0)


def written(
    folder: Path,
    scanner: str,
    protocol: CtProtocol = PLAIN,
    of: CtScene | None = None,
    count: int = 8,
) -> tuple[list[CtSlice], SliceStack, tuple[Path, ...]]:
    folder.mkdir()
    what = of or scene()
    stack = SliceStack(protocol, -(count - 1) / 2 * 3.0, count, (4.0, -7.0))
    profile = CT_SCANNERS[scanner]
    slices = list(acquire(what, profile, stack, np.random.default_rng(6)))
    series = write_series(slices, what, profile, stack, folder, WHO, KNOWN)
    return slices, stack, series.paths


@pytest.mark.parametrize("scanner", CT_SCANNERS)
def test_a_series_is_read_back_to_one_hu_where_it_lies(scanner: str, tmp_path: Path) -> None:
    slices, stack, paths = written(tmp_path / "study", scanner)
    result = read_study_folder(tmp_path)
    assert {verdict.reason for verdict in result.files} == {"ok"}
    (study,) = result.studies
    (volume,) = study.volumes.values()
    record = volume.record
    # The reader's first slice is the one nearest to the feet.
    taken = np.stack([one.hu for one in slices[::-1]])
    assert record.hu.shape == taken.shape
    assert np.abs(record.hu.astype(int) - taken).max() <= 1
    assert (record.hu[:, outside_circle(stack)] == PADDING_HU).all()
    assert record.spacing_mm == pytest.approx((3.0, 2.8125, 2.8125), abs=0.01)
    decimals = HABITS[CT_SCANNERS[scanner].maker].decimals
    expected = stack.position(len(slices) - 1)
    assert record.origin_mm == pytest.approx(expected, abs=0.51 * 10.0**-decimals + 1e-4)
    assert record.kvp == 120
    assert record.slice_thickness_mm == 3
    assert record.kernel.startswith(CT_SCANNERS[scanner].kernels["medium"].name)
    assert volume.resampled == ""
    assert study.covariates.sex == "F"
    assert len(paths) == 8


@pytest.mark.parametrize("scanner", CT_SCANNERS)
def test_what_is_in_a_file_is_whole_and_in_order(scanner: str, tmp_path: Path) -> None:
    _, _, paths = written(tmp_path / "study", scanner)
    seen = []
    for path in paths:
        dataset = pydicom.dcmread(path)
        tags = [int(element.tag) for element in dataset]
        assert all(low < high for low, high in pairwise(tags))
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.PatientName == WHO.name
        assert dataset.pixel_array.shape == (128, 128)
        assert len([tag for tag in tags if (tag >> 16) % 2]) > 0
        seen.append(dataset)
    assert len({one.SOPInstanceUID for one in seen}) == len(seen)
    numbers = [int(one.InstanceNumber) for one in seen]
    assert sorted(numbers) == list(range(1, len(seen) + 1))
    heights = [float(one.ImagePositionPatient[2]) for one in seen]
    assert heights == sorted(heights, reverse=True)


def test_makers_differ_in_what_a_reader_trips_over(tmp_path: Path) -> None:
    heads = {}
    for name, profile in CT_SCANNERS.items():
        _, _, paths = written(tmp_path / name, name)
        heads[profile.maker] = [pydicom.dcmread(path) for path in paths]
    makers: list[CtMaker] = ["ge", "siemens", "philips", "canon"]
    first = {maker: heads[maker][0] for maker in makers}
    assert [int(first[maker].RescaleIntercept) for maker in makers] == [-1024, -1024, -1024, 0]
    assert [first[maker].PixelRepresentation for maker in makers] == [1, 0, 0, 1]
    assert [first[maker].get("PixelPaddingValue") for maker in makers] == [-2000, None, None, -2048]
    assert first["ge"].pixel_array[0, 0] == -2000
    assert "RescaleType" not in first["philips"]
    assert first["siemens"].ConvolutionKernel == ["B31f", "3"]
    assert int(first["philips"].InstanceNumber) == 8
    names = [Path(str(one.filename)).name for one in heads["ge"]]
    assert names != sorted(names)
    assert first["canon"].file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian


def test_a_tilted_gantry_is_written_and_resampled(tmp_path: Path) -> None:
    protocol = replace(PLAIN, tilt_degrees=-12.0)
    slices, stack, paths = written(tmp_path / "study", "boreas", protocol, count=18)
    head = pydicom.dcmread(paths[0])
    assert float(head.GantryDetectorTilt) == -12
    across, down = np.array(head.ImageOrientationPatient, float).reshape(2, 3)
    assert across @ down == pytest.approx(0, abs=1e-9)
    assert down[2] == pytest.approx(np.sin(np.deg2rad(12)), abs=1e-6)
    # Each pixel is where the stack has it, the head upwards.
    plane = stack.plane(stack.z_of(0))
    where = np.array(head.ImagePositionPatient, float)
    corner = where + 127 * stack.protocol.spacing_mm * (across + down)
    assert corner == pytest.approx([plane.x[-1], plane.y[-1], -plane.z[-1]], abs=0.01)
    (study,) = read_study_folder(tmp_path).studies
    (volume,) = study.volumes.values()
    assert volume.resampled == "tilt"
    # The vertebra stands upright again.
    record = volume.record
    z = record.origin_mm[2] + np.arange(record.hu.shape[0]) * record.spacing_mm[0]
    y = record.origin_mm[1] + np.arange(record.hu.shape[1]) * record.spacing_mm[1]
    x = record.origin_mm[0] + np.arange(record.hu.shape[2]) * record.spacing_mm[2]
    near = np.abs(x) < 6
    core = record.hu[np.abs(z) < 6][:, np.abs(y - 35) < 8][:, :, near].mean()
    assert core == pytest.approx(CT_SCANNERS["boreas"].core_hu(0.12, 120), abs=8)
    assert len(slices) == 18


def test_a_patient_on_the_belly_is_read_the_right_way_round(tmp_path: Path) -> None:
    of = replace(scene(), back_y=-110.0)
    slices, _, _ = written(tmp_path / "study", "aurora", replace(PLAIN, position="HFP"), of)
    (study,) = read_study_folder(tmp_path).studies
    (volume,) = study.volumes.values()
    turned = np.stack([one.hu[::-1, ::-1] for one in slices[::-1]])
    assert (volume.record.hu == turned).all()


@pytest.mark.parametrize(("scanner", "plain"), [("aurora", None), ("cirrus", False)])
def test_contrast_is_said_as_the_maker_says_it(
    scanner: str, plain: bool | None, tmp_path: Path
) -> None:
    for name, of, expected in (
        ("without", scene(), plain),
        ("with", replace(scene(), contrast=PORTAL), True),
    ):
        written(tmp_path / name, scanner, of=of)
        (study,) = read_study_folder(tmp_path / name).studies
        (volume,) = study.volumes.values()
        assert volume.record.contrast is expected


def test_the_same_patient_gives_the_same_files(tmp_path: Path) -> None:
    once = written(tmp_path / "a", "dorado")[2]
    again = written(tmp_path / "b", "dorado")[2]
    assert [path.read_bytes() for path in once] == [path.read_bytes() for path in again]
