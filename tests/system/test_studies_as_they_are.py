"""Repeated scans, right hips and single projections, by the real ingest and the real predict."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from sqlalchemy.orm import Session

from client.browse.one_study import one_study
from client.contract.facts import read_facts
from client.ingest.folder import IngestReport, ingest
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from shared.dicom.read import read_study_folder
from shared.findings.region_names import VIEW_WORDS
from shared.inference.predict import predict_folder
from shared.inference.schema import Prediction
from shared.phantom.make import make_hospital
from shared.phantom.writers import write_study
from shared.records import StudyRecord, View
from shared.settings.files import SiteConfig
from shared.settings.task import NetworkSettings, TaskSettings
from shared.tasks import make_task
from shared.training.arrays import get_arrays
from shared.training.weights import Weights, save_weights
from tests.shared.rendered_samples import sample_study
from tests.suite.real_images import REAL_IMAGES, needs_real_images

SPINE, HIP, LATERAL = "AP_SPINE", "LEFT_FEMUR", "LVA"
NO_TIMES = dict.fromkeys(
    ("AcquisitionTime", "ContentTime", "SeriesTime", "SeriesNumber", "InstanceNumber")
)
Grey = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Lunar study without masks: spine, left hip, lateral."""
    out = tmp_path_factory.mktemp("written") / "export"
    make_hospital(out, "lunar", 1, 5)
    for mask in out.rglob("*_SEG.dcm"):
        mask.unlink()
    (spine,) = out.rglob(f"{SPINE}.dcm")
    return spine.parent


