"""What one study is, once read: the contract between the store, the tasks and inference.

A `StudyRecord` holds no identifier of a patient. Pixels are in [0, 1], with NaN
where the scanner did not look; regions are in the codes of `shared.regions`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray


class View(StrEnum):
    """Projections OsteoFed knows. The value stands in catalogues and file names."""

    SPINE_PA = "spine_pa"
    HIP_LEFT = "hip_left"
    HIP_RIGHT = "hip_right"  # mirrored, so that it lies as a left one does
    SPINE_LATERAL = "spine_lateral"
    LUMBAR_AP = "lumbar_ap"  # a radiograph, not a DXA scan


#: What a DXA study has, and what it can have besides.
DXA_VIEWS = (View.SPINE_PA, View.HIP_LEFT, View.SPINE_LATERAL)
ALL_DXA_VIEWS = (View.SPINE_PA, View.HIP_LEFT, View.HIP_RIGHT, View.SPINE_LATERAL)


class Modality(StrEnum):
    """Kinds of images that OsteoFed reads, as a sentence says them."""

    DXA = "DXA scans"
    RADIOGRAPH = "radiographs"
    CT = "CT series"


def modality_of(view: View) -> Modality:
    """Say which kind of image a view is."""
    return Modality.DXA if view in ALL_DXA_VIEWS else Modality.RADIOGRAPH


def modalities_of(views: Iterable[View], *, series: bool) -> frozenset[Modality]:
    """Kinds of images among views, and CT series if there are any."""
    return frozenset(map(modality_of, views)) | ({Modality.CT} if series else set())


class Vendor(StrEnum):
    """Scanner families of DXA.

    `GENERIC` is the made-up scanner of public pretraining; `OTHER` makes radiographs and
    CT, whose maker stands in the catalogue as it writes itself.
    """

    LUNAR = "lunar"
    HOLOGIC = "hologic"
    NORLAND = "norland"
    GENERIC = "generic"
    OTHER = "other"


#: Makers whose BMD values are known.
DXA_VENDORS = (Vendor.LUNAR, Vendor.HOLOGIC, Vendor.NORLAND, Vendor.GENERIC)

SpacingProvenance = Literal["calibrated", "repaired", "detector", "derived", "none"]


@dataclass(frozen=True)
class VertebraBox:
    """A box around a vertebra, in pixels of the array: pixel i reaches from i to i + 1.

    Attributes
    ----------
    vertebra : str
        T1 to L5; empty where nobody said which.
    x0, y0, x1, y1 : float
        Columns from x0 to x1, rows from y0 to y1; 0 <= x0 < x1 <= W, 0 <= y0 < y1 <= H.
    """

    vertebra: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True)
class ImageRecord:
    """One projection.

    Attributes
    ----------
    pixels : ndarray of float16 or float32, shape (H, W)
        Display values scaled to [0, 1], dense bone bright; NaN = not scanned.
        Row 0 is cranial. In PA views column 0 is the patient's right, in a hip column 0
        is medial (so a right one is mirrored), in the lateral view column 0 is anterior.
    spacing_mm : (float, float)
        Millimetres per pixel, row first.
    spacing_provenance : str
        How the spacing is known.
    regions : ndarray of uint8, shape (H, W), or None
        Region map (`shared.regions.REGION_CODES`); None where nobody drew one.
    boxes : tuple of VertebraBox
        From the top down; empty where nobody marked any.
    points : mapping of str to (float, float)
        x and y of the point that marks a vertebra, in pixels of the array as those of boxes.
    """

    pixels: NDArray[np.floating]
    spacing_mm: tuple[float, float]
    spacing_provenance: SpacingProvenance
    regions: NDArray[np.uint8] | None = None
    boxes: tuple[VertebraBox, ...] = ()
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScanChoice:
    """Which of several scans of a view is used.

    Attributes
    ----------
    scans : int
        How many there are, the used one included.
    why : str
        By what it was chosen, as part of a sentence.
    instance_uid : str
        SOP instance UID of the used one.
    """

    scans: int
    why: str
    instance_uid: str


@dataclass(frozen=True)
class VolumeRecord:
    """One CT series.

    Attributes
    ----------
    hu : ndarray of int16, shape (Z, Y, X)
        Hounsfield units; `PADDING_HU` where the scanner did not look. Axis 0 goes from
        feet to head, axis 1 from front to back, axis 2 from the patient's right to left
        (DICOM's patient axes: X to the left, Y to the back, Z to the head).
    spacing_mm : (float, float, float)
        Distance of voxel centres along the axes, in that order.
    origin_mm : (float, float, float)
        Patient coordinates (x, y, z) of voxel [0, 0, 0].
    kvp : float or None
        Tube voltage.
    kernel : str
        Reconstruction kernel as the maker names it; empty = unknown.
    slice_thickness_mm : float or None
        Nominal thickness.
    contrast : bool or None
        Whether a contrast agent was given; None = the files do not say.
    regions : ndarray of uint8, shape (Z, Y, X), or None
        Vertebra levels in the codes that `shared.regions.VERTEBRA_CODES` has for volumes;
        None where nobody drew any.
    marked_slices : mapping of str to int
        Index along axis 0 of the slice that marks a vertebra, T1 to L5; of digital patients also
        that of the sacrum's upper end plate (`shared.regions.SACRUM`).
    """

    hu: NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    kvp: float | None = None
    kernel: str = ""
    slice_thickness_mm: float | None = None
    contrast: bool | None = None
    regions: NDArray[np.uint8] | None = None
    marked_slices: Mapping[str, int] = field(default_factory=dict)

    @property
    def thickest_mm(self) -> float:
        """How thick the slices are, or how far apart if that is more."""
        return max(self.slice_thickness_mm or 0.0, self.spacing_mm[0])

    @cached_property
    def is_partly_drawn(self) -> bool:
        """Whether a vertebra was drawn on some of its slices only; the whole map is read for it.

        Annotators often draw the slice through the middle of each vertebra and no other. Of a
        whole vertebra no task can be given that: the rest of it would count as no bone. One that
        the end of the series cuts off is drawn as far as it is there.
        """
        if self.regions is None:
            return False
        seen = np.asarray(self.regions[:, ::EVERY, ::EVERY])
        drawn = np.stack([np.bincount(one.ravel(), minlength=256) > 0 for one in seen])  # (Z, 256)
        heights = drawn[:, 1:].sum(0) * self.spacing_mm[0]
        cut_off = drawn[0, 1:] | drawn[-1, 1:]
        return bool(np.any((heights > 0) & (heights < WHOLE_MM) & ~cut_off))


#: A vertebra that was drawn over less than this, mm, was drawn on some of its slices only.
WHOLE_MM = 12.0
#: It is looked for in every so many rows and columns: no vertebra is as small.
EVERY = 4
#: Below anything a scanner measures (air is -1000).
PADDING_HU = -1024


@dataclass(frozen=True)
class Covariates:
    """What is known of a patient besides the images; None = unknown.

    Ages are capped at 89 years. `sex` is "F" or "M".
    """

    sex: str | None = None
    age_years: float | None = None
    height_cm: float | None = None
    weight_kg: float | None = None
    ethnic_group: str | None = None


@dataclass(frozen=True)
class StudyLabels:
    """What the hospital knows of a study.

    Attributes
    ----------
    bmd : mapping of str to float
        Areal BMD in g/cm² **on the scale of the study's vendor**, by region
        (`shared.regions.BMD_REGIONS`).
    genant : mapping of str to int
        Genant grade 0..3 by vertebra (`shared.regions.VERTEBRAE`); a vertebra
        that was not assessed is absent.
    quality : mapping of str to int
        NHANES quality code by region; absent = nobody said.
    classes : mapping of str to float
        1 for each class that the study as a whole is said to be of, in the hospital's words.
    """

    bmd: Mapping[str, float] = field(default_factory=dict)
    genant: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, float] = field(default_factory=dict)


#: A twelfth of the Julian year of 365.25 days.
DAYS_PER_MONTH = 30.4375


@dataclass(frozen=True)
class PairedLabels:
    """Labels that belong to another visit of the same patient.

    Attributes
    ----------
    labels : StudyLabels
        Of that visit: BMD on the scale of its `vendor`.
    vendor : Vendor
        Whose scanner measured.
    months : float
        From the study to that visit, in twelfths of 365.25 days; negative if that was earlier.
    """

    labels: StudyLabels
    vendor: Vendor
    months: float


@dataclass(frozen=True)
class StudyRecord:
    """One study of one patient, pseudonymous.

    `paired` is what another visit says of a study without a BMD of its own; None if
    nothing does. `images` and `volumes` are both empty of a visit of which only labels came.
    """

    patient: str
    study: str
    vendor: Vendor
    images: Mapping[View, ImageRecord]
    labels: StudyLabels
    covariates: Covariates
    volumes: Mapping[str, VolumeRecord] = field(default_factory=dict)
    paired: PairedLabels | None = None

    @property
    def modalities(self) -> frozenset[Modality]:
        """Kinds of images that the study has."""
        return modalities_of(self.images, series=bool(self.volumes))


@dataclass(frozen=True)
class QualityMark:
    """Something wrong with one image, found in its pixels (`shared.quality`).

    Attributes
    ----------
    flag : str
        Its name: ``motion``, ``cut_off``, ``rotation``, ``metal``, ``unscanned_margin``,
        ``wrong_level``, ``saturation``.
    strength : float
        0 to 1; where a person would object, 0.5.
    code : int or None
        NHANES DXA invalidity code, where one fits.
    """

    flag: str
    strength: float
    code: int | None = None


class PatientSource(Protocol):
    """Patients and their studies, wherever they are kept.

    A hospital's store, digital patients made in memory and a folder of DICOM
    files all look like this to a task. Patients come in a fixed, sorted order.
    """

    @property
    def patients(self) -> Sequence[str]:
        """Pseudonyms, sorted."""
        ...

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """Return the studies of one patient, oldest first."""
        ...
