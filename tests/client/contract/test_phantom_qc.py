"""Phantom scans: the CUSUM is the textbook's, and the file is taken in once."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from client.cli.main import app
from client.contract.phantom_qc import (
    PhantomMeasurement,
    cusum,
    drift_of,
    kept_measurements,
    take_in,
)
from client.store.site_store import init_site
from shared.errors import InputEmptyError, InputMissingError, InputUnreadableError
from shared.settings.files import SiteConfig

#: In vivo precision does not matter here: a spine phantom repeats to 0.35 %.
REPEATS = 0.0035


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init_site(tmp_path / "site", SiteConfig(site="alpha"))
    return tmp_path / "site"


def series(seed: int, number: int, drift: float = 0.0, since: int = 0) -> list[PhantomMeasurement]:
    values = 1.0 + REPEATS * np.random.default_rng(seed).standard_normal(number)
    values[since:] *= 1 + drift
    return [
        PhantomMeasurement(date(2026, 1, 1) + timedelta(days=day), "room 2", round(float(value), 3))
        for day, value in enumerate(values)
    ]


def test_the_sums_are_those_worked_out_by_hand() -> None:
    # mean 10, spread 2, k 0.5: z = 1, -0.5, 2, 2, -3
    upper, lower = cusum([12.0, 9.0, 14.0, 14.0, 4.0], 10.0, 2.0, 0.5)
    assert upper.tolist() == [0.5, 0.0, 1.5, 3.0, 0.0]
    assert lower.tolist() == [0.0, 0.0, 0.0, 0.0, 2.5]


@pytest.mark.parametrize("drift", [0.01, -0.01])
def test_a_drift_of_one_percent_is_found_with_its_size_and_its_day(drift: float) -> None:
    found = [drift_of(series(seed, 60, drift, 40), 0.5, 5.0) for seed in range(50)]
    assert all(one.drifted for one in found)
    assert np.mean([one.percent for one in found]) == pytest.approx(100 * drift, abs=0.2)
    days = [(one.since - date(2026, 1, 1)).days for one in found if one.since is not None]
    assert 36 <= float(np.median(days)) <= 42


def test_a_stable_scanner_is_rarely_accused() -> None:
    accused = [drift_of(series(seed, 60), 0.5, 5.0).drifted for seed in range(200)]
    assert np.mean(accused) < 0.12


def test_a_phantom_that_always_reads_the_same_has_not_drifted() -> None:
    still = [PhantomMeasurement(date(2026, 1, 1) + timedelta(days=d), "a", 1.0) for d in range(30)]
    assert not drift_of(still, 0.5, 5.0).drifted


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["date,scanner,bmd", *lines]) + "\n", encoding="utf-8")
    return path


def test_the_same_scans_twice_are_taken_in_once(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "qc.csv", "2026-01-02,room 2,1.003", "2026-01-01,room 2,1.001")
    assert take_in(folder, file)["new"] == 2
    assert take_in(folder, file)["new"] == 0
    assert [one.bmd for one in kept_measurements(folder)] == [1.001, 1.003]
    assert (folder / "phantom-qc.csv").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "line", ["2026-13-01,a,1.0", "2026-01-01,,1.0", "2026-01-01,a,nan", "2026-01-01,a,1000",
             "2026-01-01,a,", "2026-01-01", "01.02.2026,a,1.0"],
)  # fmt: skip
def test_a_line_that_is_no_measurement_is_named_and_nothing_is_taken_in(
    folder: Path, tmp_path: Path, line: str
) -> None:
    file = write(tmp_path / "qc.csv", "2026-01-01,room 2,1.001", line)
    with pytest.raises(InputUnreadableError, match="line 3"):
        take_in(folder, file)
    assert kept_measurements(folder) == []


def test_a_file_without_scans_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        take_in(folder, tmp_path / "absent.csv")
    with pytest.raises(InputEmptyError):
        take_in(folder, write(tmp_path / "qc.csv"))
    (tmp_path / "qc.csv").write_text("when,what\n1,2\n")
    with pytest.raises(InputUnreadableError, match="no column 'date'"):
        take_in(folder, tmp_path / "qc.csv")


def test_the_command_says_whether_a_scanner_has_drifted(folder: Path, tmp_path: Path) -> None:
    lines = [f"{one.day},{one.scanner},{one.bmd}" for one in series(1, 60, 0.01, 30)]
    file = write(tmp_path / "qc.csv", *lines)
    result = CliRunner().invoke(app, ["qc", str(folder), str(file), "--json"])
    one = json.loads(result.stdout)["scanners"]["room 2"]
    assert one["drifted"]
    assert one["percent"] == pytest.approx(1.0, abs=0.3)
    assert not one["in_site_yaml"]
    assert "0 new scans" in CliRunner().invoke(app, ["qc", str(folder), str(file)]).stdout
