"""How each task's output becomes findings. A new task adds one function and one line here.

A reader gets the task, its network, the study without any label, the study's
labels for comparison, and what the tasks before it found; it returns `Findings`.
The plumbing of the report knows nothing else of a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from shared.errors import ModelIncompatibleError
from shared.findings.facts import NotAssessed, RegionArea
from shared.findings.findings import (
    Findings,
    RegionMap,
    bmd_measurement,
    region_areas,
    vertebra_grade,
)
from shared.findings.words import VIEW_WORDS, levels, listed, region_words
from shared.records import ImageRecord, StudyLabels, StudyRecord, View
from shared.regions import REGION_CODES, VERTEBRAE
from shared.tasks.base import Sample, Task
from shared.tasks.dxa_bmd import OUTPUTS, PLAUSIBLE, DxaBmd, densities
from shared.tasks.dxa_segmentation import DxaSegmentation, segment_image
from shared.tasks.pixels import Placement, frame_to_original_mm
from shared.tasks.vertebra_finding import vertebra_positions
from shared.tasks.vfa_fracture import YES_WEIGHT, VfaFracture, grades_of

#: A pixel farther than this from every vertebra's centre belongs to none, mm.
VERTEBRA_REACH_MM: Final = 30.0


@dataclass(frozen=True)
class Reading:
    """What a reader works on; `study` holds neither labels nor drawn regions."""

    task: Task
    network: nn.Module
    study: StudyRecord
    labels: StudyLabels
    before: Findings
    device: str = "cpu"


Reader = Callable[[Reading], Findings]
Kind = TypeVar("Kind", bound=Task)


def run_network(reading: Reading, sample: Sample) -> Tensor:
    """Run the network on the units of one patient, (K, C, H, W) -> (K, ...), on the CPU."""
    with torch.inference_mode():
        image = sample["image"].to(reading.device)
        output: Tensor = reading.network(image, sample["covariates"].to(reading.device))
    return output.detach().float().cpu()


def read_segmentation(reading: Reading) -> Findings:
    """Region maps of every view that is there, on the grid of its image."""
    task = _of_kind(reading.task, DxaSegmentation)
    maps: dict[View, RegionMap] = {}
    areas: list[RegionArea] = []
    gaps: list[NotAssessed] = []

    def network(image: Tensor, covariates: Tensor) -> Tensor:
        return run_network(reading, {"image": image, "covariates": covariates})

    for view, image in reading.study.images.items():
        raw, chances, placement = segment_image(task, network, image, view)  # type: ignore[arg-type]
        if view is View.SPINE_LATERAL:
            regions = name_vertebrae(raw, chances, placement, image)
        else:
            regions = largest_parts(raw)
        if not regions.any():
            gaps.append(
                NotAssessed(what=f"regions of the {VIEW_WORDS[view]}", why="none was recognised")
            )
        maps[view] = regions
        areas += region_areas(task.name, view, regions, image)
    return Findings(regions=tuple(areas), not_assessed=tuple(gaps), region_maps=maps)


def read_density(reading: Reading) -> Findings:
    """BMD of the lumbar spine and the hip, if both views are there."""
    task = _of_kind(reading.task, DxaBmd)
    missing = [view for view in task.needs if view not in reading.study.images]
    if missing:
        what = f"bone density of the {listed([region_words(region) for region in OUTPUTS])}"
        why = f"the model needs the {listed([VIEW_WORDS[view] for view in missing])} as well"
        return Findings(not_assessed=(NotAssessed(what=what, why=why),))
    found = densities(run_network(reading, task.sample(reading.study)))
    odd = [region for region, value in found.items() if not _possible(value)]
    return Findings(
        measurements=tuple(
            bmd_measurement(
                task.name, region, value, reading.study.vendor, reading.study.covariates,
                reading.labels,
            )
            for region, value in found.items()
            if region not in odd
        ),
        not_assessed=tuple(
            NotAssessed(
                what=f"bone density of the {region_words(region)}",
                why="the model's estimate is no density that bone has",
            )
            for region in odd
        ),
    )  # fmt: skip


def _possible(standardised: float) -> bool:
    """Say whether an sBMD, g/cm², can be; NaN cannot."""
    return PLAUSIBLE[0] <= standardised <= PLAUSIBLE[1]


def read_fractures(reading: Reading) -> Findings:
    """A grade for every vertebra that the segmentation found on the lateral view."""
    task = _of_kind(reading.task, VfaFracture)
    image = reading.study.images.get(View.SPINE_LATERAL)
    if image is None:
        why = "the study has no lateral image"
        return Findings(not_assessed=(NotAssessed(what="vertebral fractures", why=why),))
    regions = reading.before.region_maps.get(View.SPINE_LATERAL)
    drawn = replace(image, regions=regions)
    study = replace(reading.study, images={**reading.study.images, View.SPINE_LATERAL: drawn})
    sample = task.sample(study)
    output = run_network(reading, sample)
    # The decision is the one that the task's metrics count; the probabilities beside it
    # are without the loss's weights.
    chances, decided = grade_probabilities(output), grades_of(output)
    grades = []
    for index, name in enumerate(VERTEBRAE):
        if sample["placed"][index] > 0 and regions is not None:
            rows, columns = np.nonzero(regions == REGION_CODES[name])
            centre = (float(rows.mean()), float(columns.mean()))
            grades.append(
                vertebra_grade(
                    task.name,
                    name,
                    chances[index].tolist(),
                    centre,
                    reading.labels,
                    grade=int(decided[index]),
                )
            )
    seen = {grade.region for grade in grades}
    unseen = [name for name in VERTEBRAE if name not in seen]
    gaps: tuple[NotAssessed, ...] = ()
    if unseen:
        why = "they were not recognised in the lateral image"
        what = f"fractures of {levels(unseen)}" if seen else "vertebral fractures"
        gaps = (NotAssessed(what=what, why=why),)
    return Findings(grades=tuple(grades), not_assessed=gaps)


#: Tasks that are trained and measured, and stand in no report yet: reports are of DXA
#: studies, and these look at radiographs.
WITHOUT_REPORT: Final = ("xray-vertebrae",)
#: Reader of each task, in the order in which they run: a later one may use what an
#: earlier one found.
READERS: Final[Mapping[str, Reader]] = {
    DxaSegmentation.name: read_segmentation,
    DxaBmd.name: read_density,
    VfaFracture.name: read_fractures,
}


def grade_probabilities(output: Tensor) -> Tensor:
    """Turn the logits of three cumulative questions into probabilities of four grades.

    Parameters
    ----------
    output : Tensor, shape (B, 3)
        Logits of grade ≥ 1, ≥ 2, ≥ 3, trained with `YES_WEIGHT`.

    Returns
    -------
    Tensor, shape (B, 4)
        Of none, mild, moderate, severe; each row sums to one. The weights of
        the loss are undone, and a later question is never likelier than an
        earlier one.
    """
    at_least = (output - torch.tensor(YES_WEIGHT).log()).sigmoid()
    at_least = at_least.cummin(dim=1).values  # (B, 3)
    one, zero = torch.ones(len(output), 1), torch.zeros(len(output), 1)
    bounds = torch.cat([one, at_least, zero], dim=1)  # (B, 5)
    return bounds[:, :-1] - bounds[:, 1:]


def largest_parts(regions: RegionMap) -> RegionMap:
    """Keep the largest connected part of each region; islands are mistakes."""
    from scipy import ndimage

    cleaned = np.zeros_like(regions)
    for code in np.unique(regions[regions > 0]):
        parts, count = ndimage.label(regions == code)
        sizes = np.bincount(parts.ravel())[1 : count + 1]
        cleaned[parts == int(sizes.argmax()) + 1] = code
    return cleaned


def name_vertebrae(
    raw: RegionMap, chances: Tensor, placement: Placement, image: ImageRecord
) -> RegionMap:
    """Name the bodies of a lateral map by the order of the spine.

    A segmentation may call one body by two names. Each pixel of a body takes the
    name of the nearest centre of the chain that `vertebra_positions` finds.

    Parameters
    ----------
    raw : ndarray of uint8, shape (h, w)
        Region map on the original image.
    chances : Tensor, shape (17, H, W)
        Class probabilities in the frame.
    placement : Placement
    image : ImageRecord

    Returns
    -------
    ndarray of uint8, shape (h, w)
        Empty if no chain was found.
    """
    spacing = placement.spacing_mm
    centres = {
        name: frame_to_original_mm(row / spacing[0] - 0.5, column / spacing[1] - 0.5, placement)
        for name, (row, column, _) in vertebra_positions(chances, spacing).items()
    }
    rows, columns = np.nonzero(raw)
    named = np.zeros_like(raw)
    if not centres or not len(rows):
        return named
    names = list(centres)
    points = np.stack(
        [(rows + 0.5) * image.spacing_mm[0], (columns + 0.5) * image.spacing_mm[1]], axis=1
    )
    towards = points[:, None] - np.array([centres[name] for name in names])[None]  # (n, levels, 2)
    distance = np.hypot(towards[..., 0], towards[..., 1])
    codes = np.array([REGION_CODES[name] for name in names], dtype=np.uint8)
    near = distance.min(axis=1) <= VERTEBRA_REACH_MM
    named[rows[near], columns[near]] = codes[distance.argmin(axis=1)[near]]
    return largest_parts(named)


def _of_kind(task: Task, kind: type[Kind]) -> Kind:
    """Narrow a task to the class that its reader understands."""
    if not isinstance(task, kind):
        raise ModelIncompatibleError(
            f"{task.name}: is a {type(task).__name__} (its reader needs {kind.__name__})"
        )
    return task
