"""What is special in each of the three tasks."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.clinical.cross_calibration import standardised_bmd, vendor_bmd
from shared.findings.findings import Findings
from shared.networks.resnet import GradingNetwork
from shared.records import (
    DXA_VENDORS,
    ImageRecord,
    SpacingProvenance,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
)
from shared.regions import NUMBER_OF_CODES, REGION_CODES, VERTEBRAE
from shared.settings.task import TaskSettings
from shared.tasks.dxa_bmd import (
    OUTPUTS,
    DxaBmd,
    baseline_mae,
    densities,
    mean_label,
    scanner_code,
    shown_in,
)
from shared.tasks.dxa_segmentation import VIEWS, DxaSegmentation, segment_image
from shared.tasks.pixels import (
    crop_around,
    frame_image,
    frame_to_original_mm,
    put_back,
    region_centres_mm,
)
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample, collate, fold
from shared.tasks.vertebra_finding import vertebra_positions
from shared.tasks.vfa_fracture import VfaFracture, fracture_scores, grades_of, spine_angle
from tests.shared.standins import Standins

SEGMENTATION = DxaSegmentation(TaskSettings(task="dxa-segmentation"))
BMD = DxaBmd(TaskSettings(task="dxa-bmd"))
VFA = VfaFracture(TaskSettings(task="vfa-fracture"))
CODES = {name: REGION_CODES[name] for name in VERTEBRAE}


def study(number: int = 0, vendor: Vendor = Vendor.GENERIC) -> StudyRecord:
    source = Standins(number + 1, seed=1, vendor=vendor)
    return source.studies(source.patients[number])[0]


def batch_of(samples: list[Sample]) -> Sample:
    return fold(collate(samples))


class Oracle(nn.Module):
    """Answers with the region map it was made with."""

    def __init__(self, regions: Tensor) -> None:
        super().__init__()
        self.regions = regions

    def forward(self, image: Tensor, covariates: Tensor) -> Tensor:
        return 12.0 * nn.functional.one_hot(self.regions, NUMBER_OF_CODES).movedim(3, 1).float()


# --- pixels ------------------------------------------------------------------------------


def test_framing_keeps_the_mean_density_of_a_region() -> None:
    pixels = np.full((90, 70), 0.2, dtype=np.float32)
    pixels[30:60, 20:50] = 0.8
    image = ImageRecord(pixels, (1.3, 0.9), "calibrated", (pixels > 0.5).astype(np.uint8))
    framed = frame_image(image, (2.0, 2.0), (112, 80))
    assert framed.regions is not None
    pixel_mm2 = math.prod(framed.placement.spacing_mm)
    whole = framed.pixels[framed.scanned].sum() * pixel_mm2
    assert float(whole) == pytest.approx(float(pixels.sum()) * 1.3 * 0.9, rel=0.01)
    area = int((framed.regions > 0).sum()) * pixel_mm2
    assert float(area) == pytest.approx(30 * 30 * 1.3 * 0.9, rel=0.08)


def test_unscanned_pixels_do_not_darken_their_neighbours() -> None:
    pixels = np.full((80, 80), 0.6, dtype=np.float32)
    pixels[:, :21] = np.nan
    framed = frame_image(ImageRecord(pixels, (1.0, 1.0), "calibrated"), (2.0, 2.0), (48, 48))
    inside = framed.pixels[framed.scanned]
    assert float(inside.min()) == pytest.approx(0.6, abs=1e-5)
    assert float(framed.pixels[~framed.scanned].abs().max()) == 0.0


@pytest.mark.parametrize("shape", [(100, 60), (400, 300), (111, 217)])
def test_what_is_drawn_in_the_frame_comes_back_to_its_place(shape: tuple[int, int]) -> None:
    regions = np.zeros(shape, dtype=np.uint8)
    rows = slice(shape[0] // 2 - 20, shape[0] // 2 + 20)
    columns = slice(shape[1] // 2 - 12, shape[1] // 2 + 8)
    regions[rows, columns] = 3
    image = ImageRecord(regions.astype(np.float32), (1.0, 1.0), "calibrated", regions)
    framed = frame_image(image, (2.0, 2.2), (112, 80))
    assert framed.regions is not None
    chances = nn.functional.one_hot(framed.regions, NUMBER_OF_CODES).movedim(2, 0).float()
    back = put_back(chances, framed.placement).argmax(0).numpy()
    both = ((back == 3) & (regions == 3)).sum()
    assert back.shape == shape
    assert 2 * both / ((back == 3).sum() + (regions == 3).sum()) > 0.9


def test_a_point_of_the_frame_is_found_in_the_original() -> None:
    regions = np.zeros((220, 150), dtype=np.uint8)
    regions[100:120, 60:90] = 1
    image = ImageRecord(regions.astype(np.float32), (1.1, 0.8), "calibrated", regions)
    framed = frame_image(image, (2.0, 2.0), (112, 80))
    assert framed.regions is not None
    rows, columns = torch.nonzero(framed.regions, as_tuple=True)
    found = frame_to_original_mm(
        float(rows.double().mean()), float(columns.double().mean()), framed.placement
    )
    assert found == pytest.approx((110 * 1.1, 75 * 0.8), abs=1.0)


def test_a_crop_follows_the_lean_of_the_spine() -> None:
    pixels = np.zeros((120, 120), dtype=np.float32)
    for row in range(120):  # a bright line that leans by 30 degrees
        column = 60 + (row - 60) * math.tan(math.radians(30))
        pixels[row, max(0, int(column) - 2) : int(column) + 3] = 1.0
    image = ImageRecord(pixels, (1.0, 1.0), "calibrated")
    crop = crop_around(image, (60.5, 60.5), math.radians(30), 1.0, (41, 21))
    by_column = crop.mean(0)
    assert int(by_column.argmax()) == pytest.approx(10, abs=1)
    assert float(by_column[10]) > 0.9
    assert float(by_column[:5].max()) < 0.1


# --- dxa-segmentation -----------------------------------------------------------------------


def test_perfect_maps_have_a_dice_of_one_and_no_shift() -> None:
    batch = batch_of([SEGMENTATION.sample(study(number)) for number in range(3)])
    output = Oracle(batch["regions"])(batch["image"], batch["covariates"])
    found = SEGMENTATION.metrics(SEGMENTATION.statistics(output, batch))
    for name in ("dice", "dice_lateral", "dice_total_hip", "dice_L3", "dice_femoral_neck"):
        assert found[name] == 1.0
    assert found["level_shift"] == 0.0
    assert found["loss"] < 0.02


def test_vertebrae_named_one_too_low_are_counted_as_shifted() -> None:
    batch = batch_of([SEGMENTATION.sample(study())])
    shifted = batch["regions"].clone()
    for above, below in itertools.pairwise(VERTEBRAE):
        shifted[2][batch["regions"][2] == REGION_CODES[above]] = REGION_CODES[below]
    output = Oracle(shifted)(batch["image"], batch["covariates"])
    found = SEGMENTATION.metrics(SEGMENTATION.statistics(output, batch))
    assert found["level_shift"] == pytest.approx(12 / 13)
    assert found["dice_lateral_any"] == 1.0
    assert found["dice_lateral"] < 0.2
    assert found["dice"] == 1.0


def test_headline_dice_is_the_mean_over_patients_of_the_mean_over_regions() -> None:
    batch = batch_of([SEGMENTATION.sample(study(number)) for number in range(2)])
    predicted = batch["regions"].clone()
    predicted[0] = 0  # the first patient's spine is missed: 4 of 7 regions
    output = Oracle(predicted)(batch["image"], batch["covariates"])
    found = SEGMENTATION.metrics(SEGMENTATION.statistics(output, batch))
    assert found["dice"] == pytest.approx((3 / 7 + 1) / 2)
    assert found["dice_L1"] == pytest.approx(0.5)


def test_a_view_without_regions_has_weight_zero() -> None:
    whole = study()
    bare = replace(whole.images[View.HIP_LEFT], regions=None)
    sample = SEGMENTATION.sample(replace(whole, images={**whole.images, View.HIP_LEFT: bare}))
    assert sample["weight"].tolist() == [1.0, 0.0, 1.0]
    missing = {view: whole.images[view] for view in (View.SPINE_PA,)}
    assert SEGMENTATION.sample(replace(whole, images=missing))["weight"].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("view", VIEWS)
def test_an_image_is_segmented_on_its_own_pixels(view: View) -> None:
    image = study().images[view]
    framed = frame_image(image, SEGMENTATION.spacing_mm(view), SEGMENTATION.frame)
    assert framed.regions is not None
    regions, chances, placement = segment_image(
        SEGMENTATION, Oracle(framed.regions[None]), image, view
    )
    assert regions.shape == image.pixels.shape
    assert regions.dtype == np.uint8
    assert image.regions is not None
    scanned = np.isfinite(image.pixels)
    drawn = (image.regions > 0) & scanned
    agree = (regions[drawn] == image.regions[drawn]).mean()
    assert agree > 0.8
    assert chances.shape == (NUMBER_OF_CODES, *SEGMENTATION.frame)
    assert placement == framed.placement


# --- vertebrae without labels ----------------------------------------------------------------


def lateral_chances(number: int, blur: float) -> tuple[Tensor, dict[str, tuple[float, float]]]:
    """Believed classes of a stand-in's lateral image; a share of belief leaks upwards."""
    image = study(number).images[View.SPINE_LATERAL]
    framed = frame_image(image, SEGMENTATION.spacing_mm(View.SPINE_LATERAL), SEGMENTATION.frame)
    assert framed.regions is not None
    regions = framed.regions
    chances = nn.functional.one_hot(regions, NUMBER_OF_CODES).movedim(2, 0).float()
    for above, below in itertools.pairwise(VERTEBRAE):
        here = (regions == REGION_CODES[below]).float() * blur
        chances[REGION_CODES[below]] -= here
        chances[REGION_CODES[above]] += here
    spacing = framed.placement.spacing_mm
    truth = region_centres_mm(regions.numpy().astype(np.uint8), spacing, CODES)
    return chances, {name: place[:2] for name, place in truth.items()}