@pytest.fixture
def study(written: Path, tmp_path: Path) -> Path:
    """A copy of it, free to be changed."""
    return Path(shutil.copytree(written, tmp_path / "export"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks with weights nobody trained."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name in ("dxa-segmentation", "dxa-bmd"):
        network = NetworkSettings(image_size=(56, 40))
        settings = TaskSettings(task=name, network=network)
        arrays = get_arrays(make_task(settings).network())
        if name == "dxa-bmd":  # one whose estimates follow from the images
            generator = np.random.default_rng(0)
            for head in ("heads.0.linear.weight", "heads.1.linear.weight"):
                weight = generator.normal(0, 0.05, arrays[head].shape)
                arrays[head] = weight.astype(np.float32)
        save_weights(folder / f"{name}.safetensors", Weights(settings, arrays, "random"))
    return folder


@dataclass(frozen=True)
class Read:
    """What became of the study as it is."""

    prediction: Prediction
    masks: Mapping[str, NDArray[np.uint8]]


@pytest.fixture(scope="module")
def whole(written: Path, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Read:
    folder = tmp_path_factory.mktemp("whole")
    prediction = predicted(written, models, folder / "out")
    with np.load(folder / "out" / "masks.npz") as masks:
        return Read(prediction, dict(masks))


def same(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return grey


def darker(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Another scan of the same: no two are equal."""
    return np.where(grey < 255, grey // 2, grey).astype(np.uint8)


def half(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A scan that was stopped half way: the rest is white, as what was not scanned."""
    grey = grey.copy()
    grey[len(grey) // 2 :] = 255
    return grey


def mirrored(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(grey[:, ::-1])


def derive(study: Path, of: str, name: str, grey: Grey = same, **said: object) -> None:
    """Write another scan, of a file that is there; None takes an attribute off."""
    dataset = pydicom.dcmread(study / f"{of}.dcm")
    dataset.PixelData = grey(dataset.pixel_array).tobytes()
    if name != of:
        dataset.SOPInstanceUID += ".77"
    tell(dataset, said)
    dataset.save_as(study / f"{name}.dcm")


def tell(dataset: Dataset, said: Mapping[str, object]) -> None:
    for keyword, value in said.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)


def site_of(tmp_path: Path) -> Path:
    site = tmp_path / "site"
    if not site.exists():
        init_site(site, SiteConfig(site="riverside"))
    return site


def take(tmp_path: Path, folder: Path) -> IngestReport:
    return ingest(site_of(tmp_path), folder, workers=1)


def told(report: IngestReport) -> dict[str, str]:
    return {file.path.rsplit("/", 1)[-1]: file.reason for file in report.files}


def stored(tmp_path: Path) -> StudyRecord:
    store = SiteStore.open(site_of(tmp_path))
    sources = [store.source(split) for split in SPLITS]
    (one,) = [one for s in sources for patient in s.patients for one in s.studies(patient)]
    return one


def catalogue(tmp_path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(site_of(tmp_path) / "store" / "catalogue.sqlite") as found:
        return list(found.execute(query))


def predicted(study: Path, models: Path, out: Path) -> Prediction:
    result = predict_folder(study, out, models=models, device="cpu")
    assert not result.failures
    (prediction,) = result.predictions.values()
    return prediction


def gaps(prediction: Prediction) -> dict[str, str]:
    return {gap.what: gap.why for gap in prediction.not_assessed}


# --- several scans of one view --------------------------------------------------------


@pytest.mark.parametrize("name", ["AAA", "ZZZ"])
def test_of_two_scans_the_newest_is_kept_and_the_catalogue_says_of_how_many(
    study: Path, tmp_path: Path, name: str
) -> None:
    """Whatever the files are called and in whichever order they come."""
    want = read_study_folder(study).studies[0].images[View.SPINE_PA].pixels
    derive(study, SPINE, name, darker, AcquisitionTime="000001")
    first = take(tmp_path, study)
    assert told(first)[f"{name}.dcm"] == "view_repeated"
    assert Counter(told(first).values()) == {"ok": 3, "view_repeated": 1}
    assert np.array_equal(
        stored(tmp_path).images[View.SPINE_PA].pixels, want.astype(np.float16), equal_nan=True
    )
    kept = catalogue(tmp_path, "SELECT view, scans, chosen FROM images ORDER BY view")
    assert ("spine_pa", 2, "the newest by the time of acquisition") in kept
    assert ("hip_left", 1, None) in kept
    before = catalogue(tmp_path, "SELECT * FROM files ORDER BY 1, 2")
    again = take(tmp_path, study)
    assert Counter(told(again).values()) == {"already_there": 3, "view_repeated": 1}
    assert catalogue(tmp_path, "SELECT * FROM files ORDER BY 1, 2") == before


def test_a_scan_that_stopped_half_way_does_not_stand_for_a_complete_one(study: Path) -> None:
    derive(study, SPINE, "STOPPED", half, AcquisitionTime="235959")
    result = read_study_folder(study)
    assert {v.path: v.reason for v in result.files}["STOPPED.dcm"] == "view_repeated"
    assert result.studies[0].choices[View.SPINE_PA].why == "the only complete one"


def test_a_scan_that_cannot_be_read_leaves_the_other_one(study: Path) -> None:
    derive(study, SPINE, "BROKEN", same, AcquisitionTime="235959", Rows=2000)
    result = read_study_folder(study)
    assert {v.path: v.reason for v in result.files}["BROKEN.dcm"] == "pixels_truncated"
    assert result.studies[0].choices[View.SPINE_PA].why == "the only one that can be read"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"AcquisitionDateTime": "20990101000000.5+0100"}, "the time of acquisition"),
        ({"AcquisitionTime": None, "ContentTime": "235959"}, "the time of its content"),
        ({"AcquisitionTime": None, "ContentTime": None, "SeriesTime": "235959"},
         "the time of its series"),
        (NO_TIMES | {"InstanceCreationDate": "20990101", "InstanceCreationTime": "01"},
         "the time of its file"),
        (NO_TIMES | {"SeriesNumber": 12}, "the number of its series"),
        (NO_TIMES | {"InstanceNumber": 12}, "the number of its image"),
    ],
    ids=["acquisition", "content", "series", "file", "series number", "image number"],
)  # fmt: skip
def test_newest_is_what_the_first_attribute_says_that_both_scans_give(
    study: Path, said: dict[str, object], why: str
) -> None:
    early = {"InstanceCreationDate": "20010101", "InstanceCreationTime": "010000"}
    numbers = {"SeriesNumber": 2, "InstanceNumber": 2}
    derive(study, SPINE, "LATER", darker, **said)
    gone = {key: None for key, value in said.items() if value is None}
    of_first = gone | {key: value for key, value in (early | numbers).items() if key in said}
    derive(study, SPINE, SPINE, same, **{**gone, **of_first})
    result = read_study_folder(study)
    assert {v.path: v.reason for v in result.files}[f"{SPINE}.dcm"] == "view_repeated"
    assert result.studies[0].choices[View.SPINE_PA].why == f"the newest by {why}"


def test_two_scans_that_nothing_tells_apart_are_set_aside_and_the_report_says_so(
    study: Path, models: Path, tmp_path: Path
) -> None:
    derive(study, SPINE, "TWIN", darker)
    assert Counter(told(take(tmp_path, study)).values()) == {"ok": 2, "view_twice": 2}
    prediction = predicted(study, models, tmp_path / "out")
    assert gaps(prediction)[f"the {VIEW_WORDS[View.SPINE_PA]}"] == (
        "its image was set aside: the study has more than one scan of this view, and nothing says "
        "which is the newest"
    )
    assert "no such image" not in (tmp_path / "out" / "report.html").read_text()


def test_what_a_scan_says_that_is_not_kept_disputes_nothing(tmp_path: Path) -> None:
    """A second scan of a spine has other densities in its file than the one that is stored."""
    written = write_study(sample_study(1, scanner="hologic"), tmp_path / "first")
    take(tmp_path, tmp_path / "first")
    before = stored(tmp_path).labels.bmd
    path = tmp_path / "first" / written.folder / "LSPINE_AP.dcm"
    dataset = pydicom.dcmread(path)
    block = dataset[0x0019, 0x1000]
    block.value = str(block.value).replace(f"{before['L1']:.3f}", "1.234")
    dataset.SOPInstanceUID += ".77"
    dataset.PixelData = bytes(len(dataset.PixelData) - 2) + b"\xff\xff"
    (tmp_path / "second").mkdir()
    dataset.save_as(tmp_path / "second" / "spine.dcm")
    assert read_study_folder(tmp_path / "second").studies[0].labels.bmd["L1"] == 1.234
    assert told(take(tmp_path, tmp_path / "second")) == {"spine.dcm": "view_already_stored"}
    assert stored(tmp_path).labels.bmd == before


@pytest.mark.parametrize("together", [False, True])
def test_a_newer_scan_that_comes_later_leaves_what_the_store_has(
    study: Path, tmp_path: Path, *, together: bool
) -> None:
    take(tmp_path, study)
    want = np.array(stored(tmp_path).images[View.SPINE_PA].pixels)
    derive(study, SPINE, "LATER", darker, AcquisitionTime="235959")
    if not together:
        (study / f"{SPINE}.dcm").unlink()
    found = told(take(tmp_path, study))
    assert found.pop("LATER.dcm") == ("view_repeated" if together else "view_already_stored")
    assert set(found.values()) == {"already_there"}
    assert np.array_equal(stored(tmp_path).images[View.SPINE_PA].pixels, want, equal_nan=True)


def test_the_report_says_of_how_many_scans_which_is_read(
    study: Path, models: Path, whole: Read, tmp_path: Path
) -> None:
    alone = whole.prediction
    derive(study, SPINE, "EARLIER", darker, AcquisitionTime="000001")
    both = predicted(study, models, tmp_path / "both")
    assert both.measurements == alone.measurements
    assert gaps(both) == gaps(alone)
    (spine,) = [one for one in both.images if one.view == "spine_pa"]
    assert (spine.scans, spine.chosen) == (2, "the newest by the time of acquisition")
    assert spine.instance_uid == pydicom.dcmread(study / f"{SPINE}.dcm").SOPInstanceUID
    said = (
        "The study has 2 scans of the posteroanterior lumbar spine; used is the newest by the time "
        "of acquisition."
    )
    assert said in both.narrative.technique
    assert said in (tmp_path / "both" / "report.html").read_text()


@needs_real_images
def test_the_case_of_a_repeated_scan_is_read_by_the_rule(models: Path, tmp_path: Path) -> None:
    folder = REAL_IMAGES / "cases" / "repeated_ap_scan"
    prediction = predicted(folder, models, tmp_path / "out")
    (spine,) = [one for one in prediction.images if one.view == "spine_pa"]
    assert spine.scans == 2
    newest = pydicom.dcmread(folder / "0_AP_SPINE.dcm", stop_before_pixels=True)
    assert spine.instance_uid == newest.SOPInstanceUID
    assert "the study has no such image" not in gaps(prediction).values()


# --- right hips -----------------------------------------------------------------------


def test_a_right_hip_is_read_as_a_left_one_and_called_right(
    study: Path, models: Path, whole: Read, tmp_path: Path
) -> None:
    """Mirrored, so that networks see what they know; mirrored back wherever it is shown."""
    left = whole.prediction
    derive(study, HIP, "RIGHT", mirrored, ProtocolName="Right Femur")
    (study / f"{HIP}.dcm").unlink()
    right = predicted(study, models, tmp_path / "right")
    assert [m.standardised for m in right.measurements] == [
        m.standardised for m in left.measurements
    ]
    assert [m.region for m in right.measurements] == [
        "L1-L4", "right_femoral_neck", "right_total_hip",
    ]  # fmt: skip
    assert {image.view for image in right.images} == {"spine_pa", "hip_right", "spine_lateral"}
    assert not [what for what in gaps(right) if "left" in what]
    assert {r.view for r in right.regions if "hip" in r.view} <= {"hip_right"}
    assert right.conclusions[0].score == left.conclusions[0].score
    with np.load(tmp_path / "right" / "masks.npz") as masks:
        assert np.array_equal(whole.masks["hip_left"][:, ::-1], masks["hip_right"])
    assert (tmp_path / "right" / "overlay_hip_right.png").exists()
    report = (tmp_path / "right" / "report.html").read_text()
    assert "Right proximal femur" in report
    assert "Left proximal femur" not in report


def test_a_right_hip_is_kept_with_its_side_and_learnt_from_as_a_left_one(
    study: Path, tmp_path: Path
) -> None:
    want = read_study_folder(study).studies[0].images[View.HIP_LEFT].pixels
    derive(study, HIP, "RIGHT", mirrored, ProtocolName="Right Femur")
    (study / f"{HIP}.dcm").unlink()
    table = "Patient ID,Scan Date,Region,BMD (g/cm2)\n"
    dataset = pydicom.dcmread(study / "RIGHT.dcm")
    day = f"{dataset.StudyDate[:4]}-{dataset.StudyDate[4:6]}-{dataset.StudyDate[6:]}"
    for region, value in (("L1-L4", 1.0), ("Right neck", 0.7), ("neck", 0.8)):
        table += f"{dataset.PatientID},{day},{region},{value}\n"
    (study / "bmd.csv").write_text(table)
    take(tmp_path, study)
    kept = catalogue(tmp_path, "SELECT view, turned FROM images WHERE view LIKE 'hip%'")
    assert kept == [("hip_right", "columns")]
    one = stored(tmp_path)
    assert np.array_equal(one.images[View.HIP_LEFT].pixels, want.astype(np.float16), equal_nan=True)
    assert one.labels.bmd == {"L1-L4": 1.0, "femoral_neck": 0.7}  # not the left one's 0.8
    store = SiteStore.open(site_of(tmp_path))
    with sqlite3.connect(site_of(tmp_path) / "store" / "catalogue.sqlite") as found:
        found.execute("UPDATE patients SET split = 'train'")  # a contract looks at no test patient
    (facts,) = read_facts(store, "dxa-bmd").studies
    assert {*facts.images} == {"spine_pa", "hip_left"}
    with Session(store.engine) as session:
        page = one_study(session, store, one.study)
    assert page is not None
    (hip,) = [image for image in page["images"] if image["view"] == "hip_right"]
    assert hip["name"] == "Right hip, mirrored (DXA)"
    assert ("Right femoral neck", 0.7) in [(bmd["region"], bmd["value"]) for bmd in page["bmd"]]


def test_of_both_hips_each_is_read_by_itself(
    study: Path, models: Path, whole: Read, tmp_path: Path
) -> None:
    """The right one is what the left one was, and the left one another picture."""
    derive(study, HIP, "RIGHT", mirrored, ProtocolName="Right Femur")
    derive(study, HIP, HIP, darker)
    both = predicted(study, models, tmp_path / "both")
    found = {m.region: m.standardised for m in both.measurements}
    before = {m.region: m.standardised for m in whole.prediction.measurements}
    assert len(found) == len(both.measurements) == 5
    for region in ("femoral_neck", "total_hip"):
        assert found[f"right_{region}"] == before[region] != found[region]
    with np.load(tmp_path / "both" / "masks.npz") as masks:
        assert np.array_equal(whole.masks["hip_left"][:, ::-1], masks["hip_right"])
        assert not np.array_equal(whole.masks["hip_left"], masks["hip_left"])
    assert both.conclusions[0].score == min(
        m.t_score.value for m in both.measurements if m.t_score is not None
    )
    report = (tmp_path / "both" / "report.html").read_text()
    assert "Right proximal femur" in report
    assert "Left proximal femur" in report


def test_of_both_hips_training_takes_the_left_one(study: Path, tmp_path: Path) -> None:
    derive(study, HIP, "RIGHT", lambda grey: darker(mirrored(grey)), ProtocolName="Right Femur")
    want = read_study_folder(study).studies[0].images[View.HIP_LEFT].pixels
    take(tmp_path, study)
    assert ("hip_right",) in catalogue(tmp_path, "SELECT view FROM images")
    images = stored(tmp_path).images
    assert View.HIP_RIGHT not in images
    assert np.array_equal(images[View.HIP_LEFT].pixels, want.astype(np.float16), equal_nan=True)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"Laterality": "L"}, {"hip_left"}),
        ({"Laterality": "R"}, {"hip_right"}),
        ({"ImageLaterality": "R"}, {"hip_right"}),
        ({}, "hip_side_unknown"),
        ({"Laterality": "B"}, "both_hips"),
        ({"Laterality": "L", "ExposedArea": [330, 150]}, "both_hips"),
    ],
)
def test_a_scan_of_dual_femur_is_the_hip_that_it_says_or_is_set_aside(
    study: Path, said: dict[str, object], reason: set[str] | str
) -> None:
    derive(study, HIP, HIP, same, ProtocolName="DualFemur", **said)
    result = read_study_folder(study)
    found = {v.path: v.reason for v in result.files}[f"{HIP}.dcm"]
    hips = {view for view in result.studies[0].images if "hip" in view}
    assert (hips or found) == reason


