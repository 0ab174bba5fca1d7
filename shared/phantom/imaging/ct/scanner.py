"""CT scanners: how the same patient becomes different Hounsfield units and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.errors import PhantomError
from shared.phantom.solids.lattice import BLOCK
from shared.seeds import numpy_generator

from .attenuation import iodine_hu, marrow_hu, mineral_hu

Sharpness = Literal["smooth", "medium", "sharp"]
CtMaker = Literal["ge", "siemens", "philips", "canon"]
PatientPosition = Literal["HFS", "FFS", "HFP"]
#: No gantry leans further, degrees.
STEEPEST: Final = 30.0


@dataclass(frozen=True)
class ReconstructionKernel:
    """A reconstruction kernel.

    Attributes
    ----------
    name : str
        As the maker writes it.
    half : float
        Frequency at which the MTF is one half, 1/mm.
    boost : float
        How much the MTF rises above one on the way there.
    peak : float
        Frequency at which the noise power is largest, 1/mm.
    noise : float
        Factor on the noise's standard deviation.
    """

    name: str
    half: float
    boost: float
    peak: float
    noise: float


@dataclass(frozen=True)
class CouchShape:
    """Cross-section of a patient table, mm.

    Under the mattress lies a sandwich of two thin shells, curved like a trough; lower a third
    shell, which on an open table hangs free and on a closed one meets the edges.

    Attributes
    ----------
    half_width : float
        From its middle to an edge.
    lift : float
        How much higher the edges are than the middle; 0 is flat.
    depth : float
        From the upper to the lower shell, in the middle.
    shell : float
        Thickness of a shell.
    mattress : float
        Foam between table and patient.
    shell_hu, core_hu : float
        Of shells, and of what is between them.
    open : bool
        Whether the lower shell hangs free.
    """

    half_width: float
    lift: float
    depth: float
    shell: float
    mattress: float
    shell_hu: float
    core_hu: float
    open: bool


@dataclass(frozen=True)
class CtScannerProfile:
    """One CT scanner.

    Attributes
    ----------
    maker : {"ge", "siemens", "philips", "canon"}
        Whose files it writes.
    model : str
        Made up.
    kernels : mapping of str to ReconstructionKernel
        By sharpness.
    bone_slope : float
        Factor on what mineral adds at 120 kV.
    offset_hu : float
        Added to everything but air.
    voltage_response : float
        Exponent on the ratio of what mineral adds at a voltage and at 120 kV. At 1 it is the
        computed one, 1.40 at 80 kV; at 0.63 the measured 1.23 (design/clinical.md).
    noise_hu : float
        SD in the middle of 24 cm of water, medium kernel, 120 kV, 100 mAs, 3 mm.
    modulation : float
        Share of a body's attenuation that the tube current makes up for, 0 to 1.
    hardening : float
        Share of the beam hardening by bone that is left after the maker's correction.
    starvation : float
        How strong the noise of rays through metal is; 0 after a correction of metal.
    mtf_blur_mm : float
        SD of focus and detector.
    couch : CouchShape
        Its table.
    protocols : tuple of CtProtocol
        What is run on it, the usual one first.
    """

    name: str
    maker: CtMaker
    model: str
    kernels: Mapping[Sharpness, ReconstructionKernel]
    bone_slope: float
    offset_hu: float
    voltage_response: float
    noise_hu: float
    modulation: float
    hardening: float
    starvation: float
    mtf_blur_mm: float
    couch: CouchShape
    protocols: tuple[CtProtocol, ...]

    def mineral_hu(self, kvp: int, fat: float = 0.5) -> float:
        """HU that each g/cm³ of mineral adds on this scanner."""
        at_120 = mineral_hu(120, fat)
        ratio = (mineral_hu(kvp, fat) / at_120) ** self.voltage_response
        return self.bone_slope * at_120 * ratio

    def iodine_hu(self, kvp: int) -> float:
        """HU that each mg/ml of iodine adds on this scanner."""
        at_120 = iodine_hu(120)
        return self.bone_slope * at_120 * (iodine_hu(kvp) / at_120) ** self.voltage_response

    def core_hu(self, mineral: float, kvp: int, fat: float = 0.5, contrast: float = 0.0) -> float:
        """HU of trabecular bone of `mineral` g/cm³ before hardening; `contrast` HU are added."""
        return marrow_hu(kvp, fat) + self.mineral_hu(kvp, fat) * mineral + contrast + self.offset_hu


@dataclass(frozen=True)
class CtProtocol:
    """How one series is taken.

    Attributes
    ----------
    kvp : int
        Tube voltage, kV.
    mas : float
        Tube current by time for a body of 24 cm of water.
    kernel : {"smooth", "medium", "sharp"}
        Which of the scanner's.
    thickness_mm, increment_mm : float
        Slice thickness (full width at half maximum), and distance of slices.
    matrix : int
        Rows and columns; a multiple of 8.
    field_mm : float
        Side of the reconstructed field.
    tilt_degrees : float
        Of the gantry about the patient's left-right axis; positive leans the top to the feet.
    position : {"HFS", "FFS", "HFP"}
        How the patient lies.
    """

    kvp: int = 120
    mas: float = 150.0
    kernel: Sharpness = "medium"
    thickness_mm: float = 3.0
    increment_mm: float = 3.0
    matrix: int = 512
    field_mm: float = 380.0
    tilt_degrees: float = 0.0
    position: PatientPosition = "HFS"

    def __post_init__(self) -> None:
        if self.matrix < BLOCK or self.matrix % BLOCK:
            raise PhantomError(f"matrix: {self.matrix} (must be a multiple of {BLOCK})")
        if abs(self.tilt_degrees) > STEEPEST:
            raise PhantomError(f"tilt_degrees: {self.tilt_degrees} (must be within ±{STEEPEST:g})")

    @property
    def spacing_mm(self) -> float:
        """Of pixels."""
        return self.field_mm / self.matrix

    def noise_hu(self, scanner: CtScannerProfile) -> float:
        """SD in the middle of 24 cm of water, HU.

        Quanta by dose, slice and voltage; tube output behind a body grows with about the third
        power of the voltage [U].
        """
        quanta = self.mas / 100 * self.thickness_mm / 3 * (self.kvp / 120) ** 3
        return scanner.noise_hu * scanner.kernels[self.kernel].noise / math.sqrt(quanta)


#: Names and figures are made up in the range of what makers and physicists publish [U]: half of
#: the MTF at 0.3 to 0.4 /mm for soft kernels and 0.7 to 0.9 for those for bone.
CT_SCANNERS: Final[dict[str, CtScannerProfile]] = {
    "aurora": CtScannerProfile(
        "aurora", "ge", "Aurora CT 64",
        {
            "smooth": ReconstructionKernel("SOFT", 0.36, 0.0, 0.21, 0.80),
            "medium": ReconstructionKernel("STANDARD", 0.42, 0.0, 0.26, 1.0),
            "sharp": ReconstructionKernel("BONE", 0.82, 0.25, 0.58, 3.2),
        },
        1.00, 1.5, 0.72, 13.5, 0.85, 0.25, 1.0, 0.20,
        CouchShape(212.0, 36.0, 58.0, 1.6, 12.0, 60.0, -985.0, False),
        (
            CtProtocol(120, 150.0, "medium", 5.0, 5.0, 512, 400.0),
            CtProtocol(120, 150.0, "medium", 1.25, 1.25, 512, 400.0),
            CtProtocol(120, 200.0, "sharp", 2.5, 2.5, 512, 240.0),
        ),
    ),
    "boreas": CtScannerProfile(
        "boreas", "siemens", "Boreas Definition 40",
        {
            "smooth": ReconstructionKernel("B20f", 0.33, 0.0, 0.19, 0.78),
            "medium": ReconstructionKernel("B31f", 0.40, 0.0, 0.24, 1.0),
            "sharp": ReconstructionKernel("B70f", 0.90, 0.15, 0.62, 3.6),
        },
        0.97, -1.0, 0.80, 12.0, 0.90, 0.20, 0.8, 0.18,
        CouchShape(208.0, 46.0, 38.0, 2.4, 6.0, 260.0, -990.0, True),
        (
            CtProtocol(120, 140.0, "medium", 3.0, 3.0, 512, 400.0),
            CtProtocol(100, 160.0, "medium", 3.0, 2.0, 512, 380.0),
            CtProtocol(120, 200.0, "sharp", 1.5, 1.5, 512, 220.0, -8.0),
        ),
    ),
    "cirrus": CtScannerProfile(
        "cirrus", "philips", "Cirrus 256",
        {
            "smooth": ReconstructionKernel("A", 0.34, 0.0, 0.20, 0.82),
            "medium": ReconstructionKernel("B", 0.41, 0.02, 0.25, 1.0),
            "sharp": ReconstructionKernel("YA", 0.76, 0.20, 0.52, 2.8),
        },
        1.03, 2.5, 0.63, 14.5, 0.75, 0.25, 1.2, 0.21,
        CouchShape(216.0, 28.0, 44.0, 1.5, 10.0, -40.0, -965.0, False),
        (
            CtProtocol(120, 120.0, "medium", 2.0, 1.0, 512, 390.0),
            CtProtocol(140, 100.0, "smooth", 5.0, 5.0, 512, 420.0),
        ),
    ),
    "dorado": CtScannerProfile(
        "dorado", "canon", "Dorado Prime 80",
        {
            "smooth": ReconstructionKernel("FC08", 0.35, 0.0, 0.20, 0.75),
            "medium": ReconstructionKernel("FC18", 0.44, 0.05, 0.28, 1.0),
            "sharp": ReconstructionKernel("FC30", 0.80, 0.30, 0.55, 3.0),
        },
        0.95, -2.0, 0.88, 13.0, 0.80, 0.25, 1.0, 0.20,
        CouchShape(225.0, 20.0, 32.0, 1.6, 14.0, 120.0, -970.0, True),
        (
            CtProtocol(120, 130.0, "smooth", 5.0, 5.0, 512, 400.0),
            CtProtocol(120, 130.0, "medium", 1.0, 0.8, 512, 400.0),
            CtProtocol(80, 220.0, "medium", 3.0, 3.0, 512, 360.0),
        ),
    ),
}  # fmt: skip


def generic_ct_scanner(seed: int) -> CtScannerProfile:
    """Draw a made-up CT scanner for public pretraining; between the clinical ones, as for DXA."""
    rng = numpy_generator(seed, "generic ct scanner")
    half = rng.uniform(0.37, 0.42)
    kernels: dict[Sharpness, ReconstructionKernel] = {
        "smooth": ReconstructionKernel("SMOOTH", half * 0.85, 0.0, half * 0.5, 0.8),
        "medium": ReconstructionKernel("MEDIUM", half, 0.0, half * 0.62, 1.0),
        "sharp": ReconstructionKernel("SHARP", half * 2, 0.2, half * 1.4, 3.1),
    }
    makers: tuple[CtMaker, ...] = ("ge", "siemens", "philips", "canon")
    return CtScannerProfile(
        name=f"generic-ct-{seed}",
        maker=makers[int(rng.integers(len(makers)))],
        model="Generic CT",
        kernels=kernels,
        bone_slope=float(rng.uniform(0.975, 1.015)),
        offset_hu=float(rng.uniform(-1.0, 1.5)),
        voltage_response=float(rng.uniform(0.7, 0.82)),
        noise_hu=float(rng.uniform(12.5, 14.0)),
        modulation=0.8,
        hardening=0.25,
        starvation=1.0,
        mtf_blur_mm=0.20,
        couch=CouchShape(
            float(rng.uniform(205, 215)), float(rng.uniform(28, 44)), float(rng.uniform(50, 65)),
            1.6, 10.0, 80.0, -975.0, bool(rng.random() < 0.5),
        ),
        protocols=(CtProtocol(120, 140.0, "medium", 2.5, 2.5, 512, 390.0),),
    )  # fmt: skip
