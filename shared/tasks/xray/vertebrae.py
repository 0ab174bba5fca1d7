"""Vertebrae on frontal radiographs, learnt from boxes: where the spine is, not its levels.

Levels are counted from the lower end of what was found (`shared.tasks.xray.column`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings, RegionMap, region_areas
from shared.metrics.named import mean_loss, means_of
from shared.metrics.overlap import dice, overlaps
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.records import ImageRecord, StudyRecord, View
from shared.regions import REGION_CODES, UNNAMED_VERTEBRA, VERTEBRAE
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.inputs import TaskInputs
from shared.tasks.losses import overlap_loss, structure_logit
from shared.tasks.pixels import (
    Placement,
    drawn_boxes,
    frame_image,
    halvable,
    put_back,
    to_zero_mean,
)
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample
from shared.tasks.xray.column import NoColumnError, find_column, levels_of

VIEW: Final = View.LUMBAR_AP
#: The whole radiograph fills the frame, whatever its shape: radiographs often come without
#: a spacing. A vertebra is about 5 pixels high at the small size.
FRAME: Final[Mapping[str, tuple[int, int]]] = {"small": (160, 80), "published": (512, 256)}
CLASSES: Final = 2
GREY_LEVELS: Final = 256
VARIATION: Final = Variation(rotation=0.12, shift=7.0, zoom=0.12, noise=0.15, gamma=0.3, blur=0.8)
#: A spine bends to either side.
MIRRORED_SHARE: Final = 0.5


class XrayVertebrae(Task):
    """U-Net, one unit a patient, vertebra or not.

    Vertebrae are marked by boxes, of a table or drawn as masks, as often as by outlines, so a
    Dice of 1 means that the boxes are met, corners included. A mask counts before boxes.
    """

    name: ClassVar[str] = "xray-vertebrae"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = TaskInputs((VIEW,))
    headline: ClassVar[Headline] = Headline("dice", True, "Dice, vertebrae")
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="mask_or_box:lumbar_ap", at_least=0.5, weight="should"),)
    )
    released: ClassVar[ReleasedSums] = ReleasedSums(means=("dice",))
    assesses: ClassVar[str] = "the outlines of the lumbar vertebrae on the radiograph"

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the tensors, in pixels."""
        return halvable(self.settings.network.image_size or FRAME[self.settings.network.size])

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with a frontal radiograph on which vertebrae are marked."""
        image = study.images.get(VIEW)
        return image is not None and (image.regions is not None or bool(image.boxes))

    def sample(self, study: StudyRecord) -> Sample:
        """Fill the frame with the radiograph.

        Returns
        -------
        Sample
            "image" (1, 1, H, W) of mean 0 and variance 1 after its grey levels were spread
            evenly, "covariates" (1, 1) ones, "weight" (1,), "vertebra" (1, H, W) int64,
            1 on a vertebra.
        """
        image = study.images.get(VIEW)
        pixels, vertebra = torch.zeros(self.frame), torch.zeros(self.frame, dtype=torch.long)
        known = False
        if image is not None:
            pixels, drawn, _ = frame_radiograph(image, self.frame)
            if drawn is not None:
                vertebra, known = drawn, True
        return {
            "image": pixels[None, None],
            "covariates": torch.ones(1, 1),
            "weight": torch.tensor([float(known)]),
            "vertebra": vertebra[None],
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move, shade, blur and mirror the radiograph."""
        variation = VARIATION.enlarged(self.frame[0] / FRAME["small"][0])
        image, vertebra = vary(sample["image"][:, 0], sample["vertebra"], variation, generator)
        if vertebra is None:
            vertebra = sample["vertebra"]
        if generator.random() < MIRRORED_SHARE:
            image, vertebra = image.flip(-1), vertebra.flip(-1)
        return {**sample, "image": image[:, None], "vertebra": vertebra}

    def network(self) -> nn.Module:
        """Make the U-Net."""
        from shared.networks.unet import SegmentationNetwork

        return SegmentationNetwork(1, [[True] * CLASSES], self.settings.network.size)

    def head_parameters(self) -> tuple[str, ...]:
        """Name the last normalisation and convolution."""
        return ("head.",)

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Soft Dice plus cross-entropy, shape (B,)."""
        return batch["weight"] * overlap_loss(structure_logit(output), batch["vertebra"])

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum the Dice over patients."""
        known = batch["weight"] > 0
        counts = overlaps(output.argmax(dim=1), batch["vertebra"], (1,))[known].tolist()
        return {
            "patients": float(len(output)),
            "loss_sum": float(self.loss(output, batch).sum()),
            "dice_sum": float(np.sum([dice(*one) for one in counts])),
            "dice_n": float(len(counts)),
        }

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give ``dice``, a mean over patients, and ``loss``."""
        return means_of(statistics) | mean_loss(statistics)

    def find(self, reading: Reading) -> Findings:
        """Draw L1 to L4, counted from the lowest vertebra, or say why levels cannot be told."""
        image = reading.study.images.get(VIEW)
        if image is None:
            return Findings()
        found = self._column(reading, image)
        try:
            column = find_column(found, image.spacing_mm[0] / image.spacing_mm[1])
        except NoColumnError as error:
            gap = NotAssessed(what="levels on the radiograph", why=str(error))
            return Findings(not_assessed=(gap,))
        regions = levels_of(found, column)
        areas = region_areas(self.name, VIEW, regions, image)
        return Findings(regions=areas, region_maps={VIEW: regions})

    def _column(self, reading: Reading, image: ImageRecord) -> RegionMap:
        """Where vertebrae are recognised, on the grid of the image, without names."""
        pixels, _, placement = frame_radiograph(image, self.frame)
        sample = {"image": pixels[None, None], "covariates": torch.ones(1, 1)}
        logit = structure_logit(reading.run(sample)).unflatten(1, self.frame)  # (1, H, W)
        whole = put_back(logit, placement)[0].numpy()
        return np.where(whole > 0, np.uint8(UNNAMED_VERTEBRA), np.uint8(0))


def frame_radiograph(
    image: ImageRecord, frame: tuple[int, int]
) -> tuple[Tensor, Tensor | None, Placement]:
    """Fill a frame with a radiograph, its grey levels spread evenly.

    Parameters
    ----------
    image : ImageRecord
        A frontal radiograph; its spacing is not used.
    frame : (int, int)
        Height and width in pixels.

    Returns
    -------
    (Tensor, Tensor or None, Placement)
        Pixels (H, W) of mean 0 and variance 1; vertebra or not (H, W), int64, None where
        nobody marked any; where the frame lies.
    """
    height, width = image.pixels.shape
    if image.regions is None and image.boxes:
        image = replace(image, regions=drawn_boxes(image.boxes, image.pixels.shape))
    whole = (
        height * image.spacing_mm[0] / frame[0],
        width * image.spacing_mm[1] / frame[1],
    )
    framed = frame_image(image, whole, frame)
    pixels = to_zero_mean(_spread_evenly(framed.pixels, framed.scanned), framed.scanned)
    marked = None
    if framed.regions is not None:
        codes = torch.tensor([UNNAMED_VERTEBRA, *(REGION_CODES[name] for name in VERTEBRAE)])
        marked = torch.isin(framed.regions, codes).long()
    return pixels, marked, framed.placement


def _spread_evenly(pixels: Tensor, scanned: Tensor) -> Tensor:
    """Equalise the histogram, so that a maker's tone curve is taken out."""
    from shared.networks.monai_parts import equalize_hist

    even = equalize_hist(
        img=pixels.numpy(), mask=scanned.numpy(), num_bins=GREY_LEVELS, min=0, max=1
    )
    return torch.as_tensor(even, dtype=torch.float32)