def test_densities_that_hologic_measured_on_a_right_hip_are_the_right_hips(tmp_path: Path) -> None:
    written = write_study(sample_study(1, scanner="hologic"), tmp_path)
    folder = tmp_path / written.folder
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.get("BodyPartExamined") == "HIP":
            dataset.Laterality = "R"
            dataset.SeriesDescription = "Right Hip"
            dataset.save_as(path)
    (one,) = read_study_folder(folder).studies
    assert View.HIP_RIGHT in one.images
    want = sample_study(1, scanner="hologic").labels.bmd["femoral_neck"]
    assert one.labels.bmd["right_femoral_neck"] == want
    assert "femoral_neck" not in one.labels.bmd


# --- one projection only --------------------------------------------------------------


@pytest.mark.parametrize("only", [SPINE, HIP, LATERAL])
def test_a_study_of_one_projection_gives_what_can_be_had(
    study: Path, models: Path, tmp_path: Path, only: str
) -> None:
    for path in study.glob("*.dcm"):
        if path.stem != only:
            path.unlink()
    prediction = predicted(study, models, tmp_path / "out")
    (image,) = prediction.images
    missing = {f"the {VIEW_WORDS[view]}" for view in (View.SPINE_PA, View.HIP_LEFT)}
    missing |= {f"the {VIEW_WORDS[View.SPINE_LATERAL]}"}
    missing -= {f"the {VIEW_WORDS[View(image.view)]}"}
    assert missing <= set(gaps(prediction))
    assert all(gaps(prediction)[what] == "the study has no such image" for what in missing)
    regions = {SPINE: {"L1-L4"}, HIP: {"femoral_neck", "total_hip"}, LATERAL: set()}
    assert {one.region for one in prediction.measurements} == regions[only]
    assert any("bone density" in what for what in gaps(prediction))
    if only == LATERAL:
        assert prediction.conclusions[0].bone_class is None
