"""How a file can end: taken, quarantined or refused, with the reason, as data.

*Quarantined* is what a person may still decide about (a report page, two scans of
one view); *refused* is what cannot be used at all (not DICOM, damaged). The
sentences hold no value of a patient, so that they can be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["taken", "quarantined", "refused"]
VERDICTS: Final[tuple[Verdict, ...]] = ("taken", "quarantined", "refused")

#: Reason code -> verdict and sentence. Codes are kept in stores: never rename one.
REASONS: Final[dict[str, tuple[Verdict, str]]] = {
    "ok": ("taken", "read and used"),
    "already_there": ("taken", "the same content is already there"),
    "labels_unreadable": ("taken", "the image is used, but its block of results cannot be read"),
    # --- a person may decide ---
    "report_page": ("quarantined", "a page of results: identifiers may stand in its pixels"),
    "burned_in_text": ("quarantined", "text is burned into its pixels, or it says so of itself"),
    "document": ("quarantined", "an object without an image (report, presentation, document)"),
    "view_not_used": ("quarantined", "a scan type that no task uses yet"),
    "scan_type_unknown": ("quarantined", "the scan type cannot be told from its attributes"),
    "view_twice": ("quarantined", "the study has more than one scan of this view"),
    "view_already_stored": ("quarantined", "another scan of this view is stored for the study"),
    "patient_conflict": ("quarantined", "the study's files name different patients"),
    "vendor_conflict": ("quarantined", "the study's images come from different vendors"),
    "uid_twice": ("quarantined", "another file has the same instance UID and other content"),
    "uid_missing": ("quarantined", "study or instance UID is missing"),
    "patient_id_missing": ("quarantined", "without a patient id it cannot be linked or split"),
    "spacing_unknown": ("quarantined", "the size of a pixel is neither given nor derivable"),
    "orientation_unknown": ("quarantined", "the patient orientation is none that is understood"),
    "lut_unsupported": ("quarantined", "grey values need a lookup table, which is not read yet"),
    "size_mismatch": ("quarantined", "more pixel data than rows and columns say"),
    "several_frames": ("quarantined", "several frames where one projection was expected"),
    "nothing_scanned": ("quarantined", "nothing of the image was scanned"),
    "mask_without_image": ("quarantined", "the image that the mask refers to was not taken"),
    "mask_wrong_size": ("quarantined", "the mask has other rows or columns than its image"),
    "mask_twice": ("quarantined", "the image has more than one mask"),
    "mask_overlap": ("quarantined", "regions of the mask overlap"),
    "mask_unknown_regions": ("quarantined", "the mask names none of the regions in use"),
    "mask_not_binary": ("quarantined", "the mask is not a binary segmentation"),
    "table_unknown": ("quarantined", "a table without the columns that site.yaml names"),
    "table_unused": ("quarantined", "no row of the table could be used"),
    "label_without_study": ("quarantined", "no study of that patient on that day"),
    "label_ambiguous": ("quarantined", "that patient has more than one study on that day"),
    "label_conflict": ("quarantined", "labels of the same thing differ"),
    "label_invalid": ("quarantined", "a value, date or name that cannot be"),
    # --- cannot be used ---
    "empty_file": ("refused", "the file has no content"),
    "not_dicom": ("refused", "neither DICOM nor a table of labels"),
    "damaged": ("refused", "the DICOM file is damaged or cut off"),
    "unreadable": ("refused", "the file cannot be read"),
    "media_index": ("refused", "an index of a medium (DICOMDIR), without an image"),
    "scanner_unknown": ("refused", "not from a DXA scanner that is known"),
    "transfer_syntax": ("refused", "an encoding that is not read"),
    "pixels_missing": ("refused", "an image without pixel data"),
    "pixels_truncated": ("refused", "less pixel data than rows and columns say"),
    "pixels_damaged": ("refused", "the pixel data cannot be decoded"),
    "image_too_large": ("refused", "more pixels than any projection has"),
    "file_too_large": ("refused", "larger than any file of a DXA study"),
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
    """Raised inside the reader for a file that is not taken; never leaves `shared.dicom`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def judge(path: str, reason: str, detail: str = "") -> FileVerdict:
    """Make the verdict of a reason; `detail` must not hold a patient's values."""
    verdict, sentence = REASONS[reason]
    return FileVerdict(path, verdict, reason, f"{sentence} ({detail})" if detail else sentence)
