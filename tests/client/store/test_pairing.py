"""A BMD of another visit: which one is taken, and what is said where none can be."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update
from typer.testing import CliRunner

from client.cli.main import app
from client.store.catalogue import Label, Study
from client.store.exclusions import leave_out
from client.store.pairing import Unpaired, Visit, pair
from client.store.site_store import SiteStore
from client.store.split import SPLITS
from client.store.statistics import describe_store
from shared.records import DAYS_PER_MONTH, PairedLabels, StudyLabels, StudyRecord, Vendor
from shared.settings.files import LabelPairing, SiteConfig, load_settings, save_settings
from tests.client.told_hospital import FIRST, SECOND, ToldHospital, line, scan_of

CT = Visit("ct", 1000, Vendor.OTHER, StudyLabels())


def visit(name: str, day: int | None, vendor: Vendor = Vendor.LUNAR, bmd: float = 1.0) -> Visit:
    return Visit(name, day, vendor, StudyLabels(bmd={"L1-L4": bmd}, genant={"L1": 1}))


def test_the_nearest_visit_is_taken_with_its_scale_and_signed_months() -> None:
    near = visit("near", 1061, Vendor.HOLOGIC, 0.9)
    found = pair(CT, [visit("far", 800), CT, near, visit("farther", 1300)], 12)
    assert found == PairedLabels(
        StudyLabels(bmd={"L1-L4": 0.9}, genant={"L1": 1}), Vendor.HOLOGIC, 61 / DAYS_PER_MONTH
    )


def test_of_two_equally_near_visits_the_earlier_is_taken() -> None:
    found = pair(CT, [visit("later", 1030, bmd=1.1), visit("earlier", 970, bmd=0.9)], 12)
    assert isinstance(found, PairedLabels)
    assert (found.labels.bmd["L1-L4"], found.months < 0) == (0.9, True)


@pytest.mark.parametrize(
    ("day", "visits", "expected"),
    [
        (1000, [Visit("vfa", 1000, Vendor.LUNAR, StudyLabels(genant={"L1": 1}))], "no_other_visit"),
        (None, [visit("a", 1000)], "day_unknown"),
        (1000, [visit("a", None)], "day_unknown"),
        (1000, [visit("a", 1000 + 367)], "too_far"),
        (1000, [visit("a", 1010, Vendor.OTHER), visit("b", 2000)], "vendor_unknown"),
    ],
)
def test_what_stays_unpaired_is_told_with_its_reason(
    day: int | None, visits: list[Visit], expected: str
) -> None:
    found = pair(replace(CT, day=day), [CT, *visits], 12)
    assert isinstance(found, Unpaired)
    assert found.reason == expected
    if expected == "too_far":
        assert found.months == pytest.approx(12.06, abs=0.01)


def test_twelve_months_reach_the_same_day_of_the_next_year() -> None:
    start, end = date(2020, 2, 1), date(2021, 2, 1)  # a leap year
    ct = replace(CT, day=start.toordinal())
    assert isinstance(pair(ct, [visit("a", end.toordinal())], 12), PairedLabels)


def test_a_bmd_without_a_scale_counts_for_nothing_even_if_it_is_the_studys_own() -> None:
    own = visit("own", 1000, Vendor.OTHER)
    assert pair(own, [own], 12) == Unpaired("vendor_unknown", 0.0)
    assert isinstance(pair(own, [own, visit("dxa", 1100)], 12), PairedLabels)


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6, unique=True), st.integers(0, 60))
def test_no_other_visit_is_nearer_than_the_one_that_is_paired(days: list[int], months: int) -> None:
    visits = [visit(f"v{day}", day, bmd=1 + day / 10_000) for day in days]
    found = pair(CT, visits, months)
    nearest = min(abs(day - 1000) for day in days)
    if isinstance(found, PairedLabels):
        assert abs(found.months) * DAYS_PER_MONTH == pytest.approx(nearest)
        assert nearest <= months * DAYS_PER_MONTH + 1
    else:
        assert nearest > months * DAYS_PER_MONTH


# --- in a store ---------------------------------------------------------------------------


@pytest.fixture
def hospital(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToldHospital:
    """A patient with a CT and, a year later, a line of a table; another with a CT alone."""
    made = ToldHospital.new(tmp_path, monkeypatch)
    studies = [scan_of(FIRST, Vendor.OTHER), scan_of(SECOND, Vendor.OTHER, "MRN8")]
    made.take(studies, [line(SECOND, maker="GE Lunar")])
    return made


def cts(hospital: ToldHospital) -> list[StudyRecord]:
    store = SiteStore.open(hospital.site)
    sources = [store.source(split) for split in SPLITS]
    found = [study for s in sources for p in s.patients for study in s.studies(p)]
    store.close()
    return [study for study in found if study.volumes]


def digest(hospital: ToldHospital) -> str:
    store = SiteStore.open(hospital.site)
    return "".join(store.source(split).digest() for split in SPLITS)


def set_months(hospital: ToldHospital, months: float) -> None:
    path = hospital.site / "site.yaml"
    config = load_settings(path, SiteConfig)
    save_settings(config.model_copy(update={"pairing": LabelPairing(months=months)}), path)


def test_a_ct_is_given_out_with_the_bmd_of_a_line_a_year_later(hospital: ToldHospital) -> None:
    (found,) = [one.paired for one in cts(hospital) if one.paired is not None]
    assert (found.labels.bmd, found.vendor) == ({"L1-L4": 1.012}, Vendor.LUNAR)
    assert found.months == pytest.approx(12, abs=0.05)
    set_months(hospital, 6)
    assert [one.paired for one in cts(hospital)] == [None, None]


def test_what_is_paired_is_part_of_the_digest_and_nothing_else_is(hospital: ToldHospital) -> None:
    store = SiteStore.open(hospital.site)
    before = digest(hospital)
    set_months(hospital, 6)
    unpaired = digest(hospital)
    assert unpaired != before
    set_months(hospital, 3)
    assert digest(hospital) == unpaired
    set_months(hospital, 12)
    with store.engine.begin() as connection:
        connection.execute(update(Label).values(value=1.1))
    assert digest(hospital) != before


def test_a_visit_that_a_person_left_out_is_not_paired(hospital: ToldHospital) -> None:
    store = SiteStore.open(hospital.site)
    with store.engine.begin() as connection:
        uid = connection.execute(Label.__table__.select()).one().study
    leave_out(hospital.site, uid)
    assert [one.paired for one in cts(hospital)] == [None, None]


def test_the_account_says_what_stayed_unpaired_and_why(hospital: ToldHospital) -> None:
    facts = describe_store(hospital.site)["pairing"]
    assert (facts["months"], facts["paired"]) == (12.0, 1)
    assert [(line["reason"], line["studies"]) for line in facts["unpaired"]] == [
        ("no_other_visit", 1)
    ]
    assert sorted(one["reason"] or "" for one in facts["studies"]) == ["", "no_other_visit"]
    store = SiteStore.open(hospital.site)
    with store.engine.begin() as connection:
        connection.execute(update(Study).where(Study.maker == "lunar").values(vendor="other"))
    done = CliRunner().invoke(app, ["studies", str(hospital.site)])
    assert "1 study without any BMD: the BMD near it has no scale" in " ".join(done.output.split())
