"""Flower's programs find their home from wherever they are started."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.deployment.members import flwr_home, write_connection
from shared.runtime.flower import environment_for


def test_a_home_that_was_named_relative_is_found_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = Path("HOME")
    assert environment_for(flwr_home(home))["FLWR_HOME"] == str(tmp_path / flwr_home(home))
    flwr_home(home).mkdir(parents=True)
    write_connection(home, 9000)
    written = (flwr_home(home) / "config.toml").read_text()
    assert f'root-certificates = "{tmp_path}/HOME/' in written
