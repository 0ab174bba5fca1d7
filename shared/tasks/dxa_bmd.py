"""Bone mineral density from two DXA images, each for itself, on the scale that scanners share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.clinical.cross_calibration import is_plausible, standardised_bmd
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings, bmd_measurement
from shared.findings.region_names import VIEW_WORDS, region_words
from shared.metrics import regression
from shared.metrics.named import mean_loss, sums_of
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told, told_loss
from shared.phrases import listed
from shared.records import StudyRecord, Vendor, View
from shared.settings.contract import CompletenessRule, CountRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.densities import (
    as_density_network,
    density_loss,
    density_statistics,
    told_densities,
)
from shared.tasks.inputs import TaskInputs
from shared.tasks.pixels import frame_image
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample

#: What is read from the image of each view, and from no other.
READ_FROM: Final[Mapping[View, tuple[str, ...]]] = {
    View.SPINE_PA: ("L1-L4",),
    View.HIP_LEFT: ("femoral_neck", "total_hip"),
}
VIEWS: Final[tuple[View, ...]] = tuple(READ_FROM)
#: Outputs in their order, and what each is called in a metric's name.
OUTPUTS: Final[tuple[str, ...]] = tuple(name for names in READ_FROM.values() for name in names)
METRIC_NAMES: Final[Mapping[str, str]] = {
    "L1-L4": "lumbar",
    "femoral_neck": "femoral_neck",
    "total_hip": "total_hip",
}
#: Middle and spread of sBMD in adults over 50, g/cm²: women's and men's regressions
#: at 65 years and BMI 25 on a Hologic-like scale (PLOS ONE e0260924), standardised
#: and rounded. They only set the unit in which the network learns.
CENTRES: Final[tuple[float, ...]] = (1.0, 0.88, 0.86)
SCALES: Final[tuple[float, ...]] = (0.16, 0.14, 0.13)
#: Scanners that may have a calibration of their own; any other is all zeros.
VENDORS: Final[tuple[Vendor, ...]] = (Vendor.LUNAR, Vendor.HOLOGIC)
#: Sides of pixels that differ by this share of themselves are told apart well.
PIXEL_STEP: Final = 0.1
SPACING_MM: Final = 2.0  # at the small size
FRAME: Final[Mapping[str, tuple[int, int]]] = {"small": (112, 80), "published": (448, 320)}
#: Constants whose mean absolute error is kept, so that the error of always saying
#: the training mean is known wherever that mean lies, g/cm².
CONSTANTS: Final[tuple[float, ...]] = tuple(round(0.60 + 0.05 * step, 2) for step in range(17))
#: Grey levels are left alone: they are what is measured.
VARIATION: Final = Variation(rotation=0.06, shift=4.0, zoom=0.04, noise=0.01)


class DxaBmd(Task):
    """DenseNet with an attention; L1-L4, femoral neck and total hip sBMD in g/cm²."""

    name: ClassVar[str] = "dxa-bmd"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = TaskInputs(VIEWS, every_view=False)
    headline: ClassVar[Headline] = Headline("mae_lumbar", False, "lumbar BMD error (MAE), g/cm²")
    contract: ClassVar[DataContract] = DataContract(
        counts=(CountRule(of="osteoporosis", at_least=5, weight="should"),),
        completeness=(CompletenessRule(of="label:bmd", at_least=0.9, weight="should"),),
    )
    released: ClassVar[ReleasedSums] = ReleasedSums(regressions=tuple(METRIC_NAMES.values()))
    assesses: ClassVar[str] = (
        f"the model's estimate of the bone density of the {listed([*map(region_words, OUTPUTS)])}"
    )
    metric_names: ClassVar[Mapping[str, str]] = METRIC_NAMES

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the tensors, in pixels."""
        return self.settings.network.image_size or FRAME[self.settings.network.size]

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Millimetres per pixel of the tensors, row first."""
        rows, columns = FRAME["small"]
        return SPACING_MM * rows / self.frame[0], SPACING_MM * columns / self.frame[1]

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with a projection and a reported BMD of what it shows."""
        return bool(standard_labels(study))

    def sample(self, study: StudyRecord) -> Sample:
        """Frame both projections as two channels; grey levels stay as they are.

        Returns
        -------
        Sample
            "image" (1, 2, H, W) in [0, 1], "covariates" (1, 2·3) the scanner by projection
            (`scanner_code`), "weight" (1,), "bmd" (1, 3) sBMD in g/cm², 0 where unknown,
            "known" (1, 3) 1 where the hospital reported it and its projection is there.
        """
        channels = [
            frame_image(study.images[view], self.spacing_mm, self.frame).pixels
            if view in study.images
            else torch.zeros(self.frame)
            for view in VIEWS
        ]
        labels = standard_labels(study)
        values = [labels.get(region, 0.0) for region in OUTPUTS]
        return {
            "image": torch.stack(channels)[None],
            "covariates": torch.cat([scanner_code(study, view) for view in VIEWS])[None],
            "weight": torch.tensor([1.0 if labels else 0.0]),
            "bmd": torch.tensor(values)[None],
            "known": torch.tensor([float(region in labels) for region in OUTPUTS])[None],
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move the images a little; a density does not change by that."""
        variation = VARIATION.enlarged(self.frame[0] / FRAME["small"][0])
        image, _ = vary(sample["image"][0], None, variation, generator)
        return {**sample, "image": image[None]}

    def network(self) -> nn.Module:
        """Make the DenseNet."""
        from shared.networks.densenet import DensityNetwork

        return DensityNetwork(
            outputs=[len(regions) for regions in READ_FROM.values()],
            covariates=len(VENDORS) + 1,
            centres=CENTRES,
            scales=SCALES,
            size=self.settings.network.size,
        )

    def head_parameters(self) -> tuple[str, ...]:
        """Name the linear layers that turn grey levels into densities."""
        return ("heads.",)

    @torch.no_grad()
    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:
        """Whiten what the heads are given (`shared.networks.whitening` says why)."""
        density = as_density_network(network, self.name)
        found = [(*density.measure(one["image"]), shown_in(one)) for one in public]
        measured, context, shown = (torch.cat(parts) for parts in zip(*found, strict=True))
        density.whiten(measured, context, shown)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Huber loss in units of `SCALES`, mean over the known regions; shape (B,)."""
        return density_loss(output, batch, SCALES)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum errors and moments by region."""
        return density_statistics(
            output, batch, self.loss(output, batch), [*METRIC_NAMES.values()], CONSTANTS
        )

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give errors in g/cm² and agreement, by region.

        ``mae_*``, ``rmse_*``, ``bias_*``, ``r_*``, ``ccc_*``; ``r2_*`` is the share of the
        spread that is explained, ``baseline_mae_*`` the error of always saying the mean of
        these very patients (a harder opponent than the mean of the training patients);
        ``loss``. Hospitals release what ``r2_*`` needs, and not what ``baseline_mae_*`` needs.
        """
        found: dict[str, float] = {}
        for name in METRIC_NAMES.values():
            sums = sums_of(statistics, name)
            if sums.get("n", 0.0) < 1:
                continue
            found |= regression.agreement_metrics(sums, name)
            mean = sums["y"] / sums["n"]
            found[f"baseline_mae_{name}"] = regression.error_of_constant(sums, mean)
        found |= mean_loss(statistics)
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell errors against the mean alone, by region."""
        told = told_densities(
            statistics, METRIC_NAMES, lambda region: f"BMD, {region_words(region)}"
        )
        return told + told_loss(self.metrics(statistics))

    def find(self, reading: Reading) -> Findings:
        """Estimate the BMD of the lumbar spine and of the hip, each if its view is there."""
        study = reading.study
        there = [view for view in VIEWS if view in study.images]
        values = densities(reading.run(self.sample(study))) if there else {}
        found = {region: values[region] for view in there for region in READ_FROM[view]}
        odd = [region for region, value in found.items() if not is_plausible(value)]
        absent = [
            NotAssessed(
                what=f"bone density of the {listed([*map(region_words, READ_FROM[view])])}",
                why=f"the model reads it from the {VIEW_WORDS[view]} alone, of which no image "
                "is assessed",
            )
            for view in VIEWS
            if view not in there
        ]
        return Findings(
            measurements=tuple(
                bmd_measurement(
                    self.name, region, value, study.vendor, study.covariates, reading.labels
                )
                for region, value in found.items()
                if region not in odd
            ),
            not_assessed=(
                *absent,
                *(
                    NotAssessed(
                        what=f"bone density of the {region_words(region)}",
                        why="the model's estimate is no density that bone has",
                    )
                    for region in odd
                ),
            ),
        )


def standard_labels(study: StudyRecord) -> dict[str, float]:
    """Give the reported densities of what its images show, sBMD in g/cm², plausible ones only."""
    labels = {
        region: standardised_bmd(study.labels.bmd[region], study.vendor, region)
        for view, regions in READ_FROM.items()
        if view in study.images
        for region in regions
        if region in study.labels.bmd
    }
    return {region: value for region, value in labels.items() if is_plausible(value)}


def shown_in(sample: Sample) -> Tensor:
    """Say which views of a patient show a region of known density, bool, (1, 2)."""
    regions = [len(names) for names in READ_FROM.values()]
    return torch.stack([part.any(dim=1) for part in sample["known"].split(regions, 1)], dim=1)


def scanner_code(study: StudyRecord, view: View) -> Tensor:
    """Code what is known of a view's scanner, shape (3,); zeros unless it is one of `VENDORS`.

    The vendor as one-hot, then the size of a pixel: inverse hyperbolic sine of
    log(side / 1 mm) / 0.1, 0 where no spacing is known. Two scanners of one vendor show
    densities through different windows, and the side of their pixels tells them apart, also
    one that training never saw, where a model's name would say nothing of it. The sine keeps
    tenths of a millimetre apart around 1 mm and bounds what a tenth of a millimetre gives.

    A made-up scanner has no code: what goes with its pixels says nothing of a vendor's, and a
    slope learnt over a tenth of a millimetre, carried on to GE's 0.6 by 1.05 mm, turned
    densities round (decision 25).
    """
    image = study.images.get(view)
    if study.vendor not in VENDORS or image is None:
        return torch.zeros(len(VENDORS) + 1)
    side = 0.0
    if image.spacing_provenance != "none":
        side = math.asinh(math.log(math.prod(image.spacing_mm)) / 2 / PIXEL_STEP)
    return torch.tensor([*(float(study.vendor is vendor) for vendor in VENDORS), side])


def mean_label(statistics: Mapping[str, float], name: str) -> float:
    """Mean sBMD of the patients behind some statistics, g/cm²; NaN without any."""
    sums = sums_of(statistics, name)
    return sums["y"] / sums["n"] if sums.get("n", 0.0) > 0 else math.nan


def baseline_mae(statistics: Mapping[str, float], name: str, constant: float) -> float:
    """Error in g/cm² of always saying one value (the mean of the training patients)."""
    return regression.error_of_constant(sums_of(statistics, name), constant)


def densities(output: Tensor) -> dict[str, float]:
    """Name one patient's outputs: sBMD in g/cm² by region.

    Parameters
    ----------
    output : Tensor, shape (3,) or (1, 3)
        The network's.
    """
    values = output.detach().float().flatten().tolist()
    return dict(zip(OUTPUTS, values, strict=True))
