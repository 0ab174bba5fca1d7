"""What codes are called on the page, and what to do about a file that was set aside."""

from __future__ import annotations

from typing import Final

from shared.dicom.verdicts import REASONS, Verdict
from shared.records import Vendor, View

VIEWS: Final[dict[str, str]] = {
    View.SPINE_PA: "Lumbar spine, PA (DXA)",
    View.HIP_LEFT: "Left hip (DXA)",
    View.HIP_RIGHT: "Right hip, mirrored (DXA)",
    View.SPINE_LATERAL: "Lateral spine, VFA (DXA)",
    View.LUMBAR_AP: "Lumbar spine, AP (radiograph)",
}
#: What the left and the right edge of a picture are (`shared.records.ImageRecord`).
SIDES: Final[dict[str, tuple[str, str]]] = {
    View.SPINE_PA: ("R", "L"),
    View.LUMBAR_AP: ("R", "L"),
    View.HIP_LEFT: ("medial", "lateral"),
    View.HIP_RIGHT: ("medial", "lateral"),
    View.SPINE_LATERAL: ("A", "P"),
}
SIDES_IN_WORDS: Final[dict[str, str]] = {
    View.SPINE_PA: "R and L: the patient's right and left",
    View.LUMBAR_AP: "R and L: the patient's right and left",
    View.HIP_LEFT: "Medial: towards the middle of the body",
    View.HIP_RIGHT: "Medial: towards the middle of the body",
    View.SPINE_LATERAL: "A: front of the body, P: back",
}
VENDORS: Final[dict[str, str]] = {
    Vendor.LUNAR: "GE Lunar",
    Vendor.HOLOGIC: "Hologic",
    Vendor.NORLAND: "Norland",
    Vendor.GENERIC: "Generic",
    Vendor.OTHER: "Other maker",
}
REGIONS: Final[dict[str, str]] = {
    "L1-L4": "L1–L4",
    "femoral_neck": "Femoral neck",
    "trochanter": "Trochanter",
    "intertrochanteric": "Intertrochanteric",
    "total_hip": "Total hip",
    "right_femoral_neck": "Right femoral neck",
    "right_trochanter": "Right trochanter",
    "right_total_hip": "Right total hip",
}
#: What fits into a picture.
SHORT_REGIONS: Final[dict[str, str]] = {
    "femoral_neck": "Neck",
    "trochanter": "Troch.",
    "intertrochanteric": "Inter.",
}
SEXES: Final = {"F": "Female", "M": "Male"}
SPLITS: Final[dict[str, str]] = {
    "train": "Training",
    "validation": "Validation",
    "test": "Test",
}
SPLITS_IN_WORDS: Final[dict[str, str]] = {
    "train": "models learn from these patients",
    "validation": "models are compared on these during a run",
    "test": "kept apart for the last measurement",
}
SPACING: Final[dict[str, str]] = {
    "calibrated": "calibrated by the scanner",
    "repaired": "by the scanner, in a notation that had to be repaired",
    "detector": "size on the detector, over the magnification if one is stated",
    "derived": "derived from the exposed area, or from the source's distances",
    "none": "not known",
}
FLAGS: Final[dict[str, tuple[str, str]]] = {
    "motion": ("Motion", "the patient moved during the scan"),
    "cut_off": ("Cut-off field", "bone leaves the edge of the picture"),
    "rotation": ("Rotation", "the patient lay turned or tilted"),
    "metal": ("Metal", "an implant, clip or foreign body lies over bone"),
    "unscanned_margin": ("Unscanned margin", "the scan arm did not reach all of the field"),
    "wrong_level": ("Wrong level", "the field begins or ends at other vertebrae than expected"),
    "saturation": ("Saturation", "parts are white or black beyond the scale"),
}
#: PS3.16 CID 7050, "De-identification Method".
METHODS: Final[dict[str, str]] = {
    "113100": "Basic application confidentiality profile",
    "113101": "Clean pixel data",
    "113102": "Clean recognisable visual features",
    "113103": "Clean graphics",
    "113104": "Clean structured content",
    "113105": "Clean descriptors",
    "113106": "Full dates retained",
    "113107": "Dates modified, intervals kept",
    "113108": "Patient characteristics retained (age, sex, size)",
    "113109": "Device identity retained (maker, model)",
    "113110": "UIDs retained",
    "113111": "Safe private attributes retained",
    "113112": "Institution identity retained",
}
GENANT: Final = ("normal", "mild", "moderate", "severe")

