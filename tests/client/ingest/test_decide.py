"""A person decides what was set aside: taken at the next ingest, remembered, and undone."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.identity.chain import AUDIT, show_identity
from client.ingest.deciding.decide import decide, open_scans, undo
from client.ingest.deciding.decisions import DECISIONS
from client.ingest.folder import IngestReport, ingest
from client.ingest.set_aside import _safe_name
from client.store.site_store import SiteStore, init_site
from shared.errors import ConfigValueError, InputMissingError, InputUnreadableError
from shared.phantom.make import make_hospital
from shared.protocol.chain_cross_check import verify_site_chain
from shared.scan_types import ScanType
from shared.settings.files import LabelColumns, SiteConfig
from tests.shared.ct_samples import write_radiograph
from tests.shared.rendered_samples import sample_study

SCANNER = {
    "Manufacturer": "GE Healthcare", "ManufacturerModelName": "Lunar iDXA",
    "DeviceSerialNumber": "one",
}  # fmt: skip


#: What may say which of two scans is the newer.
ORDER = (
    "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime",
    "SeriesDate", "SeriesTime", "InstanceCreationDate", "InstanceCreationTime", "SeriesNumber",
    "InstanceNumber",
)  # fmt: skip


def named(folder: Path, names: dict[str, str], **others: str) -> None:
    """Give the scans of an export other names, and other attributes."""
    for path in sorted(folder.rglob("*.dcm")):
        dataset = pydicom.dcmread(path)
        if dataset.get("ProtocolName") in names:
            dataset.ProtocolName = names[dataset.ProtocolName]
            for keyword, value in (SCANNER | others).items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    make_hospital(folder / "export", "lunar", 2, 8, render=sample_study)
    make_hospital(folder / "more", "lunar", 1, 9, render=sample_study)
    return folder


@pytest.fixture
def site(tmp_path: Path, exports: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    shutil.copytree(exports / "export", tmp_path / "export")
    return tmp_path / "site"


def reasons(report: IngestReport) -> list[str]:
    return sorted({file.reason for file in report.files if file.path.endswith(".dcm")} - {"ok"})


def views(site: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        return sorted(catalogue.execute("SELECT view, told FROM images"))


def arrays(site: Path) -> list[str]:
    return sorted(path.name for path in (site / "store" / "arrays").rglob("*.npy"))


def test_a_name_is_decided_once_for_all_scans_of_its_kind(
    site: Path, tmp_path: Path, exports: Path
) -> None:
    named(tmp_path / "export", {"AP Spine": "Osteo 1"})
    before = ingest(site, tmp_path / "export")
    waiting = [file for file in before.files if file.reason == "scan_type_unknown"]
    (one,) = open_scans(site)
    assert (len(waiting), one.files, one.scope, one.name) == (2, 2, "kind", "Osteo 1")
    assert set(before.to_decide) == {file.path for file in waiting}
    assert set(before.to_decide.values()) == {one.called}

    _, sentence = decide(site, one.called, ScanType.SPINE_PA)
    assert "2 scans will be taken as AP spine (spine_pa)" in sentence
    assert "given the same files again" in sentence
    after = ingest(site, tmp_path / "export")
    assert not after.to_decide
    assert after.studies_new == 0
    assert views(site).count(("spine_pa", "decided")) == 2
    taken = [file for file in after.files if file.path in before.to_decide]
    assert {file.sentence for file in taken} == {"read and used (as spine_pa, decided by a person)"}
    again = ingest(site, tmp_path / "export")
    assert {file.reason for file in again.files if file.path in before.to_decide} == {
        "already_there"
    }

    # Another patient's scan of the same scanner and name is taken the same way.
    shutil.copytree(exports / "more", tmp_path / "more")
    named(tmp_path / "more", {"AP Spine": "osteo-1"})
    ingest(site, tmp_path / "more")
    assert views(site).count(("spine_pa", "decided")) == 3
    # One of another scanner is not.
    named(tmp_path / "more", {"osteo-1": "Osteo 1"}, DeviceSerialNumber="another")
    assert "scan_type_unknown" in reasons(ingest(site, tmp_path / "more"))


def test_what_was_decided_can_be_undone(site: Path, tmp_path: Path) -> None:
    named(tmp_path / "export", {"AP Spine": "Osteo 1"})
    ingest(site, tmp_path / "export")
    without, files = views(site), arrays(site)
    (one,) = open_scans(site)
    decide(site, one.called, ScanType.SPINE_PA)
    with pytest.raises(ConfigValueError, match=r"decided before \(spine_pa\); undo that first"):
        decide(site, one.called, None)
    ingest(site, tmp_path / "export")
    with_it = views(site)
    assert undo(site, one.called)[1] == 2
    assert (views(site), arrays(site)) == (without, files)
    store = SiteStore.open(site)
    assert store.counts()["images"] == len(without)
    store.close()
    assert open_scans(site) == [one]
    assert "scan_type_unknown" in reasons(ingest(site, tmp_path / "export"))
    decide(site, one.called, ScanType.SPINE_PA)
    ingest(site, tmp_path / "export")
    assert views(site) == with_it

    lines = verify_site_chain(site / AUDIT, show_identity(site)["signing_key"])
    told = [line.event for line in lines if "deci" in line.event]
    assert told == ["scan decided", "decision undone", "scan decided"]
    assert (site / DECISIONS).stat().st_mode & 0o777 == 0o600


def test_a_study_of_one_decided_image_comes_and_goes_whole(site: Path, tmp_path: Path) -> None:
    export = tmp_path / "export"
    named(export, {"AP Spine": "Osteo 1"})
    for path in export.rglob("*.*"):
        kept = path.suffix == ".dcm" and pydicom.dcmread(path).get("ProtocolName") == "Osteo 1"
        if not kept:
            path.unlink()
    report = ingest(site, export)
    assert report.counts["studies"] == 0
    decide(site, open_scans(site)[0].called, ScanType.SPINE_PA)
    assert ingest(site, export).counts["studies"] == 2
    undo(site, open_scans(site)[0].called)
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        assert catalogue.execute("SELECT count(*) FROM studies").fetchone() == (0,)
        splits = catalogue.execute("SELECT pseudonym, split FROM patients").fetchall()
    decide(site, open_scans(site)[0].called, ScanType.SPINE_PA)
    assert ingest(site, export).counts["studies"] == 2
    with sqlite3.connect(site / "store" / "catalogue.sqlite") as catalogue:
        assert catalogue.execute("SELECT pseudonym, split FROM patients").fetchall() == splits


def test_a_scan_whose_name_may_be_any_is_decided_alone(site: Path, tmp_path: Path) -> None:
    named(tmp_path / "export", {"AP Spine": "Spine", "Left Femur": "Femur"})
    ingest(site, tmp_path / "export")
    found = open_scans(site)
    assert [(one.scope, one.files) for one in found] == [("scan", 1)] * 4
    spine = next(one for one in found if one.name == "Spine")
    decide(site, spine.called, None)
    report = ingest(site, tmp_path / "export")
    assert [file.reason for file in report.files].count("left_out") == 1
    assert len(report.to_decide) == 3
    assert undo(site, spine.called)[1] == 0
    assert len(ingest(site, tmp_path / "export").to_decide) == 4


def test_one_of_two_scans_is_left_out(site: Path, tmp_path: Path) -> None:
    for path in sorted((tmp_path / "export").rglob("AP_SPINE.dcm")):
        dataset = pydicom.dcmread(path)
        for keyword in ORDER:  # nothing says which of two is the newer
            dataset.pop(keyword, None)
        dataset.save_as(path)
        grey = dataset.pixel_array
        dataset.PixelData = np.where(grey < 255, grey // 2, grey).astype(np.uint8).tobytes()
        dataset.SOPInstanceUID += ".77"
        dataset.save_as(path.with_name("AGAIN.dcm"))
    assert "view_twice" in reasons(ingest(site, tmp_path / "export"))
    one = open_scans(site)[0]
    decide(site, one.called, None)
    report = ingest(site, tmp_path / "export")
    assert [file.reason for file in report.files].count("view_twice") == 2
    assert views(site).count(("spine_pa", "named")) == 1


@pytest.mark.parametrize(("inverted", "bright"), [(False, 3000), (True, 4095 - 3000)])
def test_a_person_says_which_way_round_grey_values_are(
    tmp_path: Path, inverted: bool, bright: int
) -> None:
    site = tmp_path / "site"
    init_site(site, SiteConfig(site="riverside"))
    pixels = np.full((60, 48), 3000, np.uint16)
    pixels[:, 18:30] = 800
    write_radiograph(tmp_path / "export" / "a.dcm", pixels, SOPInstanceUID="1.2.3")
    assert reasons(ingest(site, tmp_path / "export")) == ["polarity_unsure"]
    (one,) = open_scans(site)
    decide(site, one.called, ScanType.LUMBAR_AP, inverted=inverted)
    assert ingest(site, tmp_path / "export").counts["images"] == 1
    (path,) = (site / "store" / "arrays").rglob("*.npy")
    assert np.load(path)[30, 2] == pytest.approx(bright / 4095, abs=1e-3)


def test_what_cannot_be_is_refused(site: Path, tmp_path: Path) -> None:
    named(tmp_path / "export", {"AP Spine": "Osteo 1"})
    ingest(site, tmp_path / "export")
    (one,) = open_scans(site)
    with pytest.raises(ConfigValueError, match="is a DXA scan, so it cannot be lumbar_ap"):
        decide(site, one.called, ScanType.LUMBAR_AP)
    with pytest.raises(ConfigValueError, match="not for bone that looks dark"):
        decide(site, one.called, ScanType.SPINE_PA, inverted=True)
    for called in ("", "0000", "zzzz"):
        with pytest.raises(InputMissingError, match="nothing that was set aside"):
            decide(site, called or "xxxxx", None)
    with pytest.raises(InputMissingError, match="is called so"):
        decide(site, one.called[:3], None)
    (site / DECISIONS).write_text("{", encoding="utf-8")
    with pytest.raises(InputUnreadableError, match="list of decisions cannot be read"):
        ingest(site, tmp_path / "export")


def test_a_name_that_holds_the_patients_is_not_kept(site: Path, tmp_path: Path) -> None:
    path = next(iter(sorted((tmp_path / "export").rglob("*.dcm"))))
    dataset = pydicom.dcmread(path)
    family = str(dataset.PatientName).partition("^")[0]
    dataset.ProtocolName = f"Scan of {family}"
    dataset.save_as(path)
    ingest(site, tmp_path / "export")
    (one,) = open_scans(site)
    assert one.name == ""
    held = b"".join(part.read_bytes() for part in (site / "store").glob("catalogue.sqlite*"))
    assert family.encode() not in held


@pytest.mark.parametrize(
    ("name", "patient", "kept"),
    [
        ("Osteo 1", "Muster^Anna", "Osteo 1"),
        ("MUSTERANNA spine", "Muster^Anna", ""),
        ("王伟 脊柱", "王^伟", ""),
        ("Osteo 12.03.1956", "Muster^Anna", ""),
        ("Osteo 19560312", "Muster^Anna", ""),
        ("Osteo\x1b[2J", "Muster^Anna", "Osteo[2J"),
        ("\x1b\x07", "Muster^Anna", ""),
    ],
)
def test_what_may_name_the_patient_is_not_kept(
    name: str, patient: str, kept: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.dcm"
    pixels = np.zeros((4, 4), np.uint16)
    write_radiograph(
        path, pixels, SOPInstanceUID="1.2.3", SpecificCharacterSet="ISO_IR 192", PatientName=patient
    )
    assert _safe_name(path, name, LabelColumns()) == kept
    assert _safe_name(tmp_path / "elsewhere.dcm", name, LabelColumns()) == ""


def test_it_is_typed(site: Path, tmp_path: Path) -> None:
    named(tmp_path / "export", {"AP Spine": "Osteo 1"})
    runner = CliRunner()
    listed = runner.invoke(app, ["decide", str(site)])
    assert "nothing is set aside" in listed.output
    shown = runner.invoke(app, ["ingest", str(site), str(tmp_path / "export")])
    assert "1 decision of a person wanted, what scans show" in " ".join(shown.output.split())
    (one,) = open_scans(site)
    assert one.called in runner.invoke(app, ["decide", str(site)]).output
    done = runner.invoke(app, ["decide", str(site), one.called, "--as", "hip_left", "--json"])
    assert done.exit_code == 0, done.output
    assert open_scans(site)[0].as_dict()["decided"] == "hip_left"
    assert runner.invoke(app, ["decide", str(site), one.called, "--undo"]).exit_code == 0
    assert runner.invoke(app, ["decide", str(site), one.called]).exit_code == 2
    assert runner.invoke(app, ["decide", str(site), one.called, "--as", "neck"]).exit_code == 2
