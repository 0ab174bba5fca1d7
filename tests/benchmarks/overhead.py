"""What a round costs over its training: three real nodes against the same steps run bare.

Ours is the whole thing on loopback (see `tests.benchmarks.rounds`), private, with about half a
minute of training a round. Bare are three processes that do the same local steps at the
same time, from the same stores, and nothing else. Both use one thread a process, so on two
cores three of them share. Medians over the rounds; bytes are those of the messages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared.command_line import console
from shared.settings.task import NetworkSettings, PrivateSettings, TaskSettings
from tests.benchmarks.rounds import SITES, ours

#: The small U-Net as it ships, more steps.
NETWORK = NetworkSettings(size="small")
NOISE = 2.0
WAYS = ("bytes_down", "bytes_up")


def task_of(steps: int, trainable: str) -> TaskSettings:
    """A task whose round lasts as many full-batch steps."""
    private = PrivateSettings(
        trainable=trainable, steps_per_round=steps, learning_rate=0.05, augment=False
    )  # fmt: skip
    return TaskSettings(task="dxa-segmentation", network=NETWORK, private=private)


def bare(site: Path, settings: TaskSettings, rounds: int) -> list[float]:
    """Seconds of each round's local steps in this process."""
    from client.store.site_store import SiteStore
    from shared.tasks import make_task
    from shared.training.compute import Compute
    from shared.training.local_round import RoundKey, train_private

    store = SiteStore.open(site)
    task, compute = make_task(settings), Compute.from_settings(store.config.compute)
    network, source = task.network(), store.source("train")
    taken = []
    for number in range(1, rounds + 1):
        started = time.monotonic()
        key = RoundKey(1, "bare", number, "none")
        train_private(task, network, source, settings.private, NOISE, key, compute)
        taken.append(time.monotonic() - started)
    store.close()
    return taken


def all_bare(folder: Path, settings: TaskSettings, rounds: int) -> list[float]:
    """Seconds of a round when three processes work at the same time: the slowest counts."""
    from tests.system.real_federation import NAMES, make_sites

    folder.mkdir()
    make_sites(folder)
    (folder / "task.json").write_text(settings.model_dump_json())
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.overhead", "--rounds", str(rounds),
             "--bare", str(folder / name), "--task", str(folder / "task.json")],
            stdout=subprocess.PIPE,
        )
        for name in NAMES
    ]  # fmt: skip
    told = [json.loads(one.communicate()[0].splitlines()[-1]) for one in started]
    return [max(times) for times in zip(*told, strict=True)]


def sent_bytes(folder: Path, task: str) -> dict[str, float]:
    """Bytes a site, by way, of the first and the last round of a run in a folder."""
    result = json.loads((folder / "work" / "result.json").read_text(encoding="utf-8"))
    rounds = result["tasks"][task]["rounds"]
    return {
        f"{way}, {which} round": rounds[place][way] / SITES
        for way in WAYS
        for which, place in (("first", 0), ("last", -1))
    }


def main() -> None:
    """Measure bare, then ours; print medians, the ratio and the bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--trainable", default="all")
    parser.add_argument("--bare", type=Path, help="(of this program itself) a site to train")
    parser.add_argument("--task", type=Path, help="(of this program itself) its settings")
    asked = parser.parse_args()
    if asked.bare:
        settings = TaskSettings.model_validate_json(asked.task.read_text())
        sys.stdout.write(json.dumps(bare(asked.bare, settings, asked.rounds)) + "\n")
        return
    settings = task_of(asked.steps, asked.trainable)
    with tempfile.TemporaryDirectory(prefix="osteofed-bench-") as temporary:
        folder = Path(temporary)
        alone = statistics.median(all_bare(folder / "bare", settings, asked.rounds))
        rounds = ours(folder / "ours", asked.rounds, settings, deadline_seconds=900)
        sent = sent_bytes(folder / "ours", settings.task)
    whole = float32_bytes(settings)
    mine = statistics.median(rounds)
    console().print(
        f"a round with training: ours {mine:.1f} s, bare {alone:.1f} s, ratio {mine / alone:.3f}",
        markup=False,
    )
    for way, size in sent.items():
        said = f"{way}: {size:,.0f} bytes a site, {size / whole:.3f} of the float32 model"
        console().print(said, markup=False)


def float32_bytes(settings: TaskSettings) -> int:
    """Bytes of every tensor of the network in float32."""
    from shared.tasks import make_task

    return sum(4 * value.numel() for value in make_task(settings).network().state_dict().values())


if __name__ == "__main__":
    main()