@pytest.mark.parametrize("blur", [0.0, 0.4])
@pytest.mark.parametrize("number", [0, 3, 5])
def test_vertebrae_are_found_where_they_are(number: int, blur: float) -> None:
    chances, truth = lateral_chances(number, blur)
    found = vertebra_positions(chances, (4.0, 2.6))
    assert set(found) == set(truth)
    errors = [math.dist(found[name][:2], truth[name]) for name in truth]
    assert max(errors) < 6.0
    rows = [found[name][0] for name in VERTEBRAE]
    assert rows == sorted(rows)
    assert all(8.0 < found[name][2] < 40.0 for name in VERTEBRAE)


def test_a_vertebra_with_two_names_gets_the_one_of_its_place() -> None:
    chances, truth = lateral_chances(1, 0.0)
    wrong = chances.clone()  # T9 is believed to be T10
    wrong[REGION_CODES["T10"]] += wrong[REGION_CODES["T9"]]
    wrong[REGION_CODES["T9"]] = 0.0
    found = vertebra_positions(wrong, (4.0, 2.6))
    assert math.dist(found["T9"][:2], truth["T9"]) < 6.0
    assert math.dist(found["T10"][:2], truth["T10"]) < 6.0


def test_an_empty_image_has_no_vertebrae() -> None:
    chances = torch.zeros(NUMBER_OF_CODES, 112, 80)
    chances[0] = 1.0
    assert vertebra_positions(chances, (4.0, 2.6)) == {}


