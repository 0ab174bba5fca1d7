"""The comparison with peers: lines are counted alike, shares are ours over theirs."""

from __future__ import annotations

import copy
import importlib
import io
import sys
from pathlib import Path
from string import Template

import numpy as np
import pytest
import yaml
from rich.console import Console

from client.store.site_store import SiteStore, init_site
from shared.settings.files import FederationConfig, SiteConfig, parse_settings
from shared.settings.task import PrivateSettings, TaskSettings
from shared.tasks import make_task
from shared.training.arrays import get_arrays
from shared.training.compute import Compute
from shared.training.initial_weights import start_network
from shared.training.local_round import RoundKey, train_private
from shared.training.optimising import threads
from tests.benchmarks.peers.figures import (
    MEBIBYTE,
    Program,
    code_lines,
    lines_of,
    ratio,
    table_of,
    text_lines,
)
from tests.benchmarks.peers.hospitals import RADIOGRAPHS, TASKS, export
from tests.benchmarks.peers.measuring import cost_of, one_thread
from tests.benchmarks.peers.programs import OURS, Training, words_of, written
from tests.server.tiny_sites import fill_store, tiny_site

PYTHON = '''"""What it is."""

# Why.
import os  # beside


def twice(x: int) -> int:
    """Give it twice.

    And more of it.
    """
    text = """kept,
    for it is no docstring"""
    return 2 * x + len(text) + len(os.sep)
'''


def test_docstrings_comments_and_blank_lines_are_not_counted() -> None:
    assert code_lines(PYTHON) == 5
    assert code_lines('"""Only said."""\n') == 0
    assert text_lines("# why\n\nname: a\n  size: 2  # beside\n") == 2


def test_a_body_that_is_its_docstring_counts_its_head() -> None:
    assert code_lines('class Empty:\n    """Nothing."""\n') == 1


def test_files_are_counted_by_their_kind(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(PYTHON, encoding="utf-8")
    (tmp_path / "b.yaml").write_text("# no\nname: b\n", encoding="utf-8")
    assert lines_of(tmp_path.iterdir()) == 6


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("program", ["ours", "flower", "nvflare"])
def test_every_program_has_files_and_a_command(program: str, task: str) -> None:
    files = written(program, task)
    assert "commands.txt" in {path.name for path in files}
    assert lines_of(files) > len(files)
    other = set(written(program, (set(TASKS) - {task}).pop()))
    assert len(set(files) - other) == len(other - set(files)) == 1  # one file is of the task


def test_shares_are_ours_over_theirs_and_none_stands_beside_ours() -> None:
    ours = Program("ours", 10, [0.7, 0.5, 0.6], [8.0, 9.0, 1.0], [4.0], [100.0 * MEBIBYTE])
    peer = Program("peer", 40, [0.55], [16.0], [2.0], [50.0 * MEBIBYTE])
    assert ratio(ours.seconds, peer.seconds) == 0.5
    shown = Console(file=io.StringIO(), width=200)
    shown.print(table_of("held", ours, [peer]))
    assert isinstance(shown.file, io.StringIO)
    [mine, theirs] = [line.split() for line in shown.file.getvalue().splitlines()[-3:-1]]
    assert mine == ["ours", "0.600", "8.0", "4.0", "100", "10"]
    assert theirs == [
        "peer",
        "0.550",
        "+0.050",
        "16.0",
        "0.50",
        "2.0",
        "2.00",
        "50",
        "2.00",
        "40",
        "0.25",
    ]


def test_what_ours_writes_is_an_agreement_and_settings() -> None:
    words = words_of(Training(rounds=3, steps=8), Path("/start"), 1)
    read = {
        path.stem: yaml.safe_load(Template(path.read_text(encoding="utf-8")).substitute(words))
        for path in OURS.glob("*.yaml")
    }
    assert parse_settings(read["federation"], FederationConfig, "x").tasks[0].rounds == 3
    for task in TASKS:
        private = parse_settings(read[task], TaskSettings, "x").private
        assert (private.trainable, private.sample_rate, private.momentum) == ("all", 0.5, 0.0)
        assert (private.optimiser, private.schedule) == ("sgd", "constant")
        assert private.warm_up_steps == 0


def test_a_command_and_what_it_starts_are_measured(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', %r])"
    inner = "import time; held = bytearray(64 * 2**20); time.sleep(1.5)"
    cost = cost_of([sys.executable, "-c", script % inner], tmp_path, tmp_path / "log", one_thread())
    assert cost.seconds >= 1.5
    assert cost.peak > 64 * MEBIBYTE
    assert cost.processor > 0
    with pytest.raises(SystemExit, match="ended with code 3"):
        cost_of([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, tmp_path / "x", {})


def test_peers_read_what_our_task_makes(tmp_path: Path) -> None:
    task = make_task(TaskSettings(task="dxa-bmd"))
    site = tiny_site(tmp_path / "alpha", "alpha", seed=1)
    export(task, site, "train", tmp_path / "alpha.npz")
    with np.load(tmp_path / "alpha.npz", allow_pickle=False) as held:
        rows = {len(held[key]) for key in held}
        assert held["image"].shape[1:] == (2, 112, 80)
    assert len(rows) == 1


MODULES = [
    ("dxa-bmd", "plain_flower.dxa.task"),
    ("dxa-bmd", "nvflare_job.dxa_model"),
    ("xray-vertebrae", "radiographs.task"),
    ("xray-vertebrae", "radiographs.dxa_model"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "module"), MODULES)
def test_peers_take_the_steps_that_ours_takes(name: str, module: str, tmp_path: Path) -> None:
    """Without noise, everybody drawn: the same weights up to rounding."""
    theirs = importlib.import_module(f"tests.benchmarks.peers.{module}")
    settings = TaskSettings(
        task=name,
        private=PrivateSettings(
            trainable="all", learning_rate=0.5, max_grad_norm=0.5, steps_per_round=3, augment=False
        ),
    )
    task = make_task(settings)
    site = tmp_path / "alpha"
    if name == RADIOGRAPHS:
        init_site(site, SiteConfig(site="alpha"))
        fill_store(site, task.digital_patients(9, 1))
    else:
        tiny_site(site, "alpha", seed=1)
    export(task, site, "train", tmp_path / "alpha.train.npz")
    # A start by chance may make so much of a rounding that the weights part.
    network, _ = start_network(settings, None, 1)
    other = copy.deepcopy(network)
    before = get_arrays(network)
    store = SiteStore.open(site)
    source = store.source("train")
    train_private(task, network, source, settings.private, 0.0, RoundKey(1, "x", 1, ""), Compute())
    store.close()
    samples = theirs.load_samples(str(tmp_path), "alpha", "train")
    with threads(Compute()):
        theirs.train(other, samples, steps=3, sample_rate=1.0, noise=0.0, clip=0.5, rate=0.5)
    ours, peers = get_arrays(network), get_arrays(other)
    moved = max(float(abs(ours[name] - before[name]).max()) for name in ours)
    apart = max(float(abs(ours[name] - peers[name]).max()) for name in ours)
    assert moved > 1e-3
    assert apart < 1e-4 * moved
