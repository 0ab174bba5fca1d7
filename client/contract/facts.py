"""What a site has for a task: the facts that a data contract is held against.

Of training and validation patients only: test patients are looked at by nobody before
the test.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from client.store.arrays import levels_text, mapped
from client.store.catalogue import Image, Patient, Quality, Study, Volume
from client.store.exclusions import left_out
from client.store.marks import marks_on, read_marks
from client.store.patient_source import Dated, pair_studies, read_labels
from client.store.site_store import SiteStore
from shared.clinical.references import DIAGNOSTIC_REGIONS, OSTEOPOROSIS_T
from shared.clinical.scores import reported_score, t_score
from shared.dicom.ct.completeness import UNKNOWN
from shared.dicom.labels.marks import slices_of
from shared.hips import as_left, hip_of, labels_as_left
from shared.quality import assess
from shared.records import DXA_VENDORS, ImageRecord, PairedLabels, StudyLabels, Vendor, View
from shared.regions import CT_LEVELS, code_of
from shared.tasks import task_class

#: Whose data a contract is about.
LOOKED_AT: Final = ("train", "validation")
#: Flag of an image that was assessed and has none (`client.store.catalogue.Quality`).
NO_FLAG: Final = "none"
#: Grey values are counted in so many steps.
GREY_STEPS: Final = 1024


@dataclass(frozen=True)
class StoredImageFacts:
    """One image: spacing in mm, digest of its file, whether masked, flags (None: unassessed).

    `marks` are the kinds of marks of tables on it.
    """

    row_mm: float
    column_mm: float
    provenance: str
    digest: str
    masked: bool
    flags: tuple[str, ...] | None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoredVolumeFacts:
    """One CT series, in mm and kV; None = the files do not say, `kernel` is empty then.

    `size` are the rows and columns of its array, `levels` the vertebrae of its mask, `slices`
    those of which a table marks a slice; `completeness` is that of the catalogue.
    """

    row_mm: float
    column_mm: float
    slice_mm: float
    kvp: float | None
    kernel: str
    thickness_mm: float | None
    contrast: bool | None
    size: tuple[int, int] | None
    masked: bool
    levels: tuple[str, ...]
    slices: tuple[str, ...] = ()
    completeness: str = "unknown"

    @property
    def gap_mm(self) -> float | None:
        """What lies between two slices, mm; 0 where they touch or overlap."""
        return None if self.thickness_mm is None else max(0.0, self.slice_mm - self.thickness_mm)

    @property
    def field_of_view_mm(self) -> float | None:
        """Shorter side of a slice, mm."""
        if self.size is None:
            return None
        return min(self.size[0] * self.row_mm, self.size[1] * self.column_mm)


@dataclass(frozen=True)
class StoredStudyFacts:
    """One study of a patient of `split`, with what the contract's rules look at.

    `paired_bmd` is of another visit on the scale of `paired_vendor`, `paired_months` away.
    """

    study: str
    patient: str
    split: str
    sex: str | None
    age_years: float | None
    vendor: str
    model: str | None
    images: Mapping[str, StoredImageFacts]
    volumes: Sequence[StoredVolumeFacts]
    bmd: Mapping[str, float]
    genant: Mapping[str, int]
    classes: tuple[str, ...] = ()
    paired_bmd: Mapping[str, float] = field(default_factory=dict)
    paired_vendor: str = ""
    paired_months: float | None = None

    def has(self, of: str) -> bool | None:
        """Say whether the study is of a class or subgroup, or has a label; None = unknown.

        Parameters
        ----------
        of : str
            As in `shared.settings.contract.CountRule`.
        """
        word, _, rest = of.partition(":")
        if word == "patients":
            return True
        if word == "sex":
            return None if self.sex is None else self.sex == rest
        if word == "age":
            low, high = (int(part) for part in rest.split("-"))
            return None if self.age_years is None else low <= self.age_years <= high
        if word in ("age_known", "sex_known"):
            return (self.age_years if word == "age_known" else self.sex) is not None
        if word == "vendor":
            return self.vendor == rest
        if word == "label":
            labels = {"bmd": self.bmd, "genant": self.genant, "paired_bmd": self.paired_bmd}
            return bool(labels[rest])
        if word == "class":
            return rest in self.classes if self.classes else None
        if word == "level":
            return any(rest in volume.levels for volume in self.volumes)
        if word == "slice":
            return any(rest in volume.slices for volume in self.volumes)
        if word == "mask_or_box":
            return bool(self.has(f"mask:{rest}") or self.has(f"box:{rest}"))
        if word in ("box", "point"):
            return rest in self.images and word in self.images[rest].marks
        if word in ("image", "mask"):
            masked = [one.masked for one in self.volumes]
            if rest != "ct":
                masked = [self.images[rest].masked] if rest in self.images else []
            return any(masked) if word == "mask" else bool(masked)
        return self._of_class(word)

    def _of_class(self, word: str) -> bool | None:
        if word == "fracture":
            return any(grade > 0 for grade in self.genant.values()) if self.genant else None
        vendor, bmd = Vendor(self.vendor), self.bmd
        if vendor not in DXA_VENDORS and self.paired_bmd:
            vendor, bmd = Vendor(self.paired_vendor), self.paired_bmd
        known = [region for region in DIAGNOSTIC_REGIONS if region in bmd]
        if vendor not in DXA_VENDORS or not known:
            return None
        scores = [reported_score(t_score(bmd[region], region, vendor)) for region in known]
        return min(scores) <= OSTEOPOROSIS_T


@dataclass(frozen=True)
class TaskFacts:
    """Studies that a task can use, of training and validation patients.

    `store` is read for pixels only where a contract asks for their statistics.
    """

    task: str
    studies: Sequence[StoredStudyFacts]
    store: SiteStore = field(repr=False)

    def images(self) -> list[StoredImageFacts]:
        """All images of the studies."""
        return [image for study in self.studies for image in study.images.values()]

    def quantiles(self, view: View, shares: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Quantiles of the scanned grey values of a view; None without an image.

        Parameters
        ----------
        view : View
        shares : ndarray of float, shape (Q,)
            In (0, 1).
        """
        counts = np.zeros(GREY_STEPS, dtype=np.int64)
        for study in self.studies:
            if view.value in study.images:
                path = self.store.array_path(study.study, view.value, "pixels")
                if view is View.HIP_LEFT and not path.exists():
                    path = self.store.array_path(study.study, View.HIP_RIGHT.value, "pixels")
                pixels = np.load(path, mmap_mode="r", allow_pickle=False)
                scanned = pixels[np.isfinite(pixels)].astype(np.float32)
                counts += np.histogram(scanned, bins=GREY_STEPS, range=(0.0, 1.0))[0]
        if not counts.sum():
            return None
        # The value up to which a share of the pixels lies, to a step of the grey scale.
        reached = np.searchsorted(np.cumsum(counts), shares * counts.sum())
        return np.asarray((np.minimum(reached, GREY_STEPS - 1) + 0.5) / GREY_STEPS)


