"""CT series: slices in, one volume in Hounsfield units on the patient's axes out.

Slices are sorted by where they lie, never by their numbers. Padding is blanked before
the values are rescaled. A tilted gantry or uneven gaps are resampled and said; a series
with missing, doubled or mixed slices, or with text in the pixels of one, is set aside whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from shared.clinical.ct_gates import refusing_gate
from shared.dicom.attributes import number_of, remarks_of, text_of, value_of
from shared.dicom.masks.volume_masks import Drawn, Parsed, nobody_looks, read_drawn
from shared.dicom.parsing import parse
from shared.dicom.phi.burned_in_ct import slice_looks_burned_in
from shared.dicom.pixels.grey_values import is_lossy, padding_of, stored_values
from shared.dicom.study_files import ScannedFile
from shared.dicom.verdicts import FileVerdict, SetAsideError, judge
from shared.records import PADDING_HU, VolumeRecord
from shared.settings.pacs import ReadingSettings

from .completeness import UNKNOWN, SeriesCompleteness, judge_completeness, of_frames
from .earlier import BesideNew, EarlierSlices, SliceSource
from .eligibility import find_stack
from .geometry import SlicePlace, Stack, functional

#: What maker's kernel names look like; anything else that was typed there is not kept.
KERNEL: Final = re.compile(r"[A-Za-z0-9+\-_./\\ ]{1,40}")
#: What a unit of values looks like; anything else that was typed there is not told.
UNIT: Final = re.compile(r"[A-Z0-9_/%^ -]{1,16}")
#: Functional groups of a frame that hold numbers.
GROUPS: Final = (
    "PixelMeasuresSequence", "PlanePositionSequence", "PlaneOrientationSequence",
    "PixelValueTransformationSequence",
)  # fmt: skip
OF_EACH_SLICE: Final = (
    "PixelSpacing", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept",
)  # fmt: skip
NO_CONTRAST: Final = frozenset({"NO", "NONE", "WITHOUT", "WITHOUT CONTRAST", "NO CONTRAST", "N"})


@dataclass(frozen=True)
class ReadVolume:
    """One CT series as read.

    Attributes
    ----------
    record : VolumeRecord
        Voxels and geometry.
    slices : int
        Slices that it was made of.
    lossy : bool
        Whether any slice was compressed with loss.
    resampled : str
        What was done to the geometry: empty, ``tilt``, ``gaps`` or ``gaps+tilt``.
    digest : str
        SHA-256 over the sorted SHA-256 of the files.
    mask_digest : str or None
        SHA-256 of the file that the regions came from; of several, over their sorted ones.
    remarks : tuple of str
        What in the headers was repaired, or not used because it can be read in two ways.
    judged : SeriesCompleteness
        Whether all slices are there, as far as they can say it.
    sources : tuple of SliceSource
        The slices, those that came before among them.
    again : tuple of SliceSource
        Slices that came before and again in other files, with the same pixels.
    """

    record: VolumeRecord
    slices: int
    lossy: bool
    resampled: str
    digest: str
    mask_digest: str | None = None
    remarks: tuple[str, ...] = ()
    judged: SeriesCompleteness = field(default_factory=partial(SeriesCompleteness, UNKNOWN))
    sources: tuple[SliceSource, ...] = ()
    again: tuple[SliceSource, ...] = ()


def read_series(
    files: Sequence[ScannedFile],
    masks: Sequence[ScannedFile] = (),
    parsed: Parsed = nobody_looks,
    reading: ReadingSettings | None = None,
    earlier: EarlierSlices | None = None,
) -> tuple[ReadVolume | None, Dataset | None, list[FileVerdict]]:
    """Read one series with its masks.

    Parameters
    ----------
    files : sequence of ScannedFile
        Its slices, in any order.
    masks : sequence of ScannedFile
        Masks that refer to it.
    parsed : callable
        Called with each data set that was parsed and its file, whatever becomes of it.
    reading : ReadingSettings or None
        What the site says of the numbers of its masks; None = nothing.
    earlier : EarlierSlices or None
        What came of the series before: the volume is made of both.

    Returns
    -------
    volume : ReadVolume or None
        None if it cannot be used.
    header : Dataset or None
        Attributes of its first slice, without pixels.
    verdicts : list of FileVerdict
        One for each slice, and for each mask if the volume was read.
    """
    blamed: list[FileVerdict] = []
    try:
        volume, stack, header = _read_slices(files, blamed, parsed, earlier)
    except SetAsideError as aside:
        known = {verdict.path for verdict in blamed}
        rest = [f for f in files if f.name not in known]
        return None, None, blamed + [judge(f.name, aside.reason, aside.detail) for f in rest]
    # The instance UIDs of slices that came before are not kept.
    uids = _uids(files)
    there = uids + [""] * (len(stack.order) - len(uids))
    drawn = read_drawn(masks, there, stack, parsed, reading)
    volume = _with_regions(volume, drawn)
    refused = refusing_gate(volume.record)
    reason, detail = ("ok", "") if refused is None else (refused[0].name, refused[1])
    detail = "; ".join([*([detail] if detail else []), *volume.remarks])
    return volume, header, [judge(f.name, reason, detail) for f in files] + drawn.verdicts


def _uids(files: Sequence[ScannedFile]) -> list[str]:
    """Instance UID of each slice, in the order of the series' places."""
    return [file.instance_uid for file in files for _ in file.places]


