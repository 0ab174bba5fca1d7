"""Digital patients as a source that tasks can learn from, without files or hospitals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from shared.errors import PhantomError
from shared.phantom.imaging.radiograph import generic_radiograph
from shared.phantom.imaging.scanner import generic_scanner
from shared.records import (
    DXA_VIEWS,
    Covariates,
    ImageRecord,
    SpacingProvenance,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
)
from shared.runtime.files import appearing

from .population import POPULATIONS
from .rendered import RenderedStudy
from .study import render_study
from .workers import in_order

#: Changes whenever the same seed would give other pictures, so that old caches are not read.
PHANTOM_VERSION = 1
#: Number of made-up scanners that the patients of one seed are spread over.
GENERIC_SCANNERS = 24


def record_of(study: RenderedStudy, views: Iterable[View] = DXA_VIEWS) -> StudyRecord:
    """Study as a task reads it, straight from memory."""
    name = f"digital-{study.seed}-{study.patient_number:06d}"
    images = {
        view: ImageRecord(
            pixels=study.images[view].display.astype(np.float16),
            spacing_mm=study.images[view].spacing_mm,
            spacing_provenance="calibrated",
            regions=study.images[view].regions,
        )
        for view in views
    }
    return StudyRecord(name, name, study.vendor, images, study.labels, study.covariates)


def generic_patient(number: int, seed: int) -> StudyRecord:
    """Render one patient of the generic population on one of the generic scanners."""
    scanner = generic_scanner(seed * GENERIC_SCANNERS + number % GENERIC_SCANNERS)
    return record_of(render_study(number, seed, scanner, POPULATIONS["generic"]))


def views_for(needs: Iterable[View]) -> tuple[View, ...]:
    """Say what to render for a task that needs some views: a DXA visit, or a radiograph."""
    return (View.LUMBAR_AP,) if View.LUMBAR_AP in needs else DXA_VIEWS


class DigitalPatients:
    """Patients of random generic scanners; a `shared.records.PatientSource`.

    BMD labels are on the standardised scale (`Vendor.GENERIC`). The patients
    depend on `seed` and their number only, neither on `workers` nor on how many
    there are.

    Parameters
    ----------
    patients : int
        How many.
    seed : int
        Seed of the population.
    workers : int, default: 1
        Processes that render.
    views : iterable of View, optional
        Projections to keep: of a DXA visit, all by default, or `View.LUMBAR_AP` alone, a
        frontal radiograph.
    cache : Path, optional
        Folder in which rendered patients are kept as arrays.
    progress : callable, optional
        Called with 1 for each patient that is ready.

    Raises
    ------
    PhantomError
        If fewer than one patient is asked for, or a DXA visit and a radiograph at once.
    """

    def __init__(
        self,
        patients: int,
        seed: int,
        workers: int = 1,
        views: Iterable[View] = DXA_VIEWS,
        cache: Path | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if patients < 1:
            raise PhantomError(f"{patients} digital patients were asked for (must be 1 or more)")
        self._views = tuple(View(view) for view in views)
        self._radiographs = View.LUMBAR_AP in self._views
        if self._radiographs and len(self._views) > 1:
            raise PhantomError(
                f"digital patients with {', '.join(self._views)} were asked for (must be views "
                f"of a DXA visit, or {View.LUMBAR_AP} alone)"
            )
        self._cache = cache
        self._studies: dict[str, StudyRecord] = {}
        missing = []
        for number in range(patients):
            kept = self._load(number, seed)
            if kept is None:
                missing.append(number)
            else:
                self._studies[kept.patient] = kept
                if progress is not None:
                    progress(1)
        records = in_order(self._maker(seed), missing, workers)
        for number, record in zip(missing, records, strict=True):
            self._keep(number, seed, record)
            self._studies[record.patient] = self._chosen(record)
            if progress is not None:
                progress(1)
        self._names = tuple(sorted(self._studies))

    @property
    def patients(self) -> Sequence[str]:
        """Names of the patients, sorted."""
        return self._names

    def studies(self, patient: str) -> Sequence[StudyRecord]:
        """The one study of a patient."""
        return (self._studies[patient],)

    def _maker(self, seed: int) -> Callable[[int], StudyRecord]:
        """What makes a patient by number; worker processes import it."""
        return partial(generic_radiograph if self._radiographs else generic_patient, seed=seed)

    def _made_by(self) -> tuple[str, str]:
        """Folder of the cache, and what else than seed and number a patient follows from."""
        return f"v{PHANTOM_VERSION}", f"{PHANTOM_VERSION}"

    @property
    def _told_before(self) -> SpacingProvenance:
        """How spacing is known in a cache of before, which does not say it."""
        return "none" if self._radiographs else "calibrated"

    def _chosen(self, record: StudyRecord) -> StudyRecord:
        images = {view: record.images[view] for view in self._views}
        return StudyRecord(
            record.patient, record.study, record.vendor, images, record.labels, record.covariates
        )

    def _folder(self, number: int, seed: int) -> Path | None:
        if self._cache is None:
            return None
        folder, maker = self._made_by()
        told = f"{maker}|{seed}|{number}" + "|radiograph" * self._radiographs
        digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        return self._cache / folder / digest

    def _keep(self, number: int, seed: int, record: StudyRecord) -> None:
        folder = self._folder(number, seed)
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "patient": record.patient,
            "labels": asdict(record.labels),
            "covariates": asdict(record.covariates),
            "spacing": {view: image.spacing_mm for view, image in record.images.items()},
            "told": {view: image.spacing_provenance for view, image in record.images.items()},
        }
        for view, image in record.images.items():
            np.save(folder / f"{view}.npy", image.pixels)
            np.save(folder / f"{view}.regions.npy", np.asarray(image.regions))
        # written last: a folder with facts is whole
        with appearing(folder / "facts.json", durably=False, alone=True) as part:
            part.write_text(json.dumps(facts), encoding="utf-8")

    def _load(self, number: int, seed: int) -> StudyRecord | None:
        folder = self._folder(number, seed)
        if folder is None or not (folder / "facts.json").is_file():
            return None
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        images = {
            view: ImageRecord(
                np.load(folder / f"{view}.npy", mmap_mode="r"),
                (facts["spacing"][view][0], facts["spacing"][view][1]),
                facts["told"][view] if "told" in facts else self._told_before,
                np.load(folder / f"{view}.regions.npy", mmap_mode="r"),
            )
            for view in self._views
        }
        labels, covariates = StudyLabels(**facts["labels"]), Covariates(**facts["covariates"])
        name = facts["patient"]
        return StudyRecord(name, name, Vendor.GENERIC, images, labels, covariates)
