"""How a file can end: taken, quarantined or refused, with the reason, as data.

*Quarantined* is what is ambiguous or could show who the patient is (a report page, two scans
of one view), and can often be corrected and taken in again; *refused* is what cannot be used at
all (not DICOM, damaged). The sentences hold no value of a patient, so that they can be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from shared.clinical.ct_gates import GATES
from shared.scan_types import ScanKind

Verdict = Literal["taken", "quarantined", "refused"]
VERDICTS: Final[tuple[Verdict, ...]] = ("taken", "quarantined", "refused")

#: Reason code -> verdict and sentence. Codes are kept in stores: never rename one.
REASONS: Final[dict[str, tuple[Verdict, str]]] = {
    "ok": ("taken", "read and used"),
    "already_there": ("taken", "the same content is already there"),
    "visit_without_images": (
        "taken",
        "no images of that patient on that day: the label is kept as a visit of its own",
    ),
    "labels_unreadable": ("taken", "the image is used, but its block of results cannot be read"),
    # --- kept, but no CT task reads it ---
    **{gate.name: ("taken", gate.sentence) for gate in GATES},
    # --- to be corrected, or left ---
    "report_page": (
        "quarantined",
        "a printed page of results, or a picture in colour: its text is not read and may name the "
        "patient; give its values as a table or a structured report",
    ),
    "burned_in_text": (
        "quarantined",
        "text is burned into its pixels, or it says so of itself, and may name the patient; export "
        "the scan without text, and the values of a printed page as a table or structured report",
    ),
    "document": ("quarantined", "an object without an image (report, presentation, document)"),
    "own_result": ("quarantined", "a result of OsteoFed that was sent back, and no source"),
    "view_not_used": ("quarantined", "a scan type that no task uses yet"),
    "both_hips": (
        "quarantined",
        "one image of both hips, which is not divided; export each hip by itself",
    ),
    "hip_side_unknown": ("quarantined", "a scan of a hip, and nothing says of which side"),
    "scan_type_unknown": ("quarantined", "the scan type cannot be told from its attributes"),
    "left_out": ("quarantined", "a person decided that it stays out (`osteofed site decide`)"),
    "view_twice": (
        "quarantined",
        "the study has more than one scan of this view, and nothing says which is the newest",
    ),
    "view_repeated": ("quarantined", "another scan of this view is used"),
    "view_already_stored": ("quarantined", "another scan of this view is stored for the study"),
    "patient_conflict": ("quarantined", "the study's files name different patients"),
    "vendor_conflict": ("quarantined", "the study's images come from different vendors"),
    "uid_twice": ("quarantined", "another file has the same instance UID and other content"),
    "uid_missing": ("quarantined", "study or instance UID is missing"),
    "patient_id_missing": ("quarantined", "without a patient id it cannot be linked or split"),
    "spacing_unknown": ("quarantined", "the size of a pixel is neither given nor derivable"),
    "orientation_unknown": ("quarantined", "the patient orientation is none that is understood"),
    "lut_unsupported": (
        "quarantined",
        "grey values need a lookup table or function that is not read",
    ),
    "size_mismatch": ("quarantined", "more pixel data than rows and columns say"),
    "several_frames": ("quarantined", "several frames where one projection was expected"),
    "nothing_scanned": ("quarantined", "nothing of the image was scanned"),
    "mask_without_image": ("quarantined", "the image that the mask refers to was not taken"),
    "mask_wrong_size": ("quarantined", "the mask has other rows or columns than its image"),
    "mask_twice": ("quarantined", "the image has more than one mask"),
    "mask_overlap": ("quarantined", "regions of the mask overlap"),
    "mask_unknown_regions": ("quarantined", "the mask names none of the regions in use"),
    "mask_scheme_unknown": (
        "quarantined",
        "a mask of numbers whose scheme nobody names, and a number alone is no vertebra; name the "
        "levels in the file, or the scheme in site.yaml (reading: {mask_scheme: verse})",
    ),
    "mask_not_binary": ("quarantined", "the mask is not a binary segmentation"),
    "table_unknown": ("quarantined", "a table without the columns that site.yaml names"),
    "table_unused": ("quarantined", "no row of the table could be used"),
    "label_without_study": ("quarantined", "no study of that patient on that day"),
    "label_ambiguous": ("quarantined", "that patient has more than one study on that day"),
    "label_conflict": ("quarantined", "labels of the same thing differ"),
    "label_invalid": ("quarantined", "a value, date or name that cannot be"),
    "mark_without_image": (
        "quarantined",
        "the study has no image or series, or not the one, that is marked",
    ),
    "mark_ambiguous": ("quarantined", "the study has several images or series: which is marked?"),
    "mark_outside": ("quarantined", "what is marked lies outside of its image or series"),
    "marks_too_many": ("quarantined", "its image or series has as many marks as are kept of one"),
    "mark_turn_unknown": (
        "quarantined",
        "an older version stored the image: take its file in again, then the table",
    ),
    "series_already_stored": ("quarantined", "the series is stored already with other content"),
    "series_part": (
        "quarantined",
        "more of a CT series that is stored and was resampled, so that it cannot be added to; "
        "give the whole series at once",
    ),
    "for_processing": ("quarantined", "raw detector values, not meant to be looked at as they are"),
    "polarity_unsure": ("quarantined", "bone looks darker than what is beside it: maybe inverted"),
    "localizer": (
        "quarantined",
        "a localizer or scout image of a CT, not a slice; give the axial series",
    ),
    "slices_derived": ("quarantined", "a projection or rendering of slices, not slices"),
    "multi_energy": (
        "quarantined",
        "made of several X-ray energies: its values are not those of one tube voltage",
    ),
    "series_too_short": ("quarantined", "a CT series of fewer than three slices; give all of it"),
    "series_too_large": (
        "quarantined",
        "a CT series of more voxels than are read at once; give one of thicker slices",
    ),
    "series_incomplete": ("quarantined", "another slice of the series cannot be used"),
    "slices_missing": (
        "quarantined",
        "the gaps between the slices of a CT series say that some are missing; export it whole",
    ),
    "slices_twice": (
        "quarantined",
        "a CT series with more than one slice at one position, as two phases or reconstructions "
        "under one number; export each as a series of its own",
    ),
    "slices_scattered": (
        "quarantined",
        "the slices of a CT series do not lie along one line; export the axial series alone",
    ),
    "orientation_mixed": (
        "quarantined",
        "the slices of a CT series are turned differently; export the axial series alone",
    ),
    "grid_mixed": (
        "quarantined",
        "the slices of a CT series differ in size or pixel spacing; export the axial series alone",
    ),
    "geometry_missing": ("quarantined", "position, orientation or spacing of a slice is not given"),
    "hu_unknown": ("quarantined", "what its values are in Hounsfield units is not given"),
    "mask_other_grid": ("quarantined", "the mask lies on another grid than its series"),
    "mask_ambiguous": ("quarantined", "the mask fits more than one series"),
    "mask_encoding": ("quarantined", "a NRRD or NIfTI file of a kind that is not read"),
    "uid_invalid": ("quarantined", "a study, series or instance UID that is none"),
    "report_without_labels": ("quarantined", "a structured report without a label that is in use"),
    "archive_name_twice": ("quarantined", "the archive has more than one file of this name"),
    "archive_no_room": (
        "quarantined",
        "unpacked it does not fit on the disk: make room, or unpack it elsewhere",
    ),
    "link_outside": (
        "quarantined",
        "a link that leads out of the folder is not followed: give what it leads to itself",
    ),
    # --- cannot be used ---
    "empty_file": ("refused", "the file has no content"),
    "not_dicom": ("refused", "neither DICOM, a mask nor a table of labels"),
    "damaged": ("refused", "the DICOM file is damaged or cut off"),
    "unreadable": ("refused", "the file cannot be read"),
    "media_index": ("refused", "an index of a medium (DICOMDIR), without an image"),
    "scanner_unknown": (
        "refused",
        "neither a DXA scan, a lumbar radiograph nor a CT slice that is known",
    ),
    "transfer_syntax": ("refused", "an encoding that is not read"),
    "pixels_missing": ("refused", "an image without pixel data"),
    "pixels_truncated": ("refused", "less pixel data than rows and columns say"),
    "pixels_damaged": ("refused", "the pixel data cannot be decoded"),
    "image_too_large": ("refused", "more pixels than any projection has"),
    "header_too_large": ("refused", "more attributes than any image has"),
    "file_too_large": ("refused", "larger than any file that is read"),
    "archive_path": ("refused", "its name in the archive leads out of the archive"),
    "archive_link": ("refused", "a link or device in the archive, not a file"),
    "archive_nested": ("refused", "an archive in the archive: unpack it and name it itself"),
    "archive_encrypted": ("refused", "encrypted in the archive: give it without a password"),
    "archive_bomb": ("refused", "unpacks to far more than any export does"),
    "archive_damaged": ("refused", "the archive is damaged here"),
}


@dataclass(frozen=True)
class FileVerdict:
    """How one file, or one row of a table, ended.

    Attributes
    ----------
    path : str
        Relative to the folder that was read; ``table.csv:12`` is line 12 of a table.
        It may identify a patient and stays with who reads the folder.
    verdict : str
        ``taken``, ``quarantined`` or ``refused``.
    reason : str
        Key of `REASONS`.
    sentence : str
        For people; free of identifiers.
    """

    path: str
    verdict: Verdict
    reason: str
    sentence: str


class SetAsideError(Exception):
    """Raised inside the reader for a file that is not taken; never leaves `shared.dicom`.

    `kind` is that of a scan whose maker is known.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.kind: ScanKind | None = None


def judge(path: str, reason: str, detail: str = "") -> FileVerdict:
    """Make the verdict of a reason; `detail` must not hold a patient's values."""
    verdict, sentence = REASONS[reason]
    return FileVerdict(path, verdict, reason, f"{sentence} ({detail})" if detail else sentence)
