"""What a contract says of CT series and of the labels that are paired with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from client.cli.main import app
from client.contract.data_contract import contract_digest
from client.contract.facts import StoredStudyFacts, StoredVolumeFacts, assess_missing, read_facts
from client.contract.rows import CANNOT_TELL, MET, NOT_MET, ContractRow
from client.contract.rules import Evidence, rows_of
from client.store.catalogue import Study, Volume
from client.store.site_store import SiteStore
from shared.records import Vendor
from shared.regions import code_of
from shared.settings.contract import DataContract
from tests.client.contract.test_data_contract import TODAY, begins_with_its_figures
from tests.client.told_hospital import FIRST, SECOND, ToldHospital, ct_volume, line, scan_of

#: Of `DataContract()` and of one with rules, as version 0.1.0 made them.
DIGESTS = {
    "fa2fb1b711f17ac9bd00a424519813a6c3eab10608c4643775dca2aa95b7e0a0": {},
    "4fbfadad68133ba3da9692d1aa15853cb2abb56a4a95513798d1a02a0e42a5a5": {
        "counts": [{"at_least": 5}], "spacing_mm": {"low": 0.2, "high": 1.5},
    },
}  # fmt: skip


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToldHospital:
    """One patient: a masked CT at 120 kV of which L1 and L3 are drawn, a DXA line a year later."""
    made = ToldHospital.new(tmp_path, monkeypatch)
    volume = ct_volume(levels=("L1", "L3"))
    made.take([scan_of(FIRST, Vendor.OTHER, volumes=[volume])], [line(SECOND, 0.8, maker="Lunar")])
    return made


def row_of(hospital: ToldHospital, contract: dict[str, Any]) -> ContractRow:
    store = SiteStore.open(hospital.site)
    facts = read_facts(store, "dxa-bmd", series=True)
    (row,) = rows_of(DataContract.model_validate(contract), Evidence(facts, (), (), TODAY))
    store.close()
    return row


CT_CASES = [
    ({"kvp": {"low": 118, "high": 122}}, MET),
    ({"kvp": {"low": 80, "high": 100}}, NOT_MET),
    ({"thickness_mm": {"low": 0.5, "high": 3}}, MET),
    ({"thickness_mm": {"low": 0.5, "high": 1}}, NOT_MET),
    ({"gap_mm": {"at_most": 0.5}}, MET),
    ({"gap_mm": {"at_most": 0.4}}, NOT_MET),
    ({"field_of_view_mm": {"low": 3, "high": 5}}, MET),
    ({"field_of_view_mm": {"low": 300, "high": 500}}, NOT_MET),
    ({"kernels": {"names": ["b30F", "Br40d"]}}, MET),
    ({"kernels": {"names": ["B60f"]}}, NOT_MET),
    ({"kernels": {"names": ["B60f"], "exceptions": 1.0}}, MET),
    ({"contrast": {}}, MET),
    ({"contrast": {"given": True}}, NOT_MET),
    ({"months": {"at_most": 12}}, MET),
    ({"months": {"at_most": 6}}, NOT_MET),
]


@pytest.mark.parametrize(("rules", "verdict"), CT_CASES)
def test_each_rule_about_series_is_met_or_not(
    rules: dict[str, Any], verdict: str, hospital: ToldHospital
) -> None:
    row = row_of(hospital, {"ct": rules})
    assert row.verdict == verdict
    assert begins_with_its_figures(row)


@pytest.mark.parametrize(
    ("of", "counted"),
    [
        ("image:ct", 1), ("mask:ct", 1), ("level:L1", 1), ("level:L2", 0),
        ("label:bmd", 0), ("label:paired_bmd", 1), ("osteoporosis", 1),
    ],
)  # fmt: skip
def test_what_a_ct_has_is_counted(of: str, counted: int, hospital: ToldHospital) -> None:
    assert row_of(hospital, {"counts": [{"of": of, "at_least": 1}]}).found == str(counted)


def test_what_the_files_do_not_say_cannot_be_told(hospital: ToldHospital) -> None:
    store = SiteStore.open(hospital.site)
    nothing = {"kvp": None, "kernel": "", "contrast": None, "thickness_mm": None}
    with store.engine.begin() as connection:
        connection.execute(sa.update(Volume).values(**nothing))
    for rules, _ in CT_CASES[:1] + CT_CASES[4:5] + CT_CASES[8:9] + CT_CASES[11:12]:
        assert row_of(hospital, {"ct": rules}).verdict == CANNOT_TELL
    with store.engine.begin() as connection:
        connection.execute(sa.update(Study).values(vendor="other"))
    assert row_of(hospital, {"ct": {"months": {"at_most": 12}}}).found == "no paired BMD"


def test_of_several_series_the_one_that_meets_most_rules_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ToldHospital.new(tmp_path, monkeypatch)
    sharp, soft = ct_volume(kernel="B60f", thickness=1.0), ct_volume(kernel="B30f")
    made.take([scan_of(FIRST, Vendor.OTHER, volumes=[sharp, soft])])
    assert row_of(made, {"ct": {"kernels": {"names": ["B30f"]}}}).verdict == MET
    store = SiteStore.open(made.site)
    contract = DataContract.model_validate(
        {"ct": {"kernels": {"names": ["B30f"]}, "thickness_mm": {"low": 0.5, "high": 1.2}}}
    )
    facts = read_facts(store, "dxa-bmd", series=True)
    verdicts = [row.verdict for row in rows_of(contract, Evidence(facts, (), (), TODAY))]
    assert sorted(verdicts) == [MET, NOT_MET]  # no series meets both


def test_a_store_that_does_not_know_its_volumes_measures_them(hospital: ToldHospital) -> None:
    store = SiteStore.open(hospital.site)
    before = read_facts(store, "dxa-bmd", series=True).studies
    with store.engine.begin() as connection:
        connection.execute(sa.update(Volume).values(rows=None, columns=None, levels=None))
    (study,) = read_facts(store, "dxa-bmd", series=True).studies
    assert (study.volumes[0].size, study.volumes[0].levels) == (None, ())
    assess_missing(store)
    assert read_facts(store, "dxa-bmd", series=True).studies == before


def test_a_mask_that_comes_later_brings_its_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ToldHospital.new(tmp_path, monkeypatch)
    made.take([scan_of(FIRST, Vendor.OTHER, volumes=[ct_volume()])])
    made.take([scan_of(FIRST, Vendor.OTHER, volumes=[ct_volume(levels=("L2",))])])
    assert row_of(made, {"counts": [{"of": "level:L2", "at_least": 1}]}).verdict == MET


def test_a_task_of_images_does_not_count_ct_studies(hospital: ToldHospital) -> None:
    assert read_facts(SiteStore.open(hospital.site), "dxa-bmd").studies == []


def test_the_hospital_sees_the_table_and_what_leaves_names_the_rule_alone(
    hospital: ToldHospital, tmp_path: Path
) -> None:
    agreement = tmp_path / "federation.yaml"
    agreement.write_text(
        "workspace: w\ntasks:\n- settings: dxa-bmd.yaml\n  contract:\n    ct:\n"
        "      kernels: {names: [B60f]}\n      kvp: {low: 80, high: 130}\n"
    )
    args = ["check", str(hospital.site), "dxa-bmd", "--agreement", str(agreement)]
    done = CliRunner().invoke(app, args)
    assert "B30f: 1" in done.output
    assert "CT tube voltage" in done.output
    said = str(done.exception)
    assert "CT kernel" in said
    assert "B30f" not in said


def test_a_contract_without_ct_rules_keeps_its_digest() -> None:
    for digest, contract in DIGESTS.items():
        assert contract_digest(DataContract.model_validate(contract), {}, {}) == digest
    with_ct = DataContract.model_validate({"ct": {"contrast": {}}})
    assert contract_digest(with_ct, {}, {}) not in DIGESTS


def test_a_gap_and_a_field_of_view_follow_from_the_slices() -> None:
    volume = StoredVolumeFacts(0.8, 0.7, 3.0, None, "", 2.0, None, (512, 512), False, ())
    assert volume.gap_mm == pytest.approx(1.0)
    assert volume.field_of_view_mm == pytest.approx(512 * 0.7)
    assert StoredStudyFacts("s", "p", "train", None, None, "other", None, {}, [volume], {}, {}).has(
        "mask:ct"
    ) is False  # fmt: skip
    assert code_of("L5", "volume") == 24


@pytest.mark.parametrize(
    ("state", "rules", "verdicts"),
    [
        ("incomplete", {}, [NOT_MET]),
        ("unknown", {}, []),
        ("whole", {}, []),
        ("unknown", {"completeness": {"refuses": ["incomplete", "unknown"]}}, [NOT_MET]),
        ("whole", {"completeness": {"refuses": ["incomplete", "unknown"]}}, [MET]),
        ("incomplete", {"completeness": {"refuses": []}}, [MET]),
        ("incomplete", {"completeness": {"exceptions": 1.0}}, [MET]),
    ],
)
def test_parts_of_series_are_told_and_refuse_only_where_a_contract_says_so(
    state: str, rules: dict[str, Any], verdicts: list[str], hospital: ToldHospital
) -> None:
    store = SiteStore.open(hospital.site)
    with store.engine.begin() as connection:
        connection.execute(sa.update(Volume).values(completeness=state))
    facts = read_facts(store, "dxa-bmd", series=True)
    contract = DataContract.model_validate({"ct": rules})
    rows = rows_of(contract, Evidence(facts, (), (), TODAY))
    assert [row.verdict for row in rows] == verdicts
    assert {row.requirement for row in rows} <= {"CT series complete"}
    assert {row.weight for row in rows} <= {"must" if rules else "should"}
    assert all(begins_with_its_figures(row) for row in rows)
    store.close()
