"""What is not assessed of a study, and why: no model for it, or an image of something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.findings.facts import NotAssessed, QualityFlag
from shared.findings.findings import Findings
from shared.findings.region_names import VIEW_WORDS
from shared.quality.gates import Withheld, gate
from shared.records import StudyRecord, View

if TYPE_CHECKING:
    from shared.tasks.base import Task


def gated(study: StudyRecord) -> tuple[StudyRecord, dict[View, Withheld]]:
    """Take the images off a study on which nothing may rest.

    Returns
    -------
    (StudyRecord, dict of View to Withheld)
        What the networks may see, and why the other images are not assessed.
    """
    found = {view: gate(image, view) for view, image in study.images.items()}
    withheld = {view: why for view, why in found.items() if why is not None}
    images = {view: image for view, image in study.images.items() if view not in withheld}
    return replace(study, images=images), withheld


def withheld_findings(withheld: Mapping[View, Withheld]) -> Findings:
    """Say which views are not assessed, as flags of their images and as gaps."""
    return Findings(
        quality=tuple(
            QualityFlag(
                source="image",
                code=why.code,
                subject=view.value,
                words=f"is not assessed: {why.words}",
            )
            for view, why in withheld.items()
        ),
        not_assessed=tuple(
            NotAssessed(what=f"the {VIEW_WORDS[view]}", why=why.words)
            for view, why in withheld.items()
        ),
    )


def without_champion(task: type[Task]) -> Findings:
    """Say what is not assessed because a task has no version to read with."""
    gap = NotAssessed(
        what=task.assesses or f"what a model for {task.headline.words} would show",
        why=f"no model for it is in use (no version of {task.name} is champion)",
    )
    return Findings(not_assessed=(gap,))
