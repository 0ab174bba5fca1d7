"""A person follows from number, seed, profile and generator, and from nothing else."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.phantom.person.calibration import TABLE
from shared.phantom.person.covariates import POPULATIONS
from shared.phantom.person.densities import OTHER_BONES, SPINE
from shared.phantom.person.generator import NEAR_TO_LIFE, PLAIN
from shared.phantom.person.person import draw_person
from tests.shared.phantom.person.cohorts import cohort

COMMUNITY = POPULATIONS["community"]
FOLDER: Path = TABLE.parent


def test_the_same_arguments_give_the_same_person() -> None:
    assert draw_person(3, 5, COMMUNITY, PLAIN) == draw_person(3, 5, COMMUNITY, PLAIN)


@pytest.mark.parametrize("other", ["number", "seed", "profile", "generator"])
def test_another_argument_gives_another_person(other: str) -> None:
    given = {"number": 3, "seed": 5, "profile": COMMUNITY, "generator": PLAIN}
    changed = {
        "number": 4, "seed": 6, "profile": POPULATIONS["urban"], "generator": NEAR_TO_LIFE,
    }  # fmt: skip
    one = draw_person(**given)  # type: ignore[arg-type]
    two = draw_person(**{**given, other: changed[other]})  # type: ignore[arg-type]
    assert one.levels["L1"].core != two.levels["L1"].core
    assert one.texture.seed != two.texture.seed


def test_the_vertebrae_that_are_there_have_densities_and_sizes() -> None:
    for person in cohort("F"):
        levels = SPINE[: SPINE.index(f"L{person.variants.lumbar}") + 1]
        assert tuple(person.levels) == tuple(person.sizes.levels) == levels


def test_nothing_is_negative() -> None:
    for person in (*cohort("F"), *cohort("M")):
        assert min(min(vars(one).values()) for one in person.levels.values()) > 0
        assert min(min(vars(one).values()) for one in person.femora.values()) > 0
        assert min(min(vars(one).values()) for one in person.bones.values()) > 0
        assert min(one.osteophytes_g for one in person.wear.levels.values()) >= 0
        assert set(person.bones) == set(OTHER_BONES)


def test_ages_above_89_are_capped_in_the_covariates() -> None:
    profile = replace(COMMUNITY, age_mean=93.0, age_sd=1.0, age_range=(91.0, 95.0))
    person = draw_person(0, 1, profile, PLAIN)
    assert person.age_years > 90
    assert person.covariates.age_years == 89


def test_covariates_agree_with_the_person() -> None:
    for person in cohort("M")[:50]:
        known = person.covariates
        assert known.weight_kg == pytest.approx(person.weight_kg, abs=0.06)
        assert (known.sex, known.ethnic_group) == ("M", person.ancestry)
        assert person.menopause_age is None


def test_the_texture_is_one_in_plain_patients_and_each_ones_own_in_life() -> None:
    plain = {(p.texture.size, p.texture.strength) for p in cohort("F", "plain")}
    life = {(p.texture.size, p.texture.strength) for p in cohort("F")}
    assert (len(plain), len(life)) == (1, len(cohort("F")))
    assert len({p.texture.seed for p in cohort("F", "plain")}) == len(cohort("F"))


def test_plain_patients_differ_half_as_much_in_shape() -> None:
    plain, life = (
        np.std([np.log(p.sizes.levels["L3"].width / p.sizes.overall) for p in cohort("F", name)])
        for name in ("plain", "near_to_life")
    )
    assert plain / life == pytest.approx(0.5, abs=0.06)


def test_an_early_menopause_costs_bone() -> None:
    women = [p for p in cohort("F") if p.menopause_age is not None and p.age_years > 60]
    ages = np.array([p.menopause_age for p in women], float)
    shells = np.array([p.levels["L3"].arch for p in women])
    assert np.corrcoef(ages, shells)[0, 1] > 0.0


def test_a_person_knows_no_geometry() -> None:
    for path in sorted(FOLDER.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                named = f"{'.' * node.level}{node.module or ''}"
                assert node.level < 2, f"{path.name} imports {named}"
                assert node.level or not named.startswith("shared.phantom"), path.name
