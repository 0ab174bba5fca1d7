"""Scanners of solid patients: vendors' own pixels, and the ways a vendor's pictures look."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shared.phantom.imaging.scanner import SCANNERS, ScannerProfile, Window, generic_scanner
from shared.phantom.person.generator import GeneratorSettings
from shared.seeds import numpy_generator

#: Pixels of GE's narrow-angle fan beam in the mode of spine and femur, row and column, mm.
LUNAR_PIXEL: Final = (0.6, 1.05)
#: The clinical scanners of the first generator, with GE's pixels.
SOLID_SCANNERS: Final[dict[str, ScannerProfile]] = {
    name: replace(one, spacing_mm=LUNAR_PIXEL) if name.startswith("lunar") else one
    for name, one in SCANNERS.items()
}
#: Made-up vendors of public pretraining; each has as many looks as the generator says.
GENERIC_VENDORS: Final = 4
#: [U] Spread of a vendor's looks (SD of the logarithm): tone, white level, soft tissue, sharpness.
LOOK_SD: Final = (0.08, 0.05, 0.25, 0.15)


def look_of(scanner: ScannerProfile, look: int) -> ScannerProfile:
    """One of the ways in which a scanner's pictures look; 0 is the vendor's own.

    Tone curve, white level, how much of the soft tissue is left and sharpness are a site's
    settings and a software's version; beams and BMD do not depend on them.
    """
    if look == 0:
        return scanner
    rng = numpy_generator(look, "dxa look", scanner.name)
    tone, white, soft, sharp = rng.normal(0, LOOK_SD).tolist()

    def changed(window: Window) -> Window:
        return replace(
            window,
            gamma=window.gamma * 2.0**tone,
            high=window.high * 2.0**white,
            soft=window.soft * 2.0**soft,
            pedestal=window.pedestal * 2.0**soft,
            smooth_mm=window.smooth_mm * 2.0**sharp,
        )

    return replace(scanner, window={view: changed(one) for view, one in scanner.window.items()})


def generic_look(number: int, seed: int, generator: GeneratorSettings) -> ScannerProfile:
    """Made-up scanner of a patient of public pretraining."""
    count = GENERIC_VENDORS * generator.looks_a_vendor
    return generic_scanner(seed * count + number % count)