def test_levels_outside_the_field_are_not_made_up() -> None:
    chances, truth = lateral_chances(2, 0.0)
    cut = int(truth["T7"][0] / 4.0 + 3)
    chances[1:, :cut] = 0.0
    found = vertebra_positions(chances, (4.0, 2.6))
    assert "T4" not in found
    assert math.dist(found["L3"][:2], truth["L3"]) < 6.0


# --- dxa-bmd ---------------------------------------------------------------------------------


@pytest.mark.parametrize("vendor", [Vendor.LUNAR, Vendor.HOLOGIC])
def test_labels_of_every_vendor_are_learnt_on_the_shared_scale(vendor: Vendor) -> None:
    labels = StudyLabels(bmd={region: vendor_bmd(0.9, vendor, region) for region in OUTPUTS})
    sample = BMD.sample(replace(study(vendor=vendor), labels=labels))
    assert sample["bmd"][0].tolist() == pytest.approx([0.9] * 3, abs=1e-6)
    assert standardised_bmd(0.9, vendor, "L1-L4") != pytest.approx(0.9, abs=1e-3)


def test_the_vendor_is_a_covariate_and_generic_is_none() -> None:
    codes = {
        vendor: BMD.sample(study(vendor=vendor))["covariates"].reshape(2, 3)[:, :2].tolist()
        for vendor in DXA_VENDORS
    }
    assert codes == {
        Vendor.LUNAR: [[1.0, 0.0]] * 2, Vendor.HOLOGIC: [[0.0, 1.0]] * 2,
        Vendor.NORLAND: [[0.0, 0.0]] * 2, Vendor.GENERIC: [[0.0, 0.0]] * 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spacing", "provenance", "code"),
    [
        ((1.0, 1.0), "calibrated", 0.0),
        ((1.2, 1.05), "calibrated", math.asinh(math.log(1.2 * 1.05) / 2 / 0.1)),
        ((0.9, 0.9), "derived", math.asinh(math.log(0.9) / 0.1)),
        ((0.25, 0.3), "calibrated", math.asinh(math.log(0.25 * 0.3) / 2 / 0.1)),
        ((0.25, 0.3), "none", 0.0),
    ],
)
def test_the_side_of_a_pixel_is_a_covariate_where_it_is_known(
    spacing: tuple[float, float], provenance: SpacingProvenance, code: float
) -> None:
    one = with_pixels(study(vendor=Vendor.LUNAR), spacing, provenance)
    assert scanner_code(one, View.HIP_LEFT).tolist() == pytest.approx([1.0, 0.0, code])
    assert abs(code) < 4.0


