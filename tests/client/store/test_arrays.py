"""Volumes are whole, or a sentence is said before anything is spent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.orm import Session

from client.round.answer import answer_train
from client.round.open_site import Site, open_site
from client.store.catalogue import Volume
from client.store.site_store import SiteStore
from shared.errors import StoreMissingError
from shared.protocol.half_precision import halved
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from tests.server.jobs import job, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

SERIES = "2.25.7"


def add_volume(store: SiteStore) -> Path:
    """Give the first training patient a masked CT series; return the folder of its arrays."""
    source = store.source("train")
    uid = source.studies_by_patient[source.patients[0]][0].uid
    np.save(store.array_path(uid, SERIES, "hu"), np.zeros((3, 4, 5), np.int16))
    np.save(store.array_path(uid, SERIES, "regions"), np.zeros((3, 4, 5), np.uint8))
    with Session(store.engine) as session, session.begin():
        session.add(
            Volume(
                study=uid, series=SERIES, slices=3, slice_mm=2.0, row_mm=1.0, column_mm=1.0,
                origin="0.0 0.0 0.0", kernel="", resampled="", digest="0" * 64,
                mask_digest="0" * 64,
            )
        )  # fmt: skip
    return store.arrays / uid


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tiny_site(tmp_path / "alpha", "alpha"))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def overwrite_beginning(path: Path) -> None:
    path.write_bytes(b"\0" * 64 + path.read_bytes()[64:])


def put_another(path: Path) -> None:
    np.save(path, np.zeros((2, 4, 5), np.load(path).dtype))


@pytest.mark.parametrize("what", ["hu", "regions"])
@pytest.mark.parametrize("harm", [Path.unlink, cut, overwrite_beginning, put_another])
def test_a_volume_that_is_not_whole_is_a_sentence_and_spends_nothing(
    harm: Callable[[Path], None], what: str, site: Site
) -> None:
    folder = add_volume(site.store)
    harm(folder / f"{SERIES}.{what}.npy")
    model = halved(get_arrays(start_network(TINY_TASK, None)[0]))
    with pytest.raises(StoreMissingError, match=r"missing, damaged or not readable .*backup"):
        answer_train(site, train_message(model, job()))
    assert site.ledger.entries() == []


def test_a_volume_is_opened_when_it_is_asked_for_and_not_before(site: Site) -> None:
    folder = add_volume(site.store)
    source = site.store.source("train")
    (study,) = source.studies(source.patients[0])
    assert list(study.volumes) == [SERIES]
    (folder / f"{SERIES}.hu.npy").unlink()
    with pytest.raises(StoreMissingError):
        study.volumes[SERIES]
