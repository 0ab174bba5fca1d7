"""Volumes, radiographs, marks and what is remembered: from what a reader gives into the store."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from client.ingest.deidentification_codes import LONGEST_TEXT, scanner_text
from client.ingest.folder import IngestReport, ingest
from client.store.catalogue import Image, Patient, Quality, Study, Volume
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS
from client.store.statistics import describe_store
from shared.dicom.phi.identifiers import SeenIdentifier
from shared.dicom.read import ReadVolume
from shared.dicom.read_study import ReadStudy, StudyHeader
from shared.dicom.scan import FolderScan
from shared.dicom.study_files import ScannedFile, StudyGroup
from shared.dicom.verdicts import FileVerdict, judge
from shared.records import (
    Covariates,
    ImageRecord,
    QualityMark,
    StudyLabels,
    StudyRecord,
    Vendor,
    View,
    VolumeRecord,
)
from shared.seeds import numpy_generator
from shared.settings.files import SiteConfig

SERIES = "1.2.3.4.5678"
SLICES = 5


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def scanned(name: str, kind: Any, **more: Any) -> ScannedFile:
    return ScannedFile(Path(name), name, sha(name), kind, "1.2.3", f"1.2.3.{name}", "MRN7", **more)


@dataclass
class Hospital:
    """A site, and a reader that reads what the test says."""

    site: Path
    source: Path
    monkeypatch: pytest.MonkeyPatch
    reads: list[StudyGroup] = field(default_factory=list)

    def take(self, study: ReadStudy, quarantined: str = "") -> IngestReport:
        slices = [
            scanned(f"{study.volumes[SERIES].digest[:4]}-{n}.dcm", "image") for n in range(SLICES)
        ] if study.volumes else []  # fmt: skip
        masks = {v.mask_digest for v in study.volumes.values()} - {None}
        group = StudyGroup(
            "1.2.3",
            images={
                view: replace(scanned(f"{view}.dcm", "image"), digest=study.digests[view])
                for view in study.images
            },
            series={SERIES: slices} if slices else {},
            masks=[replace(scanned("mask.dcm", "mask"), digest=str(mask)) for mask in masks],
        )
        verdicts = [
            judge(file.name, "report_page" if file.name.endswith(quarantined or "\0") else "ok")
            for file in group.files
        ]

        def read(asked: StudyGroup, _: object) -> tuple[ReadStudy, list[FileVerdict]]:
            self.reads.append(asked)
            return study, verdicts

        digests = {file.name: file.digest for file in group.files}
        found = FolderScan(groups=[group], digests=digests)
        self.monkeypatch.setattr("client.ingest.folder.scan_folder", lambda *_: found)
        self.monkeypatch.setattr("client.ingest.staging.read_group", read)
        return ingest(self.site, self.source, workers=1)

    def record(self) -> StudyRecord:
        store = SiteStore.open(self.site)
        sources = [store.source(split) for split in SPLITS]
        (found,) = [study for s in sources for p in s.patients for study in s.studies(p)]
        return found

    def digest(self) -> str:
        store = SiteStore.open(self.site)
        return next(s.digest() for s in map(store.source, SPLITS) if s.patients)

    def rows(self, table: type[Any]) -> list[Any]:
        with Session(SiteStore.open(self.site).engine, expire_on_commit=False) as session:
            return list(session.scalars(select(table)))


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    (tmp_path / "source").mkdir()
    return Hospital(tmp_path / "site", tmp_path / "source", monkeypatch)


def a_study(**more: Any) -> ReadStudy:
    header = StudyHeader("MRN7", "Kellermann^Ada", "1.2.3", date(2024, 5, 6), "A1")
    facts: dict[str, Any] = {
        "header": header,
        "vendor": Vendor.OTHER,
        "images": {},
        "labels": StudyLabels(),
        "covariates": Covariates(sex="F"),
        "digests": {},
        "mask_digests": {},
    }
    return ReadStudy(**(facts | more))


def a_volume(content: str = "one", *, mask: bool = False) -> ReadVolume:
    generator = numpy_generator(3, content)
    hu = generator.integers(-1024, 2000, (SLICES, 8, 6)).astype(np.int16)
    regions = np.where(hu > 1000, 20, 0).astype(np.uint8) if mask else None
    record = VolumeRecord(
        hu[::-1],  # not contiguous, as a sorted series may be
        (2.5, 0.7, 0.71),
        (-120.25, 1 / 3, 812.5),
        kvp=120.0,
        kernel="B30f\\3",
        slice_thickness_mm=3.0,
        contrast=False,
        regions=regions,
    )
    return ReadVolume(record, SLICES, False, "tilt", sha(content), sha("mask") if mask else None)


def test_a_volume_is_given_back_as_it_was_read_and_mapped(hospital: Hospital) -> None:
    volume = a_volume(mask=True)
    report = hospital.take(a_study(volumes={SERIES: volume}))
    assert [file.reason for file in report.files] == ["ok"] * (SLICES + 1)
    record = hospital.record()
    assert (record.vendor, record.images) == (Vendor.OTHER, {})
    ((series, found),) = record.volumes.items()
    assert series.startswith("2.25.")
    assert isinstance(found.hu, np.memmap)
    assert isinstance(found.regions, np.memmap)
    assert np.array_equal(found.hu, volume.record.hu)
    assert volume.record.regions is not None
    assert np.array_equal(found.regions, volume.record.regions)
    assert replace(found, hu=volume.record.hu, regions=volume.record.regions) == replace(
        volume.record, kernel="B30f 3"
    )
    (row,) = hospital.rows(Volume)
    assert (row.slices, row.lossy, row.resampled) == (SLICES, False, "tilt")
    lines = {line["what"]: line for line in describe_store(hospital.site)["rows"]}
    assert sum(lines["CT series"][split] for split in SPLITS) == 1
    assert sum(lines["masks of CT series"][split] for split in SPLITS) == 1


def test_no_name_of_a_file_holds_an_identifier(hospital: Hospital) -> None:
    hospital.take(a_study(volumes={SERIES: a_volume()}))
    for path in hospital.site.rglob("*"):
        assert "1.2.3" not in path.name
        assert "MRN7" not in path.name


def test_the_same_series_again_is_not_read_again(hospital: Hospital) -> None:
    study = a_study(volumes={SERIES: a_volume()})
    hospital.take(study)
    before = hospital.digest()
    report = hospital.take(study)
    assert len(hospital.reads) == 1
    assert {file.reason for file in report.files} == {"already_there"}
    assert (hospital.digest(), report.studies_new) == (before, 0)


def test_a_series_that_is_there_with_other_content_is_quarantined(hospital: Hospital) -> None:
    hospital.take(a_study(volumes={SERIES: a_volume()}))
    kept = np.array(next(iter(hospital.record().volumes.values())).hu)
    other = hospital.take(a_study(volumes={SERIES: a_volume("other", mask=True)}), "-0.dcm")
    reasons = sorted(file.reason for file in other.files)
    assert reasons == ["mask_without_image", "report_page", *["series_already_stored"] * 4]
    assert np.array_equal(next(iter(hospital.record().volumes.values())).hu, kept)


def test_a_mask_that_comes_later_is_added_to_its_volume_and_to_the_digest(
    hospital: Hospital,
) -> None:
    hospital.take(a_study(volumes={SERIES: a_volume()}))
    before = hospital.digest()
    report = hospital.take(a_study(volumes={SERIES: a_volume(mask=True)}))
    assert [f.reason for f in report.files if f.path == "mask.dcm"] == ["ok"]
    assert next(iter(hospital.record().volumes.values())).regions is not None
    assert hospital.digest() != before


def test_a_radiograph_is_stored_with_what_its_scanner_says(hospital: Hospital) -> None:
    image = ImageRecord(np.full((6, 4), 0.5, np.float32), (0.14, 0.14), "detector")
    study = a_study(
        images={View.LUMBAR_AP: image},
        digests={View.LUMBAR_AP: sha("x")},
        lossy={View.LUMBAR_AP: True},
        maker="SIEMENS <b>",
        model="Ysio\nMax",
    )
    hospital.take(study)
    found = hospital.record().images[View.LUMBAR_AP]
    assert found.pixels.dtype == np.float16
    assert (found.pixels == 0.5).all()
    (row,) = hospital.rows(Study)
    assert (row.vendor, row.maker, row.model) == ("other", "SIEMENS b", "Ysio Max")
    assert row.method == "113100,113107,113108,113109"
    assert hospital.rows(Image)[0].lossy is True


def test_the_method_names_only_what_was_kept(hospital: Hospital) -> None:
    header = StudyHeader("MRN7", "", "1.2.3", None, "")
    hospital.take(a_study(header=header, covariates=Covariates(), volumes={SERIES: a_volume()}))
    assert hospital.rows(Study)[0].method == "113100"


def test_marks_are_kept_with_their_image_and_their_absence_too(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    def assess(image: ImageRecord, view: View, vendor: Vendor) -> tuple[QualityMark, ...]:
        assert image.pixels.dtype == np.float32
        assert vendor is Vendor.LUNAR
        return (QualityMark("metal", 0.75, 3),) if view is View.SPINE_PA else ()

    monkeypatch.setattr("client.ingest.staging.assess", assess)
    image = ImageRecord(np.full((6, 4), 0.5, np.float32), (0.5, 0.5), "calibrated")
    views = (View.SPINE_PA, View.HIP_LEFT)
    study = a_study(
        vendor=Vendor.LUNAR, images=dict.fromkeys(views, image), digests={v: sha(v) for v in views}
    )
    hospital.take(study)
    marks = {(row.view, row.flag, row.strength, row.code) for row in hospital.rows(Quality)}
    assert marks == {("spine_pa", "metal", 0.75, 3), ("hip_left", "none", 0.0, None)}


def test_identifiers_are_handed_on_with_the_study_that_held_them(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: set[SeenIdentifier] = set()

    def remember(session: Session, secret: bytes, seen: list[SeenIdentifier]) -> None:
        assert session.scalar(select(Patient.pseudonym)) is not None
        assert len(secret) == 32
        told.update(seen)

    monkeypatch.setattr("client.phi.identifier_index.remember", remember)
    seen = frozenset({SeenIdentifier("name", "Kellermann")})
    hospital.take(a_study(volumes={SERIES: a_volume()}, identifiers=seen))
    assert told == seen


@given(st.text(max_size=200))
def test_text_of_a_scanner_is_short_plain_and_stable(text: str) -> None:
    kept = scanner_text(text)
    assert len(kept) <= LONGEST_TEXT
    assert kept.isascii()
    assert not set(kept) & set("<>&\"'\\\n\r\t\0,;:@=")
    assert scanner_text(kept) == kept