def test_each_view_is_told_its_own_pixels() -> None:
    """What is told of one image stays the same whatever becomes of the other."""
    one = with_pixels(study(vendor=Vendor.LUNAR), (1.2, 1.05), "calibrated")
    hip = replace(one.images[View.HIP_LEFT], spacing_mm=(0.9, 0.9))
    both = replace(one, images={**one.images, View.HIP_LEFT: hip})
    alone = replace(one, images={View.SPINE_PA: one.images[View.SPINE_PA]})
    spine, neck = BMD.sample(both)["covariates"].reshape(2, 3)
    assert float(spine[2]) == pytest.approx(math.asinh(math.log(1.2 * 1.05) / 2 / 0.1))
    assert float(neck[2]) == pytest.approx(math.asinh(math.log(0.9) / 0.1))
    only, nothing = BMD.sample(alone)["covariates"].reshape(2, 3)
    assert torch.equal(only, spine)
    assert nothing.tolist() == [0.0, 0.0, 0.0]


def test_a_made_up_scanner_has_no_code_whatever_its_pixels() -> None:
    """What public pretraining learnt of its pixels would be carried on to those of hospitals."""
    one = with_pixels(study(vendor=Vendor.GENERIC), (0.6, 1.05), "calibrated")
    assert scanner_code(one, View.SPINE_PA).tolist() == [0.0, 0.0, 0.0]


def with_pixels(
    one: StudyRecord, spacing: tuple[float, float], provenance: SpacingProvenance
) -> StudyRecord:
    """The study with pixels of that size in every image."""
    images = {
        view: replace(image, spacing_mm=spacing, spacing_provenance=provenance)
        for view, image in one.images.items()
    }
    return replace(one, images=images)


def density_network(seed: int = 0) -> nn.Module:
    """A network whose heads say something."""
    torch.manual_seed(seed)
    network = BMD.network().eval()
    for name, weight in network.named_parameters():
        if name.startswith(BMD.head_parameters()):
            nn.init.normal_(weight, std=0.02)
    return network


def estimated(network: nn.Module, one: StudyRecord) -> dict[str, float | None]:
    found = BMD.find(Reading(network, one, StudyLabels(), Findings()))
    return {measured.region: measured.standardised for measured in found.measurements}


REGIONS_OF = {View.SPINE_PA: {"L1-L4"}, View.HIP_LEFT: {"femoral_neck", "total_hip"}}


@pytest.mark.parametrize("view", REGIONS_OF)
def test_noise_in_one_image_moves_nothing_that_is_read_from_the_other(view: View) -> None:
    network, one = density_network(), study(vendor=Vendor.LUNAR)
    with torch.no_grad():
        BMD.settle(network, [BMD.sample(study(number)) for number in range(6)])
    grey = np.random.default_rng(1).random(one.images[view].pixels.shape, dtype=np.float32)
    noise = replace(one.images[view], pixels=grey, spacing_mm=(0.7, 0.9))
    before = estimated(network, one)
    after = estimated(network, replace(one, images={**one.images, view: noise}))
    assert set(before) == set(OUTPUTS)
    assert {name for name in after if after[name] != before[name]} == REGIONS_OF[view]


@pytest.mark.parametrize("view", REGIONS_OF)
def test_what_one_image_shows_is_estimated_without_the_other(view: View) -> None:
    network, one = density_network(), study(vendor=Vendor.HOLOGIC)
    images = {other: image for other, image in one.images.items() if other != view}
    found = BMD.find(Reading(network, replace(one, images=images), StudyLabels(), Findings()))
    before = estimated(network, one)
    assert {measured.region: measured.standardised for measured in found.measurements} == {
        name: value for name, value in before.items() if name not in REGIONS_OF[view]
    }
    (gap,) = found.not_assessed
    assert (
        gap.what
        == {
            View.SPINE_PA: "bone density of the lumbar spine L1-L4",
            View.HIP_LEFT: "bone density of the femoral neck and total hip",
        }[view]
    )
    assert "alone, of which no image is assessed" in gap.why


