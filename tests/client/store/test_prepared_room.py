"""What versions find in studies takes no more disk than the hospital gives it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from client.contract.data_contract import versions_named
from client.round.answer import answer_evaluate, answer_train
from client.round.local_training import train_at_site
from client.round.open_site import Site, open_site
from client.round.refusals import log_failure, refusal_of
from client.store.catalogue import Image
from client.store.prepared_room import BLOCK, GIGABYTE, VERSIONS_KEPT, keep_in_room
from client.store.preparing_version import HOLDING, PreparingVersion
from shared.errors import PolicyRefusedError
from shared.findings.findings import Findings
from shared.protocol.codec import Arrays
from shared.protocol.preparation import Preparation
from shared.records import View
from shared.settings.files import SitePolicy, SitePrivacy
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.training.compute import Compute
from shared.training.weights import digest_arrays
from tests.client.round.test_received_preparation import NAME, NAMED, asked, evaluation, message
from tests.client.round.test_site_training import change
from tests.server.rounds.test_prepared_rounds import FRACTURE, PREPARATION, WEIGHTS, agree
from tests.server.tiny_sites import TINY_TASK, tiny_site
from tests.shared.standins import spine_lateral

LIMIT = "site.yaml: policy.maximum_prepared_gigabytes"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """12 patients; nobody's vertebrae were drawn."""
    made = open_site(tiny_site(tmp_path / "alpha", "alpha", patients=12))
    lateral = sa.update(Image).where(Image.view == "spine_lateral")
    with made.store.engine.begin() as connection:
        connection.execute(lateral.values(mask_digest=None))
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version finds the same in every study, at once."""
    regions = spine_lateral(np.random.default_rng(0), {}).regions
    assert regions is not None
    found = Findings(region_maps={View.SPINE_LATERAL: regions})
    monkeypatch.setattr(DxaSegmentation, "find", lambda task, reading: found)


def weights(number: int) -> Arrays:
    return {**WEIGHTS, NAME: WEIGHTS[NAME] + np.float32(number)}


def version(site: Site, number: int) -> PreparingVersion:
    arrays = weights(number)
    named = Preparation(settings=TINY_TASK, digest=digest_arrays(arrays))
    return PreparingVersion(site.store.arrays.parent, named, Compute(), arrays)


def fill(site: Site, *numbers: int) -> list[Path]:
    """Keep versions, one after the other, and let each find something in every study."""
    folders = []
    for number in numbers:
        one = version(site, number)
        keep_in_room(site.store, [one], versions_named(site.store.folder))
        for split in ("train", "validation", "test"):
            source = site.store.source(split)
            for patient in source.patients:
                for study in source.studies(patient):
                    one.findings(study, Findings())
        os.utime(one.folder, (1e9 + number, 1e9 + number))
        folders.append(one.folder)
    return folders


def holding(site: Site) -> int:
    """Bytes that the site counts for one version."""
    [folder] = fill(site, 0)
    held = int((folder / HOLDING).read_text().split('"bytes":')[1].rstrip("}"))
    shutil.rmtree(folder)
    return held


def limit(site: Site, size: float, **more: Any) -> Site:
    policy = SitePolicy(minimum_patients=5, smallest_cell=1, maximum_prepared_gigabytes=size)
    change(site.store.folder, policy=policy.model_copy(update=more))
    return open_site(site.store.folder)


def on_disk(site: Site) -> int:
    """Bytes of the blocks that files and folders of prepared studies take."""
    found = (site.store.arrays.parent / "prepared").rglob("*")
    return sum(path.stat().st_blocks * 512 for path in found)


def test_what_is_counted_is_not_less_than_what_is_on_the_disk(site: Site) -> None:
    size = holding(site)
    fill(site, 1, 2)
    maps = list((site.store.arrays.parent / "prepared").rglob("*.regions.npy"))
    assert len(maps) == 2 * 12
    assert 1.8 * size < on_disk(site) <= 2 * size + 2 * BLOCK


def test_however_many_versions_are_named_the_disk_is_bounded(site: Site) -> None:
    size = holding(site)
    small = limit(site, 2.5 * size / GIGABYTE)
    for number in range(5):
        agree(site.store.folder, {TINY_TASK.task: version(site, number).preparation})
        fill(small, number)
        assert on_disk(small) <= 2.5 * size
    left = [number for number in range(5) if version(site, number).folder.exists()]
    assert left == [3, 4]


def test_the_version_used_longest_ago_goes_first_and_one_of_a_contract_stays(site: Site) -> None:
    size = holding(site)
    small = limit(site, 3.5 * size / GIGABYTE)
    agreed, older, newer = fill(small, 0, 1, 2)
    agree(site.store.folder, {TINY_TASK.task: version(site, 0).preparation})
    fill(small, 1)  # as it is: what was found is there
    os.utime(older, (2e9, 2e9))
    [last] = fill(small, 3)
    assert [path.exists() for path in (agreed, older, newer, last)] == [True, True, False, True]


def test_only_so_many_versions_are_kept_whatever_they_take(site: Site) -> None:
    agree(site.store.folder, {TINY_TASK.task: version(site, 0).preparation})
    folders = fill(site, *range(VERSIONS_KEPT + 1))
    assert [path.exists() for path in folders] == [True, False, *[True] * (VERSIONS_KEPT - 1)]


def test_of_what_a_contract_names_only_the_latest_folder_stays(site: Site) -> None:
    """Other programs find anew; what the old ones found is of no more use."""
    size = holding(site)
    small = limit(site, 2.5 * size / GIGABYTE)
    agree(site.store.folder, {TINY_TASK.task: version(site, 0).preparation})
    [old] = fill(small, 0)
    before = old.rename(old.with_name("f" * 64))
    os.utime(before, (1.0, 1.0))
    fill(small, 0, 1)
    assert version(site, 0).folder.exists()
    assert not before.exists()


def test_where_there_is_no_room_a_round_is_refused_before_anything_is_spent(
    site: Site, tmp_path: Path
) -> None:
    size = holding(site)
    agree(site.store.folder, NAMED)
    [other] = fill(site, 7)
    small = limit(site, 0.9 * size / GIGABYTE)
    for ask in (lambda: answer_train(small, message(asked())),
                lambda: answer_evaluate(small, evaluation())):  # fmt: skip
        with pytest.raises(PolicyRefusedError) as said:
            ask()
        # What is said is the same whatever the hospital's studies are.
        assert refusal_of(said.value, small.store.folder, small, None).reason == (
            f"what prepares the input may take more disk than the hospital allows ({LIMIT})"
        )
        log_failure(small.store.folder, said.value)
    assert f"{size / GIGABYTE:.3g} GB" in (small.store.folder / "failures.log").read_text()
    assert small.ledger.entries() == []
    assert other.exists()
    assert list((site.store.arrays.parent / "prepared").glob("*/*")) == [other]
    answer_train(limit(site, 1.1 * size / GIGABYTE), message(asked()))
    assert not other.exists()


def test_an_evaluation_that_is_not_measured_pushes_nothing_out(site: Site) -> None:
    """Else what was kept could be removed at no count, by asking what is not answered anew."""
    size = holding(site)
    agree(site.store.folder, NAMED)
    prepared = site.store.arrays.parent / "prepared"
    [other] = fill(site, 7)
    silent = limit(site, 1.1 * size / GIGABYTE, release_metrics=False)
    answer_evaluate(silent, evaluation())
    assert list(prepared.glob("*/*")) == [other]
    often = {"release_metrics": True, "maximum_evaluations_per_month": 1}
    with pytest.raises(PolicyRefusedError, match="1 model was measured"):
        answer_evaluate(limit(site, 1.1 * size / GIGABYTE, **often), evaluation())
    assert list(prepared.glob("*/*")) == [other]
    small = limit(site, 1.1 * size / GIGABYTE, maximum_evaluations_per_month=9)
    first = answer_evaluate(small, evaluation())
    assert not other.exists()
    shutil.rmtree(prepared)
    [other] = fill(site, 7)
    assert answer_evaluate(small, evaluation()) == first
    assert list(prepared.glob("*/*")) == [other]


def test_the_hospital_alone_is_held_to_it_and_told_the_size(site: Site) -> None:
    size = holding(site)
    change(site.store.folder, privacy=SitePrivacy(delta=1e-3, allow_plain_runs=True))
    limit(site, 0.5 * size / GIGABYTE)
    named = {TINY_TASK.task: (PREPARATION, WEIGHTS)}
    with pytest.raises(PolicyRefusedError, match=rf"take \S+ GB .*\({LIMIT}: "):
        train_at_site([site.store.folder], FRACTURE, None, 1, prepare_with=named)
    assert site.ledger.entries() == []


def test_what_goes_does_not_follow_from_what_was_found_or_who_was_read(site: Site) -> None:
    size = holding(site)
    small = limit(site, 2.5 * size / GIGABYTE)
    left = []
    for made in (0, 12):
        folders = fill(small, 0, 1)
        for path in sorted(folders[0].rglob("*.regions.npy"))[made:]:
            path.unlink()
        os.utime(folders[0], (1e9, 1e9))
        keep_in_room(small.store, [version(site, 2)], frozenset())
        left.append([path.exists() for path in folders])
        shutil.rmtree(site.store.arrays.parent / "prepared")
    assert left == [[False, True]] * 2


def test_what_a_crash_or_an_older_program_left_goes(site: Site) -> None:
    [whole, damaged] = fill(site, 0, 1)
    (damaged / HOLDING).write_text("{")
    unknown = damaged.with_name("e" * 64)
    (unknown / "study").mkdir(parents=True)
    fill(site, 2)
    assert [path.exists() for path in (whole, damaged, unknown)] == [True, False, False]


def test_a_version_that_goes_while_it_is_used_is_not_written_to_any_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it found would lie there and count as nothing."""
    prepared = site.store.arrays.parent / "prepared"
    size = holding(site)
    small = limit(site, 1.1 * size / GIGABYTE)
    used = version(site, 0)
    keep_in_room(small.store, [used], frozenset())
    source = site.store.source("train")
    first, second, third = [source.studies(patient)[0] for patient in source.patients[:3]]
    used.findings(first, Findings())
    real = DxaSegmentation.find

    def find(task: DxaSegmentation, reading: Any) -> Any:
        keep_in_room(small.store, [version(site, 1)], frozenset())  # another process, meanwhile
        return real(task, reading)

    monkeypatch.setattr(DxaSegmentation, "find", find)
    for study in (second, third, first):
        with pytest.raises(PolicyRefusedError, match=r"was removed meanwhile, .* ask again"):
            used.findings(study, Findings())
        assert list(prepared.glob("*/*")) == [version(site, 1).folder]
    monkeypatch.setattr(DxaSegmentation, "find", real)
    keep_in_room(small.store, [used], frozenset())
    assert set(used.findings(second, Findings()).maps) == {"spine_lateral"}


def test_a_damaged_contract_names_no_version(site: Site) -> None:
    agree(site.store.folder, NAMED)
    assert versions_named(site.store.folder) == {(TINY_TASK.task, PREPARATION.digest)}
    path = site.store.folder / "contracts" / f"{FRACTURE.task}.json"
    path.write_text(path.read_text().replace(PREPARATION.digest, "0" * 64))
    path.with_name(f"{FRACTURE.task}.checked.json").write_text("{}")
    assert versions_named(site.store.folder) == frozenset()


def test_a_version_of_changed_code_makes_its_maps_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    [before] = fill(site, 0)
    monkeypatch.setattr("client.store.preparing_version.code_digest", lambda: "of other code")
    assert version(site, 0).folder != before
