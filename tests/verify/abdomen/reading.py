"""Test patients, made, read from end to end by every way of training, and dropped one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.clinical.cross_calibration import standardised_bmd
from shared.findings.ct_estimates import CT_SPINE
from shared.findings.findings import RegionMap
from shared.phantom.person.covariates import POPULATIONS
from shared.phantom.person.generator import GENERATORS
from shared.phantom.person.person import draw_person
from shared.phantom.solid_ct_source import SERIES, ct_patient
from shared.phantom.solid_source import render_by_names
from shared.records import StudyRecord, Vendor, VolumeRecord
from shared.regions import LUMBAR, code_of
from shared.tasks import make_task
from tests.verify.abdomen.arms import ARMS, networks_of, ready
from tests.verify.abdomen.cast import HOSPITALS, TASKS, Cast, settings_of
from tests.verify.abdomen.ready import facts_of, kept_facts, read
from tests.verify.topic import Tell

#: Figures are kept to so many places: a tenth of a milligram, a hundredth of a millimetre.
PLACES: Final = 4
Facts = Mapping[str, Any]
Column = NDArray[np.float64]


def read_block(party: Cast, seed: int, numbers: Sequence[int], tell: Tell) -> dict[str, Any]:
    """Read some patients of a hospital that takes no part, with every network of a seed.

    Returns
    -------
    dict
        ``patients``: of each its facts, and under ``arms`` what `read_patient` gives.
    """
    networks = {arm: networks_of(seed, arm, tell) for arm in ARMS}
    lines = fitted_lines(
        [kept_facts(path) for one in HOSPITALS for path in ready(one, tell)]
    )  # fmt: skip
    found = []
    torch.set_num_threads(1)
    for done, number in enumerate(numbers, start=1):
        study = ct_patient(number, party.order)
        facts = {**facts_of(study), **true_facts(number, party)}
        facts["arms"] = {arm: read_patient(study, some) for arm, some in networks.items()}
        facts["line"], facts["persons"] = said_without(facts, lines)
        found.append(_rounded({"patient": number, "hospital": party.name, **facts}))
        tell(f"patients of {party.name}", done / len(numbers))
    return {"patients": found}


def read_patient(study: StudyRecord, networks: Mapping[str, nn.Module]) -> dict[str, Any]:
    """What the three networks of an arm make of a patient.

    Returns
    -------
    dict
        ``error_mm`` and ``shifted``, ``dice``: of the first two tasks, each alone, given what
        is true of those before it. End to end: ``off_mm`` by level that was named, ``bmd`` by
        level that was estimated and of their mean, g/cm²; ``outlined`` by level, how much of
        what is truly its own on the slices that were outlined; ``why`` levels were not named.
    """
    alone: dict[str, float] = {}
    for name in TASKS[:2]:
        task = make_task(settings_of(name))
        sample = task.sample(study)
        with torch.inference_mode():
            output = networks[name](sample["image"], sample["covariates"])
        alone |= task.metrics(task.statistics(output, sample))
    found = read(study, networks)
    volume = study.volumes[SERIES]
    named = found["ct-localisation"].marked_slices.get(SERIES, {})
    off = {
        level: abs(place - volume.marked_slices[level]) * volume.spacing_mm[0]
        for level, place in named.items()
        if level in volume.marked_slices
    }
    return {
        **{key: alone[key] for key in ("error_mm", "shifted", "dice") if key in alone},
        "off_mm": off,
        "bmd": {one.region: one.value for one in found["ct-bmd"].measurements},
        "outlined": outlined(volume, found["ct-segmentation"].volume_maps.get(SERIES)),
        "why": sorted({one.why for one in found["ct-localisation"].not_assessed}),
    }


def outlined(volume: VolumeRecord, found: RegionMap | None) -> dict[str, float]:
    """Area that was outlined of each level over what is its own, on the slices that were."""
    if found is None or volume.regions is None:
        return {}
    slices = np.flatnonzero(found.any((1, 2)))
    ours, truth = found[slices], np.asarray(volume.regions[slices])
    shares = {}
    for level in LUMBAR:
        mine, own = (array == code_of(level, "volume") for array in (ours, truth))
        there = mine.any((1, 2))
        if own[there].any():
            shares[level] = float(mine[there].sum() / own[there].sum())
    return shares


def true_facts(number: int, party: Cast) -> dict[str, Any]:
    """What only the phantom knows: ``truth`` sBMD by level, ``lumbar`` vertebrae, fractures."""
    order = party.order
    _, dxa = order.scanners or (None, None)
    visit = render_by_names(
        number, order.seed, dxa, order.population, generator=order.generator
    )  # fmt: skip
    person = draw_person(
        number, order.seed, POPULATIONS[order.population], GENERATORS[order.generator]
    )
    truth = {
        level: standardised_bmd(visit.true_bmd[level], Vendor.HOLOGIC, level)
        for level in LUMBAR
        if level in visit.true_bmd
    }
    return {"truth": truth, "lumbar": person.variants.lumbar}


def fitted_lines(training: Sequence[Facts]) -> tuple[Column, Column]:
    """Coefficients of a vertebra's label by its own median HU, and by who the patient is.

    Least squares over the vertebrae of every training patient; the hospitals' data together,
    which no hospital could fit alone.
    """
    by_hu, hu_labels, by_person, labels = [], [], [], []
    for facts in training:
        for level, label in facts["labels"].items():
            by_person.append(_person(facts, level))
            labels.append(label)
            if level in facts["hu"]:
                by_hu.append([1.0, facts["hu"][level]])
                hu_labels.append(label)
    line, _, _, _ = np.linalg.lstsq(np.array(by_hu), np.array(hu_labels))
    persons, _, _, _ = np.linalg.lstsq(np.array(by_person), np.array(labels))
    return line, persons


def said_without(
    facts: Facts, lines: tuple[Column, Column]
) -> tuple[dict[str, float], dict[str, float]]:
    """Estimates of the levels and their mean by attenuation alone, and by the person alone."""
    line, persons = lines
    by_hu = {level: float(line[0] + line[1] * hu) for level, hu in facts["hu"].items()}
    by_person = {level: float(_person(facts, level) @ persons) for level in LUMBAR}
    return _with_mean(by_hu), _with_mean(by_person)


def _with_mean(values: dict[str, float]) -> dict[str, float]:
    return values | ({CT_SPINE: float(np.mean(list(values.values())))} if values else {})


def _person(facts: Facts, level: str) -> Column:
    women = float(facts["sex"] == "F")
    age, kilograms, metres = facts["age"], facts["weight_kg"], facts["height_cm"] / 100
    each = [float(level == one) for one in LUMBAR]
    return np.array([*each, women, age, women * age, kilograms / metres**2, metres])


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, PLACES)
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return value
