"""The files of one study's prediction: where they may go, and how they appear at once."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from shared.errors import ConfigError
from shared.findings.findings import Findings
from shared.inference.outputs.kinds import Kind, OutputFile
from shared.inference.pictures.views import as_scanned, marks, overlay_png
from shared.inference.schema import Prediction
from shared.phrases import counted, listed
from shared.records import ImageRecord, View
from shared.runtime.files import OWNER_ONLY

PREDICTION = "prediction.json"
REPORT = "report.html"
MASKS = "masks.npz"
PLAIN_PDF = "report.pdf"
#: Words of ``--format`` besides the kinds of `shared.inference.outputs`.
HTML, JSON = "html", "json"
FORMATS: Final = (HTML, JSON, *(kind.value for kind in Kind))
USUAL: Final = (HTML, JSON)
#: Names of what is sent back (`OutputFile.name`).
SENT_BACK: Final = re.compile(r"(seg_\w+|sr|sc_\d+|report_pdf)\.dcm|fhir\.json|oru_r01\.hl7")

#: Endings that say what a file is and nothing of a patient.
KNOWN_ENDINGS: Final = frozenset(
    [
        ".dcm",
        ".json",
        ".csv",
        ".yaml",
        ".txt",
        ".png",
        ".jpg",
        ".pdf",
        ".html",
        ".npz",
        ".zip",
        ".xlsx",
        ".sqlite",
        ".safetensors",
    ]
)


def check_out(out: Path) -> None:
    """Refuse a folder that holds something else than predictions.

    Raises
    ------
    ConfigError
        The sentence says what was found and what to name instead. It gives no name of a file:
        that may be a patient's.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out}: is a file (--out must name a folder)")
    foreign = sorted(path for path in out.iterdir() if not _is_ours(path))
    if foreign:
        raise ConfigError(
            f"{out}: holds {counted(len(foreign), 'thing')} that no prediction wrote, the first by "
            f"name {_kind(foreign[0])} (--out must be a new folder, an empty one, or an earlier "
            "prediction, which is replaced); name another folder, or move away what is there"
        )


def _kind(path: Path) -> str:
    """Say what is there without its name."""
    if path.is_dir():
        return "a folder"
    ending = path.suffix.lower()
    return f"a file ending in {ending}" if ending in KNOWN_ENDINGS else "a file of another kind"


def _is_ours(path: Path) -> bool:
    """Say whether a file, or the folder of one study, came from an earlier prediction."""
    if path.is_dir():
        made = [part.name for part in path.iterdir()]
        return path.name.startswith("study-") and PREDICTION in made
    ours = (PREDICTION, REPORT, MASKS, PLAIN_PDF)
    picture = path.name.startswith("overlay_") and path.suffix == ".png"
    return path.name in ours or picture or SENT_BACK.fullmatch(path.name) is not None


def formats_of(words: str) -> tuple[str, ...]:
    """Read ``html,json,seg``.

    Raises
    ------
    ConfigError
        If a word is none of `FORMATS`.
    """
    found = tuple(dict.fromkeys(word.strip().lower() for word in words.split(",") if word.strip()))
    unknown = [word for word in found if word not in FORMATS]
    if unknown or not found:
        raise ConfigError(
            f"--format: {listed(unknown) or 'nothing'} (must be of {listed(FORMATS)}, divided by "
            "commas)"
        )
    return found


def kinds_of(formats: Collection[str]) -> frozenset[Kind]:
    """Objects that are asked for among the formats."""
    return frozenset(kind for kind in Kind if kind.value in formats)


def write_results(
    folder: Path,
    prediction: Prediction,
    report: str,
    images: Mapping[View, ImageRecord],
    findings: Findings,
    objects: Sequence[OutputFile] = (),
) -> None:
    """Write everything of one study, whole or not at all.

    Folder and files are readable by their owner only: they name a patient. Without a `report`
    there is no HTML; `objects` are what goes back of the study.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        text = prediction.model_dump_json(indent=2, by_alias=True)
        (part / PREDICTION).write_text(text + "\n", encoding="utf-8")
        if report:
            (part / REPORT).write_text(report, encoding="utf-8")
        arrays = findings.maps
        right = View.HIP_RIGHT.value
        if right in arrays:  # as its file has it
            arrays[right] = arrays[right][:, ::-1]
        if arrays:
            with (part / MASKS).open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        for view, image in images.items():
            image, regions = as_scanned(view, image, findings.region_maps.get(view))
            drawn = marks(view, regions, findings.grades)
            (part / f"overlay_{view.value}.png").write_bytes(overlay_png(image, drawn))
        for one in objects:
            (part / one.name).write_bytes(one.encoded())
            if one.kind is Kind.PDF:
                (part / PLAIN_PDF).write_bytes(plain_pdf(one))
        for path in part.iterdir():  # the folder is closed to others since it was made
            path.chmod(OWNER_ONLY)
        _swap(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def plain_pdf(one: OutputFile) -> bytes:
    """Take the PDF out of its DICOM object."""
    length = int(one.dataset.EncapsulatedDocumentLength)
    return bytes(one.dataset.EncapsulatedDocument[:length])


def _swap(part: Path, folder: Path) -> None:
    """Put a finished folder in its place; an earlier prediction there goes afterwards."""
    earlier = part.with_name(part.name + "-earlier")
    if folder.exists():
        folder.replace(earlier)
    part.replace(folder)
    shutil.rmtree(earlier, ignore_errors=True)
