"""What is wrong with a CT is said in one sentence, the same by `site ingest` and by `predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from client.ingest.folder import IngestReport, ingest
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from shared.errors import InputEmptyError
from shared.findings.findings import Findings
from shared.inference.predict import predict_folder
from shared.inference.schema import Prediction
from shared.records import PADDING_HU, VolumeRecord
from shared.regions import code_of
from shared.settings.files import SiteConfig
from shared.settings.task import TaskSettings
from shared.tasks import make_task
from shared.tasks.ct.localisation import CtLocalisation
from shared.tasks.ct.segmentation import CtSegmentation
from shared.tasks.reading import Reading
from shared.training.arrays import get_arrays
from shared.training.weights import Weights, save_weights
from tests.shared.ct_samples import SHAPE, SPACING, STEP, Change, field, write_ct
from tests.shared.ct_standins import lumbar_ct

TASKS = ("ct-localisation", "ct-segmentation", "ct-bmd")
LEVELS = ("L1", "L2", "L3", "L4")
BMD = "bone density of {} from CT"


def body_of_levels() -> VolumeRecord:
    """L1 to L4 of a body, with outlines and marks."""
    whole = lumbar_ct(np.random.default_rng(1))
    assert whole.regions is not None
    first, last = whole.marked_slices["L4"] - 7, whole.marked_slices["L1"] + 7
    return replace(
        whole,
        hu=np.maximum(whole.hu, PADDING_HU)[first:last],
        regions=whole.regions[first:last],
        marked_slices={level: whole.marked_slices[level] - first for level in LEVELS},
    )


#: Found as it is, so that what comes before and after is real (`outlined`).
BODY = body_of_levels()


def said_of_all(**attributes: object) -> Change:
    """Say something in every file."""

    def change(dataset: Dataset, _: int) -> None:
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)

    return change


def small(folder: Path, slices: int = 6, **more: object) -> None:
    write_ct(folder, field()[:slices], **more)  # type: ignore[arg-type]


def halved(dataset: Dataset, k: int) -> None:
    """One slice of another matrix, as a scout that does not say so."""
    if k == 2:
        dataset.Rows = SHAPE[1] // 2
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]


def two_phases(folder: Path) -> None:
    """Each slice twice under one series number, as an arterial and a portal phase."""
    heights = [100 + STEP * (k // 2) for k in range(6)]
    small(folder, positions=np.array([[-10, -20, z] for z in heights]))


def some_missing(folder: Path) -> None:
    paths = write_ct(folder, np.concatenate([field(), field(4)]))
    for lost in (3, 4, 8):
        paths[lost].unlink()


def body(folder: Path, volume: VolumeRecord = BODY, series: int = 1, **attributes: object) -> None:
    """Write the body; its slices go from the head to the feet in the folder."""
    heights = 100.0 + volume.spacing_mm[0] * np.arange(len(volume.hu))
    write_ct(
        folder,
        volume.hu,
        positions=np.array([[-150.0, -150.0, z] for z in heights]),
        spacing=volume.spacing_mm[1:],
        series=series,
        order=list(range(len(volume.hu)))[::-1],
        change=said_of_all(**{"ContrastBolusAgent": "NONE", **attributes}),
    )


def coronal(folder: Path) -> None:
    positions = np.array([[0, 2.5 * k, 0] for k in range(6)])
    small(folder, positions=positions, orientation=(1.0, 0, 0, 0, 0, -1.0), spacing=(0.7, 0.7))


# --- cannot be read: neither keeps anything, and both say why in the same words ----------

Write = Callable[[Path], None]
NOT_READ: list[tuple[str, Write, str, str]] = [
    (
        "one slice",
        partial(small, slices=1),
        "series_too_short",
        "a CT series of fewer than three slices; give all of it (1)",
    ),
    (
        "scout only",
        partial(small, slices=2, change=said_of_all(ImageType=["ORIGINAL", "PRIMARY", "SCOUT"])),
        "localizer",
        "a localizer or scout image of a CT, not a slice; give the axial series",
    ),
    (
        "slices of different size",
        partial(small, change=halved),
        "grid_mixed",
        "the slices of a CT series differ in size or pixel spacing; export the axial series alone "
        "(5 of 20 x 16 and 1 of 10 x 16)",
    ),
    (
        "two phases under one number",
        two_phases,
        "slices_twice",
        "a CT series with more than one slice at one position, as two phases or reconstructions "
        "under one number; export each as a series of its own (3 too many of 6)",
    ),
    (
        "missing slices",
        some_missing,
        "slices_missing",
        "the gaps between the slices of a CT series say that some are missing; export it whole "
        "(3 missing beside 9; a gap of 7.50 mm where 2.50 are usual, from z = 105.0 to 112.5 mm, "
        "the first of 2)",
    ),
]


@dataclass(frozen=True)
class Rooms:
    """Where a test works."""

    given: Path
    site: Path
    out: Path
    models: Path

    def take(self) -> IngestReport:
        init_site(self.site, SiteConfig(site="riverside"))
        return ingest(self.site, self.given, workers=1)

    def stored(self) -> VolumeRecord:
        """The one series that the site has."""
        store = SiteStore.open(self.site)
        sources = [store.source(split) for split in SPLITS]
        (study,) = [one for s in sources for patient in s.patients for one in s.studies(patient)]
        (volume,) = study.volumes.values()
        return volume

    def predict(self) -> Prediction:
        result = predict_folder(self.given, self.out, models=self.models, device="cpu")
        (prediction,) = result.predictions.values()
        return prediction


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks with weights nobody trained."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    for name in TASKS:
        settings = TaskSettings(task=name)
        arrays = get_arrays(make_task(settings).network())
        save_weights(folder / f"{name}.safetensors", Weights(settings, arrays, "random"))
    return folder


@pytest.fixture
def rooms(tmp_path: Path, models: Path) -> Rooms:
    return Rooms(tmp_path / "given", tmp_path / "site", tmp_path / "out", models)


@pytest.fixture
def outlined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Levels and outlines of the body are found as they are, in whatever series is chosen."""
    from shared.tasks.ct.series import chosen_series

    def levels(_: CtLocalisation, reading: Reading) -> Findings:
        chosen = chosen_series(reading.study)
        assert chosen is not None
        return Findings(marked_slices={chosen[0]: dict(BODY.marked_slices)})

    def outlines(_: CtSegmentation, reading: Reading) -> Findings:
        chosen = chosen_series(reading.study)
        assert chosen is not None
        assert chosen[1].hu.shape == BODY.hu.shape
        return Findings(volume_maps={chosen[0]: np.asarray(BODY.regions)})

    monkeypatch.setattr(CtLocalisation, "find", levels)
    monkeypatch.setattr(CtSegmentation, "find", outlines)


