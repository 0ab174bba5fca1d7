"""What every command shares: Ctrl-C ends what runs until it."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from client.browse import serve
from client.cli.main import app as site
from client.sources import listen
from server.cli.main import app as server
from server.runtime import status


def interrupted(*arguments: Any, **named: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("app", "typed", "module", "name", "said"),
    [
        (site, ["browse", "SITE"], serve, "browse", "the pages are closed"),
        (site, ["listen", "SITE"], listen, "listen", "no longer listening"),
        (server, ["status", "W", "--watch"], status, "server_status", "no longer watching"),
    ],
)
def test_what_runs_until_ctrl_c_has_then_ended_as_it_should(
    app: typer.Typer,
    typed: list[str],
    module: Any,
    name: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, name, interrupted)
    done = CliRunner().invoke(app, typed)
    assert (done.exit_code, done.stderr.strip(), done.stdout.strip()) == (0, said, "")


def test_listening_for_one_study_is_broken_off_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after it in a script must not go on as if a study had come."""
    monkeypatch.setattr(listen, "listen", interrupted)
    assert CliRunner().invoke(site, ["listen", "SITE", "--once"]).exit_code == 130