def test_without_either_image_nothing_is_estimated() -> None:
    one = study()
    lateral = replace(one, images={View.SPINE_LATERAL: one.images[View.SPINE_LATERAL]})
    found = BMD.find(Reading(density_network(), lateral, StudyLabels(), Findings()))
    assert found.measurements == ()
    assert len(found.not_assessed) == 2


def test_a_patient_with_one_image_is_learnt_from_by_what_it_shows() -> None:
    one = study()
    labels = StudyLabels(bmd=dict.fromkeys(OUTPUTS, 0.9))
    spine = replace(one, images={View.SPINE_PA: one.images[View.SPINE_PA]}, labels=labels)
    assert BMD.uses(spine)
    assert not BMD.uses(replace(spine, labels=StudyLabels(bmd={"total_hip": 0.9})))
    sample = BMD.sample(spine)
    assert sample["known"].tolist() == [[1.0, 0.0, 0.0]]
    assert shown_in(sample).tolist() == [[True, False]]
    network = density_network()
    BMD.loss(network(sample["image"], sample["covariates"]), sample).sum().backward()
    for name, weight in network.named_parameters():
        if name.startswith("heads."):
            assert (weight.grad is None or not bool(weight.grad.any())) == ("heads.1" in name)


def test_a_missing_label_has_no_say() -> None:
    whole = study()
    partial = replace(whole, labels=StudyLabels(bmd={"L1-L4": 1.0}))
    batch = batch_of([BMD.sample(partial)])
    near = torch.tensor([[1.05, 0.9, 0.9]])
    far = torch.tensor([[1.05, 9.0, -9.0]])
    assert torch.equal(BMD.loss(near, batch), BMD.loss(far, batch))
    found = BMD.metrics(BMD.statistics(far, batch))
    assert found["mae_lumbar"] == pytest.approx(0.05, abs=1e-6)
    assert "mae_total_hip" not in found


@pytest.mark.parametrize("value", [0.0, 11.3, -1.0])
def test_a_density_that_no_bone_has_is_not_learnt(value: float) -> None:
    typed = replace(study(), labels=StudyLabels(bmd={"L1-L4": value}))
    assert not BMD.uses(typed)


def test_grey_levels_reach_the_network_as_they_are() -> None:
    sample = BMD.sample(study())
    assert float(sample["image"].min()) >= 0.0
    assert float(sample["image"].max()) <= 1.0
    varied = BMD.augment(sample, np.random.default_rng(1))
    bright = sample["image"] > 0.4
    assert float(varied["image"][varied["image"] > 0.4].mean()) == pytest.approx(
        float(sample["image"][bright].mean()), rel=0.03
    )


def test_errors_and_the_error_of_a_constant_are_in_grams_per_square_centimetre() -> None:
    samples = [BMD.sample(study(number)) for number in range(8)]
    batch = batch_of(samples)
    statistics = BMD.statistics(batch["bmd"] + 0.03, batch)
    found = BMD.metrics(statistics)
    assert found["mae_lumbar"] == pytest.approx(0.03, abs=1e-5)
    assert found["bias_total_hip"] == pytest.approx(0.03, abs=1e-5)
    assert found["r_femoral_neck"] == pytest.approx(1.0, abs=1e-4)
    true = batch["bmd"][:, 0].numpy()
    assert found["r2_lumbar"] == pytest.approx(1 - 0.03**2 / float(true.var()), abs=1e-3)
    mean = BMD.metrics(BMD.statistics(batch["bmd"].mean(0, keepdim=True).expand(8, 3), batch))
    assert mean["r2_lumbar"] == pytest.approx(0.0, abs=1e-3)  # always saying the mean
    assert mean_label(statistics, "lumbar") == pytest.approx(float(true.mean()), abs=1e-5)
    exact = float(np.abs(true - 0.93).mean())
    assert exact - 1e-6 <= baseline_mae(statistics, "lumbar", 0.93) <= exact + 0.01


def test_outputs_are_named() -> None:
    assert densities(torch.tensor([[1.0, 0.8, 0.9]])) == pytest.approx(
        {"L1-L4": 1.0, "femoral_neck": 0.8, "total_hip": 0.9}
    )


