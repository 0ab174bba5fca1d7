"""A site is made whole, opened only by its own secret, and read back as it was given."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from client.cli.main import app
from client.identity.secret import make_secret, read_secret
from client.ingest.folder import ingest
from client.store.site_store import SiteStore, init_site
from client.store.split import SPLITS, assign
from client.store.statistics import describe_store
from shared.errors import (
    ConfigValueError,
    PlaceholderSecretError,
    StoreExistsError,
    StoreMissingError,
    StoreSecretMismatchError,
    UnknownTaskError,
)
from shared.phantom.make import make_hospital
from shared.records import DXA_VIEWS, StudyRecord, Vendor
from shared.settings.files import SiteConfig, SplitFractions
from shared.tasks import PERMITTED_AT_FIRST, task_name
from tests.shared.rendered_samples import sample_study


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("site")
    make_hospital(base / "export", "lunar", 20, 7, render=sample_study)
    init_site(base / "site", SiteConfig(site="riverside"))
    ingest(base / "site", base / "export")
    return base / "site"


def records(site: Path) -> list[StudyRecord]:
    store = SiteStore.open(site)
    sources = [store.source(split) for split in SPLITS]
    return [study for source in sources for p in source.patients for study in source.studies(p)]


# --- the secret -----------------------------------------------------------------


def test_a_secret_is_random_and_its_owners_alone(tmp_path: Path) -> None:
    secret = make_secret(tmp_path / "one")
    assert read_secret(tmp_path / "one") == secret
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert make_secret(tmp_path / "two") != secret
    with pytest.raises(FileExistsError):
        make_secret(tmp_path / "one")


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    make_secret(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(PlaceholderSecretError, match="chmod 600"):
        read_secret(tmp_path / "key")


@pytest.mark.parametrize(
    "text", ["", "changeme", "00" * 32, "deadbeef" * 8, "ab" * 16, "0123456789abcdef" * 4, "é" * 64]
)
def test_a_placeholder_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(PlaceholderSecretError, match="site init"):
        read_secret(tmp_path / "key")


# --- making and opening ---------------------------------------------------------


def test_a_site_is_never_made_over_another(site: Path, tmp_path: Path) -> None:
    before = (site / "secret.key").read_bytes()
    with pytest.raises(StoreExistsError, match="is a site already"):
        init_site(site, SiteConfig(site="other"))
    assert (site / "secret.key").read_bytes() == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreExistsError, match="not empty"):
        init_site(tmp_path, SiteConfig(site="other"))


def test_a_site_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("client.store.site_store.make_secret", fail)
    with pytest.raises(KeyboardInterrupt):
        init_site(tmp_path / "site", SiteConfig(site="other"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_a_site_is_its_owners_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        init_site(tmp_path / "site", SiteConfig(site="riverside"))
    finally:
        os.umask(before)
    open_to_others = [
        path.name
        for path in [tmp_path / "site", *(tmp_path / "site").rglob("*")]
        if path.stat().st_mode & 0o077
    ]
    assert open_to_others == []


def test_a_folder_that_is_no_site_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="site init"):
        SiteStore.open(tmp_path / "nowhere")
    with pytest.raises(StoreMissingError, match="site init"):
        SiteStore.open(tmp_path)


def test_another_secret_does_not_open_the_store(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    (tmp_path / "site" / "secret.key").unlink()
    with pytest.raises(StoreMissingError, match="backup"):
        SiteStore.open(tmp_path / "site")
    make_secret(tmp_path / "site" / "secret.key")
    with pytest.raises(StoreSecretMismatchError, match="another secret"):
        SiteStore.open(tmp_path / "site")


def test_a_store_without_catalogue_is_said_to_miss_it(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    (tmp_path / "site" / "store" / "catalogue.sqlite").unlink()
    with pytest.raises(StoreMissingError, match="no catalogue"):
        SiteStore.open(tmp_path / "site")


def test_an_unknown_key_in_site_yaml_is_named(tmp_path: Path) -> None:
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    with (tmp_path / "site" / "site.yaml").open("a") as file:
        file.write("budget: 3\n")
    with pytest.raises(ConfigValueError, match="budget"):
        SiteStore.open(tmp_path / "site")


def test_an_open_store_does_not_show_its_secret(site: Path) -> None:
    store = SiteStore.open(site)
    assert repr(store.secret) not in repr(store)
    assert store.secret.hex() not in repr(store)


# --- what is read back ----------------------------------------------------------


def test_records_are_what_was_rendered_mapped_into_memory(site: Path) -> None:
    by_bmd = {record.labels.bmd["L1"]: record for record in records(site)}
    for number in range(20):
        true = sample_study(number)
        record = by_bmd[true.labels.bmd["L1"]]
        assert record.vendor is Vendor.LUNAR
        assert record.labels.bmd == true.labels.bmd
        assert record.labels.genant == true.labels.genant
        assert set(record.images) == set(DXA_VIEWS)
        for view, image in record.images.items():
            assert isinstance(image.pixels, np.memmap)
            assert image.pixels.dtype == np.float16
            assert not image.pixels.flags.writeable
            display = true.images[view].display
            assert np.array_equal(np.isnan(image.pixels), np.isnan(display))
            grey = np.rint(image.pixels.astype(np.float32) * 255)
            want = np.clip(np.rint(display * 255), 0, 254)
            assert np.array_equal(grey, want, equal_nan=True)
            assert image.regions is not None
            assert np.array_equal(image.regions, true.images[view].regions)


def test_splits_share_no_patient_and_have_the_agreed_sizes(site: Path) -> None:
    store = SiteStore.open(site)
    patients = {split: set(store.source(split).patients) for split in SPLITS}
    assert sum(len(p) for p in patients.values()) == len(set().union(*patients.values())) == 20
    assert {split: len(p) for split, p in patients.items()} == {
        "train": 14, "validation": 3, "test": 3,
    }  # fmt: skip
    assert store.counts() == {
        "train": 14, "validation": 3, "test": 3, "patients": 20, "studies": 20, "images": 60,
    }  # fmt: skip
    for split in SPLITS:
        assert list(store.source(split).patients) == sorted(patients[split])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def overwrite_beginning(path: Path) -> None:
    path.write_bytes(b"\0" * 64 + path.read_bytes()[64:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:8] + b"\x77" + content[9:])


def change_kind(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"<f2", b"<z2").replace(b"|u1", b"|f1"))


@pytest.mark.parametrize("what", ["pixels", "regions"])
@pytest.mark.parametrize(
    "harm", [Path.unlink, cut, overwrite_beginning, empty, lengthen_header, change_kind]
)
def test_an_array_that_is_not_whole_is_a_sentence_before_it_is_read(
    harm: Callable[[Path], None], what: str, tmp_path: Path
) -> None:
    make_hospital(tmp_path / "export", "lunar", 1, 7, render=sample_study)
    init_site(tmp_path / "site", SiteConfig(site="riverside"))
    ingest(tmp_path / "site", tmp_path / "export")
    source = SiteStore.open(tmp_path / "site").source("train")
    source.studies(source.patients[0])
    harm(next((tmp_path / "site").rglob(f"*.{what}.npy")))
    with pytest.raises(StoreMissingError, match="backup"):
        source.studies(source.patients[0])


def test_the_store_describes_itself(site: Path) -> None:
    facts = describe_store(site)
    rows = {row["what"]: row for row in facts["rows"]}
    assert rows["patients"] == {"what": "patients", "train": 14, "validation": 3, "test": 3}
    assert rows["images hip_left"]["train"] == rows["masks hip_left"]["train"] == 14
    assert rows["studies of lunar"]["test"] == rows["studies with genant"]["test"] == 3


# --- splits ---------------------------------------------------------------------


@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.9, 0.0, 0.1)]),
)
def test_any_number_of_patients_is_split_to_within_one(
    first: int, later: int, parts: tuple[float, float, float]
) -> None:
    fractions = SplitFractions(train=parts[0], validation=parts[1], test=parts[2])
    secret = bytes(range(32))
    one = assign([f"a{n}" for n in range(first)], {}, fractions, secret)
    two = assign([f"b{n}" for n in range(later)], Counter(one.values()), fractions, secret)
    counts = Counter([*one.values(), *two.values()])
    for split, part in zip(SPLITS, parts, strict=True):
        assert abs(counts[split] - part * (first + later)) <= 1


def test_another_secret_splits_otherwise() -> None:
    patients = [f"p{n}" for n in range(40)]
    one = assign(patients, {}, SplitFractions(), bytes(range(32)))
    assert one == assign(reversed(patients), {}, SplitFractions(), bytes(range(32)))
    assert one != assign(patients, {}, SplitFractions(), bytes(range(1, 33)))


# --- the command line -----------------------------------------------------------


def test_the_commands_print_pure_json(tmp_path: Path) -> None:
    make_hospital(tmp_path / "export", "hologic", 2, 7, render=sample_study)

    def osteofed(*words: str) -> subprocess.CompletedProcess[str]:
        code = "from client.cli.main import app; app(prog_name='site')"
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    site = str(tmp_path / "site")
    made = json.loads(osteofed("init", site, "--name", "lakeside", "--json").stdout)
    assert made["site"] == "lakeside"
    report = json.loads(osteofed("ingest", site, str(tmp_path / "export"), "--json").stdout)
    assert {line["reason"]: line["files"] for line in report["outcomes"]} == {
        "ok": 13,
        "burned_in_text": 2,
    }
    assert len(report["files"]) == 15
    assert json.loads(osteofed("studies", site, "--json").stdout)["store"]["patients"] == 2


def test_a_new_site_writes_down_which_tasks_it_permits(tmp_path: Path) -> None:
    """So that a task which a later version brings is not permitted by being there."""
    init_site(tmp_path / "first", SiteConfig(site="first"))
    said = yaml.safe_load((tmp_path / "first" / "site.yaml").read_text())
    assert said["policy"]["tasks"] == list(PERMITTED_AT_FIRST)
    chosen = CliRunner().invoke(
        app, ["init", str(tmp_path / "own"), "--name", "own", "--task", "xray-vertebrae"]
    )
    assert chosen.exit_code == 0, chosen.output
    said = yaml.safe_load((tmp_path / "own" / "site.yaml").read_text())
    assert said["policy"]["tasks"] == ["xray-vertebrae"]
    with pytest.raises(UnknownTaskError, match="'xray'"):
        task_name("xray")