def scanner_facts(vendor: str, model: str) -> StoredStudyFacts:
    """Make a study of which nothing is known but its scanner; of no patient."""
    return StoredStudyFacts("", "", "", None, None, vendor, model or None, {}, (), {}, {})


def read_facts(store: SiteStore, task: str, *, series: bool = False) -> TaskFacts:
    """Read from the catalogue what a site has for a task.

    Parameters
    ----------
    store : SiteStore
        The open store.
    task : str
        Its inputs say which images are looked at.
    series : bool
        Whether CT series are looked at, also of a task that reads none.

    Raises
    ------
    UnknownTaskError
        If there is no such task.
    """
    inputs = task_class(task).inputs
    views = [view.value for view in inputs.views]
    views += [View.HIP_RIGHT.value] if View.HIP_LEFT in inputs.views else []
    unused = left_out(store.folder)
    mine = select(Patient.pseudonym).where(Patient.split.in_(LOOKED_AT))
    uids = select(Study.uid).where(Study.patient.in_(mine))
    with Session(store.engine) as session:
        flags = _read_flags(session, uids)
        marks = read_marks(session, uids)
        images: dict[str, dict[str, StoredImageFacts]] = defaultdict(dict)
        for row in session.scalars(
            select(Image).where(Image.study.in_(uids), Image.view.in_(views)).order_by(Image.view)
        ):
            images[row.study][row.view] = StoredImageFacts(
                row.row_mm, row.column_mm, row.spacing_provenance, row.digest,
                row.mask_digest is not None, flags.get((row.study, row.view)),
                tuple(sorted({one.kind for one in marks_on(marks, row.study, row.view)})),
            )  # fmt: skip
        volumes: dict[str, list[StoredVolumeFacts]] = defaultdict(list)
        for volume in session.scalars(
            select(Volume).where(Volume.study.in_(uids)).order_by(Volume.study, Volume.series)
        ):
            marked = slices_of(marks_on(marks, volume.study, volume.series))
            volumes[volume.study].append(_volume(volume, sorted(marked)))
        labels = read_labels(session, uids)
        rows = [
            (study, split or "")
            for study, split in session.execute(
                select(Study, Patient.split)
                .join(Patient, Study.patient == Patient.pseudonym)
                .where(Patient.split.in_(LOOKED_AT))
                .order_by(Study.uid)
            )
            if study.uid not in unused
        ]
        wanted = set(images) | (set(volumes) if series or inputs.series else set())
        patients: dict[str, list[Dated]] = defaultdict(list)
        for study, _ in rows:
            patients[study.patient].append((study.uid, study.day, study.vendor))
        months = store.config.pairing.months
        paired = pair_studies(patients.values(), labels, wanted, months).paired
        studies = [
            _study(study, split, images[study.uid], volumes[study.uid], labels, paired)
            for study, split in rows
            if study.uid in wanted
        ]
    return TaskFacts(task, studies, store)


