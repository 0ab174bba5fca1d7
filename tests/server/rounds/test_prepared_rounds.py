"""A task trains on studies that a version of another completes, from round to round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree, rmtree

import numpy as np
import pytest
import sqlalchemy as sa
from flwr.app import RecordDict

from client.contract.data_contract import KeptContract, contract_digest
from client.contract.declaring import propose
from client.round.open_site import open_site
from client.store.catalogue import Image, Study
from server.registry.model_card import write_card
from server.registry.passport import make_passport, verify_passport
from server.rounds.plan import PlannedTask, RunPlan, simulated_names
from server.rounds.roster import Roster
from server.rounds.train import Report, Start, Trained, evaluate_models, train_rounds
from server.state.result import CurvePoint, RoundFacts
from shared.errors import PassportInvalidError
from shared.findings.findings import Findings
from shared.protocol.half_precision import halved
from shared.protocol.passport import FILE, PASSPORT
from shared.protocol.preparation import Preparation, digests_of, networks_of
from shared.records import View
from shared.settings.contract import DataContract
from shared.settings.files import SitePrivacy, StrategySettings
from shared.settings.task import NetworkSettings, OptimiserSettings, PrivateSettings, TaskSettings
from shared.tasks import make_task
from shared.tasks.dxa_segmentation import DxaSegmentation
from shared.tasks.reading import Reading
from shared.training.arrays import get_arrays, trainable_names
from shared.training.initial_weights import start_network
from shared.training.weights import digest_arrays
from tests.server.fake_grid import FakeGrid, Node, make
from tests.server.real_sites import node_of, plan_of
from tests.server.rounds.test_train import journal
from tests.server.tiny_sites import TINY_TASK, tiny_site
from tests.shared.standins import spine_lateral

FRACTURE = TaskSettings(
    task="vfa-fracture",
    network=NetworkSettings(size="small", image_size=(16, 16)),
    plain=OptimiserSettings(steps_per_round=1, batch_patients=4),
    private=PrivateSettings(steps_per_round=1, trainable="head", augment=False),
)
WEIGHTS = halved(get_arrays(start_network(TINY_TASK, None, 3)[0]))
PREPARATION = Preparation(settings=TINY_TASK, digest=digest_arrays(WEIGHTS))
PREPARING = {TINY_TASK.task: WEIGHTS}


def agree(site: Path, named: Mapping[str, Preparation]) -> None:
    """Keep a contract that says nothing but what prepares the input, as an engineer would."""
    digests, networks = digests_of(named), networks_of(named)
    bare = DataContract()
    kept = KeptContract(
        task=FRACTURE.task, federation="f", kept="now", contract=bare, prepared_with=digests,
        digest=contract_digest(bare, digests, networks), prepared_networks=networks,
    )  # fmt: skip
    path = site / "contracts" / f"{FRACTURE.task}.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(kept.model_dump_json())


@dataclass
class Consortium:
    """Two hospitals where every second patient has no drawn vertebrae, and what was asked."""

    folder: Path
    sites: list[Path]
    records: list[tuple[str, frozenset[str]]] = field(default_factory=list)

    def plan(self, prepared: bool, rounds: int) -> RunPlan:
        planned = PlannedTask(
            settings=FRACTURE, rounds=rounds, start_from=None, start_digest="",
            strategy=StrategySettings(),
            prepared_with={TINY_TASK.task: PREPARATION} if prepared else {},
        )  # fmt: skip
        base = plan_of(self.folder, self.sites, "private", rounds)
        run = "prepared" if prepared else "plain"
        return base.model_copy(update={"run": run, "tasks": (planned,)})

    def start(self, prepared: bool) -> Start:
        task = make_task(FRACTURE)
        network, _ = start_network(FRACTURE, None)
        names = trainable_names(task, network, FRACTURE.private.trainable)
        return Start(task, get_arrays(network), names, 2.0, PREPARING if prepared else {})

    def grid(self) -> FakeGrid:
        return FakeGrid(dict(enumerate(map(self._node, self.sites), start=1)))

    def train(
        self, prepared: bool, rounds: int, report: Report = lambda facts, point: None
    ) -> Trained:
        work = self.plan(prepared, rounds)
        for site in self.sites:
            agree(site, work.tasks[0].prepared_with)
        return train_rounds(
            self.grid(), Roster(work.members, names=simulated_names(work.sites)), work,
            work.tasks[0], self.start(prepared), make, journal(self.folder), report,
        )  # fmt: skip

    def _node(self, site: Path) -> Node:
        real = node_of(site)

        def node(content: RecordDict, times: int) -> RecordDict | str | None:
            self.records.append((site.name, frozenset(content)))
            return real(content, times)

        return node


#: Patients of a hospital whose vertebrae nobody drew, of those who train and who validate.
UNDRAWN = 4 + 1
#: The sites are compared with copies, bit by bit.
PRIVACY = SitePrivacy(epsilon_budget=50.0, delta=1e-3, erase_noise_keys=False)


@pytest.fixture
def consortium(tmp_path: Path) -> Consortium:
    found = [
        tiny_site(tmp_path / name, name, patients=12, seed=seed, privacy=PRIVACY)
        for seed, name in enumerate(("alpha", "beta"))
    ]
    for folder in found:
        site = open_site(folder)
        for split in ("train", "validation"):
            undrawn = site.store.source(split).patients[::2]
            of_patients = sa.select(Study.uid).where(Study.patient.in_(undrawn))
            of_undrawn = Image.study.in_(of_patients) & (Image.view == "spine_lateral")
            with site.store.engine.begin() as connection:
                connection.execute(sa.update(Image).where(of_undrawn).values(mask_digest=None))
        site.close()
    return Consortium(tmp_path, found)


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """Every study that the preparing task read."""
    found: list[Reading] = []
    real = DxaSegmentation.find

    def counted(task: DxaSegmentation, reading: Reading) -> Findings:
        found.append(reading)
        return real(task, reading)

    monkeypatch.setattr(DxaSegmentation, "find", counted)
    return found


def test_more_patients_train_and_no_study_is_read_twice(
    consortium: Consortium, finds: list[Reading]
) -> None:
    for site in consortium.sites:  # no version runs to count them
        counts = [
            one.today
            for preparing in ((), (TINY_TASK.task,))
            for one in propose(site, {FRACTURE.task: preparing})
            if (one.task, one.place) == (FRACTURE.task, "train")
        ]
        assert counts == [4, 8]
    assert finds == []
    trained = consortium.train(prepared=True, rounds=2)
    assert [sorted(one.patients) for one in trained.rounds] == [["alpha", "beta"]] * 2
    assert [point.pooled.patients for point in trained.curve] == [4, 4]
    assert len(finds) == 2 * UNDRAWN
    # The network saw neither labels nor what was drawn on the other views.
    assert not any(one.labels.genant or one.labels.bmd for one in finds)
    assert all(image.regions is None for one in finds for image in one.study.images.values())
    # The weights came with the whole model, and not again.
    brought = ["prepare:dxa-segmentation" in names for _, names in consortium.records]
    assert brought == [True, True, False, False]  # of the first, the second
    # The last model is measured on completed studies too, and what was found is there.
    measured = evaluate_models(
        consortium.grid(), Roster(
            consortium.plan(True, 1).members, names=simulated_names(tuple(consortium.sites))
        ), consortium.plan(True, 2),
        "vfa-fracture", {"final": (FRACTURE, trained.arrays)}, make, journal(consortium.folder),
        {TINY_TASK.task: PREPARATION}, PREPARING,
    )  # fmt: skip
    sums = [one.statistics["final"]["patients"] for one in measured.answers.values()]
    assert (sums, len(finds)) == ([2.0, 2.0], 2 * UNDRAWN)
    for path in (consortium.sites[0] / "store" / "prepared").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preparing task finds the same in every study, at once."""
    regions = spine_lateral(np.random.default_rng(0), {}).regions
    assert regions is not None
    found = Findings(region_maps={View.SPINE_LATERAL: regions})
    monkeypatch.setattr(DxaSegmentation, "find", lambda task, reading: found)


