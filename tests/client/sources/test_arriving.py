"""How long a study that is pushed must be quiet, by what came of it."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset

from client.sources.arriving import ArrivingSeries
from client.sources.listen import Quiet
from shared.settings.pacs import ListenSettings
from tests.shared.ct_samples import write_ct, write_radiograph


def counted(dataset: Dataset, _: int) -> None:
    dataset.AcquisitionNumber = 1
    dataset.add_new("ImagesInAcquisition", "IS", "6")


def test_a_ct_waits_longer_unless_its_own_count_is_reached(tmp_path: Path) -> None:
    settings = ListenSettings()
    assert settings.quiet_seconds_ct > 120  # the longest pause that a series is promised
    arriving = ArrivingSeries(10.0, 180.0)
    arriving.look("film", write_radiograph(tmp_path / "film.dcm"))
    arriving.look("junk", BytesIO(b"no file of DICOM"))
    assert (arriving.wait("film"), arriving.wait("junk"), arriving.wait("new")) == (10, 10, 10)
    for path in write_ct(tmp_path / "ct"):
        arriving.look("ct", path)
    assert arriving.wait("ct") == 180
    *files, last = write_ct(tmp_path / "counted", change=counted)
    for path in [*files, files[0]]:  # the same again counts once
        arriving.look("counted", BytesIO(path.read_bytes()))
    assert arriving.wait("counted") == 180
    arriving.look("counted", last)
    assert arriving.wait("counted") == 10
    arriving.forget("ct")
    assert arriving.wait("ct") == 10


def test_each_study_is_quiet_by_its_own_measure() -> None:
    now = [0.0]
    quiet = Quiet(10.0, lambda: now[0])
    quiet.heard("ct", 180.0)
    now[0] = 100.0
    quiet.heard("film")
    now[0] = 179.0
    assert quiet.due() == []  # the film waits for the other, up to ninety seconds
    now[0] = 181.0
    assert quiet.due() == ["ct", "film"]