def _read_slices(
    files: Sequence[ScannedFile],
    blamed: list[FileVerdict],
    parsed: Parsed,
    earlier: EarlierSlices | None = None,
) -> tuple[ReadVolume, Stack, Dataset]:
    """Read and place all slices; `blamed` gets the verdict of a file that spoils them."""
    sources = _sources(files)
    places = [source.place for source in sources]
    kept = BesideNew() if earlier is None else earlier.beside(places)
    sources += [source for source, _ in kept.more]
    stack = find_stack([source.place for source in sources])
    native, patient = _arrays(stack)
    number_in = {place: number for number, place in enumerate(stack.order)}
    for index, (_, hu) in enumerate(kept.more, start=len(places)):
        native[number_in[index]] = hu
    lossy, contrasts, header = False, set(), None
    remarks: set[str] = set()
    start = 0
    for file in files:
        try:
            dataset = parse(file.path.read_bytes(), pixels=True)
            parsed(dataset, file)
            for index, place in enumerate(file.places):
                native[number_in[start + index]] = slice_hu(dataset, place)
            compressed_with_loss = is_lossy(dataset)
            lossy |= compressed_with_loss
            contrasts.add(contrast_of(dataset))
            remarks |= _remarks(dataset, whole=header is None)
        except SetAsideError as aside:
            blamed.append(judge(file.name, aside.reason, aside.detail))
            if aside.reason == "hu_unknown":
                blamed += _of_other_meaning([one for one in files if one is not file])
            raise SetAsideError("series_incomplete") from None
        except Exception as error:  # one bad file never stops the batch
            blamed.append(judge(file.name, "damaged", type(error).__name__))
            raise SetAsideError("series_incomplete") from None
        # One name is as bad as many: every slice is looked at, before it is resampled.
        for index in range(start, start + len(file.places)):
            one = native[number_in[index]]
            if text := slice_looks_burned_in(one, lossy=compressed_with_loss):
                raise SetAsideError("burned_in_text", text)
        start += len(file.places)
        if header is None:
            header = dataset
            del header.PixelData
    if header is None:  # a stack has slices
        raise SetAsideError("series_too_short")
    if any(not np.array_equal(native[number_in[n]], hu) for n, (_, hu) in kept.again.items()):
        raise SetAsideError("series_already_stored", "other pixels at the same place")
    if patient is None:
        patient = stack.to_patient(native, PADDING_HU, labels=False)
    record = VolumeRecord(
        hu=patient,
        spacing_mm=stack.spacing_mm,
        origin_mm=stack.box[0],
        kvp=_kvp(header),
        kernel=kernel_of(header),
        slice_thickness_mm=_thickness(header),
        contrast=True if True in contrasts else (False if contrasts == {False} else None),
    )
    digest = joint_digest(file.digest for file in files)
    told = [source.told for source in sources]
    judged = judge_completeness(told, stack.offsets, record.slice_thickness_mm)
    again = tuple(source for source, _ in kept.again.values())
    volume = ReadVolume(
        record, len(sources), lossy, stack.resampled, digest, remarks=tuple(sorted(remarks)),
        judged=judged, sources=tuple(sources), again=again,
    )  # fmt: skip
    return volume, stack, header


def _sources(files: Sequence[ScannedFile]) -> list[SliceSource]:
    """Slices of files, in the order of their frames."""
    return [
        SliceSource(place, told, file.digest)
        for file in files
        for place, told in zip(
            file.places, of_frames(file.slices_told, len(file.places)), strict=True
        )
    ]


def _remarks(dataset: Dataset, *, whole: bool) -> set[str]:
    """What in a file's attributes, those of its first frame too, was repaired or not used.

    Of all but one slice only what places and scales it: the rest is the same, and takes time.
    """
    found = set(remarks_of(dataset) if whole else remarks_of(dataset, OF_EACH_SLICE, dates=()))
    if "PerFrameFunctionalGroupsSequence" in dataset:
        for keyword in GROUPS:
            found |= set(remarks_of(functional(dataset, 0, keyword), dates=()))
    return found


