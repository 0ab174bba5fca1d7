"""Which of the studies in a folder can be predicted, and what is said where none can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shared.errors import (
    InputEmptyError,
    InputMissingError,
    InputUnreadableError,
    OsteofedError,
)
from shared.phrases import counted, listed
from shared.records import Modality, modality_of

if TYPE_CHECKING:
    from shared.dicom.read import ReadResult
    from shared.dicom.read_study import ReadStudy


def check_input(study_dir: Path) -> None:
    """Refuse a folder that is not there or has no file."""
    if not study_dir.is_dir():
        raise InputMissingError(f"{study_dir}: no such folder (a folder of DICOM files expected)")
    if not any(path.is_file() for path in study_dir.rglob("*")):
        raise InputEmptyError(f"{study_dir}: holds no files (DICOM files of a study expected)")


def with_readable(readable: frozenset[Modality], studies: Sequence[ReadStudy]) -> list[ReadStudy]:
    """Keep of the studies what some task reads, for example DXA scans and no CT beside them."""
    kept = []
    for study in studies:
        images = {v: image for v, image in study.images.items() if modality_of(v) in readable}
        volumes = study.volumes if Modality.CT in readable else {}
        if images or volumes:
            kept.append(replace(study, images=images, volumes=volumes))
    return kept


def nothing_usable(
    study_dir: Path, result: ReadResult, readable: frozenset[Modality]
) -> OsteofedError:
    """Say why no study came out of a folder: nothing of ours, or all of it damaged."""
    if result.studies:
        volumes = sum(len(study.volumes) for study in result.studies)
        images = sum(len(study.images) for study in result.studies)
        wanted = listed(sorted(readable))
        return InputEmptyError(
            f"{study_dir}: holds {volumes} CT series and {counted(images, 'radiograph')} but no "
            f"{wanted} "
            f"(the models read {wanted}; give the folder of such an export)"
        )
    reasons: dict[str, int] = {}
    for verdict in result.files:
        reasons[verdict.sentence] = reasons.get(verdict.sentence, 0) + 1
    most = sorted(reasons.items(), key=lambda item: -item[1])[:3]
    words = "; ".join(f"{count} × {sentence}" for sentence, count in most) or "no file"
    text = f"{study_dir}: no study could be read ({words})"
    damaged = any(
        verdict.verdict == "refused" and verdict.reason not in ("not_dicom", "media_index")
        for verdict in result.files
    )
    return InputUnreadableError(text) if damaged else InputEmptyError(text)
