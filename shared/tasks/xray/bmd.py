"""Bone density of spine and hip from one frontal lumbar radiograph, on the shared scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from shared.clinical.cross_calibration import is_plausible, standardised_bmd
from shared.findings.bare_estimates import film_measurements
from shared.findings.completion import completed
from shared.findings.facts import NotAssessed
from shared.findings.findings import Findings
from shared.findings.region_names import region_words
from shared.metrics import regression
from shared.metrics.named import mean_loss, sums_of
from shared.metrics.released import ReleasedSums
from shared.metrics.statistics import Statistics
from shared.metrics.told import Told, told_loss
from shared.phrases import listed
from shared.records import (
    DXA_VENDORS,
    Covariates,
    ImageRecord,
    PatientSource,
    StudyRecord,
    View,
)
from shared.settings.contract import CompletenessRule, DataContract
from shared.tasks.augmentation import Variation, vary
from shared.tasks.base import Headline, Task
from shared.tasks.densities import (
    as_density_network,
    density_loss,
    density_statistics,
    told_densities,
)
from shared.tasks.inputs import TaskInputs
from shared.tasks.reading import Reading
from shared.tasks.sample import Sample
from shared.tasks.xray.column import (
    LumbarColumn,
    NoColumnError,
    column_of_boxes,
    find_column,
)
from shared.tasks.xray.crop import crop_lumbar, size_of_level
from shared.tasks.xray.looks import why_not_lumbar
from shared.tasks.xray.vertebrae import XrayVertebrae

VIEW: Final = View.LUMBAR_AP
#: Outputs in their order, and what each is called in a metric's name.
FILM_REGIONS: Final[Mapping[str, str]] = {
    "L1-L4": "lumbar",
    "femoral_neck": "femoral_neck",
    "total_hip": "total_hip",
}
#: Middle and spread of sBMD in adults over 50, g/cm² (as `shared.tasks.dxa_bmd` has them): they
#: only set the unit in which the network learns.
CENTRES: Final[tuple[float, ...]] = (1.0, 0.88, 0.86)
SCALES: Final[tuple[float, ...]] = (0.16, 0.14, 0.13)
#: Rows and columns of a crop of L1 to L4 with one level more above and below.
CROP: Final[Mapping[str, tuple[int, int]]] = {"small": (96, 64), "published": (384, 256)}
#: Moved by pixels of the small size: a column that a network found is off by as much.
VARIATION: Final = Variation(rotation=0.06, shift=3.0, zoom=0.06, noise=0.02)
MIRRORED_SHARE: Final = 0.5
#: Middle and spread by which age and body mass index are given.
AGE: Final = (65.0, 20.0)
BMI: Final = (25.0, 10.0)


class XrayBmd(Task):
    """DenseNet with an attention; L1-L4, femoral neck and total hip sBMD in g/cm²."""

    name: ClassVar[str] = "xray-bmd"
    units: ClassVar[int] = 1
    inputs: ClassVar[TaskInputs] = TaskInputs((VIEW,))
    headline: ClassVar[Headline] = Headline(
        "mae_lumbar", False, "lumbar BMD error from a film (MAE), g/cm²"
    )
    released: ClassVar[ReleasedSums] = ReleasedSums(regressions=tuple(FILM_REGIONS.values()))
    assesses: ClassVar[str] = (
        "the model's estimate of the bone density of spine and hip from the radiograph"
    )
    after: ClassVar[tuple[str, ...]] = (XrayVertebrae.name,)
    metric_names: ClassVar[Mapping[str, str]] = FILM_REGIONS
    contract: ClassVar[DataContract] = DataContract(
        completeness=(CompletenessRule(of="label:paired_bmd", at_least=0.5, weight="should"),)
    )

    @property
    def crop(self) -> tuple[int, int]:
        """Height and width of the tensors, in pixels."""
        return self.settings.network.image_size or CROP[self.settings.network.size]

    def uses(self, study: StudyRecord) -> bool:
        """Use a study with a film on which vertebrae are marked, and a density of the patient."""
        image = study.images.get(VIEW)
        marked = image is not None and (image.regions is not None or bool(image.boxes))
        return marked and bool(film_labels(study))

    def sample(self, study: StudyRecord) -> Sample:
        """Cut L1 to L4 out of the film.

        Returns
        -------
        Sample
            "image" (1, 2, H, W) as `crop.crop_lumbar`, zeros where L1 to L4 cannot be placed,
            "covariates" (1, F) as `facts_of`, "weight" (1,), "bmd" (1, 3) sBMD in g/cm², 0 where
            unknown, "known" (1, 3) 1 where the hospital reported it.
        """
        image = study.images.get(VIEW)
        try:
            column = None if image is None else column_of(image)
        except NoColumnError:
            column = None
        return self._sample(study, column)

    def _sample(self, study: StudyRecord, column: LumbarColumn | None) -> Sample:
        """Make the tensors of a film with its column."""
        image, labels, size = study.images.get(VIEW), film_labels(study), 0.0
        crop = torch.zeros(2, *self.crop)
        if image is not None and column is not None:
            crop, size = crop_lumbar(image, column, self.crop), size_of_level(image, column)
        facts = facts_of(study.covariates) if self.settings.network.patient_facts else []
        return {
            "image": crop[None],
            "covariates": torch.tensor([[size, *facts]]),
            "weight": torch.tensor([float(bool(labels) and column is not None)]),
            "bmd": torch.tensor([[labels.get(region, 0.0) for region in FILM_REGIONS]]),
            "known": torch.tensor([[float(region in labels) for region in FILM_REGIONS]]),
        }

    def augment(self, sample: Sample, generator: np.random.Generator) -> Sample:
        """Move the crop a little, and mirror it."""
        variation = VARIATION.enlarged(self.crop[0] / CROP["small"][0])
        image, _ = vary(sample["image"][0], None, variation, generator)
        if generator.random() < MIRRORED_SHARE:
            image = image.flip(-1)
        return {**sample, "image": image[None]}

    def network(self) -> nn.Module:
        """Make the DenseNet."""
        from shared.networks.densenet import DensityNetwork

        facts = len(facts_of(Covariates())) if self.settings.network.patient_facts else 0
        return DensityNetwork(
            (len(FILM_REGIONS),), 1 + facts, CENTRES, SCALES, self.settings.network.size, channels=2
        )

    def head_parameters(self) -> tuple[str, ...]:
        """Name the linear layer that turns what is measured into densities."""
        return ("heads.",)

    @torch.no_grad()
    def settle(self, network: nn.Module, public: Iterable[Sample]) -> None:
        """Whiten what the head is given (`shared.networks.whitening` says why)."""
        density = as_density_network(network, self.name)
        found = [density.measure(sample["image"]) for sample in public]
        density.whiten(torch.cat([one[0] for one in found]), torch.cat([one[1] for one in found]))

    def loss(self, output: Tensor, batch: Sample) -> Tensor:
        """Huber loss in units of `SCALES`, mean over the known regions; shape (B,)."""
        return density_loss(output, batch, SCALES)

    def statistics(self, output: Tensor, batch: Sample) -> Statistics:
        """Sum errors and moments by region."""
        return density_statistics(output, batch, self.loss(output, batch), [*FILM_REGIONS.values()])

    def metrics(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Give errors in g/cm² and agreement, by region: ``mae_*`` and the rest, and ``loss``."""
        found: dict[str, float] = {}
        for name in FILM_REGIONS.values():
            sums = sums_of(statistics, name)
            if sums.get("n", 0.0) >= 1:
                found |= regression.agreement_metrics(sums, name)
        found |= mean_loss(statistics)
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def tell(self, statistics: Mapping[str, float]) -> list[Told]:
        """Tell errors against the mean alone, by region."""
        told = told_densities(
            statistics, FILM_REGIONS, lambda region: f"BMD from a film, {region_words(region)}"
        )
        return told + told_loss(self.metrics(statistics))

    def find(self, reading: Reading) -> Findings:
        """Estimate the densities, or say why the film cannot be assessed."""
        study = completed(reading.study, reading.before)
        image = study.images.get(VIEW)
        if image is None:
            return Findings()
        try:
            column = column_of(image)
        except NoColumnError as error:
            told = [gap.why for gap in reading.before.not_assessed]  # by who looked for levels
            return _gap(tuple(FILM_REGIONS), (told or [str(error)])[0])
        sample = self._sample(study, column)
        why = why_not_lumbar(crop_lumbar(image, column, CROP["small"]))
        if why:
            return _gap(tuple(FILM_REGIONS), why)
        output = reading.run(sample)[0].tolist()
        values = dict(zip(FILM_REGIONS, output, strict=True))
        odd = tuple(region for region, value in values.items() if not is_plausible(value))
        found = film_measurements(
            self.name, {region: value for region, value in values.items() if region not in odd}
        )
        if not odd:
            return Findings(measurements=found)
        gaps = _gap(odd, "the model's estimate is no density that bone has").not_assessed
        return Findings(measurements=found, not_assessed=gaps)

    @classmethod
    def digital_patients(
        cls, number: int, seed: int, *, workers: int = 1, cache: Path | None = None
    ) -> PatientSource:
        """Make patients with a film of a whole body and the density that a DXA of it gave."""
        from shared.phantom.imaging.film.source import FilmPatients

        return FilmPatients(number, seed, workers, cache)


