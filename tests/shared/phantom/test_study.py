"""One body, three projections: truth, labels and pictures agree with each other."""

import functools
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.clinical.cross_calibration import standardised_bmd
from shared.errors import PhantomError
from shared.phantom.anatomy.body import Mineral, PointAnatomy, build_anatomy
from shared.phantom.anatomy.vertebra import end_plates
from shared.phantom.anatomy.voxels import voxelise
from shared.phantom.contact_sheet import contact_sheet
from shared.phantom.imaging.acquisition import expose
from shared.phantom.imaging.outlines import hip_regions, lateral_regions, spine_regions
from shared.phantom.imaging.projection import Frame, project
from shared.phantom.imaging.scanner import SCANNERS, ScannerProfile, generic_scanner
from shared.phantom.labels import is_whole
from shared.phantom.population import POPULATIONS, VertebralFinding, draw_patient
from shared.phantom.rendered import RenderedStudy
from shared.phantom.source import DigitalPatients
from shared.phantom.study import FIELD, cross, render_study
from shared.phantom.truth import landmarks_of, minerals, scale_mineral, standard_frame
from shared.phantom.workers import in_order
from shared.records import DXA_VIEWS, Vendor, View
from shared.regions import LUMBAR, REGION_CODES, VERTEBRAE, codes_of

URBAN = POPULATIONS["urban"]
ORDINARY = replace(POPULATIONS["community"], fracture_referral=1e-6)


@functools.lru_cache(maxsize=64)
def _body(number: int) -> PointAnatomy:
    return build_anatomy(draw_patient(number, 5, URBAN))


@functools.lru_cache(maxsize=64)
def _study(number: int, scanner: str = "lunar") -> RenderedStudy:
    return render_study(number, 5, SCANNERS[scanner], URBAN)


def _frames(anatomy: PointAnatomy, spacing: tuple[float, float]) -> dict[View, Frame]:
    frames = {}
    for view in (View.SPINE_PA, View.HIP_LEFT):
        frame = standard_frame(anatomy, view)
        wide = FIELD[view][1]
        rows = round(frame.shape[0] / spacing[0])
        left = frame.left + frame.shape[1] / 2 - wide / 2
        frames[view] = Frame(view, frame.top, left, (rows, round(wide / spacing[1])), spacing)
    return frames


# --- truth -----------------------------------------------------------------------


@pytest.mark.parametrize("scanner", ["lunar", "lunar_prodigy", "hologic"])
@pytest.mark.parametrize("number", range(8))
def test_decomposition_without_noise_finds_the_areal_bmd_of_the_anatomy(
    scanner: str, number: int
) -> None:
    anatomy, profile = _body(number), SCANNERS[scanner]
    bones = minerals(anatomy, scale_mineral(anatomy))
    for view, frame in _frames(anatomy, profile.spacing_mm).items():
        crossed, femur = cross(bones, anatomy, frame)
        pa = view is View.SPINE_PA
        codes = (
            spine_regions(anatomy.vertebrae, frame)
            if pa
            else hip_regions(landmarks_of(anatomy.femur), frame, femur)
        )
        bone = crossed.bone if pa else femur
        measured = expose(crossed, profile, view, None).density
        names = (*LUMBAR, "L1-L4") if pa else ("femoral_neck", "trochanter", "total_hip")
        for region in names:
            inside = np.isin(codes, codes_of(region))
            assert measured[inside].mean() == pytest.approx(bone[inside].mean(), rel=0.01), region


@pytest.mark.parametrize("number", range(8))
def test_anatomy_has_the_drawn_bmd(number: int) -> None:
    anatomy = _body(number)
    bmd = scale_mineral(anatomy).bmd
    for site, drawn in anatomy.patient.bmd.items():
        assert bmd[site] == pytest.approx(drawn, rel=0.002)


@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_body_does_not_depend_on_the_scanner(scanner: str) -> None:
    drawn = draw_patient(2, 5, URBAN).bmd
    truth = _study(2, scanner).true_bmd
    for site, value in drawn.items():
        assert truth[site] == pytest.approx(value, rel=0.015)


