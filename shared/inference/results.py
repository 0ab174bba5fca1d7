"""The files of one study's prediction: where they may go, and how they appear at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from shared.errors import ConfigError
from shared.findings.findings import Findings
from shared.inference.pictures.views import as_scanned, marks, overlay_png
from shared.inference.schema import Prediction
from shared.phrases import counted
from shared.records import ImageRecord, View

PREDICTION = "prediction.json"
REPORT = "report.html"
MASKS = "masks.npz"

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
    ours = (PREDICTION, REPORT, MASKS)
    return path.name in ours or (path.name.startswith("overlay_") and path.suffix == ".png")


def write_results(
    folder: Path,
    prediction: Prediction,
    report: str,
    images: Mapping[View, ImageRecord],
    findings: Findings,
) -> None:
    """Write everything of one study, whole or not at all.

    The folder is readable by its owner only: the report names a patient.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        text = prediction.model_dump_json(indent=2, by_alias=True)
        (part / PREDICTION).write_text(text + "\n", encoding="utf-8")
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
        _swap(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _swap(part: Path, folder: Path) -> None:
    """Put a finished folder in its place; an earlier prediction there goes afterwards."""
    earlier = part.with_name(part.name + "-earlier")
    if folder.exists():
        folder.replace(earlier)
    part.replace(folder)
    shutil.rmtree(earlier, ignore_errors=True)