#: A flag from here on is one that a person would object to (`shared.records.QualityMark`).
CLEAR_FLAG: Final = 0.5

#: What to do, where more can be said than for the verdict as a whole.
ADVICE: Final[dict[str, str]] = {
    "labels_unreadable": "Give the BMD values by a table export instead.",
    "report_page": (
        "Nothing, as a rule: the scan itself is taken, its page of results is not. Give values "
        "that stand only on the page as a table or a structured report."
    ),
    "burned_in_text": (
        "Nothing for a page of results: give its values as a table or a structured report. Export "
        "a scan that is needed without annotations."
    ),
    "document": "Nothing, as a rule: only pictures are used.",
    "view_not_used": "Nothing: it is not needed yet.",
    "scan_type_unknown": "Say what it shows: `osteofed site decide`, or scan_names in site.yaml.",
    "polarity_unsure": "Look at it, and say so: `osteofed site decide`.",
    "left_out": "Nothing: somebody decided so. `osteofed site decide` can undo it.",
    "view_twice": (
        "Export only the scan that the clinic reported from, or leave the other out: `osteofed "
        "site decide`."
    ),
    "view_repeated": "If the clinic reported from this one, export it without the others.",
    "both_hips": "Export each hip by itself.",
    "hip_side_unknown": "Say which it is (`osteofed site decide`), or export its laterality.",
    "view_already_stored": "If the stored scan is the wrong one, leave that study out.",
    "patient_conflict": "Have the PACS administrator correct which patient the study belongs to.",
    "vendor_conflict": "Export each scanner's study on its own.",
    "uid_twice": "Export the study again; if it stays, the PACS holds two versions of one image.",
    "uid_missing": "Export from the PACS instead of from a converted copy.",
    "patient_id_missing": "Have the patient linked in the PACS and export again.",
    "spacing_unknown": "Export from the scanner or PACS; a converted copy often loses it.",
    "label_without_study": "Take in a study of that patient, then the table again.",
    "visit_without_images": "Nothing: it counts for studies of other days, as site.yaml says.",
    "label_ambiguous": "Give the table the time or keep one of the day's studies.",
    "label_conflict": "Compare both sources and export the corrected one.",
    "label_invalid": "Correct the value, date or name in the table and take it in again.",
    "table_unknown": "Name the columns of your export in site.yaml, under labels.",
    "table_unused": "Name the columns of your export in site.yaml, under labels.",
    "mark_without_image": "Export the marked image in the same folder, or correct its name.",
    "mark_ambiguous": "Add the column that names the image or series (labels.image in site.yaml).",
    "mark_outside": "Mark the original image, not a cropped or enlarged copy; z is that of DICOM.",
    "marks_too_many": "Export the marks of the vertebrae alone: an image has no more of them.",
    "mark_turn_unknown": "Take the image's file in again together with the table.",
    "mask_without_image": "Export the image of the mask in the same folder.",
    "mask_wrong_size": "Draw or export the mask on the original image, not on a resized copy.",
    "mask_twice": "Export only the mask that is valid.",
    "mask_overlap": "Correct the mask: each pixel belongs to one region.",
    "mask_unknown_regions": "Name the regions as listed in the documentation.",
    "series_not_axial": "Export the axial series too; this one is kept.",
    "series_thick": "Export a series of slices of at most 5 mm too; this one is kept.",
    "kernel_sharp": "Export the series of a soft or standard kernel too; this one is kept.",
    "localizer": "Nothing, if the axial series was exported: a scout is no slice.",
    "series_too_short": "Export the whole series.",
    "slices_missing": "Export the series again: slices were lost on the way.",
    "series_part": "Export the whole series again and give it at once.",
    "slices_twice": "Export each phase or reconstruction as a series of its own.",
    "grid_mixed": "Export the axial series alone.",
    "orientation_mixed": "Export the axial series alone.",
    "slices_scattered": "Export the axial series alone.",
    "empty_file": "Export the file again: the copy was interrupted.",
    "not_dicom": "Nothing, if it is no image; such files may lie in the folder.",
    "damaged": "Export the file again: the copy was interrupted or the medium is faulty.",
    "unreadable": "Check who may read the file.",
    "media_index": "Nothing: the images that it lists are read by themselves.",
    "scanner_unknown": "Nothing, unless it is a bone scan: then report its maker and model.",
    "transfer_syntax": "Let the PACS send it uncompressed or as JPEG 2000.",
    "pixels_missing": "Export the image again, with its pixels.",
    "pixels_truncated": "Export the image again: the copy was interrupted.",
    "pixels_damaged": "Export the image again, uncompressed if the PACS can.",
}
ADVICE_OF_VERDICT: Final[dict[Verdict, str]] = {
    "taken": "Nothing: it is used.",
    "quarantined": "Look at it in the PACS; correct it there and take it in again if needed.",
    "refused": "Nothing, unless it should have been a study: then export it again.",
}