def test_lumbar_areas_grow_downwards_and_are_of_human_size() -> None:
    sizes = []
    for number in range(12):
        anatomy = _body(number)
        if anatomy.patient.sex == "F" and not anatomy.patient.findings:
            codes = spine_regions(anatomy.vertebrae, standard_frame(anatomy, View.SPINE_PA))
            sizes.append([(codes == REGION_CODES[level]).sum() / 100 for level in LUMBAR])
    mean = np.mean(sizes, axis=0)
    assert (np.diff(mean) > 0).all()
    np.testing.assert_allclose(mean, [11, 12.5, 14.5, 16], rtol=0.12)


def test_projection_keeps_all_the_mass() -> None:
    anatomy = _body(1)
    cloud = anatomy.vertebrae["L2"].cloud
    frame = Frame(View.SPINE_PA, -120, -90, (200, 180), (1.2, 0.9))
    image = project(frame, cloud.core, cloud.core_mass)
    assert image.sum() * 1.2 * 0.9 / 100 == pytest.approx(cloud.core_mass.sum(), rel=1e-4)


def test_voxels_summed_along_a_ray_are_the_projection() -> None:
    vertebra = _body(1).vertebrae["L2"].cloud
    bone = Mineral(vertebra.core, vertebra.core_mass)
    low = bone.points.min(axis=0) - 3
    frame = Frame(View.SPINE_PA, float(low[2]), float(low[0]), (70, 110), (1.0, 1.0))
    volume = voxelise([bone], (float(low[0]), float(low[1]), float(low[2])), (70, 100, 110), 1.0)
    seen = project(frame, bone.points, bone.mass)
    np.testing.assert_allclose(volume.sum(axis=1) * 0.1, seen, atol=1e-3)


def test_fracture_lowers_the_body_in_the_region_map_and_in_the_heights() -> None:
    patient = replace(draw_patient(1, 5, URBAN), findings={}, degenerative={}, scoliosis=0.0)
    broken = replace(patient, findings={"L1": VertebralFinding("wedge", 2, 0.35, 0.2, 0.0)})
    areas, heights = [], []
    for person in (patient, broken):
        anatomy = build_anatomy(person)
        centre = anatomy.vertebrae["L1"].centre
        frame = Frame(
            View.SPINE_LATERAL, float(centre[2]) - 40, float(centre[1]) - 40, (80, 80), (1, 1)
        )
        codes = lateral_regions(anatomy.vertebrae, frame, end_plates)
        areas.append((codes == REGION_CODES["L1"]).sum())
        shape = anatomy.vertebrae["L1"].shape
        heights.append(shape.anterior / shape.posterior)
    assert areas[1] < 0.9 * areas[0]
    assert heights[1] / heights[0] == pytest.approx(0.65, rel=0.02)


def test_lateral_outlines_cover_bright_bone_and_all_levels() -> None:
    image = _study(1).images[View.SPINE_LATERAL]
    assert set(np.unique(image.regions)) == {0, *(REGION_CODES[level] for level in VERTEBRAE)}
    inside = image.regions > 0
    assert image.display[inside].mean() > 2 * image.display[~inside].mean()


# --- labels ----------------------------------------------------------------------


@pytest.mark.parametrize("scanner", ["lunar", "hologic"])
def test_labels_are_the_truth_on_the_scale_of_the_vendor(scanner: str) -> None:
    errors = []
    for number in range(10):
        study = _study(number, scanner)
        for region, value in study.labels.bmd.items():
            standard = standardised_bmd(value, study.vendor, region)
            truth = standardised_bmd(study.true_bmd[region], Vendor.HOLOGIC, region)
            errors.append(standard / truth - 1)
    assert abs(np.mean(errors)) < 0.012
    assert 0.003 < np.std(errors) < 0.02


