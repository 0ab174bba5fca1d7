"""Regions of the spine and the hip on DXA images, by one U-Net for three projections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.findings.facts import NotAssessed, QualityFlag, RegionArea
from shared.findings.findings import Findings, RegionMap, region_areas
from shared.findings.region_names import VIEW_WORDS, region_words
from shared.metrics.named import mean_loss, means_of
from shared.metrics.overlap import dice, overlaps
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told
from shared.quality.regions import fragment_flags
from shared.records import ImageRecord, StudyRecord, View
from shared.regions import (
    HIP,
    LUMBAR,
    NUMBER_OF_CODES,
    REGION_CODES,
    VERTEBRAE,
    codes_of,
)
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.inputs import TaskInputs
from shared.tasks.pixels import Placement, frame_image, halvable, put_back, to_zero_mean
from shared.tasks.reading import Reading
from shared.tasks.region_maps import largest_parts, nearest_bodies
from shared.tasks.sample import Sample

#: Projections in the order of the units.
VIEWS: Final[tuple[View, ...]] = (View.SPINE_PA, View.HIP_LEFT, View.SPINE_LATERAL)
#: Regions that can be drawn on each projection.
DRAWN: Final[Mapping[View, tuple[str, ...]]] = {
    View.SPINE_PA: LUMBAR,
    View.HIP_LEFT: HIP,
    View.SPINE_LATERAL: VERTEBRAE,
}
#: Regions of the headline Dice, by projection.
HEADLINE: Final[Mapping[View, tuple[str, ...]]] = {
    View.SPINE_PA: LUMBAR,
    View.HIP_LEFT: ("femoral_neck", "trochanter", "total_hip"),
}
#: Millimetres per pixel at the small size, row first; the published size is finer
#: by as much as its frame has more pixels. A lateral field is long and narrow.
SPACING_MM: Final[Mapping[View, tuple[float, float]]] = {
    View.SPINE_PA: (2.0, 2.2),
    View.HIP_LEFT: (2.0, 2.2),
    View.SPINE_LATERAL: (4.0, 2.6),
}
FRAME: Final[Mapping[str, tuple[int, int]]] = {"small": (112, 80), "published": (448, 320)}
#: Weight of a background pixel in the cross-entropy. With equal weights the bodies, a
#: few per cent of an image, are not told apart for hundreds of steps.
BACKGROUND_WEIGHT: Final = 0.15
#: Added to both sides of the soft Dice, in pixels.
SMOOTHING: Final = 1.0
VARIATION: Final = Variation(rotation=0.1, shift=6.0, zoom=0.08, noise=0.15, gamma=0.3, blur=0.8)


class DxaSegmentation(Task):
    """U-Net, three units a patient (spine, left hip, lateral spine), 17 classes."""

    name: ClassVar[str] = "dxa-segmentation"
    units: ClassVar[int] = len(VIEWS)
    inputs: ClassVar[TaskInputs] = TaskInputs(VIEWS, every_view=False)
    headline: ClassVar[Headline] = Headline("dice", True, "mean Dice, frontal views")
    beside: ClassVar[tuple[Headline, ...]] = (
        Headline("dice_lateral", True, "Dice, vertebrae, lateral view"),
    )
    assesses: ClassVar[str] = (
        "the outlines and areas of the lumbar vertebrae, of the proximal femur and of the "
        "vertebrae in the lateral view"
    )
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="mask:spine_pa", at_least=0.5, weight="should"),)
    )
    released: ClassVar[ReleasedSums] = ReleasedSums(
        means=(
            "dice",
            "dice_lateral",
            "dice_lateral_any",
            "dice_total_hip",
            *(f"dice_{region}" for region in REGION_CODES),
        )
    )

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the tensors, in pixels."""
        return halvable(self.settings.network.image_size or FRAME[self.settings.network.size])

    def spacing_mm(self, view: View) -> tuple[float, float]:
        """Millimetres per pixel of a view's tensor, row first."""
        rows, columns = FRAME["small"]
        small = SPACING_MM[view]
        return small[0] * rows / self.frame[0], small[1] * columns / self.frame[1]

    def uses(self, study: StudyRecord) -> bool:
        """Use a study in which at least one projection has regions drawn."""
        return any(
            view in study.images and study.images[view].regions is not None for view in VIEWS
        )

    def sample(self, study: StudyRecord) -> Sample:
        """Frame the three projections.

        Returns
        -------
        Sample
            "image" (3, 1, H, W), "covariates" (3, 3) the view as one-hot, "weight"
            (3,) 0 where the view or its regions are missing, "regions" (3, H, W) int64.
        """
        images, targets, weights = [], [], []
        for view in VIEWS:
            image = study.images.get(view)
            if image is None:
                images.append(torch.zeros(self.frame))
                targets.append(torch.zeros(self.frame, dtype=torch.long))
                weights.append(0.0)
                continue
            framed = frame_image(image, self.spacing_mm(view), self.frame)
            images.append(to_zero_mean(framed.pixels, framed.scanned))
            drawn = framed.regions
            targets.append(torch.zeros(self.frame, dtype=torch.long) if drawn is None else drawn)
            weights.append(0.0 if drawn is None else 1.0)
        return {
            "image": torch.stack(images)[:, None],
            "covariates": torch.eye(len(VIEWS)),
            "weight": torch.tensor(weights),
            "regions": torch.stack(targets),
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move, shade and blur the three projections of a patient alike."""
        variation = VARIATION.enlarged(self.frame[0] / FRAME["small"][0])
        image, regions = vary(sample["image"][:, 0], sample["regions"], variation, generator)
        if regions is None:
            regions = sample["regions"]
        return {**sample, "image": image[:, None], "regions": regions}

    def network(self) -> nn.Module:
        """Make the U-Net."""
        from shared.networks.unet import SegmentationNetwork

        return SegmentationNetwork(1, possible_classes(), self.settings.network.size)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last normalisation and convolution."""
        return ("head.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Soft Dice over the regions that are there, plus cross-entropy; shape (B,)."""
        regions = batch["regions"].flatten(1)  # (B, H·W)
        logarithm = functional.log_softmax(output.float().flatten(2), dim=1)
        of_truth = logarithm.gather(1, regions[:, None])[:, 0]  # (B, H·W)
        nothing = torch.zeros(len(output), NUMBER_OF_CODES, device=output.device)
        # sums over each true region by scattering: no one-hot of 17 whole images
        both = nothing.scatter_add(1, regions, of_truth.exp())
        area = nothing.scatter_add(1, regions, torch.ones_like(of_truth))
        soft = (2 * both + SMOOTHING) / (logarithm.exp().sum(2) + area + SMOOTHING)
        there = (area > 0).float() * self._counted(output)
        missed = ((1 - soft) * there).sum(1) / there.sum(1).clamp(min=1.0)
        weight = torch.where(regions > 0, 1.0, BACKGROUND_WEIGHT)
        surprise = -(weight * of_truth).sum(1) / weight.sum(1)
        return batch["weight"] * (missed + surprise)

    @staticmethod
    def _counted(output: Tensor) -> Tensor:
        """Count every class but the background in the Dice, which it would only dilute."""
        counted = torch.ones(NUMBER_OF_CODES, device=output.device)
        counted[0] = 0.0
        return counted

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum Dice values over patients, by region, and count shifted vertebrae."""
        predicted = output.argmax(dim=1)
        units = _Units(predicted, batch["regions"], batch["weight"] > 0)
        sums: Statistics = {
            "patients": float(len(predicted) // self.units),
            "loss_sum": float(self.loss(output, batch).sum()) / self.units,
        }
        for patient in range(len(predicted) // self.units):
            for key, value in units.of_patient(patient * self.units).items():
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give Dice as means over patients.

        ``dice`` (L1-L4, femoral neck, trochanter, total hip), ``dice_lateral``
        (vertebral bodies with their right names), ``dice_lateral_any`` (bodies
        whatever their name), ``dice_<region>``, ``level_shift`` (share of lateral
        bodies that mostly carry another's name), ``loss``.
        """
        return means_of(statistics) | mean_loss(statistics)

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell Dice by region; which share of lateral bodies carries another's name, in %."""
        found = []
        for one in super().tell(statistics):
            region = one.metric.removeprefix("dice_")
            if one.metric == "level_shift":
                words = "vertebrae, lateral view, with another one's name"
                one = replace(one, words=words, value=100 * one.value, unit="%")
            elif one.metric == "dice_lateral_any":
                one = replace(one, words="Dice, vertebrae whatever their name, lateral view")
            elif region in {*REGION_CODES, "total_hip"}:
                one = replace(one, words=f"Dice, {region_words(region)}")
            found.append(one)
        return found

    def find(self, reading: Reading) -> Findings:
        """Draw region maps of every view that is there, on the grid of its image."""
        maps: dict[View, RegionMap] = {}
        areas: list[RegionArea] = []
        gaps: list[NotAssessed] = []
        flags: list[QualityFlag] = []

        def network(image: Tensor, covariates: Tensor) -> Tensor:
            return reading.run({"image": image, "covariates": covariates})

        for view, image in reading.study.images.items():
            if view not in VIEWS:
                continue
            raw, chances, placement = segment_image(self, network, image, view)
            if view is View.SPINE_LATERAL:
                raw = nearest_bodies(raw, chances, placement, image)
            flags += [
                QualityFlag(source="image", code=one.code, subject=one.subject, words=one.words)
                for one in fragment_flags(view, raw)  # what is dropped next, nobody sees
            ]
            regions = largest_parts(raw)
            if not regions.any():
                what = f"regions of the {VIEW_WORDS[view]}"
                gaps.append(NotAssessed(what=what, why="none was recognised"))
            maps[view] = regions
            areas += region_areas(self.name, view, regions, image)
        return Findings(
            regions=tuple(areas),
            quality=tuple(flags),
            not_assessed=tuple(gaps),
            region_maps=maps,
        )


class _Units:
    """Predicted and true maps of a folded batch, measured once for the whole batch."""

    def __init__(self, predicted: Tensor, true: Tensor, known: Tensor) -> None:
        self.predicted, self.true, self.known = predicted, true, known
        names = [*REGION_CODES, "total_hip"]
        counted = torch.stack([overlaps(predicted, true, codes_of(name)) for name in names])
        self.counts = dict(zip(names, counted.tolist(), strict=True))
        body = overlaps((predicted > 0).long(), (true > 0).long(), (1,))
        self.any_body = body.tolist()

    def of_patient(self, first: int) -> Statistics:
        """Sum and count for the patient whose units begin at an index."""
        sums: Statistics = {}
        headline: list[float] = []
        for offset, view in enumerate(VIEWS):
            unit = first + offset
            if not bool(self.known[unit]):
                continue
            lateral = view is View.SPINE_LATERAL
            names = DRAWN[view] if lateral else HEADLINE[view]
            values = {
                name: dice(*self.counts[name][unit])
                for name in names
                if self.counts[name][unit][2] > 0
            }
            if lateral and values:
                _count(sums, "dice_lateral", float(np.mean(list(values.values()))))
                _count(sums, "dice_lateral_any", dice(*self.any_body[unit]))
                self._count_shifts(sums, unit, tuple(values))
            elif not lateral:
                headline += values.values()
                for name, value in values.items():
                    _count(sums, f"dice_{name}", value)
        if headline:
            _count(sums, "dice", float(np.mean(headline)))
        return sums

    def _count_shifts(self, sums: Statistics, unit: int, names: tuple[str, ...]) -> None:
        """Count bodies of which most drawn pixels carry another vertebra's code."""
        for name in names:
            inside = self.predicted[unit][self.true[unit] == REGION_CODES[name]]
            drawn = inside[inside > 0]
            right = int((drawn == REGION_CODES[name]).sum())
            _count(sums, "level_shift", float(len(drawn) > 0 and 2 * right < len(drawn)))


def _count(sums: Statistics, name: str, value: float) -> None:
    sums[f"{name}_sum"] = sums.get(f"{name}_sum", 0.0) + value
    sums[f"{name}_n"] = sums.get(f"{name}_n", 0.0) + 1.0


def possible_classes() -> list[list[bool]]:
    """Say which of the 17 classes can occur in each view; background always can."""
    table = []
    for view in VIEWS:
        codes = {0, *(REGION_CODES[name] for name in DRAWN[view])}
        table.append([code in codes for code in range(NUMBER_OF_CODES)])
    return table


def region_map(logits: Tensor, placement: Placement) -> NDArray[np.uint8]:
    """Turn the logits of one unit into a region map on the original pixels.

    Parameters
    ----------
    logits : Tensor, shape (17, H, W)
        One unit of the network's output.
    placement : Placement
        Of that unit's image (`frame_image`).

    Returns
    -------
    ndarray of uint8, shape of the original image
        Region codes.
    """
    chances = put_back(logits.float().softmax(dim=0), placement)
    return chances.argmax(dim=0).numpy().astype(np.uint8)


def segment_image(
    task: DxaSegmentation,
    network: Callable[[Tensor, Tensor], Tensor],
    image: ImageRecord,
    view: View,
) -> tuple[NDArray[np.uint8], Tensor, Placement]:
    """Segment one image.

    Parameters
    ----------
    task : DxaSegmentation
        Says frame and spacing.
    network : callable
        What gives logits of an image and covariates: the network or an exported program.
    image : ImageRecord
        Any scanner's.
    view : View
        Which projection it is.

    Returns
    -------
    (ndarray of uint8, Tensor, Placement)
        Region map on the original pixels; class probabilities (17, H, W) in the
        frame; where the frame lies.
    """
    framed = frame_image(image, task.spacing_mm(view), task.frame)
    pixels = to_zero_mean(framed.pixels, framed.scanned)[None, None]
    covariates = torch.eye(len(VIEWS))[VIEWS.index(view)][None]
    with torch.no_grad():
        logits: Tensor = network(pixels, covariates)[0]
    return region_map(logits, framed.placement), logits.softmax(dim=0), framed.placement