def film_labels(study: StudyRecord) -> dict[str, float]:
    """Give the patient's densities on the shared scale, sBMD in g/cm², plausible ones only.

    Those of the study itself where its scale is known (a digital patient's), otherwise those of
    the visit that it was paired with.
    """
    if study.vendor in DXA_VENDORS and study.labels.bmd:
        bmd, vendor = study.labels.bmd, study.vendor
    elif study.paired is not None:
        bmd, vendor = study.paired.labels.bmd, study.paired.vendor
    else:
        return {}
    labels = {
        region: standardised_bmd(bmd[region], vendor, region)
        for region in FILM_REGIONS
        if region in bmd
    }
    return {region: value for region, value in labels.items() if is_plausible(value)}


def column_of(image: ImageRecord) -> LumbarColumn:
    """Where L1 to L4 are: by boxes, otherwise by the region map.

    Raises
    ------
    NoColumnError
        If they cannot be placed, or nothing is marked.
    """
    aspect = image.spacing_mm[0] / image.spacing_mm[1]
    if image.boxes:
        return column_of_boxes(image.boxes)
    if image.regions is None:
        raise NoColumnError("no vertebra is outlined in it")
    return find_column(np.asarray(image.regions), aspect)


def facts_of(covariates: Covariates) -> list[float]:
    """Age, sex and body mass index about 0; what is unknown is 0."""
    age, height, weight = covariates.age_years, covariates.height_cm, covariates.weight_kg
    bmi = None if not height or not weight else weight / (height / 100) ** 2
    return [
        0.0 if age is None else (age - AGE[0]) / AGE[1],
        {"F": -0.5, "M": 0.5}.get(covariates.sex or "", 0.0),
        0.0 if bmi is None else (bmi - BMI[0]) / BMI[1],
    ]


def _gap(regions: tuple[str, ...], why: str) -> Findings:
    what = f"bone density of the {listed([*map(region_words, regions)])} from the radiograph"
    return Findings(not_assessed=(NotAssessed(what=what, why=why),))
