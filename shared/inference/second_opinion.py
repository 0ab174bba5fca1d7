"""Trabecular attenuation in a report: measured inside outlines, beside what a network estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from shared.findings.attenuation import NOT_OUTLINED, SeriesAttenuation, read_attenuation
from shared.findings.completion import filled_regions
from shared.findings.findings import RegionMap
from shared.inference.schema import SeriesFacts
from shared.phrases import listed
from shared.records import VolumeRecord

HOSPITAL = "the hospital"


def second_opinion(
    volume: VolumeRecord,
    outlines: RegionMap | None,
    outliner: str,
    age_years: float | None,
    genant: Mapping[str, int],
) -> SeriesAttenuation:
    """Measure the attenuation of a series and say inside whose outlines.

    Parameters
    ----------
    volume : VolumeRecord
        With the regions that the hospital drew, if it did.
    outlines : ndarray of uint8, or None
        What a version found, on the grid of the series: it counts where the hospital drew nothing.
    outliner : str
        Which version that is.
    age_years : float or None
        Of the patient.
    genant : mapping of str to int
        The hospital's grades: what it calls fractured is not measured.
    """
    whose = outliner if outlines is not None else ""
    if volume.regions is not None and volume.regions.any():
        whole = not volume.is_partly_drawn
        some = f"{HOSPITAL} on some slices" + (f", otherwise {whose}" if whose else "")
        whose = HOSPITAL if whole else some
    regions = filled_regions(volume, outlines)
    fractured = {level for level, grade in genant.items() if grade >= 1}
    found = read_attenuation(replace(volume, regions=regions), age_years, fractured)
    return found.model_copy(update={"outlined_by": whose})


def told_opinions(series: Sequence[SeriesFacts]) -> list[tuple[str, SeriesFacts]]:
    """Give the series whose second opinion a report tells, each with its name.

    That nothing is outlined in a series is told of the one that is used only. The name is empty
    where a study has one series.
    """
    many = len(series)
    return [
        (f"CT series {number} of {many}" if many > 1 else "", one)
        for number, one in enumerate(series, start=1)
        if one.attenuation is not None and (one.used or not _is_not_outlined(one.attenuation))
    ]


def concluded_opinion(series: Sequence[SeriesFacts]) -> str:
    """What L1 says in the series that is used; empty where it says nothing."""
    return next((one.attenuation.statement for one in series if one.used and one.attenuation), "")


def opinion_sentences(series: Sequence[SeriesFacts]) -> list[str]:
    """Say what was measured and why what was not; what L1 says stands in the impression."""
    return [
        f"{name}: {sentence}" if name else sentence
        for name, one in told_opinions(series)
        if one.attenuation is not None
        for sentence in _sentences(one.attenuation, one.kvp)
    ]


def _is_not_outlined(found: SeriesAttenuation) -> bool:
    return not found.levels and any(gap.why == NOT_OUTLINED for gap in found.not_assessed)


def _sentences(found: SeriesAttenuation, kilovolts: float | None) -> list[str]:
    sentences = []
    if found.levels:
        voltage = "an unknown tube voltage" if kilovolts is None else f"{kilovolts:g} kV"
        values = listed([f"{one.level} {one.core.median_hu:.0f}" for one in found.levels])
        sentences.append(
            f"Second opinion by attenuation, inside outlines of {found.outlined_by}: median "
            f"trabecular HU at {voltage} {values}."
        )
        sentences += _mineral_sentences(found)
        if found.caution:
            sentences.append(found.caution)
    return sentences + [
        f"Not assessed: {gap.what}, because {gap.why}." for gap in found.not_assessed
    ]


def _mineral_sentences(found: SeriesAttenuation) -> list[str]:
    """Say mineral with its range, or why there is none; why of single levels is not assessed."""
    if found.calibration is None:
        return [f"Not assessed: mineral by internal calibration, because {found.not_calibrated}."]
    minerals = [f"{one.level} {one.mineral}" for one in found.levels if one.mineral]
    if not minerals:
        return []
    return [
        f"Mineral by internal calibration: {listed(minerals)} mg/cm³ (air, fat and muscle lie "
        f"{found.calibration.residual_hu:.0f} HU off one line); it is not comparable with "
        "quantitative CT."
    ]