def _arrays(stack: Stack) -> tuple[NDArray[np.int16], NDArray[np.int16] | None]:
    """Native array to fill and, where it is a view of one, the patient array."""
    if stack.resampled:
        return np.empty((len(stack.order), *stack.shape[1:]), np.int16), None
    patient = np.empty(stack.box[1], np.int16)
    return stack.native_view(patient), patient


def _of_other_meaning(files: Sequence[ScannedFile]) -> list[FileVerdict]:
    """Blame the slices whose values are no Hounsfield units: mostly it is all of a series."""
    found = []
    for file in files:
        try:
            _scale_of(parse(file.path.read_bytes(), pixels=False), file.places[0])
        except SetAsideError as aside:
            if aside.reason == "hu_unknown":
                found.append(judge(file.name, aside.reason, aside.detail))
        except Exception:  # noqa: S112 - what is damaged otherwise is not looked for
            continue
    return found


def _scale_of(dataset: Dataset, place: SlicePlace) -> tuple[float, float]:
    """Slope and intercept from stored values to Hounsfield units.

    Raises
    ------
    SetAsideError
        If they are not given, or are those of another unit.
    """
    source = dataset
    if "PerFrameFunctionalGroupsSequence" in dataset:
        source = functional(dataset, place.frame, "PixelValueTransformationSequence")
    unit = text_of(source, "RescaleType").upper()
    if unit not in ("", "HU"):
        said = unit if UNIT.fullmatch(unit) else "something else"
        raise SetAsideError("hu_unknown", f"RescaleType is {said} and not HU")
    slope, intercept = (number_of(source, k) for k in ("RescaleSlope", "RescaleIntercept"))
    if not slope or intercept is None:
        odd = remarks_of(source, ("RescaleSlope", "RescaleIntercept"), dates=())
        raise SetAsideError("hu_unknown", "; ".join(odd))
    return slope, intercept


def slice_hu(dataset: Dataset, place: SlicePlace) -> NDArray[np.int16]:
    """Hounsfield units of one slice, shape (rows, columns); padding is `PADDING_HU`.

    Raises
    ------
    SetAsideError
        If the values cannot be had or their meaning is not given.
    """
    slope, intercept = _scale_of(dataset, place)
    stored = stored_values(dataset, place.frame)
    if stored.shape != place.shape:
        raise SetAsideError("pixels_damaged")
    padding = padding_of(dataset, stored)
    values: NDArray[Any]
    if slope == 1 and intercept == int(intercept):
        values = stored.astype(np.int32) + int(intercept)
    else:
        values = np.rint(stored.astype(np.float64) * slope + intercept)
    hu = np.clip(values, PADDING_HU, np.iinfo(np.int16).max).astype(np.int16)
    if padding is not None:
        hu[padding] = PADDING_HU
    return hu


def joint_digest(digests: Any) -> str:
    """SHA-256 over sorted SHA-256 digests, hex."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


def _shared(dataset: Dataset, keyword: str) -> Dataset:
    """Functional group of the first frame, the data set itself where there are none."""
    if "PerFrameFunctionalGroupsSequence" in dataset:
        return functional(dataset, 0, keyword)
    return dataset


def _kvp(dataset: Dataset) -> float | None:
    """Tube voltage in kV, if it can be one."""
    kvp = number_of(_shared(dataset, "CTXRayDetailsSequence"), "KVP")
    return kvp if kvp is not None and 20 <= kvp <= 300 else None


def _thickness(dataset: Dataset) -> float | None:
    """Nominal thickness in mm, if it can be one."""
    thickness = number_of(_shared(dataset, "PixelMeasuresSequence"), "SliceThickness")
    return thickness if thickness is not None and 0 < thickness <= 50 else None


def kernel_of(dataset: Dataset) -> str:
    """Reconstruction kernel, empty if unknown or not a maker's word."""
    text = text_of(_shared(dataset, "CTReconstructionSequence"), "ConvolutionKernel")
    return text if KERNEL.fullmatch(text) else ""


def contrast_of(dataset: Dataset) -> bool | None:
    """Whether a contrast agent was given, None if the file does not say."""
    if value_of(dataset, "ContrastBolusAgentSequence"):
        return True
    agent = text_of(dataset, "ContrastBolusAgent").upper()
    if agent:
        return agent not in NO_CONTRAST
    return None


def _with_regions(volume: ReadVolume, drawn: Drawn) -> ReadVolume:
    """Add the regions that were drawn, if any."""
    if drawn.regions is None:
        return volume
    digest = drawn.digests[0] if len(drawn.digests) == 1 else joint_digest(drawn.digests)
    return replace(volume, record=replace(volume.record, regions=drawn.regions), mask_digest=digest)