# --- vfa-fracture ----------------------------------------------------------------------------


def test_a_vertebra_that_was_not_graded_has_weight_zero() -> None:
    graded = replace(study(), labels=StudyLabels(genant={"T8": 2, "L1": 0}))
    sample = VFA.sample(graded)
    known = {VERTEBRAE[place] for place in torch.nonzero(sample["weight"]).flatten().tolist()}
    assert known == {"T8", "L1"}
    assert int(sample["grade"][VERTEBRAE.index("T8")]) == 2
    assert float(sample["placed"].sum()) == 13


def test_the_head_is_whitened_by_the_crops_that_were_cut() -> None:
    samples = [VFA.sample(study(number)) for number in range(8)]
    missing = [replace(study(number), images={}) for number in range(2)]
    torch.manual_seed(0)
    network = VFA.network().eval()
    assert isinstance(network, GradingNetwork)
    with torch.no_grad():
        measured = [network.measure(one["image"], one["covariates"]) for one in samples]
        VFA.settle(network, [*samples, *(VFA.sample(one) for one in missing)])
    middle = torch.cat(measured).double().mean(0).float()
    torch.testing.assert_close(network.whitened.middle, middle, atol=1e-4, rtol=1e-4)
    with pytest.raises(TypeError, match="GradingNetwork"):
        VFA.settle(nn.Linear(1, 1), samples)


def test_crops_at_found_places_are_those_at_drawn_ones() -> None:
    whole = study()
    image = whole.images[View.SPINE_LATERAL]
    assert image.regions is not None
    positions = region_centres_mm(image.regions, image.spacing_mm, CODES)
    bare = replace(whole, images={View.SPINE_LATERAL: replace(image, regions=None)})
    found, drawn = VFA.sample_at(bare, positions), VFA.sample(whole)
    assert torch.equal(found["image"], drawn["image"])
    only = VFA.sample_at(bare, {"L1": positions["L1"]})
    assert float(only["placed"].sum()) == 1.0
    assert float(only["image"][0].abs().max()) == 0.0


def test_a_vertebra_lies_in_the_middle_of_its_crop() -> None:
    sample = VFA.sample(study())
    rows, columns = VFA.crop
    for crop in sample["image"][1:-1, 0]:
        middle = crop[rows // 2 - 3 : rows // 2 + 3, columns // 2 - 4 : columns // 2 + 4]
        assert float(middle.mean()) > float(crop.mean()) + 0.3


def test_lean_is_measured_between_neighbours() -> None:
    positions = {name: (30.0 * n, 10.0 + 30.0 * n, 20.0) for n, name in enumerate(VERTEBRAE)}
    assert spine_angle(positions, "T8") == pytest.approx(math.pi / 4)
    assert spine_angle({"T8": (0.0, 0.0, 20.0)}, "T8") == 0.0


def logits_for(grades: Tensor) -> Tensor:
    return torch.where(grades[:, None] >= torch.tensor([1, 2, 3]), 9.0, -9.0)


def test_perfect_answers_have_auc_and_kappa_of_one() -> None:
    batch = batch_of([VFA.sample(study(number)) for number in range(6)])
    output = logits_for(batch["grade"])
    assert torch.equal(grades_of(output), batch["grade"])
    found = VFA.metrics(VFA.statistics(output, batch))
    for name in ("auc_grade1", "auc_grade2", "kappa"):
        assert found[name] == 1.0


def test_a_grade_needs_every_lower_question_answered_yes() -> None:
    assert grades_of(torch.tensor([[-9.0, 9.0, 9.0], [9.0, 9.0, -9.0]])).tolist() == [0, 2]


def test_scores_rise_with_the_logit_of_grade_two() -> None:
    scores = fracture_scores(torch.tensor([[0.0, -2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0]]))
    assert scores.tolist() == sorted(scores.tolist())
    assert 0 <= float(scores.min()) < float(scores.max()) <= 1


def test_auc_uses_graded_vertebrae_only() -> None:
    batch = batch_of([VFA.sample(study(number)) for number in range(4)])
    output = logits_for(batch["grade"])
    wrong = batch["grade"] == 1
    output[wrong] = -output[wrong]
    weight = torch.where(wrong, 0.0, 1.0)
    assert VFA.metrics(VFA.statistics(output, batch))["auc_grade1"] < 1.0
    assert VFA.metrics(VFA.statistics(output, batch | {"weight": weight}))["auc_grade1"] == 1.0
