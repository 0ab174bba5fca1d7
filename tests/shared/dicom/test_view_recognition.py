"""A view that no name says: told by its pixels where nothing else can be meant, marked as such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from scipy import ndimage
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.ingest.folder import ingest
from client.store.catalogue import Image as ImageRow
from client.store.site_store import SiteStore, init_site
from shared.dicom.read import read_study_folder
from shared.dicom.vendors.view_recognition import recognised, view_features
from shared.phantom.imaging.scanner import SCANNERS, ScannerProfile, generic_scanner
from shared.phantom.make import make_hospital
from shared.phantom.population import POPULATIONS
from shared.phantom.rendered import RenderedStudy
from shared.phantom.study import render_study
from shared.records import View
from shared.scan_types import ScanType
from shared.settings.files import SiteConfig
from shared.settings.pacs import ReadingSettings
from tests.suite.real_images import REAL_IMAGES, needs_real_images

TRUE = {
    View.SPINE_PA: ScanType.SPINE_PA,
    View.HIP_LEFT: ScanType.HIP_LEFT,
    View.SPINE_LATERAL: ScanType.SPINE_LATERAL,
}


def told(pixels: np.ndarray, spacing_mm: tuple[float, float] = (1.0, 1.0)) -> ScanType | None:
    return recognised(view_features(pixels.astype(np.float32), spacing_mm))


@pytest.fixture(scope="module")
def studies() -> list[RenderedStudy]:
    scanners: list[ScannerProfile] = [SCANNERS["lunar"], generic_scanner(2)]
    return [
        render_study(number, 31, scanner, POPULATIONS["generic"])
        for number, scanner in enumerate(scanners)
    ]


def test_digital_patients_of_two_scanners_are_told(studies: list[RenderedStudy]) -> None:
    found = [
        (view, told(image.display, image.spacing_mm))
        for study in studies
        for view, image in study.images.items()
    ]
    assert all(scan in (TRUE[view], None) for view, scan in found)
    assert sum(scan is not None for _, scan in found) >= 5
    hip = studies[0].images[View.HIP_LEFT]
    assert told(hip.display[:, ::-1], hip.spacing_mm) is ScanType.HIP_RIGHT


def test_what_is_no_view_as_it_should_be_is_not_told(studies: list[RenderedStudy]) -> None:
    for study in studies:
        for view, image in study.images.items():
            pixels, (row_mm, column_mm) = image.display, image.spacing_mm
            height = pixels.shape[0]
            right = (TRUE[view], None)
            assert told(np.rot90(pixels)) is None
            assert told(1 - pixels) is None
            assert told(pixels, (2 * row_mm, 2 * column_mm)) is None
            assert told(pixels, (row_mm / 2, column_mm / 2)) is None
            assert told(pixels[: height // 2], image.spacing_mm) is None
            assert told(pixels[height // 2 :], image.spacing_mm) is None
            assert told(pixels[::-1], image.spacing_mm) in right


def test_blank_and_noise_are_not_told() -> None:
    noise = np.random.default_rng(5)
    for shape in ((200, 180), (160, 150), (440, 200)):
        assert told(np.zeros(shape)) is None
        assert told(np.full(shape, np.nan)) is None
        for sigma in (0, 1, 4, 12):
            grey = ndimage.gaussian_filter(noise.normal(size=shape), sigma)
            assert told((grey - grey.min()) / np.ptp(grey)) is None


def bones(shape: tuple[int, int], *pieces: tuple[int, int, int, int]) -> np.ndarray:
    drawn = np.full(shape, 0.15)
    for top, bottom, left, right in pieces:
        drawn[top:bottom, left:right] = 0.9
    return ndimage.gaussian_filter(drawn, 2)


@pytest.mark.parametrize(
    "pixels",
    [
        bones((180, 150), (0, 80, 60, 92), (80, 115, 38, 114), (115, 180, 62, 90)),  # a knee
        bones((180, 100), (0, 180, 30, 44), (0, 180, 56, 70)),  # a forearm
        bones((420, 160), (0, 420, 66, 98)),  # the shaft of a femur
        bones((200, 180), (0, 200, 74, 106)),  # one bar
    ],
)
def test_other_parts_of_the_body_are_not_told(pixels: np.ndarray) -> None:
    assert told(pixels) is None


@needs_real_images
def test_real_radiographs_are_not_told() -> None:
    paths = sorted((REAL_IMAGES / "xray_spine" / "valid" / "images").glob("*.jpg"))[:6]
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("L"), np.float32) / 255
        for height in (190, 400):
            step = height / pixels.shape[0]
            assert told(pixels, (step, step)) is None


@needs_real_images
def test_a_nameless_lunar_scan_is_recognised_and_marked(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    report = ingest(tmp_path / "site", REAL_IMAGES / "cases" / "lunar_protocol_names")
    ended = {file.path: file for file in report.files}
    assert ended["0.dcm"].reason == "ok"
    assert "as spine_pa, recognised from its pixels" in ended["0.dcm"].sentence
    store = SiteStore.open(tmp_path / "site")
    with Session(store.engine) as session:
        views = session.execute(select(ImageRow.view, ImageRow.told)).all()
    store.close()
    assert sorted(map(tuple, views)).count(("spine_pa", "recognised")) == 1


def test_pixels_that_look_like_another_view_than_was_said_are_set_aside(
    tmp_path: Path, studies: list[RenderedStudy]
) -> None:
    make_hospital(tmp_path / "a", "lunar", 1, 31, render=lambda *_: studies[0])
    for path in (tmp_path / "a").rglob("*"):
        if path.suffix == ".dcm":
            dataset = pydicom.dcmread(path)
            if "ProtocolName" in dataset:
                dataset.ProtocolName = "Anonymized"
                dataset.save_as(path)
    views = [v for study in read_study_folder(tmp_path / "a").studies for v in study.told.items()]
    assert sorted(views) == [(view, "recognised") for view in sorted(TRUE)]
    meant = ReadingSettings.model_validate({"scan_names": {"anonymized": "spine_pa"}})
    result = read_study_folder(tmp_path / "a", settings=meant)
    (study,) = result.studies
    assert dict(study.told) == {View.SPINE_PA: "mapped"}
    sentences = {file.sentence for file in result.files if file.reason == "scan_type_unknown"}
    assert any("its pixels look like another view than its name" in one for one in sentences)