def gaps(prediction: Prediction) -> dict[str, str]:
    return {gap.what: gap.why for gap in prediction.not_assessed}


@pytest.mark.parametrize(
    ("write", "reason", "sentence"), [case[1:] for case in NOT_READ], ids=[c[0] for c in NOT_READ]
)
def test_what_cannot_be_read_is_refused_by_both_in_the_same_words(
    rooms: Rooms, write: Write, reason: str, sentence: str
) -> None:
    write(rooms.given)
    report = rooms.take()
    assert {(one.reason, one.sentence) for one in report.files} == {(reason, sentence)}
    assert report.counts["studies"] == 0
    with pytest.raises(InputEmptyError) as error:
        rooms.predict()
    files = len(list(rooms.given.iterdir()))
    assert str(error.value) == f"{rooms.given}: no study could be read ({files} × {sentence})"
    assert not rooms.out.exists()


# --- read and kept, but bone is not measured on it ---------------------------------------

NOT_MEASURED: list[tuple[str, Write, str, str]] = [
    (
        "slices of 10 mm",
        partial(small, change=said_of_all(SliceThickness="10")),
        "series_thick",
        "bone is not measured on CT slices that are thicker or further apart than 5 mm; give a "
        "series of thinner ones (10 mm thick)",
    ),
    (
        "slices 10 mm apart",
        partial(small, positions=np.array([[0, 0, 10.0 * k] for k in range(6)])),
        "series_thick",
        "bone is not measured on CT slices that are thicker or further apart than 5 mm; give a "
        "series of thinner ones (10 mm apart)",
    ),
    (
        "bone kernel",
        partial(small, change=said_of_all(ConvolutionKernel="Br64f")),
        "kernel_sharp",
        "bone is not measured on a CT series of a sharp kernel; give one of a soft or standard "
        "one (kernel Br64f)",
    ),
    (
        "coronal",
        coronal,
        "series_not_axial",
        "bone is not measured on a CT series that is not axial; give the axial one (slices from "
        "front to back, 2.5 mm apart)",
    ),
]