@pytest.mark.usefixtures("quick")
def test_a_run_that_stopped_goes_on_with_the_same_bits(
    consortium: Consortium, tmp_path: Path
) -> None:
    copies = [tmp_path / "copies" / site.name for site in consortium.sites]
    for site, copy in zip(consortium.sites, copies, strict=True):
        copytree(site, copy)
    whole = Consortium(tmp_path / "other", copies).train(prepared=True, rounds=2)

    def stop(facts: RoundFacts, point: CurvePoint) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consortium.train(prepared=True, rounds=2, report=stop)
    # A site that lost what it kept is sent it again, and makes the same maps again.
    rmtree(consortium.sites[0] / "store" / "prepared")
    resumed = consortium.train(prepared=True, rounds=2)
    assert digest_arrays(resumed.arrays) == digest_arrays(whole.arrays)


@pytest.mark.usefixtures("quick")
def test_a_site_that_lost_the_weights_between_rounds_asks_for_them(
    consortium: Consortium,
) -> None:
    lost = consortium.sites[0] / "store" / "prepared"

    def forget(facts: RoundFacts, point: CurvePoint) -> None:
        if facts.round == 1:
            rmtree(lost)

    trained = consortium.train(prepared=True, rounds=2, report=forget)
    assert [one.absent for one in trained.rounds] == [[], []]
    asked = [name for name, names in consortium.records if "prepare:dxa-segmentation" in names]
    assert sorted(asked) == ["alpha", "alpha", "beta"]


@pytest.mark.usefixtures("quick")
def test_the_passport_names_what_prepared_the_input_and_holds_the_rounds_to_it(
    consortium: Consortium,
) -> None:
    trained = consortium.train(prepared=True, rounds=1)
    work = consortium.plan(True, 1)
    start = digest_arrays(consortium.start(True).arrays)
    made = make_passport(
        work, work.tasks[0], trained.passports, digest_arrays(trained.arrays), start
    )
    path = consortium.folder / FILE
    path.write_text(made.model_dump_json())
    key = journal(consortium.folder).home.key()
    assert verify_passport(path, key.public)
    assert made.prepared_with == {TINY_TASK.task: PREPARATION.digest}
    forged = made.model_copy(update={"prepared_with": {TINY_TASK.task: "0" * 64}})
    signature = key.sign(PASSPORT, forged.content())
    path.write_text(forged.model_copy(update={"signature": signature}).model_dump_json())
    with pytest.raises(PassportInvalidError, match="prepared with other versions"):
        verify_passport(path, key.public)
    write_card(consortium.folder / "card.json", work, work.tasks[0], trained.rounds, [], {})
    card = json.loads((consortium.folder / "card.json").read_text())
    assert card["prepared_with"] == made.prepared_with
    bare = consortium.plan(False, 1)
    write_card(consortium.folder / "card.json", bare, bare.tasks[0], trained.rounds, [], {})
    assert "prepared_with" not in (consortium.folder / "card.json").read_text()
