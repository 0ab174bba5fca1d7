"""What a probe found good is known to the next process of the hospital, and to no other code."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from client.round.known_networks import KNOWN, KnownHere
from shared.tasks import make_task
from shared.training import mixing
from shared.training.compute import Compute
from tests.server.tiny_sites import TINY_TASK

CPU = Compute("cpu")


def probes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often a message's process would probe the network."""
    made: list[int] = []
    real = mixing._probe

    def counted(*arguments: Any) -> None:
        made.append(1)
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(mixing, "_probe", counted)
        patch.setattr(mixing, "_FOUND_GOOD", set())  # each message has a process of its own
        task = make_task(TINY_TASK)
        mixing.refuse_what_mixes(task, task.network(), CPU, KnownHere(folder))
    return len(made)


def test_a_hospital_asks_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [probes(tmp_path, monkeypatch) for _ in range(2)] == [1, 0]
    assert stat.S_IMODE((tmp_path / KNOWN).stat().st_mode) == 0o600


def test_other_code_is_asked_about_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes(tmp_path, monkeypatch)
    package = tmp_path / "bundle" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("changed = True\n")
    monkeypatch.setattr(mixing, "BUNDLE", package.parent)
    assert probes(tmp_path, monkeypatch) == 1
    (package / "__init__.py").write_text("changed = False\n")
    assert probes(tmp_path, monkeypatch) == 1


def test_a_line_that_was_cut_short_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes(tmp_path, monkeypatch)
    path = tmp_path / KNOWN
    [digest] = path.read_text().split()
    path.write_text(digest[:40])
    assert digest not in KnownHere(tmp_path)
    assert probes(tmp_path, monkeypatch) == 1
    assert digest in KnownHere(tmp_path)


def test_where_nothing_can_be_written_it_is_asked_again(tmp_path: Path) -> None:
    gone = KnownHere(tmp_path / "gone")
    gone.add("0" * 64)
    assert "0" * 64 not in gone


def test_what_cannot_be_read_is_asked_about(tmp_path: Path) -> None:
    (tmp_path / KNOWN).mkdir()
    assert "0" * 64 not in KnownHere(tmp_path)