@pytest.mark.parametrize(
    ("write", "reason", "sentence"),
    [case[1:] for case in NOT_MEASURED],
    ids=[case[0] for case in NOT_MEASURED],
)
def test_what_bone_is_not_measured_on_is_kept_and_said_by_both_in_the_same_words(
    rooms: Rooms, write: Write, reason: str, sentence: str
) -> None:
    write(rooms.given)
    report = rooms.take()
    assert {(one.verdict, one.reason, one.sentence) for one in report.files} == {
        ("taken", reason, sentence)
    }
    [said] = report.series_not_measured
    assert (said.files, said.reason, said.sentence) == (6, reason, sentence)
    assert report.series_not_taken == []
    prediction = rooms.predict()
    assert prediction.measurements == ()
    assert set(gaps(prediction).values()) == {sentence}
    assert len(gaps(prediction)) == 6  # levels, four outlines, density
    [series] = prediction.series
    assert (series.used, series.not_measured) == (False, sentence)
    assert f"not used: {sentence}" in prediction.narrative.technique[0]


# --- read and measured, with what has to be said -----------------------------------------


def feet_first(folder: Path) -> None:
    """The same body with its feet in first: columns run from left to right, slices down."""
    volume = replace(BODY, hu=np.ascontiguousarray(BODY.hu[:, :, ::-1]))
    right = -150.0 + volume.spacing_mm[2] * (volume.hu.shape[2] - 1)
    heights = 100.0 + volume.spacing_mm[0] * np.arange(len(volume.hu))
    write_ct(
        folder,
        volume.hu,
        positions=np.array([[right, -150.0, z] for z in heights]),
        orientation=(-1.0, 0, 0, 0, 1.0, 0),
        spacing=volume.spacing_mm[1:],
        order=np.random.default_rng(3).permutation(len(volume.hu)).tolist(),
        change=said_of_all(ContrastBolusAgent="NONE", PatientPosition="FFS"),
    )


@pytest.mark.usefixtures("outlined")
def test_whatever_order_slices_come_in_the_volume_is_the_same(rooms: Rooms) -> None:
    """The others here come from the head to the feet, and their levels are found as well."""
    feet_first(rooms.given)
    assert {one.reason for one in rooms.take().files} == {"ok"}
    stored = rooms.stored()
    assert np.array_equal(stored.hu, BODY.hu)
    assert stored.origin_mm == pytest.approx((-150, -150, 100))
    prediction = rooms.predict()
    assert gaps(prediction) == {}
    assert [one.region for one in prediction.measurements] == ["L1-L4", *LEVELS]
    [series] = prediction.series
    assert (series.used, series.not_measured, series.resampled) == (True, "", "")
    assert series.levels == BODY.marked_slices


def test_a_tilted_gantry_is_resampled_and_said(rooms: Rooms) -> None:
    angle = np.radians(12.0)
    turned = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))
    positions = np.array([[0.0, 0.0, STEP * k] for k in range(12)])
    write_ct(
        rooms.given, np.concatenate([field(), field(4)]), positions=positions, orientation=turned
    )
    assert {one.reason for one in rooms.take().files} == {"ok"}
    assert rooms.stored().spacing_mm == pytest.approx((STEP, *SPACING), rel=0.03)
    prediction = rooms.predict()
    assert prediction.series[0].resampled == "tilt"
    assert "tilted slices, resampled upright" in prediction.narrative.technique[0]
    assert "tilted slices, resampled upright" in (rooms.out / "report.html").read_text()