def test_grades_of_the_labels_are_those_of_the_body() -> None:
    rural = POPULATIONS["rural"]
    number = next(
        n
        for n in range(200)
        if any(f.grade >= 2 for f in draw_patient(n, 5, rural).findings.values())
    )
    study = render_study(number, 5, SCANNERS["hologic"], rural)
    findings = draw_patient(number, 5, rural).findings
    for level, grade in study.labels.genant.items():
        assert grade == (findings[level].grade if level in findings else 0)
        assert grade == 0 or f"fracture:{level}:{grade}" in study.events


def test_region_at_the_edge_of_the_field_is_not_whole() -> None:
    codes = np.zeros((10, 10), np.uint8)
    codes[4:6, 4:6] = REGION_CODES["L1"]
    assert is_whole(codes, "L1")
    assert not is_whole(codes[4:], "L1")
    assert not is_whole(codes, "L1-L4")


def test_cut_off_region_has_no_bmd_and_says_why() -> None:
    study = next(
        s
        for n in range(300)
        if _cut_off(n)
        for s in [render_study(n, 5, SCANNERS["hologic"], ORDINARY)]
        if "cut_off" in s.events
    )
    lost = [level for level in LUMBAR if study.labels.quality[level] == 4]
    assert lost
    assert "L1-L4" not in study.labels.bmd
    assert not set(lost) & set(study.labels.bmd)


def _cut_off(number: int) -> bool:
    """Whether the visit's field is cut off, without rendering it."""
    from shared.phantom.study import arrange
    from shared.seeds import numpy_generator

    scanner = SCANNERS["hologic"]
    rng = numpy_generator(5, "visit", ORDINARY.name, scanner.name, number)
    anatomy = _body(0)
    return "cut_off" in arrange(anatomy, scanner, rng).events


# --- pictures --------------------------------------------------------------------


@pytest.mark.parametrize("scanner", ["lunar", "lunar_prodigy", "hologic"])
def test_pictures_have_the_promised_form(scanner: str) -> None:
    study = _study(3, scanner)
    for view, image in study.images.items():
        assert image.display.dtype == image.bone_density.dtype == np.float32
        assert image.regions.dtype == np.uint8
        assert image.display.shape == image.bone_density.shape == image.regions.shape
        shown = image.display[np.isfinite(image.display)]
        assert shown.min() >= 0
        assert shown.max() <= 1
        size = np.array(image.display.shape) * image.spacing_mm
        assert (np.abs(size / FIELD[view] - 1) < 0.2).all()


def test_unscanned_margins_are_steps_and_belong_to_lunar() -> None:
    lunar, hologic = (_study(3, name).images[View.SPINE_PA] for name in ("lunar", "hologic"))
    missing = np.isnan(lunar.display)
    assert 0.01 < missing.mean() < 0.3
    assert (missing == np.isnan(lunar.bone_density)).all()
    assert not lunar.regions[missing].any()
    widths = missing[:, : missing.shape[1] // 2].sum(axis=1)
    assert 1 <= (np.diff(widths) != 0).sum() <= 12
    assert not np.isnan(hologic.display).any()


def test_soft_tissue_is_dark_for_lunar_and_grey_for_hologic() -> None:
    # a quarter of the field or more is soft tissue alone
    dark, grey = (
        float(np.nanpercentile(_study(3, name).images[View.SPINE_PA].display, 25))
        for name in ("lunar", "hologic")
    )
    assert dark < 0.08
    assert 0.15 < grey < 0.5


def test_bone_is_brighter_where_bmd_is_higher() -> None:
    bright, bmd = [], []
    for number in range(10):
        study = _study(number)
        image = study.images[View.SPINE_PA]
        bright.append(np.nanmean(image.display[np.isin(image.regions, codes_of("L1-L4"))]))
        bmd.append(study.true_bmd.get("L1-L4", np.nan))
    kept = np.isfinite(bmd)
    assert np.corrcoef(np.array(bright)[kept], np.array(bmd)[kept])[0, 1] > 0.8


def test_generic_scanners_differ_but_do_not_reach_the_clinical_ones() -> None:
    generic = [generic_scanner(seed) for seed in range(40)]
    assert len({s.window[View.SPINE_PA] for s in generic}) == 40
    clinical = SCANNERS.values()

    def pedestals(scanners: list[ScannerProfile]) -> list[float]:
        return [s.window[View.SPINE_PA].pedestal for s in scanners]

    assert min(pedestals(list(clinical))) < min(pedestals(generic))
    assert max(pedestals(list(clinical))) > max(pedestals(generic))
    assert all(s.vendor is Vendor.GENERIC for s in generic)


def test_contact_sheet_shows_every_patient(tmp_path: Path) -> None:
    from PIL import Image

    contact_sheet([_study(n) for n in range(5)], View.HIP_LEFT, tmp_path / "sheets" / "hip.png")
    with Image.open(tmp_path / "sheets" / "hip.png") as sheet:
        assert sheet.width > 4 * 200
        assert sheet.height > 2 * 200
    with pytest.raises(PhantomError, match="no digital patients"):
        contact_sheet([], View.HIP_LEFT, tmp_path / "none.png")


# --- the same seed ---------------------------------------------------------------


def _bytes(study: RenderedStudy) -> bytes:
    parts = [
        array.tobytes()
        for image in study.images.values()
        for array in (image.display, image.bone_density, image.regions)
    ]
    return b"".join(parts) + repr((study.labels, study.true_bmd, study.events)).encode()


def test_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from tests.shared.phantom.test_study import _bytes, render_study;"
        "from tests.shared.phantom.test_study import SCANNERS, URBAN;"
        "print(hashlib.sha256(_bytes(render_study(4, 5, SCANNERS['hologic'], URBAN))).hexdigest())"
    )
    import hashlib

    here = hashlib.sha256(_bytes(render_study(4, 5, SCANNERS["hologic"], URBAN))).hexdigest()
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert there.stdout.strip() == here


