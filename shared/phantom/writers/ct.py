"""CT series as four makers write them: one file a slice, with each maker's habits.

What differs is what a reader must survive (design/dicom.md): signed or unsigned values, the
intercept, what stands outside the reconstructed circle, the order of numbers and of file
names, positions with one decimal, several words for a kernel, and private blocks. The reader
(`shared.dicom.ct`) gets the same HU from all.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import CTImageStorage

from shared.phantom.imaging.ct.chest import CtPart
from shared.phantom.imaging.ct.scanner import CtMaker, CtScannerProfile
from shared.phantom.imaging.ct.scene import CtScene
from shared.phantom.imaging.ct.stack import SliceStack
from shared.phantom.imaging.ct.volume import LOWEST_HU, CtSlice, outside_circle
from shared.records import Covariates

from .common import describe_patient, file_meta
from .identity import Identity


@dataclass(frozen=True)
class CtHabits:
    """How a maker writes a slice.

    Attributes
    ----------
    manufacturer, station, software : str
        As in its headers.
    image_type : tuple of str
    signed : bool
        Whether stored values are signed; unsigned ones have 12 bits.
    intercept : int
        HU of stored 0; the slope is 1.
    padding : int or None
        Stored value outside the reconstructed circle, None = as air.
    rescale_type : str
        Empty = not written.
    decimals : int
        Of positions.
    from_feet : bool
        Whether instance numbers count from the feet of a patient who goes in head first.
    kernel_words : tuple of str
        What stands behind the kernel's name.
    no_contrast : str or None
        What is said of contrast where none was given, None = nothing.
    implicit : bool
        Transfer syntax with implicit VR.
    """

    manufacturer: str
    station: str
    software: str
    image_type: tuple[str, ...]
    signed: bool
    intercept: int
    padding: int | None
    rescale_type: str
    decimals: int
    from_feet: bool
    kernel_words: tuple[str, ...]
    no_contrast: str | None
    implicit: bool


#: From headers of real series and conformance statements [U].
HABITS: Final[dict[CtMaker, CtHabits]] = {
    "ge": CtHabits(
        "GE MEDICAL SYSTEMS", "CTROOM1", "sles_hde.42", ("ORIGINAL", "PRIMARY", "AXIAL"),
        True, -1024, -2000, "HU", 6, False, (), None, False,
    ),
    "siemens": CtHabits(
        "SIEMENS", "CTAWP66094", "VA44A", ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"),
        False, -1024, None, "HU", 8, False, ("3",), None, False,
    ),
    "philips": CtHabits(
        "Philips", "HOST-10438", "4.1.6", ("ORIGINAL", "PRIMARY", "AXIAL", "HELIX"),
        False, -1024, None, "", 1, True, (), "NONE", False,
    ),
    "canon": CtHabits(
        "TOSHIBA", "CTSCAN3", "V7.0ER002", ("ORIGINAL", "PRIMARY", "AXIAL"),
        True, 0, -2048, "HU", 5, True, (), "", True,
    ),
}  # fmt: skip


#: Tags of what each slice has for itself, ascending.
OWN: Final[dict[str, int]] = {
    keyword: tag_for_keyword(keyword) or 0
    for keyword in (
        "SOPInstanceUID", "XRayTubeCurrent", "Exposure", "InstanceNumber",
        "ImagePositionPatient", "SliceLocation", "PixelData",
    )
}  # fmt: skip


@dataclass(frozen=True)
class WrittenSeries:
    """A series that was written.

    Attributes
    ----------
    series_uid : str
    paths : tuple of Path
        By slice, head to feet.
    """

    series_uid: str
    paths: tuple[Path, ...]


def write_series(
    slices: Iterable[CtSlice],
    scene: CtScene,
    scanner: CtScannerProfile,
    stack: SliceStack,
    folder: Path,
    identity: Identity,
    known: Covariates,
    number: int = 2,
    part: CtPart = "abdomen",
) -> WrittenSeries:
    """Write a series as it is taken, slice by slice.

    Parameters
    ----------
    slices : iterable of CtSlice
        Of `acquire`.
    scene, scanner, stack : CtScene, CtScannerProfile, SliceStack
        What they were taken with.
    folder : Path
        Exists.
    identity : Identity
        Whose they are.
    known : Covariates
        What the headers say of the patient.
    number : int
        Of the series in its study.
    part : {"abdomen", "chest"}
        What it is of.
    """
    habits = HABITS[scanner.maker]
    dataset = _header(habits, scene, scanner, stack, identity, known, number)
    _name_part(dataset, part, scene, stack)
    outside = outside_circle(stack)
    encoded = _Encoded(dataset, implicit=habits.implicit)
    paths = []
    for one in slices:
        own = _own(habits, stack, identity, one, number)
        own["PixelData"] = _stored(habits, one.hu, outside)
        path = folder / _file_name(scanner.maker, one.index, own)
        path.write_bytes(encoded.with_own(own))
        paths.append(path)
    return WrittenSeries(str(dataset.SeriesInstanceUID), tuple(paths))


class _Encoded:
    """A series' shared attributes, encoded once: a header costs more than a slice's pixels."""

    def __init__(self, shared: Dataset, *, implicit: bool) -> None:
        self.shared, self.implicit = shared, implicit
        edges = [0, *OWN.values(), 1 << 32]
        self.between = [self._encode(low, high) for low, high in pairwise(edges)]
        self.metas: dict[int, tuple[bytes, bytes]] = {}

    def with_own(self, own: Mapping[str, bytes]) -> bytes:
        """Whole file of a slice that has these values for itself."""
        pieces = [self._meta(own["SOPInstanceUID"]), self.between[0]]
        for (keyword, tag), after in zip(OWN.items(), self.between[1:], strict=True):
            pieces += [self._element(keyword, tag, own[keyword]), after]
        return b"".join(pieces)

    def _encode(self, low: int, high: int) -> bytes:
        """What of the shared attributes lies between two tags."""
        some = Dataset()
        for element in self.shared:
            if low <= int(element.tag) < high:
                some[element.tag] = element
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, self.implicit
        write_dataset(buffer, some, self.shared.SpecificCharacterSet)
        return buffer.getvalue()

    def _meta(self, uid: bytes) -> bytes:
        """Preamble and meta information: encoded once for each length of a UID."""
        if len(uid) not in self.metas:
            meta = file_meta(self.shared.SOPClassUID, uid.decode(), implicit=self.implicit)
            buffer = DicomBytesIO()
            buffer.is_little_endian, buffer.is_implicit_VR = True, False
            write_file_meta_info(buffer, meta)
            before, after = buffer.getvalue().split(uid)
            self.metas[len(uid)] = (b"\x00" * 128 + b"DICM" + before, after)
        return uid.join(self.metas[len(uid)])

    def _element(self, keyword: str, tag: int, value: bytes) -> bytes:
        """Encode one attribute (PS3.5, 7.1)."""
        vr = dictionary_VR(keyword) if keyword != "PixelData" else "OW"
        if len(value) % 2:
            value += b"\x00" if vr == "UI" else b" "
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if self.implicit:
            return head + struct.pack("<I", len(value)) + value
        if vr == "OW":
            return head + b"OW\x00\x00" + struct.pack("<I", len(value)) + value
        return head + vr.encode() + struct.pack("<H", len(value)) + value


def _header(
    habits: CtHabits,
    scene: CtScene,
    scanner: CtScannerProfile,
    stack: SliceStack,
    identity: Identity,
    known: Covariates,
    number: int,
) -> Dataset:
    """What all slices of a series share."""
    protocol = stack.protocol
    dataset = describe_patient(known, identity)
    dataset.SOPClassUID = CTImageStorage
    dataset.SeriesInstanceUID = identity.uid("ct series", number)
    dataset.FrameOfReferenceUID = identity.uid("ct frame")
    dataset.PositionReferenceIndicator = "SN" if scanner.maker == "ge" else ""
    dataset.SeriesNumber = number
    dataset.AcquisitionNumber = 1
    dataset.Modality = "CT"
    dataset.Manufacturer = habits.manufacturer
    dataset.ManufacturerModelName = scanner.model
    dataset.StationName = habits.station
    dataset.SoftwareVersions = habits.software
    dataset.DeviceSerialNumber = "66094"
    dataset.ImageType = list(habits.image_type)
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = dataset.StudyDate
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = dataset.StudyTime
    dataset.KVP = f"{protocol.kvp}"
    dataset.SliceThickness = f"{protocol.thickness_mm:g}"
    if scanner.maker in ("ge", "philips"):
        dataset.SpacingBetweenSlices = f"{protocol.increment_mm:g}"
    name = scanner.kernels[protocol.kernel].name
    dataset.ConvolutionKernel = [name, *habits.kernel_words] if habits.kernel_words else name
    dataset.GantryDetectorTilt = f"{protocol.tilt_degrees:g}"
    dataset.TableHeight = f"{scene.back_y + scanner.couch.mattress:.1f}"
    dataset.ReconstructionDiameter = f"{protocol.field_mm:g}"
    dataset.DataCollectionDiameter = "500"
    dataset.RotationDirection = "CW"
    dataset.ExposureTime = 500
    dataset.PatientPosition = protocol.position
    dataset.PixelSpacing = [f"{protocol.spacing_mm:.9g}"] * 2
    dataset.ImageOrientationPatient = [f"{value:.9g}" for value in stack.orientation()]
    _add_contrast(dataset, habits, scene)
    _add_private(dataset, scanner.maker, scanner)
    dataset.RescaleIntercept, dataset.RescaleSlope = f"{habits.intercept}", "1"
    if habits.rescale_type:
        dataset.RescaleType = habits.rescale_type
    dataset.WindowCenter, dataset.WindowWidth = ["40", "300"], ["400", "1500"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stack.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16 if habits.signed else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(habits.signed)
    if habits.padding is not None:
        dataset.add_new("PixelPaddingValue", "SS" if habits.signed else "US", habits.padding)
    return dataset


def _name_part(dataset: Dataset, part: CtPart, scene: CtScene, stack: SliceStack) -> None:
    """What a series says that it is of."""
    phase = scene.contrast.name if scene.contrast is not None else "native"
    if part == "abdomen":
        dataset.BodyPartExamined, dataset.ProtocolName, word = (
            "ABDOMEN",
            "Abdomen/Pelvis",
            "Abdomen",
        )
    else:
        dataset.BodyPartExamined, dataset.ProtocolName, word = "CHEST", "Chest", "Thorax"
    dataset.SeriesDescription = f"{word} {phase} {stack.protocol.thickness_mm:g}"


def _add_contrast(dataset: Dataset, habits: CtHabits, scene: CtScene) -> None:
    """What is said of contrast agent."""
    if scene.contrast is not None:
        dataset.ContrastBolusAgent = "IOMEPROL 350"
        dataset.ContrastBolusRoute = "IV"
        dataset.ContrastBolusVolume = f"{100 * scene.enhancement:.0f}"
    elif scene.oral:
        dataset.ContrastBolusAgent = "ORAL"
    elif habits.no_contrast is not None:
        dataset.ContrastBolusAgent = habits.no_contrast


def _add_private(dataset: Dataset, maker: CtMaker, scanner: CtScannerProfile) -> None:
    """Private blocks, with identifiers where a maker repeats them there."""
    if maker == "ge":
        block = dataset.private_block(0x0009, "GEMS_IDEN_01", create=True)
        block.add_new(0x01, "LO", "CT_LIGHTSPEED")
        block.add_new(0x27, "SL", 1577836800)
        block = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x02, "SL", 912)
        block.add_new(0x23, "DS", "39.375")
        block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x16, "SS", 0)
        block.add_new(0x27, "SH", "/0.984375:1")
    elif maker == "siemens":
        # The vendor's own header repeats the patient as plain text inside of a binary value.
        text = f"SV10\x04\x03\x02\x01PatientName {dataset.PatientName} END".encode()
        block = dataset.private_block(0x0019, "SIEMENS CT VA0  COAD", create=True)
        block.add_new(0xB0, "DS", "23.2")
        block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x08, "CS", "SOM 5")
        block.add_new(0x10, "OB", text + b"\x00" * (len(text) % 2))
    elif maker == "philips":
        block = dataset.private_block(0x01E1, "ELSCINT1", create=True)
        block.add_new(0x26, "CS", "NO")
        block = dataset.private_block(0x01F1, "ELSCINT1", create=True)
        block.add_new(0x01, "CS", "HELIX")
        block.add_new(0x32, "CS", scanner.kernels["medium"].name)
    else:
        block = dataset.private_block(0x7005, "TOSHIBA_MEC_CT3", create=True)
        block.add_new(0x0B, "LO", "ORG_SCAN")
        block.add_new(0x1A, "UN", b"\x02\x00")


def _own(
    habits: CtHabits, stack: SliceStack, identity: Identity, one: CtSlice, number: int
) -> dict[str, bytes]:
    """What a slice has for itself, as encoded; without its pixels."""
    # A patient who goes in feet first is numbered the other way round.
    from_feet = habits.from_feet != (stack.protocol.position == "FFS")
    position = [f"{value:.{habits.decimals}f}"[:16] for value in stack.position(one.index)]
    values = {
        "SOPInstanceUID": identity.uid("ct slice", number, one.index),
        "InstanceNumber": f"{stack.count - one.index if from_feet else one.index + 1}",
        "ImagePositionPatient": "\\".join(position),
        "SliceLocation": f"{-stack.z_of(one.index):.{min(habits.decimals, 4)}f}",
        "XRayTubeCurrent": f"{round(one.mas * 2)}",
        "Exposure": f"{round(one.mas)}",
    }
    return {keyword: value.encode() for keyword, value in values.items()}


def _stored(habits: CtHabits, hu: NDArray[np.int16], outside: NDArray[np.bool_]) -> bytes:
    """Stored values; outside the circle those of padding, or of air."""
    stored = hu - np.int16(habits.intercept)
    air = LOWEST_HU - habits.intercept
    stored[outside] = air if habits.padding is None else habits.padding
    return stored.astype("<i2", copy=False).tobytes()


def _file_name(maker: CtMaker, index: int, own: Mapping[str, bytes]) -> str:
    """File names: some count, some follow the UID, and then not the slices' order."""
    uid = own["SOPInstanceUID"].decode()
    if maker == "ge":
        return f"CT.{uid}.dcm"
    if maker == "siemens":
        return f"{hashlib.sha256(uid.encode()).hexdigest()[:8].upper()}.IMA"
    if maker == "philips":
        return f"IM_{int(own['InstanceNumber']):04d}"
    return f"I{index + 1000:07d}"
