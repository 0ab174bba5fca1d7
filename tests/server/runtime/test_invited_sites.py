"""A simulation gives its sites a key to answer to, and takes none from a real coordinator."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.rounds.plan import RunPlan, simulated_names
from server.runtime.simulation import PINNED, invite_sites
from server.state.home import Home
from shared.errors import ConfigError
from shared.protocol.signatures import SIMULATION, Invitation
from tests.server.rounds.test_train import plan


def site(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "site.yaml").write_text(f"site: {name}\n")
    return folder / name


def invited(path: Path) -> Invitation:
    return Invitation.model_validate_json((path / PINNED).read_text())


def planned(folder: Path, *sites: Path) -> RunPlan:
    changes = {"sites": sites, "home": folder / "coordinator"}
    return plan(folder).model_copy(update=changes)


def test_every_site_is_given_the_key_before_the_first_message(tmp_path: Path) -> None:
    sites = [site(tmp_path, name) for name in ("beta", "alpha")]
    work = planned(tmp_path, *sites)
    invite_sites(work)
    for one in sites:
        known = invited(one)
        assert (known.address, known.coordinator) == (SIMULATION, Home(work.home).key().public)
        assert (one / PINNED).stat().st_mode & 0o777 == 0o600
    assert simulated_names(work.sites) == {1: "beta", 2: "alpha"}


def test_another_simulation_takes_a_site_over_but_not_from_a_real_coordinator(
    tmp_path: Path,
) -> None:
    alpha = site(tmp_path, "alpha")
    invite_sites(planned(tmp_path, alpha))
    first = invited(alpha)
    (tmp_path / "other").mkdir()
    other = planned(tmp_path / "other", alpha)
    invite_sites(other)
    assert invited(alpha).coordinator not in ("", first.coordinator)
    real = Invitation(address="10.0.0.1:8000", ca="", coordinator=first.coordinator)
    (alpha / PINNED).write_text(real.model_dump_json())
    with pytest.raises(ConfigError, match=r"enrolled with the coordinator at 10\.0\.0\.1:8000"):
        invite_sites(other)
    assert invited(alpha) == real