def test_other_seed_gives_another_patient() -> None:
    assert _bytes(render_study(4, 5, SCANNERS["lunar"], URBAN)) != _bytes(
        render_study(4, 6, SCANNERS["lunar"], URBAN)
    )


# --- the source --------------------------------------------------------------------


def test_source_does_not_depend_on_workers_cache_or_number(tmp_path: Path) -> None:
    alone = DigitalPatients(3, seed=9)
    shared = DigitalPatients(4, seed=9, workers=2, cache=tmp_path)
    kept = DigitalPatients(4, seed=9, views=[View.HIP_LEFT], cache=tmp_path)
    assert shared.patients[:3] == alone.patients
    assert list(shared.patients) == sorted(shared.patients)
    for name in alone.patients:
        first, second, third = (s.studies(name)[0] for s in (alone, shared, kept))
        assert first.labels == second.labels == third.labels
        assert first.covariates == third.covariates
        assert set(third.images) == {View.HIP_LEFT}
        for view in DXA_VIEWS:
            np.testing.assert_array_equal(first.images[view].pixels, second.images[view].pixels)
        np.testing.assert_array_equal(
            first.images[View.HIP_LEFT].pixels, third.images[View.HIP_LEFT].pixels
        )


def test_source_is_on_the_standardised_scale() -> None:
    study = DigitalPatients(1, seed=9).studies("digital-9-000000")[0]
    assert study.vendor is Vendor.GENERIC
    drawn = draw_patient(0, 9, POPULATIONS["generic"]).bmd["total_hip"]
    expected = standardised_bmd(drawn, Vendor.HOLOGIC, "total_hip")
    assert study.labels.bmd["total_hip"] == pytest.approx(expected, rel=0.06)


def test_source_of_nobody_is_refused() -> None:
    with pytest.raises(PhantomError, match="0 digital patients"):
        DigitalPatients(0, seed=1)


def _number_and_process(number: int) -> tuple[int, int]:
    return number, os.getpid()


def test_workers_give_results_in_order_and_end_when_nobody_listens() -> None:
    results = in_order(_number_and_process, list(range(40)), workers=2)
    first = next(results)
    second = next(results)
    assert (first[0], second[0]) == (0, 1)
    assert first[1] != os.getpid()
    results.close()  # type: ignore[attr-defined]
    assert not [child for child in multiprocessing.active_children() if child.pid == first[1]]