def _study(
    study: Study,
    split: str,
    images: Mapping[str, StoredImageFacts],
    volumes: Sequence[StoredVolumeFacts],
    labels: Mapping[str, StudyLabels],
    paired: Mapping[str, PairedLabels],
) -> StoredStudyFacts:
    hip = hip_of([View(view) for view in images])
    known, other = labels_as_left(labels.get(study.uid, StudyLabels()), hip), paired.get(study.uid)
    of_hip = as_left({View(view): one for view, one in images.items()}, hip)
    images = {view.value: one for view, one in of_hip.items()}
    facts = StoredStudyFacts(
        study.uid, study.patient, split, study.sex, study.age_years, study.vendor, study.model,
        images, volumes, known.bmd, known.genant, tuple(known.classes),
    )  # fmt: skip
    if other is None:
        return facts
    return replace(
        facts,
        paired_bmd=other.labels.bmd,
        paired_vendor=other.vendor.value,
        paired_months=other.months,
    )


def _volume(volume: Volume, slices: Sequence[str]) -> StoredVolumeFacts:
    size = None if volume.rows is None or volume.columns is None else (volume.rows, volume.columns)
    codes = {int(code) for code in (volume.levels or "").split()}
    return StoredVolumeFacts(
        volume.row_mm, volume.column_mm, volume.slice_mm, volume.kvp, volume.kernel,
        volume.thickness_mm, volume.contrast, size, volume.mask_digest is not None,
        tuple(name for name in CT_LEVELS if code_of(name, "volume") in codes), tuple(slices),
        volume.completeness or UNKNOWN,
    )  # fmt: skip


def _read_flags(session: Session, uids: Any) -> dict[tuple[str, str], tuple[str, ...]]:
    """Flags of every image that was assessed."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    query = select(Quality.study, Quality.view, Quality.flag).where(Quality.study.in_(uids))
    for study, view, flag in session.execute(query.order_by(Quality.flag)):
        flags = found.get((study, view), ())
        found[study, view] = flags if flag == NO_FLAG else (*flags, flag)
    return found


def assess_missing(store: SiteStore) -> int:
    """Assess the images that no ingest has assessed; return how many there were.

    What a store of an older version holds gets its flags so, and its volumes their size
    and levels.
    """
    _measure_volumes(store)
    assessed = select(Quality.study).where(Quality.study == Image.study, Quality.view == Image.view)
    with Session(store.engine) as session:
        waiting = session.execute(
            select(Image, Study.vendor)
            .join(Study, Image.study == Study.uid)
            .where(~assessed.exists())
            .order_by(Image.study, Image.view)
        ).all()
        session.expunge_all()
    rows = [row for image, vendor in waiting for row in _quality_rows(store, image, vendor)]
    if rows:
        with store.engine.begin() as connection:
            connection.execute(insert(Quality).on_conflict_do_nothing(), rows)
    return len(waiting)


def _measure_volumes(store: SiteStore) -> None:
    """Keep size and levels of the volumes of which the catalogue does not know them."""
    with Session(store.engine) as session, session.begin():
        for volume in session.scalars(select(Volume).where(Volume.levels.is_(None))):
            hu = mapped(store.array_path(volume.study, volume.series, "hu"))
            _, volume.rows, volume.columns = hu.shape
            masked = volume.mask_digest is not None
            path = store.array_path(volume.study, volume.series, "regions")
            volume.levels = levels_text(mapped(path) if masked else None)


def _quality_rows(store: SiteStore, image: Image, vendor: str) -> Iterable[dict[str, Any]]:
    provenance: Any = image.spacing_provenance
    masked = image.mask_digest is not None
    record = ImageRecord(
        np.load(store.array_path(image.study, image.view, "pixels"), allow_pickle=False),
        (image.row_mm, image.column_mm),
        provenance,
        np.load(store.array_path(image.study, image.view, "regions"), allow_pickle=False)
        if masked
        else None,
    )
    key = {"study": image.study, "view": image.view}
    marks = assess(record, View(image.view), Vendor(vendor))
    if not marks:
        return [key | {"flag": NO_FLAG, "strength": 0.0, "code": None}]
    return [key | {"flag": m.flag, "strength": m.strength, "code": m.code} for m in marks]
