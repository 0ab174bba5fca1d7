"""What goes back where the images are: pure functions from one answer to objects, no network.

``make(...) -> list[OutputFile]`` is the whole interface. Who reads a study does it with its
headers, and hands on what `shared.inference.predict.read_study` gave::

    [study] = read_study_folder(folder, headers=True).studies
    prediction, report, findings = read_study(study, ready)
    files = make(study, prediction, findings, {Kind.SEG, Kind.SR}, made_at=when,
                 predecessors=earlier)
    for file in files:
        send(file.content)             # a pydicom Dataset with file_meta, or bytes
        keep(file.name, file.encoded(), file.identity)

Parameters of `make`
    study : ReadStudy
        Read with ``headers=True``; else there is nothing that a result could refer to.
    prediction, findings : Prediction, Findings
        Of this study.
    kinds : collection of Kind
        `Kind` is a word: ``seg``, ``sr``, ``sc``, ``pdf``, ``fhir``, ``hl7``. A kind of which there
        is nothing (no outline, so no SEG) gives no file.
    made_at : datetime, optional
        When the answer was made, with a time zone; now if it is left out. **Keep it**: with the
        same `made_at` a repeat gives the same bytes; without it, only the same UIDs.
    predecessors : sequence of DocumentIdentity
        `OutputFile.identity` of what was sent before and is corrected by this answer. The new
        objects have other UIDs and refer to them. A repeat is no correction and has none.

Raises
------
    InputUnreadableError
        If the study was read without headers, or its files differ in patient id, birth date, sex
        or accession number. The sentence holds no value.

UIDs depend on the source's study and instances, the program's version, every version's name and
digest, the kind, and the predecessors: a repeat has the same ones. `shared.dicom.own_uids.is_ours`
knows them again; reading sets such files aside (reason ``own_result``), so that an estimate never
comes back as a hospital's label or mask.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from .kinds import DocumentIdentity, Kind, OutputFile

if TYPE_CHECKING:
    from shared.dicom.read_study import ReadStudy
    from shared.findings.findings import Findings
    from shared.inference.schema import Prediction


def make(
    study: ReadStudy,
    prediction: Prediction,
    findings: Findings,
    kinds: Collection[Kind] = tuple(Kind),
    *,
    made_at: datetime | None = None,
    predecessors: Sequence[DocumentIdentity] = (),
) -> list[OutputFile]:
    """Make what goes back of one study, as the module's text says."""
    # Loaded only when something is made: the libraries of all kinds together take seconds.
    from .answer import StudyAnswer
    from .makers import made_of

    when = made_at or datetime.now().astimezone()
    return made_of(StudyAnswer(study, prediction, findings, when, predecessors), kinds)


__all__ = ["DocumentIdentity", "Kind", "OutputFile", "make"]
