"""``osteofed site declare``: rungs are proposed, a person agrees, and nothing exact is written."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from client.cli.main import app
from client.contract.declaring import Proposal, declare, declare_if_never, propose
from client.contract.site_settings_text import with_declared
from client.contract.true_counts import holds, warnings
from client.identity.chain import AUDIT
from client.node import simulated
from client.store.catalogue import Patient
from client.store.site_store import SiteStore
from shared.audit.chain import tail_of
from shared.errors import ConfigValueError, UnknownTaskError
from shared.settings.declared import DeclaredNumbers, rung_below
from shared.settings.files import SiteConfig, load_settings, save_settings
from tests.server.tiny_sites import TINY_TASK, tiny_site

TASK = TINY_TASK.task
TASKS = ("dxa-segmentation", "dxa-bmd", "vfa-fracture")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """16 patients train, 4 validate; nothing is declared."""
    folder = tiny_site(tmp_path / "alpha", "alpha")
    config = load_settings(folder / "site.yaml", SiteConfig)
    save_settings(config.model_copy(update={"declared": {}}), folder / "site.yaml")
    return folder


def numbers(folder: Path) -> dict[str, DeclaredNumbers]:
    return load_settings(folder / "site.yaml", SiteConfig).declared


def run(folder: Path, *words: str, typed: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(app, ["declare", str(folder), *words], input=typed)
    return done.exit_code, done.stdout


def test_a_person_is_asked_and_only_rungs_are_written(folder: Path) -> None:
    assert run(folder, typed="n\n")[0] == 1
    assert numbers(folder) == {}
    code, shown = run(folder, typed="y\n")
    assert code == 0
    assert "16" in shown
    assert numbers(folder) == dict.fromkeys(TASKS, DeclaredNumbers(train=15, validation=3))
    [line] = tail_of(folder / AUDIT, 1)
    assert line.event == "declared"
    assert line.facts["numbers"] == {task: {"train": 15, "validation": 3} for task in TASKS}
    assert (folder / "site.yaml").stat().st_mode & 0o777 == 0o600


def test_asked_again_nothing_is_written_anew(folder: Path) -> None:
    assert run(folder, "--yes")[0] == 0
    before, lines = (folder / "site.yaml").read_bytes(), (folder / AUDIT).read_bytes()
    code, shown = run(folder)  # nobody is asked either
    assert (code, shown.splitlines()[-1]) == (0, "as declared")
    assert (folder / "site.yaml").read_bytes() == before
    assert (folder / AUDIT).read_bytes() == lines


def test_a_number_that_still_holds_is_not_proposed_anew(folder: Path) -> None:
    """A number that changes with one patient would tell of that patient."""
    declare(folder, [Proposal(TASK, "train", 0, None, 20)])
    [kept] = [one for one in propose(folder) if (one.task, one.place) == (TASK, "train")]
    assert (kept.today, kept.declared, kept.number) == (16, 20, 20)
    declare(folder, [Proposal(TASK, "train", 0, None, 10)])
    [outgrown] = [one for one in propose(folder) if (one.task, one.place) == (TASK, "train")]
    assert outgrown.number == 15


def test_another_rung_may_be_chosen_and_nothing_but_a_rung(folder: Path) -> None:
    chosen = ["--number", f"{TASK}=10", "--number", f"{TASK}:validation=2", "--yes", "--json"]
    done = CliRunner().invoke(app, ["declare", str(folder), *chosen])
    assert json.loads(done.stdout)["declared"][TASK] == {"train": 10, "validation": 2}
    with pytest.raises(ConfigValueError, match=r"must be a rung of the ladder .*: 10 or 15"):
        propose(folder, {}, {(TASK, "train"): 12})
    with pytest.raises(UnknownTaskError, match="does not take part"):
        propose(folder, {}, {("ct-bmd", "train"): 10})
    done = CliRunner().invoke(app, ["declare", str(folder), "--number", "twelve"])
    assert "must be TASK=N" in str(done.exception)


def test_what_an_agreement_has_prepared_is_counted(folder: Path, tmp_path: Path) -> None:
    store = SiteStore.open(folder)
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE images SET mask_digest = NULL"))
    store.close()
    agreement = tmp_path / "federation.yaml"
    runs = [{"settings": "vfa-fracture.yaml", "prepare_with": {TASK: "not-here.safetensors"}}]
    agreement.write_text(json.dumps({"name": "n", "workspace": "w", "tasks": runs}))
    assert run(folder, "--agreement", str(agreement), "--yes")[0] == 0
    assert numbers(folder)["vfa-fracture"] == DeclaredNumbers(train=15, validation=3)
    assert TASK not in numbers(folder)  # nobody drew what it learns


def test_only_what_answers_for_a_site_declares_for_it_and_the_log_says_so(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = tmp_path / "plan.json"
    gone = str(tmp_path / "no-site")
    task = {"settings": {"task": TASK}, "prepared_with": {}}
    plan.write_text(json.dumps({"sites": [gone, str(folder)], "tasks": [task]}))
    with caplog.at_level(logging.WARNING):
        simulated._declare(plan)
    assert numbers(folder)[TASK].train == 15
    assert any("rounded down" in one for one in caplog.messages)
    declare(folder, [Proposal(TASK, "train", 0, None, 10)])
    declare_if_never(folder)
    assert numbers(folder)[TASK].train == 10


# --- the warning -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("today", "declared", "near"),
    [(70, 100, True), (69, 100, False), (150, 100, True), (151, 100, False), (14, 20, True),
     (13, 20, False), (0, 1, False)],
)  # fmt: skip
def test_a_number_holds_from_seven_tenths_to_one_and_a_half(
    today: int, declared: int, near: bool
) -> None:
    assert holds(today, declared) is near


@pytest.mark.parametrize(("declared", "said"), [(10, True), (15, False), (20, False), (30, True)])
def test_check_warns_of_a_number_that_is_far_off_and_refuses_nothing(
    folder: Path, tmp_path: Path, declared: int, said: bool
) -> None:
    declare(folder, [Proposal(TASK, "train", 0, None, declared)])
    (tmp_path / "federation.yaml").write_text(
        json.dumps({"name": "n", "workspace": "w", "tasks": [{"settings": f"{TASK}.yaml"}]})
    )
    agreement = str(tmp_path / "federation.yaml")
    done = CliRunner().invoke(app, ["check", str(folder), TASK, "--agreement", agreement])
    assert done.exit_code == 0, done.output
    sentence = f"16 patients can train {TASK} today, and {declared} are declared"
    assert (sentence in done.stdout) is said
    store = SiteStore.open(folder)
    assert bool(warnings(store, TASK, ())) is said
    store.close()
    [line] = tail_of(folder / AUDIT, 1)
    assert "16" not in json.dumps(line.facts)


def test_a_number_that_was_just_proposed_is_never_warned_of() -> None:
    """Between some rungs lies more than one and a half times the lower one."""
    far = [n for n in range(1, 3000) if not holds(n, rung_below(n) or 0)]
    assert far[:5] == [46, 47, 48, 49, 451]
    assert all(n <= 5 * (rung_below(n) or 0) / 3 for n in range(3, 3000))


# --- the text of site.yaml ---------------------------------------------------------------

NEW = {"dxa-bmd": DeclaredNumbers(train=50, validation=10)}
TEXTS = {
    "site: a # ours\n": "site: a # ours\ndeclared:\n  dxa-bmd: {train: 50, validation: 10}\n",
    "site: a\ndeclared: {}  # none yet\n# end\n":
        "site: a\ndeclared:\n  dxa-bmd: {train: 50, validation: 10}  # none yet\n# end\n",
    "declared:\nsite: a\n": "declared:\n  dxa-bmd: {train: 50, validation: 10}\nsite: a\n",
    "site: a\ndeclared:\n  # last spring\n  dxa-bmd: {train: 30} # Ann\n  vfa: {train: 5}\n":
        "site: a\ndeclared:\n  # last spring\n  dxa-bmd: {train: 50, validation: 10} # Ann\n"
        "  vfa: {train: 5}\n",
    "declared:\n    dxa-bmd:\n        # Ann\n        train: 30  # in May\nsite: a\n":
        "declared:\n    dxa-bmd:\n        # Ann\n        validation: 10\n"
        "        train: 50  # in May\nsite: a\n",
    "declared:\n  vfa: {train: 5}\n\nsite: a # ours":
        "declared:\n  dxa-bmd: {train: 50, validation: 10}\n  vfa: {train: 5}\n\nsite: a # ours",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_numbers_are_written_beside_a_persons_comments(text: str) -> None:
    assert with_declared(text, NEW, Path("site.yaml")) == TEXTS[text]


@pytest.mark.parametrize("text", ["{site: a}\n", "site: a\n...\n", "site: a\ndeclared: [1]\n"])
def test_settings_that_cannot_be_written_beside_are_left_and_said(text: str) -> None:
    try:
        written = with_declared(text, NEW, Path("site.yaml"))
    except ConfigValueError as error:
        assert "write it by hand: dxa-bmd: {train: 50, validation: 10}" in str(error)  # noqa: PT017
    else:
        assert "dxa-bmd: {train: 50, validation: 10}" in written


def test_a_crash_between_settings_and_chain_is_mended(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as broken:
        broken.setattr("client.contract.declaring.site_chain", crash)
        with pytest.raises(RuntimeError):
            declare(folder, [Proposal(TASK, "train", 16, None, 15)])
    declare(folder, [Proposal(TASK, "train", 16, 15, 15)])
    [line] = tail_of(folder / AUDIT, 1)
    assert line.facts["numbers"] == {TASK: {"train": 15}}


def test_no_patient_of_a_place_is_no_number(folder: Path) -> None:
    store = SiteStore.open(folder)
    with store.engine.begin() as connection:
        connection.execute(
            sa.update(Patient).where(Patient.split == "validation").values(split=None)
        )
    store.close()
    assert run(folder, "--yes")[0] == 0
    assert numbers(folder)[TASK] == DeclaredNumbers(train=15)