@pytest.mark.usefixtures("outlined")
def test_without_a_tube_voltage_there_are_levels_and_no_density(rooms: Rooms) -> None:
    body(rooms.given, KVP="")
    assert {one.reason for one in rooms.take().files} == {"ok"}
    assert rooms.stored().kvp is None
    prediction = rooms.predict()
    assert prediction.measurements == ()
    assert prediction.series[0].levels == BODY.marked_slices
    assert gaps(prediction) == {
        BMD.format("L1, L2, L3 and L4"): "its tube voltage is not named in the files and cannot be "
        "brought to 120 kV"
    }


@pytest.mark.usefixtures("outlined")
def test_with_a_contrast_agent_an_estimate_stands_in_a_row_of_its_own(rooms: Rooms) -> None:
    body(rooms.given, ContrastBolusAgent="Iomeron")
    rooms.take()
    assert rooms.stored().contrast is True
    prediction = rooms.predict()
    assert {one.quantity for one in prediction.measurements} == {
        "areal BMD from CT with contrast agent",
        "areal BMD from CT with contrast agent, mean of L1, L2, L3 and L4",
    }
    assert "how far with a contrast agent is not recorded apart" in " ".join(
        prediction.narrative.impression
    )


@pytest.mark.usefixtures("outlined")
def test_metal_is_told_by_what_is_measured_and_not_by_a_name(rooms: Rooms) -> None:
    """L2 shows what the files say of L4."""
    hu = BODY.hu.copy()
    drawn = np.argwhere(np.asarray(BODY.regions) == code_of("L2", "volume"))
    hu[tuple(drawn[len(drawn) // 2])] = 3071
    body(rooms.given, replace(BODY, hu=hu), SeriesDescription="L4 IMPLANT MAR")
    assert {one.reason for one in rooms.take().files} == {"ok"}
    prediction = rooms.predict()
    assert gaps(prediction) == {BMD.format("L2"): "L2 holds metal or cement (over 1,500 HU)"}
    assert [one.region for one in prediction.measurements] == ["L1-L4", "L1", "L3", "L4"]


def test_another_part_of_the_body_has_no_levels_and_so_no_density(rooms: Rooms) -> None:
    """Which part it is follows from what is seen: BodyPartExamined is often a protocol's."""
    head = replace(BODY, hu=np.where(BODY.hu > -300, 40, -1000).astype(np.int16)[:20])
    body(rooms.given, head, BodyPartExamined="ABDOMEN")
    assert {one.reason for one in rooms.take().files} == {"ok"}
    prediction = rooms.predict()
    assert prediction.measurements == ()
    assert prediction.series[0].levels == {}
    found = gaps(prediction)
    assert found["the level of L1 to L4"].startswith("it is not certain: ")
    assert found[BMD.format("L1, L2, L3 and L4")] == "no vertebra is outlined in this series"


@pytest.mark.usefixtures("outlined")
def test_of_several_series_all_are_named_and_the_one_used(rooms: Rooms) -> None:
    """Two reconstructions, a phase with contrast and a scout in one folder."""
    small(rooms.given / "a", series=1, change=said_of_all(ContrastBolusAgent="Iomeron"))
    small(rooms.given / "b", series=2, change=said_of_all(ConvolutionKernel="B70f"))
    body(rooms.given / "c", series=3)
    small(rooms.given / "d", series=4, change=said_of_all(ImageType=["ORIGINAL", "LOCALIZER"]))
    report = rooms.take()
    assert [one.reason for one in report.series_not_measured] == ["kernel_sharp"]
    prediction = rooms.predict()
    assert [(one.used, bool(one.not_measured)) for one in prediction.series] == [
        (False, False), (False, True), (True, False),
    ]  # fmt: skip
    first, second, third = prediction.narrative.technique[:3]
    assert first.startswith("CT series 1 of 3: 6 slices, 2.5 mm apart")
    assert first.endswith("with contrast agent; eligible, not used.")
    assert "kernel B70f, contrast agent not stated; not used: bone is not measured" in second
    assert third.endswith("without contrast agent; the one that is used.")
    assert {one.quantity for one in prediction.measurements} == {
        "areal BMD from CT",
        "areal BMD from CT, mean of L1, L2, L3 and L4",
    }
