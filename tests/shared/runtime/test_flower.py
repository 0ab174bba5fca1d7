"""A free port stays free while a program starts that will listen on it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from shared.runtime import flower
from shared.runtime.flower import LOWEST_PORT, PORTS_TRIED, free_port


def given(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    path = folder / "range"
    path.write_text(text)
    monkeypatch.setattr(flower, "PORTS_GIVEN", path)


def test_it_is_none_that_the_system_gives_to_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, tmp_path, "20000\t60999\n")
    found = {free_port() for _ in range(50)}
    assert all(LOWEST_PORT <= port < 20_000 for port in found)
    assert len(found) > 40
    for port in found:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_one_that_is_taken_is_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_port()))
        holder.listen()
        taken = holder.getsockname()[1]
        draws = iter([taken - LOWEST_PORT] * 3 + [taken - LOWEST_PORT + 1] * PORTS_TRIED)
        monkeypatch.setattr("secrets.randbelow", lambda _: next(draws))
        assert free_port() != taken


@pytest.mark.parametrize("text", ["1024 65535", "", "nonsense", "32768"])
def test_whatever_the_system_gives_there_is_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    given(monkeypatch, tmp_path, text)
    assert free_port() >= LOWEST_PORT
