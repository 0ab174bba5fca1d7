"""The data contract: each rule says met, not met or cannot tell, and what fails is not trained."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from client.cli.main import app
from client.contract.data_contract import check, kept_contract, permit_contract
from client.contract.facts import TaskFacts, read_facts
from client.contract.phantom_qc import PhantomMeasurement
from client.contract.rules import CANNOT_TELL, MET, NOT_MET, ContractRow, Evidence, rows_of
from client.identity.chain import AUDIT
from client.round.answer import answer_train
from client.round.open_site import open_site
from client.round.refusals import refusal_of
from client.store.catalogue import Label, Quality, Study
from client.store.site_store import SiteStore
from shared.audit.chain import tail_of
from shared.errors import (
    ConfigValueError,
    ContractNotMetError,
    InputMissingError,
    UnknownTaskError,
)
from shared.settings.contract import DataContract
from shared.settings.files import SiteConfig, load_settings, save_settings
from shared.training.arrays import get_arrays
from shared.training.initial_weights import start_network
from tests.server.jobs import job, train_message
from tests.server.tiny_sites import TINY_TASK, tiny_site

TODAY = date(2026, 6, 1)
SCANNER = {
    "name": "room 2",
    "vendor": "generic",
    "factors": {"L1-L4": 1.01},
    "calibrated_on": TODAY - timedelta(days=100),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """16 training patients, 4 for validation, with BMD, grades and masks, spacing of 1 mm."""
    return tiny_site(tmp_path / "alpha", "alpha")


@pytest.fixture
def store(folder: Path) -> SiteStore:
    return SiteStore.open(folder)


def change(store: SiteStore, statement: Any) -> None:
    with store.engine.begin() as connection:
        connection.execute(statement)


def one_row(
    store: SiteStore,
    contract: dict[str, Any],
    scanners: tuple[dict[str, Any], ...] = (SCANNER,),
    scans: list[PhantomMeasurement] | None = None,
    facts: TaskFacts | None = None,
    declared: int | None = None,
) -> ContractRow:
    config = SiteConfig.model_validate({"site": "alpha", "scanners": list(scanners)})
    known = facts or read_facts(store, "dxa-segmentation")
    rows = rows_of(
        DataContract.model_validate(contract),
        Evidence(known, config.scanners, scans or [], TODAY, declared),
    )
    assert len(rows) == 1
    assert begins_with_its_figures(rows[0])
    return rows[0]


def begins_with_its_figures(row: ContractRow) -> bool:
    """Whether the advice can be read alone; what is met has none."""
    figures = f"found {row.found} (required: {row.required}): "
    return row.advice == "" if row.verdict == MET else row.advice.startswith(figures)


def count(of: str, at_least: int) -> dict[str, Any]:
    return {"counts": [{"of": of, "at_least": at_least}]}


# --- rules -----------------------------------------------------------------------------


def test_only_training_patients_count(store: SiteStore) -> None:
    assert one_row(store, count("image:spine_pa", 16)).verdict == MET
    row = one_row(store, count("image:spine_pa", 17))
    assert (row.verdict, row.found) == (NOT_MET, "16")


@pytest.mark.parametrize(
    ("declared", "verdict", "found"),
    [(20, MET, "20 declared"), (15, NOT_MET, "15 declared"), (None, CANNOT_TELL, "none declared")],
)
def test_all_patients_are_counted_by_the_declared_number(
    store: SiteStore, declared: int | None, verdict: str, found: str
) -> None:
    """The store has 16."""
    row = one_row(store, count("patients", 20), declared=declared)
    assert (row.verdict, row.found) == (verdict, found)


def test_the_advice_says_how_many_there_are_and_how_many_are_required(store: SiteStore) -> None:
    row = one_row(store, count("label:bmd", 30))
    assert row.advice.startswith("found 16 (required: at least 30 patients): take in more studies")
    unknown = one_row(store, count("sex:F", 1)).advice
    assert unknown.startswith("found 0, and 16 unknown (required: at least 1 patient): ")


def test_a_patient_of_unknown_sex_may_or_may_not_count(store: SiteStore) -> None:
    assert one_row(store, count("sex:F", 3)).verdict == CANNOT_TELL
    change(store, sa.update(Study).values(sex="M"))
    assert one_row(store, count("sex:F", 3)).verdict == NOT_MET
    change(store, sa.update(Study).values(sex="F"))
    assert one_row(store, count("sex:F", 3)).verdict == MET


def test_classes_are_counted_by_t_score_and_by_grade(store: SiteStore) -> None:
    change(store, sa.update(Label).where(Label.kind == "bmd").values(value=1.2))
    change(store, sa.update(Label).where(Label.kind == "genant").values(value=0))
    assert one_row(store, count("osteoporosis", 1)).verdict == NOT_MET
    assert one_row(store, count("fracture", 1)).verdict == NOT_MET
    change(store, sa.update(Label).where(Label.kind == "bmd").values(value=0.5))
    change(store, sa.update(Label).where(Label.name == "L1").values(value=1))
    assert one_row(store, count("osteoporosis", 16)).verdict == MET
    assert one_row(store, count("fracture", 16)).verdict == MET
    change(store, sa.delete(Label))
    assert one_row(store, count("osteoporosis", 1)).verdict == CANNOT_TELL
    assert one_row(store, count("fracture", 1)).verdict == CANNOT_TELL


@pytest.mark.parametrize(
    ("of", "expected"), [("age:40-60", 16), ("age:60-80", 0), ("mask:spine_pa", 16),
                         ("image:lumbar_ap", 0), ("vendor:generic", 16), ("vendor:lunar", 0)],
)  # fmt: skip
def test_subgroups_are_counted(store: SiteStore, of: str, expected: int) -> None:
    change(store, sa.update(Study).values(age_years=50.0))
    assert one_row(store, count(of, 1)).found == str(expected)


def test_marks_of_tables_are_counted_by_kind(store: SiteStore) -> None:
    change(store, sa.text("UPDATE images SET mask_digest = NULL WHERE view = 'spine_pa'"))
    for of in ("box:spine_pa", "point:spine_pa", "mask_or_box:spine_pa"):
        assert one_row(store, count(of, 1)).found == "0"
    marks = "INSERT INTO markings SELECT study, view, 'box', 'L1', '1 1 4 3', 0 FROM images"
    change(store, sa.text(f"{marks} WHERE view = 'spine_pa'"))
    for of, found in (("box", "16"), ("point", "0"), ("mask_or_box", "16"), ("mask", "0")):
        assert one_row(store, count(f"{of}:spine_pa", 1)).found == found
    change(store, sa.text("UPDATE markings SET disputed = 1"))
    assert one_row(store, count("box:spine_pa", 1)).found == "0"


def test_a_rule_about_something_that_nothing_counts_is_refused_when_read() -> None:
    for of in ("smokers", "patients:all", "age:fifty", "sex:X", "mask:elbow"):
        with pytest.raises(ValueError, match="nothing of that name is counted"):
            DataContract.model_validate(count(of, 1))


def test_spacing_is_held_to_its_range_but_for_the_exceptions(store: SiteStore) -> None:
    rule = {"low": 0.5, "high": 1.5}
    assert one_row(store, {"spacing_mm": rule}).verdict == MET
    change(store, sa.text("UPDATE images SET column_mm = 2.0 WHERE view = 'hip_left'"))
    assert one_row(store, {"spacing_mm": rule}).verdict == NOT_MET
    assert one_row(store, {"spacing_mm": rule | {"exceptions": 0.34}}).verdict == MET
    change(store, sa.text("UPDATE images SET column_mm = 1, spacing_provenance = 'none'"))
    assert one_row(store, {"spacing_mm": rule}).verdict == CANNOT_TELL


def test_scanners_are_held_to_the_list(store: SiteStore) -> None:
    assert one_row(store, {"scanners": {"vendors": ["generic"]}}).verdict == MET
    assert one_row(store, {"scanners": {"vendors": ["lunar"]}}).verdict == NOT_MET
    models = {"scanners": {"vendors": ["generic"], "models": ["iDXA"]}}
    assert one_row(store, models).verdict == CANNOT_TELL
    change(store, sa.update(Study).values(model="Prodigy"))
    assert one_row(store, models).verdict == NOT_MET


def test_completeness_is_a_share_of_the_studies(store: SiteStore) -> None:
    rule = {"completeness": [{"of": "label:bmd", "at_least": 0.95}]}
    assert one_row(store, rule).verdict == MET
    change(store, sa.delete(Label).where(Label.kind == "bmd"))
    assert one_row(store, rule).verdict == NOT_MET
    nothing = TaskFacts("dxa-bmd", (), store)
    assert one_row(store, rule, facts=nothing).verdict == CANNOT_TELL


def test_a_cross_calibration_grows_old(store: SiteStore) -> None:
    def verdict(*scanners: dict[str, Any], oldest: int = 730) -> str:
        rule = {"cross_calibration": {"oldest_days": oldest}}
        return one_row(store, rule, scanners).verdict

    assert verdict(SCANNER) == MET
    assert verdict(SCANNER, oldest=99) == NOT_MET
    assert verdict() == CANNOT_TELL
    assert verdict(SCANNER | {"vendor": "lunar"}) == CANNOT_TELL
    assert verdict(SCANNER | {"factors": {}}) == CANNOT_TELL
    assert verdict(SCANNER | {"calibrated_on": TODAY + timedelta(days=1)}) == NOT_MET


def test_a_share_of_flagged_images_is_held_to_its_bound(store: SiteStore) -> None:
    rule = {"quality": [{"flag": "motion", "at_most": 0.2}]}
    assert one_row(store, rule).verdict == CANNOT_TELL
    change(store, sa.text(
        "INSERT INTO quality SELECT study, view, 'none', 0, NULL FROM images"
    ))  # fmt: skip
    assert one_row(store, rule).verdict == MET
    change(store, sa.update(Quality).where(Quality.view == "hip_left").values(flag="motion"))
    assert one_row(store, rule).verdict == NOT_MET
    assert one_row(store, {"quality": [{"flag": "metal", "at_most": 0.0}]}).verdict == MET


def scans(number: int, change_by: float = 0.0, since: int = 0) -> list[PhantomMeasurement]:
    values = 1.0 + 0.0035 * np.random.default_rng(3).standard_normal(number)
    values[since:] *= 1 + change_by
    start = TODAY - timedelta(days=number)
    return [
        PhantomMeasurement(start + timedelta(days=day), "room 2", round(float(value), 3))
        for day, value in enumerate(values)
    ]


def test_a_scanner_that_drifts_is_found_by_its_phantom(store: SiteStore) -> None:
    rule: dict[str, Any] = {"phantom_qc": {}}
    assert one_row(store, rule, scans=scans(60)).verdict == MET
    assert one_row(store, rule, scans=scans(60, 0.01, 30)).verdict == NOT_MET
    assert one_row(store, rule, scans=scans(9)).verdict == CANNOT_TELL
    assert one_row(store, rule, (), scans(60)).verdict == CANNOT_TELL


def test_scans_before_the_calibration_are_of_another_state(store: SiteStore) -> None:
    changed = scans(60, 0.01, 30)
    serviced = SCANNER | {"calibrated_on": changed[30].day}
    assert one_row(store, {"phantom_qc": {}}, (serviced,), changed).verdict == MET


def test_grey_values_are_held_against_the_reference(store: SiteStore) -> None:
    def row(quantiles: list[float]) -> ContractRow:
        reference = {"quantiles": quantiles, "at_most": 0.05}
        return one_row(store, {"pixels": {"spine_pa": reference}})

    facts = read_facts(store, "dxa-segmentation")
    arrays = [
        np.load(store.array_path(study.study, "spine_pa", "pixels")) for study in facts.studies
    ]
    pooled = np.concatenate([array[np.isfinite(array)] for array in arrays]).astype(np.float64)
    own = np.quantile(pooled, np.linspace(0.05, 0.95, 5)).tolist()
    assert float(row(own).found.split()[-1]) < 0.002
    assert row(own).verdict == MET
    assert row([min(1.0, one + 0.06) for one in own]).verdict == NOT_MET
    absent = {"pixels": {"lumbar_ap": {"quantiles": own}}}
    assert one_row(store, absent).verdict == CANNOT_TELL


def test_test_patients_are_not_looked_at(store: SiteStore) -> None:
    assert {study.split for study in read_facts(store, "dxa-bmd").studies} == {
        "train", "validation",
    }  # fmt: skip


# --- keeping and enforcing -------------------------------------------------------------


def agreement(folder: Path, contract: dict[str, Any], *more: dict[str, Any]) -> Path:
    path = folder.parent / "federation.yaml"
    runs = [{"settings": "tasks/dxa-segmentation.yaml", "contract": one}
            for one in (contract, *more)]  # fmt: skip
    path.write_text(json.dumps({"name": "north", "workspace": "w", "tasks": runs}))
    return path


def test_a_check_is_kept_with_its_digest_and_stands_in_the_chain(folder: Path) -> None:
    checked = check(folder, "dxa-segmentation", agreement(folder, count("patients", 10)))
    assert checked.failed == []
    kept = kept_contract(folder, "dxa-segmentation")
    assert kept is not None
    assert kept.digest == checked.kept.digest
    for path in (folder / "contracts").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    line = tail_of(folder / AUDIT, 1)[0]
    assert (line.event, line.facts["met"]) == ("contract checked", True)
    assert line.facts["contract"] == kept.digest
    again = check(folder, "dxa-segmentation", None)
    assert again.rows == checked.rows


def test_checking_assesses_the_images_that_no_ingest_has(folder: Path) -> None:
    contract = {"quality": [{"flag": "any", "at_most": 1.0}]}
    assert check(folder, "dxa-segmentation", agreement(folder, contract)).rows[0].verdict == MET


@pytest.mark.parametrize("task", ["dxa-segmentation", "dxa-bmd", "vfa-fracture"])
def test_the_example_agreement_has_a_contract_for_every_task(folder: Path, task: str) -> None:
    checked = check(folder, task, Path("configs/federation.yaml"))
    assert "count of patients" in checked.failed  # 16 are fewer than any consortium asks
    assert {row.weight for row in checked.rows} == {"must", "should"}


@pytest.mark.parametrize(
    ("contracts", "task", "error"),
    [
        ([count("patients", 1)], "dxa-bmd", UnknownTaskError),
        ([count("patients", 1)], "tea-making", UnknownTaskError),
        ([count("patients", 1), count("patients", 2)], "dxa-segmentation", ConfigValueError),
    ],
)
def test_an_agreement_that_does_not_say_is_refused(
    folder: Path, contracts: list[dict[str, Any]], task: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        check(folder, task, agreement(folder, *contracts))
    assert not (folder / "contracts").exists()


def test_without_agreement_there_must_be_a_kept_contract(folder: Path) -> None:
    with pytest.raises(InputMissingError, match="--agreement"):
        check(folder, "dxa-segmentation", None)


def test_a_kept_contract_that_was_edited_is_not_followed(folder: Path, store: SiteStore) -> None:
    check(folder, "dxa-segmentation", agreement(folder, count("patients", 10)))
    path = folder / "contracts" / "dxa-segmentation.json"
    path.write_text(path.read_text().replace('"at_least": 10', '"at_least": 1'))
    with pytest.raises(ContractNotMetError, match="not as it was kept"):
        permit_contract(store, "dxa-segmentation")


def test_verdicts_stand_until_a_person_checks_again(folder: Path, store: SiteStore) -> None:
    """Who comes and goes changes no answer: whoever asks again would learn it."""
    change(store, sa.update(Study).values(age_years=50.0))
    check(folder, "dxa-segmentation", agreement(folder, count("age:50-89", 10)))
    change(store, sa.update(Study).values(age_years=40.0))
    permit_contract(store, "dxa-segmentation")
    assert check(folder, "dxa-segmentation", None).failed == ["count of age:50-89"]
    change(store, sa.update(Study).values(age_years=50.0))
    with pytest.raises(ContractNotMetError, match="count of age:50-89"):
        permit_contract(store, "dxa-segmentation")
    check(folder, "dxa-segmentation", None)
    permit_contract(store, "dxa-segmentation")


def test_what_follows_from_no_patient_is_judged_at_every_request(folder: Path) -> None:
    """A scanner whose calibration is too old stops training the day it becomes so."""
    config = load_settings(folder / "site.yaml", SiteConfig)
    scanners = {"scanners": [SCANNER | {"vendor": "generic", "calibrated_on": date.today()}]}
    fresh = SiteConfig.model_validate(config.model_dump() | scanners)
    save_settings(fresh, folder / "site.yaml")
    rule = {"cross_calibration": {"oldest_days": 30, "weight": "must"}}
    assert not check(folder, "dxa-segmentation", agreement(folder, rule)).failed
    old = scanners["scanners"][0] | {"calibrated_on": date.today() - timedelta(days=31)}
    aged = SiteConfig.model_validate(config.model_dump() | {"scanners": [old]})
    save_settings(aged, folder / "site.yaml")
    later = SiteStore.open(folder)
    with pytest.raises(ContractNotMetError, match="cross-calibration"):
        permit_contract(later, "dxa-segmentation")
    later.close()


def test_verdicts_of_an_earlier_version_stand_and_missing_ones_refuse(
    folder: Path, store: SiteStore
) -> None:
    check(folder, "dxa-segmentation", agreement(folder, count("label:bmd", 10)))
    path = folder / "contracts" / "dxa-segmentation.checked.json"
    rows = json.loads(path.read_text())["rows"]
    path.write_text(json.dumps({"key": "0" * 64, "rows": rows}))
    permit_contract(store, "dxa-segmentation")
    failed = [row | {"verdict": NOT_MET} for row in rows]
    path.write_text(json.dumps({"key": "0" * 64, "rows": failed}))
    with pytest.raises(ContractNotMetError, match="count of label:bmd"):
        permit_contract(store, "dxa-segmentation")
    path.unlink()
    with pytest.raises(ContractNotMetError, match="no verdicts"):
        permit_contract(store, "dxa-segmentation")


def test_a_site_that_fails_a_must_refuses_before_anything_is_spent(folder: Path) -> None:
    check(folder, "dxa-segmentation", agreement(folder, count("patients", 17)))
    site = open_site(folder)
    model = get_arrays(start_network(TINY_TASK, None)[0])
    with pytest.raises(ContractNotMetError) as said:
        answer_train(site, train_message(model, job()))
    assert site.ledger.entries() == []
    refusal = refusal_of(said.value, folder, site, job())
    assert refusal.code == 46
    assert "count of patients" in refusal.reason
    assert not any(digit in refusal.reason for digit in "0123456789")
    site.close()


def test_a_should_that_fails_is_shown_and_trained(folder: Path, store: SiteStore) -> None:
    contract = {"counts": [{"at_least": 99, "weight": "should"}]}
    checked = check(folder, "dxa-segmentation", agreement(folder, contract))
    assert (checked.rows[0].verdict, checked.failed) == (NOT_MET, [])
    permit_contract(store, "dxa-segmentation")


def test_a_must_that_cannot_be_told_does_not_count_as_met(folder: Path, store: SiteStore) -> None:
    check(folder, "dxa-segmentation", agreement(folder, {"phantom_qc": {}}))
    with pytest.raises(ContractNotMetError, match="phantom QC"):
        permit_contract(store, "dxa-segmentation")


def test_a_site_may_demand_a_contract(folder: Path, store: SiteStore) -> None:
    permit_contract(store, "dxa-segmentation")
    config = load_settings(folder / "site.yaml", SiteConfig)
    policy = config.policy.model_copy(update={"require_contract": True})
    save_settings(config.model_copy(update={"policy": policy}), folder / "site.yaml")
    demanding = SiteStore.open(folder)
    with pytest.raises(ContractNotMetError, match="require_contract"):
        permit_contract(demanding, "dxa-segmentation")
    check(folder, "dxa-segmentation", agreement(folder, {}))
    permit_contract(demanding, "dxa-segmentation")


def test_the_command_prints_the_table_and_ends_with_46_where_a_must_fails(folder: Path) -> None:
    path = agreement(folder, count("patients", 17))
    arguments = ["check", str(folder), "dxa-segmentation", "--agreement", str(path)]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert isinstance(result.exception, ContractNotMetError)
    facts = json.loads(result.stdout)
    assert facts["failed"] == ["count of patients"]
    assert facts["rows"][0]["found"] == "15 declared"
    shown = CliRunner().invoke(app, arguments).stdout
    assert "not met" in shown
    sentence = "count of patients: found 15 declared (required: at least 17 patients): take in"
    assert any(line.startswith(sentence) for line in shown.splitlines())


def test_the_command_says_that_the_contract_is_kept_here_and_nothing_was_sent(folder: Path) -> None:
    path = agreement(folder, count("patients", 17))
    done = CliRunner().invoke(
        app, ["check", str(folder), "dxa-segmentation", "--agreement", str(path)]
    )
    last = done.stdout.strip().splitlines()[-1]
    assert "kept in" in last
    assert "nothing was sent" in last
    # What is printed already is not to be looked for with the command that printed it.
    assert "osteofed site check" not in str(done.exception)
