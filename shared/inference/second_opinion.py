"""Trabecular attenuation in a report: measured inside outlines, beside what a network estimates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from shared.findings.attenuation import SeriesAttenuation, read_attenuation
from shared.findings.completion import filled_regions
from shared.findings.findings import RegionMap
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


def opinion_sentences(found: SeriesAttenuation) -> list[str]:
    """Say what was measured and why what was not; what L1 says stands in the impression."""
    sentences = []
    if found.levels:
        values = listed([f"{one.level} {one.core.median_hu:.0f}" for one in found.levels])
        sentences.append(
            f"Second opinion by attenuation, inside outlines of {found.outlined_by}: median "
            f"trabecular HU {values}."
        )
        minerals = [
            f"{one.level} {one.density.value:.0f}"
            for one in found.levels
            if one.density is not None
        ]
        if minerals and found.calibration is not None:
            sentences.append(
                f"Mineral by internal calibration: {listed(minerals)} mg/cm³ (air, fat and muscle "
                f"lie {found.calibration.residual_hu:.0f} HU off one line)."
            )
        else:
            sentences.append(
                f"Not assessed: mineral by internal calibration, because {found.not_calibrated}."
            )
        if found.caution:
            sentences.append(found.caution)
    return sentences + [
        f"Not assessed: {gap.what}, because {gap.why}." for gap in found.not_assessed
    ]
