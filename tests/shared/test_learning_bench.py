"""The benchmark of learning: hospitals by look, stored runs, intervals, tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.protocol.codec import Arrays
from shared.records import View
from shared.regions import UNNAMED_VERTEBRA
from shared.settings.task import OptimiserSettings, PretrainSettings, PrivateSettings, TaskSettings
from shared.training.compute import Compute
from tests.learning.arms import Bench, digest_of
from tests.learning.cohorts import Cohort, Size, radiographs
from tests.learning.digital import FEDERATION, MORE_HOSPITALS
from tests.learning.pages import tables_of
from tests.learning.radiographs import read_radiograph, split_by_look
from tests.learning.scores import Scored
from tests.learning.stored import Run, load_run, path_of, run_of, save_run, stored_runs
from tests.learning.tables import cohort_table, fairness_table, headline_table, lateral_table
from tests.shared.standins import Standins
from tests.verify.pages import begin_of, between, end_of

FEW = OptimiserSettings(steps_per_round=2, batch_patients=4, augment=False)


def tiny_cohort() -> Cohort:
    few = {name: getattr(FEW, name) for name in ("steps_per_round", "batch_patients", "augment")}
    return Cohort(
        name="tiny",
        settings=TaskSettings(
            task="dxa-bmd",
            plain=FEW,
            private=PrivateSettings(trainable="head", steps_per_round=1),
            pretrain=PretrainSettings(**few),
        ),
        rounds=2,
        private_rounds=1,
        public=Standins(4, 1),
        hospitals={"a": Standins(4, 2), "b": Standins(5, 3)},
        choices=Standins(2, 4),
        unseen=Standins(6, 5),
        groups=lambda study: {"sex": "F" if study.patient[-1] in "024" else "M"},
    )


def stored(dice: list[float], arm: str, seed: int = 1) -> Run:
    common = {"dice_n": 1.0, "patients": 1.0, "loss_sum": 1.0}
    facts = {
        "cohort": "c", "task": "xray-vertebrae", "arm": arm, "seed": seed, "digest": "0",
        "steps": 1, "hospitals": {"a": 3},
    }  # fmt: skip
    return run_of(facts, [({"dice_sum": value, **common}, {}) for value in dice])


def write_radiograph(folder: Path, name: str, look: float, label: str) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(int(look * 1000))
    pixels = np.clip(generator.normal(255 * look, 20, (80, 40)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "images" / f"{name}.jpg")
    (folder / "labels" / f"{name}.txt").write_text(label)


@pytest.mark.parametrize(
    "label",
    ["0 0.5 0.25 0.5 0.1", "0 0.25 0.2 0.75 0.2 0.75 0.3 0.25 0.3\n"],
)
def test_boxes_and_polygons_become_the_same_mask(tmp_path: Path, label: str) -> None:
    write_radiograph(tmp_path, "one", 0.5, label)
    regions = read_radiograph(tmp_path, "one").images[View.LUMBAR_AP].regions
    assert regions is not None
    expected = np.zeros((80, 40), np.uint8)
    expected[16:24, 10:30] = UNNAMED_VERTEBRA
    assert np.array_equal(regions, expected)


def test_hospitals_are_of_equal_size_and_one_end_of_the_looks_each() -> None:
    looks = {f"{n:03d}": np.array([float(n), -2.0 * n, (n * 7) % 5]) for n in range(31)}
    dealt = split_by_look(looks, ("a", "b", "c"))
    assert sorted(len(names) for names in dealt.values()) == [10, 10, 11]
    assert sorted(name for names in dealt.values() for name in names) == sorted(looks)
    ends = sorted(np.mean([looks[name][0] for name in names]) for names in dealt.values())
    assert ends[1] - ends[0] > 9
    assert ends[2] - ends[1] > 9


def test_no_radiograph_is_in_two_parts(tmp_path: Path) -> None:
    for part, count in (("train", 12), ("valid", 90)):
        for number in range(count):
            write_radiograph(tmp_path / part, f"{part}-{number:03d}", 0.2 + 0.005 * number, "")
    cohort = radiographs(tmp_path, TaskSettings(task="xray-vertebrae"))
    parts = [cohort.public, cohort.choices, cohort.unseen, *cohort.hospitals.values()]
    names = [name for part in parts for name in part.patients]
    assert len(names) == len(set(names)) == 102
    assert (len(cohort.public.patients), len(cohort.unseen.patients)) == (60, 15)


def test_a_stored_run_comes_back_and_its_patients_add_up(tmp_path: Path) -> None:
    run = stored([0.5, 0.7, 0.9], "pooled")
    path = path_of(tmp_path, "c", "pooled", 1)
    save_run(path, run)
    again = load_run(path)
    assert (again.facts, again.keys, again.groups) == (run.facts, run.keys, run.groups)
    assert Scored([again]).value == pytest.approx(0.7, abs=1e-6)


def test_an_interval_covers_the_figure_and_a_paired_difference_is_narrower() -> None:
    dice = list(np.random.default_rng(1).uniform(0.4, 0.9, 60))
    start, better = (
        Scored([stored(dice, "pretrained")]),
        Scored([stored([d + 0.02 for d in dice], "x")]),
    )
    figure, above = better.figure, better.above(start)
    assert figure.low < figure.value < figure.high
    assert above.value == pytest.approx(0.02)
    assert above.low > 0
    assert above.high - above.low < 0.01 * (figure.high - figure.low)
    assert better.over(start).value == pytest.approx(better.value / start.value)


def test_seeds_are_averaged() -> None:
    both = Scored([stored([0.4, 0.6], "pooled", 1), stored([0.6, 0.8], "pooled", 2)])
    assert both.value == pytest.approx(0.6)
    assert both.of_seed == pytest.approx([0.5, 0.7])


def test_the_page_is_made_of_stored_runs_alone(tmp_path: Path) -> None:
    for arm, dice in (
        ("pretrained", [0.5] * 12),
        ("pooled", [0.8] * 12),
        ("federated", [0.76] * 12),
    ):
        save_run(path_of(tmp_path / "runs", "c", arm, 1), stored(dice, arm))
    page = f"before\n{begin_of('learning')}\nold\n{end_of('learning')}\nafter\n"
    text = between(page, "learning", tables_of(stored_runs(tmp_path / "runs")))
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    [line] = [line for line in text.splitlines() if line.startswith("| federated |")]
    assert "0.950 [0.950, 0.950]" in line


def test_the_headline_holds_the_best_hospital_alone_against_the_federation() -> None:
    dice = {
        "pretrained": 0.5, "alone-a": 0.6, "alone-b": 0.7, "long-a": 0.79, "pooled": 0.8,
        "federated": 0.76, "private-8": 0.684,
    }  # fmt: skip
    runs = [stored([value] * 12, arm) for arm, value in dice.items()]
    row = headline_table({"c": runs}).splitlines()[-1]
    cells = [cell.strip().partition(" [")[0] for cell in row.strip("|").split("|")]
    assert cells == ["c", "1", "0.760", "0.950", "0.060", "0.684", "0.900", "0.184"]
    assert len(headline_table({"c": [stored([0.5] * 12, "pooled")]}).splitlines()) == 2


def test_every_way_is_trained_and_the_digest_tells_what_it_depends_on() -> None:
    bench = Bench(tiny_cohort(), 1, Compute("cpu", 1, 8))
    runs = [bench.run(arm) for arm in bench.arms if arm != "private-2"]
    assert {str(run.facts["arm"]) for run in runs} >= {
        "alone-a",
        "pooled",
        "federated",
        "without-b",
    }
    assert all(len(run.values) == 6 for run in runs)
    assert len({run.values.tobytes() for run in runs}) == len(runs)
    assert "| F (3)" not in cohort_table(runs)
    changed = tiny_cohort().settings.model_copy(update={"private": PrivateSettings()})
    other = Cohort(**{**vars(tiny_cohort()), "settings": changed})
    assert digest_of(other, "federated") == digest_of(tiny_cohort(), "federated")
    assert digest_of(other, "private-8") != digest_of(tiny_cohort(), "private-8")


def test_what_was_trained_is_kept_and_not_trained_again(tmp_path: Path) -> None:
    def bench() -> Bench:
        return Bench(tiny_cohort(), 1, Compute("cpu", 1, 8), kept=tmp_path)

    first = bench().run("alone-a")
    assert len(list(tmp_path.iterdir())) == 2  # it, and the pretrained weights
    again = bench()
    again.train = lambda _: pytest.fail("trained again")  # type: ignore[method-assign, assignment]
    second = again.run("alone-a")
    assert np.array_equal(first.values, second.values)
    assert first.facts == second.facts


def test_the_weights_that_all_ways_begin_with_are_trained_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(tiny_cohort(), 1, Compute("cpu", 1, 8))
    trained: list[Arrays] = []

    def note() -> Arrays:
        trained.append({})
        return trained[-1]

    monkeypatch.setattr(bench, "_train_publicly", note)
    assert bench.trained("pretrained")[0] is bench.pretrained()
    assert bench.trained("pretrained")[0] is bench.pretrained()
    assert len(trained) == 1


def test_uneven_hospitals_have_as_many_patients_in_all() -> None:
    even, uneven = Size(150), Size(150, uneven=True)
    assert (even.counts, uneven.counts) == ([150] * 3, [300, 120, 30])
    assert (even.name, uneven.name) == ("150", "150-uneven")
    assert Size(50, (*FEDERATION, *MORE_HOSPITALS)).name == "10x50"


def test_small_groups_are_not_shown() -> None:
    dice = [0.5] * 12 + [0.9] * 12 + [0.1] * 3
    run = stored(dice, "federated")
    sexes = [{"sex": "F"}] * 12 + [{"sex": "M"}] * 12 + [{"sex": "other"}] * 3
    table = fairness_table([Run(run.facts, run.keys, run.values, tuple(sexes))])
    assert "sex F (12) | sex M (12) | worst" in table
    assert "| federated | 0.500 | 0.900 | sex F |" in table


def test_the_lateral_view_of_segmentation_has_a_table_of_its_own() -> None:
    runs = []
    for arm, named, found in (("pretrained", 0.5, 0.7), ("federated", 0.8, 0.9)):
        common = {"patients": 1.0, "loss_sum": 1.0, "dice_n": 1.0, "dice_sum": 0.9}
        lateral = {
            "dice_lateral_n": 1.0, "dice_lateral_sum": named,
            "dice_lateral_any_n": 1.0, "dice_lateral_any_sum": found,
        }  # fmt: skip
        facts = {**stored([0.5], arm).facts, "task": "dxa-segmentation"}
        runs.append(run_of(facts, [({**common, **lateral}, {})] * 12))
    *_, start, federated = lateral_table(runs).splitlines()
    cells = [cell.strip().partition(" [")[0] for cell in federated.strip("|").split("|")]
    assert cells == ["federated", "1", "0.800", "", "0.300", "0.900", "", "0.200"]
    assert start.startswith("| pretrained | 1 | 0.500 [0.500, 0.500] | 0.625 [0.625, 0.625] |  |")
    assert lateral_table([stored([0.5] * 12, "federated")]) == ""


def test_ways_are_compared_on_the_seeds_that_both_were_run_with() -> None:
    start = Scored([stored([0.5, 0.6], "pretrained", 1), stored([0.9, 0.9], "pretrained", 2)])
    private = Scored([stored([0.6, 0.7], "private-8", 1)])
    assert private.above(start).value == pytest.approx(0.1)
    assert private.above(start).low == pytest.approx(0.1)
    none = Scored([stored([0.6, 0.7], "private-8", 3)])
    assert str(none.over(start)) == ""