def view_words(view: str) -> str:
    """Name of a projection."""
    return VIEWS.get(view, _spaced(view))


def vendor_words(vendor: str) -> str:
    """Name of a scanner family."""
    return VENDORS.get(vendor, _spaced(vendor))


def region_words(region: str) -> str:
    """Name of a region as a report writes it."""
    return REGIONS.get(region, _spaced(region))


def flag_words(flag: str) -> str:
    """Name of a quality flag."""
    return FLAGS[flag][0] if flag in FLAGS else _spaced(flag)


def flag_meaning(flag: str) -> str:
    """What a quality flag says; empty if it is not known."""
    return FLAGS[flag][1] if flag in FLAGS else ""


def no_flag_words(assessed: int, pictures: int) -> str:
    """Say of a study without a clear flag how much of it was assessed.

    Parameters
    ----------
    assessed : int
        Images of which the quality was assessed.
    pictures : int
        Images and CT series in all.
    """
    if assessed == 0:
        return "not assessed"
    left = pictures - assessed
    return "no clear flag" if left <= 0 else f"no clear flag; {left} of {pictures} not assessed"


def method_words(codes: str | None) -> list[str]:
    """What was done to de-identify, from PS3.15 codes separated by commas."""
    return [
        f"{METHODS.get(code, 'method')} ({code})"
        for code in (part.strip() for part in (codes or "").split(","))
        if code
    ]


def months_words(months: float) -> str:
    """How far another visit is from a study; negative is before it."""
    if months == 0:
        return "of the same day"
    return f"{abs(months):.1f} months {'before' if months < 0 else 'after'} it"


def age_words(years: float | None) -> str:
    """Age in whole years; the oldest are one class."""
    if years is None:
        return "age not given"
    return "89 years or older" if years >= 89 else f"{years:.0f} years"


def reason_sentence(reason: str) -> str:
    """Why a file ended as it did; a reason of another version is shown as its code."""
    return REASONS[reason][1] if reason in REASONS else _spaced(reason)


def advice(reason: str, verdict: str) -> str:
    """What to do about files of a reason."""
    if reason in ADVICE:
        return ADVICE[reason]
    return ADVICE_OF_VERDICT.get(verdict, ADVICE_OF_VERDICT["quarantined"])  # type: ignore[call-overload]


def _spaced(code: str) -> str:
    return code.replace("_", " ").capitalize()
